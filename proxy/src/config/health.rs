//! `[upstream.NAME.health]`: how it is found out that a backend is down.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::bounds::{CHECK_BODY_BYTES_MAX, CHECKS_IN_A_ROW};
use super::section::{Section, integer, or_off, text};
use super::value;

/// `[upstream.NAME.health]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// `None`: backends are not checked.
    pub(crate) check: Option<Check>,
    /// Between two checks.
    pub(crate) interval: Duration,
    /// Between two checks where the last one spoke against what the backend is.
    pub(crate) fast_interval: Duration,
    /// Within which a check must have passed.
    pub(crate) timeout: Duration,
    /// Checks passed in a row until a backend is up.
    pub(crate) rise: u32,
    /// Checks failed in a row until it is down.
    pub(crate) fall: u32,
    /// Requests failed in a row until a backend is suspect; `None`: none is.
    pub(crate) failures: Option<u32>,
    /// How long it then gets nothing new.
    pub(crate) failure_pause: Duration,
    /// Percent of backends that must be free of suspicion for suspicion to be heeded.
    pub(crate) panic_threshold: u32,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Connects.
    Tcp,
    /// Asks for a path, and wants a status and a text in the body.
    Http { path: String, host: Option<String>, status: RangeInclusive<u16>, body: Option<String> },
    /// Opens an Engine.IO session and closes it.
    EngineIo { path: String, host: Option<String> },
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Http,
    EngineIo,
}

const KINDS: &[(&str, Option<Kind>)] = &[
    ("off", None),
    ("tcp", Some(Kind::Tcp)),
    ("http", Some(Kind::Http)),
    ("engine-io", Some(Kind::EngineIo)),
];

impl Default for Health {
    fn default() -> Self {
        Self {
            check: None,
            interval: Duration::from_secs(5),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            failures: Some(5),
            failure_pause: Duration::from_secs(10),
            panic_threshold: 50,
        }
    }
}

pub(super) fn health(mut section: Section<'_>) -> Health {
    let default = Health::default();
    let kind = section.read("check", text("a string", |text| value::choice(text, KINDS))).flatten();
    let check = check(&mut section, kind);
    let duration = || text(r#"a duration such as "5s""#, value::duration);
    let mut read = |name, default| section.read(name, duration()).unwrap_or(default);
    let health = Health {
        check,
        interval: read("interval", default.interval),
        fast_interval: read("fast_interval", default.fast_interval),
        timeout: read("timeout", default.timeout),
        failure_pause: read("failure_pause", default.failure_pause),
        rise: section.read("rise", integer(CHECKS_IN_A_ROW)).unwrap_or(default.rise),
        fall: section.read("fall", integer(CHECKS_IN_A_ROW)).unwrap_or(default.fall),
        failures: section.read("failures", or_off(integer(CHECKS_IN_A_ROW))).unwrap_or(default.failures),
        panic_threshold: section.read("panic_threshold", integer(0..=100)).unwrap_or(default.panic_threshold),
    };
    section.finish();
    health
}

fn check(section: &mut Section<'_>, kind: Option<Kind>) -> Option<Check> {
    let path = section.read("path", text("a string", value::path));
    let host = section.read("host", text("a string", value::host));
    let status = section.read("status", text(r#"a range such as "200-399""#, status_range));
    let body = section.read("body", text("a string", body));
    let mut refuse = |names: &[&'static str], kinds: &str| {
        for name in names {
            if section.field(name).is_some() {
                section.problem(name, format!("is only for `check = {kinds}`"));
            }
        }
    };
    match kind? {
        Kind::Tcp => {
            refuse(&["path", "host"], r#""http"` and `"engine-io""#);
            refuse(&["status", "body"], r#""http""#);
            Some(Check::Tcp)
        }
        Kind::Http => {
            let path = path.unwrap_or_else(|| "/".to_owned());
            Some(Check::Http { path, host, status: status.unwrap_or(200..=399), body })
        }
        Kind::EngineIo => {
            refuse(&["status", "body"], r#""http""#);
            Some(Check::EngineIo { path: path.unwrap_or_else(|| "/socket.io/".to_owned()), host })
        }
    }
}

/// A status, or the first and last of a range.
fn status_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!(r#""{text}" is no range of statuses; write for example "200" or "200-399""#)),
    }
}

fn body(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > CHECK_BODY_BYTES_MAX {
        return Err(format!("must have from 1 to {CHECK_BODY_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}
