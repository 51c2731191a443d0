//! `sid_tags` of an upstream: the keys that tag its sids, which are in a file of their own; and of a route: whether
//! its new sids are tagged.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::admin::Secret;
use super::bounds::SID_TAG_KEYS_MAX;
use super::section::{Section, boolean, text};
use super::{Affinity, Config, Upstream, tls, value};

const KEY_BYTES: usize = 32;

/// A file of that many keys with a line end each, and as many empty lines.
const FILE_BYTES_MAX: u64 = (SID_TAG_KEYS_MAX * (2 * KEY_BYTES + 3)) as u64;

/// `[upstream.NAME.sid_tags]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SidTags {
    pub(crate) file: PathBuf,
    /// Of 32 bytes each; the first tags, all are believed. Empty until the file was read, which
    /// [`super::Config::load`] does.
    pub(crate) keys: Vec<Secret>,
    /// After this a tag is believed no more.
    pub(crate) max_age: Duration,
    /// New sids get a tag, unless the route says otherwise. The tags of others are read all the same.
    pub(crate) issue: bool,
}

pub(super) fn sid_tags(upstream: &mut Section<'_>, base: &Path) -> Option<SidTags> {
    upstream.field("sid_tags")?;
    let mut section = upstream.section("sid_tags");
    let file = section.require("keys", r#""sid-tags.keys""#, tls::path(base));
    let duration = text(r#"a duration such as "24h""#, value::duration);
    let max_age = section.read("max_age", duration).unwrap_or(Duration::from_secs(24 * 3600));
    let issue = section.read("issue", boolean).unwrap_or(true);
    section.finish();
    Some(SidTags { file: file?, keys: Vec::new(), max_age, issue })
}

/// Whether new sids of a route get a tag; `None`: as its upstream says. `upstream` is that of the route, if it exists.
pub(super) fn of_route(
    route: &mut Section<'_>,
    affinity: Option<&Affinity>,
    upstream: Option<&Upstream>,
) -> Option<bool> {
    let sid_tags = route.read("sid_tags", boolean)?;
    if let Some(upstream) = upstream.filter(|_| sid_tags) {
        if upstream.sid_tags.is_none() {
            let problem = r#"needs keys; write `sid_tags = { keys = "sid-tags.keys" }` in the upstream"#;
            route.problem("sid_tags", problem);
        }
        if *affinity.unwrap_or(&upstream.affinity) != Affinity::EngineIo {
            route.problem("sid_tags", r#"means nothing without `affinity = "engine-io"`"#);
        }
    }
    Some(sid_tags)
}

impl Config {
    /// Reads the keys of sid tags.
    pub(super) fn read_sid_tags(&mut self) -> Result<(), String> {
        for (name, upstream) in &mut self.upstreams {
            let Some(tags) = &mut upstream.sid_tags else { continue };
            let place = format!("upstream.{name}.sid_tags.keys: {}", tags.file.display());
            tags.read().map_err(|problem| format!("{place} {problem}"))?;
        }
        Ok(())
    }
}

impl SidTags {
    fn read(&mut self) -> Result<(), String> {
        let mut text = String::new();
        File::open(&self.file)
            .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| format!("cannot be read: {error}"))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("is too long for {SID_TAG_KEYS_MAX} keys"));
        }
        self.keys.clear();
        for (line, number) in text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty()) {
            self.keys.push(key(line).ok_or_else(|| {
                format!(
                    "line {number} is no key of {} hexadecimal digits (openssl rand -hex 32)",
                    2 * KEY_BYTES
                )
            })?);
        }
        if self.keys.is_empty() || self.keys.len() > SID_TAG_KEYS_MAX {
            return Err(format!("has {} keys, expected 1 to {SID_TAG_KEYS_MAX}", self.keys.len()));
        }
        Ok(())
    }
}

fn key(line: &str) -> Option<Secret> {
    let digits = line.as_bytes();
    if digits.len() != 2 * KEY_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect::<Option<_>>().map(Secret)
}
