//! Host and path to target.
//!
//! The most specific host that has a rule for the path wins: an exact name, then the longest wildcard,
//! then rules for any host. Among the rules of that host the longest path wins. What a target is, and what
//! happens where no rule matches, is the caller's business.
//!
//! Paths match whole segments, as in Kubernetes' `Prefix`: `/app` and `/app/` are the same rule, and take
//! `/app`, `/app/` and `/app/x` but not `/apple`. (nginx and HAProxy compare bytes, and `/apple` is a known
//! surprise there. Socket.IO clients send `/socket.io` or `/socket.io/`, by option.) Bytes are compared as
//! sent, without decoding `%` or `..`, so a route is not an access rule. A wildcard `*.example.com` takes
//! any number of labels in place of its star, but not `example.com` itself.
//!
//! Knows names and numbers, not addresses; a look-up allocates nothing.

use std::cmp::Ordering;
use std::cmp::Reverse;
use std::fmt;

use crate::limits::HOST_BYTES_MAX;

#[cfg(test)]
mod tests;

/// What a rule leads to, by a number of the caller's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId(pub u32);

impl TargetId {
    /// The number, for an array by target.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One configured route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// `chat.example.com`, `*.example.com`, or any host. Without port; case and a final dot do not matter.
    pub host: Option<String>,
    /// Path whose segments the request's path begins with. `/` is any path.
    pub path: String,
    /// Where they go.
    pub target: TargetId,
}

/// A rule that cannot be. `rule` is its index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteError {
    /// The host is neither a name nor `*.` and a name.
    BadHost { rule: usize, host: String },
    /// The path does not begin with `/`, or contains what a path cannot.
    BadPath { rule: usize, path: String },
    /// Host and path are those of an earlier rule.
    Duplicate { rule: usize, of: usize },
}

/// All routes of a configuration, ready to search.
#[derive(Clone, Default, Debug)]
pub struct Routes {
    /// By name.
    exact: Vec<Host>,
    /// By what follows the star and its dot.
    wildcard: Vec<Host>,
    any: Vec<Path>,
}

/// The rules of one host.
#[derive(Clone, Debug)]
struct Host {
    /// In lower case.
    name: Box<[u8]>,
    /// Longest first.
    paths: Vec<Path>,
}

#[derive(Clone, Debug)]
struct Path {
    /// Without its final slashes.
    prefix: Box<[u8]>,
    target: TargetId,
    /// Index of the rule.
    rule: usize,
}

impl Routes {
    /// Prepares rules for look-ups. Their order does not matter.
    ///
    /// # Errors
    /// [`RouteError`] for the first rule that is malformed or says again what an earlier one says.
    pub fn new(rules: &[Rule]) -> Result<Self, RouteError> {
        let mut routes = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            routes.add(index, rule)?;
        }
        Ok(routes)
    }

    /// The target of a request to `host`, as in its Host field, and `path`, without query.
    #[must_use]
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<TargetId> {
        let host = name_of(host);
        let exact = search(&self.exact, host).ok().and_then(|at| longest(&self.exact[at].paths, path));
        exact.or_else(|| self.find_wildcard(host, path)).or_else(|| longest(&self.any, path))
    }

    fn find_wildcard(&self, host: &[u8], path: &[u8]) -> Option<TargetId> {
        if self.wildcard.is_empty() || host.len() > HOST_BYTES_MAX {
            return None;
        }
        // The star stands for one character at least, so a leading dot begins no match.
        memchr::memchr_iter(b'.', host).filter(|&dot| dot > 0).find_map(|dot| {
            let at = search(&self.wildcard, &host[dot + 1..]).ok()?;
            longest(&self.wildcard[at].paths, path)
        })
    }

    /// Adds the rule of this index, which errors and later duplicates name it by.
    ///
    /// # Errors
    /// [`RouteError`] if it is malformed or says again what an earlier one says; it is not added then.
    pub fn add(&mut self, index: usize, rule: &Rule) -> Result<(), RouteError> {
        let bad_path = || RouteError::BadPath { rule: index, path: rule.path.clone() };
        let is_path_byte = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
        if !rule.path.starts_with('/') || !rule.path.bytes().all(is_path_byte) {
            return Err(bad_path());
        }
        let path = Path {
            prefix: rule.path.trim_end_matches('/').as_bytes().into(),
            target: rule.target,
            rule: index,
        };
        let paths = match &rule.host {
            None => &mut self.any,
            Some(host) => {
                self.paths_of(host).ok_or_else(|| RouteError::BadHost { rule: index, host: host.clone() })?
            }
        };
        if let Some(same) = paths.iter().find(|earlier| earlier.prefix == path.prefix) {
            return Err(RouteError::Duplicate { rule: index, of: same.rule });
        }
        let at = paths.partition_point(|earlier| Reverse(earlier.prefix.len()) < Reverse(path.prefix.len()));
        paths.insert(at, path);
        Ok(())
    }

    /// The list for rules of this host; `None` if it cannot be a host.
    fn paths_of(&mut self, host: &str) -> Option<&mut Vec<Path>> {
        let (hosts, name) = match host.strip_prefix("*.") {
            Some(name) => (&mut self.wildcard, name),
            None => (&mut self.exact, host),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if !is_host(&name) {
            return None;
        }
        let at = search(hosts, name.as_bytes()).unwrap_or_else(|at| {
            hosts.insert(at, Host { name: name.into_bytes().into(), paths: Vec::new() });
            at
        });
        Some(&mut hosts[at].paths)
    }
}

/// A name of letters, digits, `-`, `_` and single dots, or an IPv6 address in brackets.
fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    name.len() <= HOST_BYTES_MAX
        && name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_label_byte))
}

/// The name in a Host field: without port and without a final dot.
fn name_of(host: &[u8]) -> &[u8] {
    let end = if host.first() == Some(&b'[') {
        memchr::memchr(b']', host).map(|at| at + 1)
    } else {
        memchr::memchr(b':', host)
    };
    let name = &host[..end.unwrap_or(host.len())];
    name.strip_suffix(b".").unwrap_or(name)
}

/// Where the host of this name, in any case, is or belongs. Hosts are ordered by length first, which
/// settles most comparisons without a look at the bytes.
fn search(hosts: &[Host], name: &[u8]) -> Result<usize, usize> {
    hosts.binary_search_by(|host| compare(&host.name, name))
}

fn compare(lower: &[u8], name: &[u8]) -> Ordering {
    let lowered = || name.iter().map(u8::to_ascii_lowercase);
    lower.len().cmp(&name.len()).then_with(|| lower.iter().copied().cmp(lowered()))
}

fn longest(paths: &[Path], path: &[u8]) -> Option<TargetId> {
    paths.iter().find(|rule| covers(&rule.prefix, path)).map(|rule| rule.target)
}

/// Whether `path` is the prefix or continues it with a new segment.
fn covers(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
}

impl fmt::Display for RouteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHost { host, .. } => write!(
                formatter,
                "{host:?} is not a host: write a name such as \"chat.example.com\" or \"*.example.com\", \
                 without port"
            ),
            Self::BadPath { path, .. } => write!(
                formatter,
                "{path:?} is not a path: it begins with \"/\" and has no query, space or control character"
            ),
            Self::Duplicate { rule, of } => write!(
                formatter,
                "route {} has the host and path of route {} (a final \"/\" makes no difference)",
                rule + 1,
                of + 1
            ),
        }
    }
}

impl std::error::Error for RouteError {}
