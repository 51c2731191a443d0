//! Traefik: routers, services and middlewares of its file provider, in YAML or TOML, or of the labels of a compose file.
//!
//! Its static options, entry points above all, are read where they stand in the same file. Whatever nobody here asks
//! for is told at the end, so nothing of the file is passed over in silence.
//!
//! tidy: allow sticky, the name of one of Traefik's keys

mod compose;
mod entry_point;
mod middleware;
mod router;
mod rule;
mod service;
mod tcp;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::addresses::Resolver;
use super::draft::Draft;
use super::report::Origin;
use super::tree::{Tree, toml, yaml};
use super::words::SyntaxError;

/// Keys of the top that hold nothing to translate, whether that leaves something out, and why.
const TOP: &[(&str, bool, &str)] = &[
    ("providers", false, "this file is read and no other; backends that come and go are found by DNS"),
    ("api", false, "the status page is on `admin.address`"),
    ("ping", false, "`/healthz` and `/readyz` are on `admin.address`"),
    ("metrics", false, "metrics are on `admin.address`"),
    ("global", false, "nothing is reported to anybody"),
    ("log", true, "logging is set up in `[log]`"),
    ("accessLog", true, "it is set up in `[access_log]`"),
    ("tracing", true, "no traces are sent"),
    ("udp", true, "only TCP is served"),
];

/// What is needed to translate a part.
struct Import<'d, 't> {
    draft: &'d mut Draft,
    resolver: &'d Resolver,
    tree: &'t Tree,
    lines: Vec<&'t str>,
    /// Names of upstreams by the kind (`http`, `tcp`) and name of the service.
    upstreams: BTreeMap<(&'static str, &'t str), String>,
    /// The routers of HTTP, and the listeners they belong to.
    reach: Vec<(Origin, Vec<SocketAddr>)>,
}

/// Whether this is a file of Traefik, or a compose file with labels for it.
pub(super) fn is_one(text: &str) -> bool {
    let has = |start: &[&str]| {
        text.lines()
            .any(|line| start.iter().any(|start| line.trim_start_matches(['[', ' ']).starts_with(start)))
    };
    has(&["http:", "tcp:", "entryPoints:", "http.routers", "tcp.routers", "entryPoints."])
        || text.contains("traefik.")
}

pub(super) fn translate(text: &str, resolver: &Resolver, draft: &mut Draft) -> Result<(), SyntaxError> {
    let is_toml = text.lines().any(|line| line.trim_start().starts_with('['));
    let file = if is_toml { toml(text)? } else { yaml(text)? };
    let labels = compose::labels(&file);
    let tree = labels.as_ref().unwrap_or(&file);
    draft.first_rule_wins = true;
    let lines = text.lines().collect();
    let mut import = Import { draft, resolver, tree, lines, upstreams: BTreeMap::new(), reach: Vec::new() };
    let entry_points = import.entry_points();
    import.services();
    import.routers(&entry_points);
    import.tcp_routers(&entry_points);
    import.tls();
    import.leave_out();
    Ok(())
}

impl<'t> Import<'_, 't> {
    /// The line that a value of the tree stands on.
    fn origin(&self, part: &Tree) -> Origin {
        let line = self.lines.get(part.line.saturating_sub(1)).copied().unwrap_or_default();
        Origin::new(part.line, &[line.trim().trim_start_matches("- ").to_owned()])
    }

    /// The entries of a table of the operator's own names: routers, services, middlewares.
    fn named(&self, keys: &[&str]) -> impl Iterator<Item = (&'t str, &'t Tree)> + use<'t> {
        self.tree.get(keys).into_iter().flat_map(Tree::entries)
    }

    fn leave_out(&mut self) {
        for (key, is_missed, why) in TOP {
            let Some(part) = self.tree.get(&[key]) else { continue };
            part.take_all();
            let origin = self.origin(part);
            if *is_missed {
                self.draft.not_translated(&origin, *why)
            } else {
                self.draft.not_needed(&origin, why)
            }
        }
        let mut left: Vec<(String, Origin)> = Vec::new();
        self.tree.left_over(&mut |key, part| left.push((key.to_owned(), self.origin(part))));
        for (key, origin) in left {
            self.draft.not_translated(&origin, format!("`{key}` has no counterpart, or nobody uses it"));
        }
    }
}

/// The name without the provider that it comes from: `auth@file`.
fn own_name(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// Go's durations, `1m30s`; a bare number is seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let unit = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let millis: u64 = match &after[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(millis)?;
        whole = whole.checked_add(Duration::from_millis(part))?;
        rest = &after[unit..];
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("10", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("", None),
            ("s", None),
            ("1d", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn files_are_recognised_by_their_keys() {
        for text in
            ["http:\n  routers:", "[http.routers]\n", "  - traefik.http.routers.a.rule=x", "entryPoints:\n"]
        {
            assert!(is_one(text), "{text}");
        }
        assert!(!is_one("frontend a\n bind :80\n") && !is_one("http {\n server {"));
    }
}
