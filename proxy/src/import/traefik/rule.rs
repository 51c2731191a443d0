//! Rules of routers: `Host(...) && (PathPrefix(...) || Path(...))`, as hosts and paths.

use crate::import::draft::{host, path};

/// Places that one rule may stand for: more are said with more routers.
const PLACES_MAX: usize = 64;

/// Parentheses inside parentheses.
const DEPTH_MAX: usize = 16;

/// A host and a path that belong to a router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) host: Option<String>,
    pub(super) path: String,
    /// Nothing below the path belongs to it.
    pub(super) is_exact: bool,
}

impl Place {
    fn everything() -> Self {
        Self { host: None, path: "/".to_owned(), is_exact: false }
    }

    /// What belongs to both.
    fn and(&self, other: &Self) -> Option<Self> {
        let host = match (&self.host, &other.host) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let (long, short) = if self.path.len() >= other.path.len() { (self, other) } else { (other, self) };
        let is_within = long.path.starts_with(&short.path) && (!short.is_exact || long.path == short.path);
        is_within.then(|| Self { host, ..long.clone() })
    }
}

/// The places of a rule.
///
/// # Errors
/// Why it cannot be said by hosts and paths.
pub(super) fn places(rule: &str) -> Result<Vec<Place>, &'static str> {
    let mut rest = rule;
    let places = any_of(&mut rest, 0)?;
    match rest.trim_start() {
        "" if places.is_empty() => Err("no request fits this rule"),
        "" => Ok(places),
        _ => Err("is no rule that can be read"),
    }
}

fn any_of(rest: &mut &str, depth: usize) -> Result<Vec<Place>, &'static str> {
    let mut places = all_of(rest, depth)?;
    while take(rest, "||") {
        places.extend(all_of(rest, depth)?);
        if places.len() > PLACES_MAX {
            return Err("stands for too many hosts and paths");
        }
    }
    Ok(places)
}

fn all_of(rest: &mut &str, depth: usize) -> Result<Vec<Place>, &'static str> {
    let mut places = one(rest, depth)?;
    while take(rest, "&&") {
        let others = one(rest, depth)?;
        places = places.iter().flat_map(|place| others.iter().filter_map(|other| place.and(other))).collect();
        if places.len() > PLACES_MAX {
            return Err("stands for too many hosts and paths");
        }
    }
    Ok(places)
}

fn one(rest: &mut &str, depth: usize) -> Result<Vec<Place>, &'static str> {
    if depth > DEPTH_MAX {
        return Err("has too many parentheses");
    }
    if take(rest, "!") {
        return Err("what a rule leaves out cannot be said by hosts and paths");
    }
    if take(rest, "(") {
        let places = any_of(rest, depth + 1)?;
        return if take(rest, ")") { Ok(places) } else { Err("a parenthesis is not closed") };
    }
    let (name, after) = rest.trim_start().split_once('(').ok_or("is no rule that can be read")?;
    *rest = after;
    let mut places = Vec::new();
    loop {
        places.push(place(name.trim(), quoted(rest)?)?);
        if places.len() > PLACES_MAX {
            return Err("stands for too many hosts and paths");
        }
        if !take(rest, ",") {
            break;
        }
    }
    if take(rest, ")") { Ok(places) } else { Err("a parenthesis is not closed") }
}

fn take(rest: &mut &str, word: &str) -> bool {
    let found = rest.trim_start().strip_prefix(word);
    *rest = found.unwrap_or(rest);
    found.is_some()
}

/// A text between backticks or quotes.
fn quoted<'r>(rest: &mut &'r str) -> Result<&'r str, &'static str> {
    let text = rest.trim_start();
    let quote = text.chars().next().filter(|quote| "`\"'".contains(*quote)).ok_or("a text is not quoted")?;
    let (text, after) = text[1..].split_once(quote).ok_or("a quote is not closed")?;
    *rest = after;
    Ok(text)
}

/// What one matcher stands for.
fn place(matcher: &str, text: &str) -> Result<Place, &'static str> {
    let no_host = "is no host that a route can have";
    let no_path = "is no path that a route can have";
    let everything = Place::everything();
    match matcher.to_ascii_lowercase().as_str() {
        "hostsni" if text == "*" => Ok(everything),
        "host" | "hostheader" | "hostsni" => {
            Ok(Place { host: Some(host(text).ok_or(no_host)?), ..everything })
        }
        "hostregexp" if takes_all(text) => Ok(everything),
        "hostregexp" => Err("only hosts without patterns can be routes"),
        "pathprefix" => Ok(Place { path: path(text).ok_or(no_path)?, ..everything }),
        "path" => Ok(Place { path: path(text).ok_or(no_path)?, is_exact: true, ..everything }),
        _ => Err("only hosts and paths can be routes"),
    }
}

/// A pattern for every host, as routers have it that redirect to https.
fn takes_all(pattern: &str) -> bool {
    let inner = pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.and_then(|inner| inner.split_once(':')).map_or(pattern, |(_, pattern)| pattern);
    matches!(inner.trim_start_matches('^').trim_end_matches('$'), ".+" | ".*")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(rule: &str) -> String {
        match places(rule) {
            Ok(places) => {
                let one = |place: &Place| {
                    let end = if place.is_exact { "=" } else { "" };
                    format!("{}{}{end}", place.host.as_deref().unwrap_or_default(), place.path)
                };
                places.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Err(why) => why.to_owned(),
        }
    }

    #[test]
    fn rules_become_hosts_and_paths() {
        for (rule, expected) in [
            ("Host(`a.example`)", "a.example/"),
            ("Host(`a.example`, `b.example`) && PathPrefix(`/x`)", "a.example/x b.example/x"),
            ("PathPrefix(`/x`) && (Host(`a`) || Host(\"b\"))", "a/x b/x"),
            ("Host(`a`) && PathPrefix(`/x`) || Path(`/y`)", "a/x /y="),
            ("PathPrefix(`/x`) && PathPrefix(`/x/y`)", "/x/y"),
            ("HostRegexp(`{any:.+}`)", "/"),
            ("HostSNI(`*`)", "/"),
            ("Host(`a`) && Host(`b`)", "no request fits this rule"),
            ("!Host(`a`)", "what a rule leaves out cannot be said by hosts and paths"),
            ("Host(`a`) && Method(`GET`)", "only hosts and paths can be routes"),
            ("Host(`a`", "a parenthesis is not closed"),
            ("Host(a)", "a text is not quoted"),
            ("", "is no rule that can be read"),
        ] {
            assert_eq!(shown(rule), expected, "{rule}");
        }
        assert_eq!(shown(&"(".repeat(100_000)), "has too many parentheses");
        assert_eq!(shown(&vec!["Host(`a`)"; 100].join("||")), "stands for too many hosts and paths");
    }

    proptest! {
        #[test]
        fn any_rule_is_read_or_refused(rule in "(Host|Path|[(|&!)`a/\", ]){0,40}") {
            for place in places(&rule).unwrap_or_default() {
                prop_assert!(place.path.starts_with('/'));
            }
        }
    }
}
