//! `[access_log]`: what is written of requests, tunnels and sessions, and where to.

use std::path::PathBuf;
use std::time::Duration;

use super::bounds::{ACCESS_LOG_PATHS_MAX, ACCESS_LOG_SAMPLE, SOCKET_PATH_BYTES_MAX};
use super::section::{Section, boolean, integer, or_off, text};
use super::value;

/// `[access_log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessLog {
    pub(crate) output: AccessOutput,
    pub(crate) format: AccessFormat,
    /// Queries are written, sids in them masked.
    pub(crate) query: bool,
    /// Of requests that went well one in so many is written.
    pub(crate) sample: u32,
    /// Only requests that took so long; `None`: all.
    pub(crate) min_duration: Option<Duration>,
    pub(crate) statuses: Statuses,
    /// Only paths that begin with one of these; none: all.
    pub(crate) paths: Vec<String>,
    pub(crate) events: Events,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessOutput {
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// The socket of a syslog daemon or journald.
    Syslog(PathBuf),
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessFormat {
    Json,
    /// What Apache calls combined and nginx writes by default.
    Combined,
}

/// Classes of status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statuses(u8);

impl Statuses {
    const ALL: Self = Self(u8::MAX);

    /// Whether this status is among them. None at all (0) is the doing of a client that went away: 4xx.
    pub(crate) fn has(self, status: u16) -> bool {
        let class = if status == 0 { 4 } else { (status / 100).min(7) };
        self.0 >> class & 1 == 1
    }
}

/// What lines tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) requests: bool,
    pub(crate) tunnels: bool,
    /// Ends of Engine.IO sessions. Only where it is asked for: each session takes memory for it.
    pub(crate) sessions: bool,
}

const FORMATS: &[(&str, AccessFormat)] =
    &[("json", AccessFormat::Json), ("combined", AccessFormat::Combined)];

const STATUSES: &[(&str, u8)] = &[("1xx", 1), ("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)];

/// Where syslog daemons and journald listen.
const SYSLOG: &str = "/dev/log";

/// Reads the section. `None`: nothing is written.
pub(super) fn access_log(mut section: Section<'_>) -> Option<AccessLog> {
    let expected = r#"a path, "stderr" or "syslog""#;
    let output = section.read("output", or_off(text(expected, output))).flatten();
    let format = section.read("format", text("a string", |text| value::choice(text, FORMATS)));
    let format = format.unwrap_or(AccessFormat::Json);
    let duration = text(r#"a duration such as "1s""#, value::duration);
    let classes = section.read_list("statuses", r#"a list such as ["4xx", "5xx"]"#, STATUSES.len(), |text| {
        value::choice(text, STATUSES)
    });
    let paths =
        section.read_list("paths", r#"a list such as ["/socket.io/"]"#, ACCESS_LOG_PATHS_MAX, value::path);
    let log = AccessLog {
        output: output.clone().unwrap_or(AccessOutput::Stderr),
        format,
        query: section.read("query", boolean).unwrap_or(true),
        sample: section.read("sample", integer(ACCESS_LOG_SAMPLE)).unwrap_or(1),
        min_duration: section.read("min_duration", or_off(duration)).flatten(),
        statuses: match &classes[..] {
            [] => Statuses::ALL,
            some => Statuses(some.iter().fold(0, |all, class| all | 1 << class)),
        },
        paths,
        events: events(&mut section, format),
    };
    section.finish();
    output.map(|_| log)
}

fn events(section: &mut Section<'_>, format: AccessFormat) -> Events {
    const NAMES: &[(&str, u8)] = &[("request", 0), ("tunnel", 1), ("session", 2)];
    let expected = r#"a list such as ["request", "tunnel", "session"]"#;
    let named = section.read_list("events", expected, NAMES.len(), |text| value::choice(text, NAMES));
    let is_json = format == AccessFormat::Json;
    if !is_json && named.iter().any(|event| *event != 0) {
        section.problem("events", r#"of tunnels and sessions are written with `format = "json"` only"#);
    }
    let has = |event| if named.is_empty() { is_json || event == 0 } else { named.contains(&event) };
    Events { requests: has(0), tunnels: has(1), sessions: named.contains(&2) }
}

fn output(text: &str) -> Result<AccessOutput, String> {
    match text {
        "stderr" => Ok(AccessOutput::Stderr),
        "syslog" => Ok(AccessOutput::Syslog(PathBuf::from(SYSLOG))),
        _ => match text.strip_prefix("syslog:") {
            Some(path) => value::socket_path(path).map(AccessOutput::Syslog),
            None if text.starts_with('/') => Ok(AccessOutput::File(PathBuf::from(text))),
            None => Err(format!(
                r#""{text}" is no output; write an absolute path, "stderr", "syslog" or "syslog:/path/of/a/socket""#
            )),
        },
    }
}

const _: () = assert!(SYSLOG.len() <= SOCKET_PATH_BYTES_MAX);
