//! Conditions: what an ACL tests, as far as a route can test it, and `if A B or !C`.

use std::collections::BTreeMap;

use crate::import::draft::{host, path};
use crate::import::words::Line;

/// One thing that can be tested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Test {
    Path(String),
    Host(String),
    /// The client came over TLS.
    Tls,
    /// It asks for a WebSocket.
    Upgrade,
    /// A TCP connection speaks HTTP.
    Http,
    /// The server name of a TLS connection that is not opened.
    ServerName(String),
    /// A request of a Flash player for its policy.
    FlashPolicy,
    Always,
    /// Something that cannot be tested here.
    Unknown,
}

/// By name; a name that is defined twice means either.
pub(super) type Acls = BTreeMap<String, Vec<Test>>;

/// Whether it is negated, and the tests of which one must hold.
pub(super) type Term = (bool, Vec<Test>);

/// `<policy-file-request/>` as `-m bin` has it.
const FLASH_POLICY_HEX: &str = "3c706f6c6963792d66696c652d72657175657374";

/// Reads the `acl` lines of a section.
pub(super) fn acls<'l>(lines: impl Iterator<Item = &'l Line>) -> Acls {
    let mut acls = Acls::new();
    for (name, tests) in [("TRUE", Test::Always), ("HTTP", Test::Http), ("HTTP_1.1", Test::Http)] {
        acls.insert(name.to_owned(), vec![tests]);
    }
    for line in lines.filter(|line| line.name() == "acl") {
        acls.entry(line.word(1).to_owned()).or_default().extend(tests(line.from(2)));
    }
    acls
}

/// What the words of an ACL test: criterion, flags, values.
fn tests(words: &[String]) -> Vec<Test> {
    let Some((criterion, rest)) = words.split_first() else { return vec![Test::Unknown] };
    let mut matching = "";
    let mut values: Vec<&str> = Vec::new();
    let mut words = rest.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-i" | "--" | "-n" | "-u" => {}
            "-m" => matching = words.next().unwrap_or_default(),
            "-f" | "-M" => return vec![Test::Unknown],
            value => values.push(value),
        }
    }
    let criterion = criterion.to_ascii_lowercase();
    // What only normalises the value.
    let sample = criterion.split(",lower").next().unwrap_or_default();
    let sample = sample.split(",field(1,:)").next().unwrap_or_default();
    let sample = sample.strip_prefix("req.").unwrap_or(sample);
    match sample {
        "ssl_fc" => return vec![Test::Tls],
        "req_proto_http" | "proto_http" => return vec![Test::Http],
        "hdr_cnt(sec-websocket-version)" | "hdr_cnt(sec-websocket-key)" => return vec![Test::Upgrade],
        _ => {}
    }
    let one = |value: &&str| test(sample, matching, value);
    let tests: Vec<Test> = values.iter().flat_map(one).collect();
    if tests.is_empty() { vec![Test::Unknown] } else { tests }
}

fn test(sample: &str, matching: &str, value: &str) -> Vec<Test> {
    let found = |test: Option<Test>| vec![test.unwrap_or(Test::Unknown)];
    let lower = value.to_ascii_lowercase();
    match (sample, matching) {
        ("path_beg" | "path_dir" | "url_beg" | "path", "") | ("path" | "url", "beg") => {
            found(path(value).map(Test::Path))
        }
        ("path_sub", "") | ("path", "sub") if lower.trim_matches('/') == "socket.io" => {
            found(path("/socket.io/").map(Test::Path))
        }
        ("hdr(upgrade)", _) if lower == "websocket" => vec![Test::Upgrade],
        ("hdr(connection)" | "hdr_sub(connection)", _) if lower == "upgrade" => vec![Test::Upgrade],
        ("hdr(host)" | "ssl_fc_sni", "" | "str") => found(host(without_port(&lower)).map(Test::Host)),
        ("hdr_end(host)", "") | ("hdr(host)", "end") | ("hdr_dom(host)", "") | ("hdr(host)", "dom") => {
            let name = lower.trim_start_matches('.');
            let wildcard = host(&format!("*.{name}")).map(Test::Host);
            // `-m end .example.com` does not take the name itself.
            let exact = if lower.starts_with('.') { None } else { host(name).map(Test::Host) };
            let both: Vec<Test> = exact.into_iter().chain(wildcard).collect();
            if both.is_empty() { vec![Test::Unknown] } else { both }
        }
        ("ssl_sni" | "req_ssl_sni", "" | "str") => found(host(&lower).map(Test::ServerName)),
        ("ssl_sni" | "req_ssl_sni", "end") => {
            let name = lower.trim_start_matches('.');
            found(host(&format!("*.{name}")).map(Test::ServerName))
        }
        _ if sample.contains("payload(0") && is_flash_policy(&lower) => vec![Test::FlashPolicy],
        _ => vec![Test::Unknown],
    }
}

fn is_flash_policy(value: &str) -> bool {
    value.starts_with("<policy-file-request") || value.starts_with(FLASH_POLICY_HEX)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The condition that ends a line: alternatives of terms that must all hold. No condition is one without terms.
///
/// `None` for what cannot be said that way.
pub(super) fn condition(words: &[String], acls: &Acls) -> Option<Vec<Vec<Term>>> {
    let (negated, words) = match words.split_first() {
        None => return Some(vec![Vec::new()]),
        Some((first, rest)) => match first.as_str() {
            "if" => (false, rest),
            "unless" => (true, rest),
            _ => return None,
        },
    };
    let mut all = vec![Vec::new()];
    let mut not = false;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (bang, word) = word.strip_prefix('!').map_or((false, word), |rest| (true, rest));
        not ^= bang;
        let term = match word {
            "" if bang => continue,
            "or" | "||" => {
                all.push(Vec::new());
                continue;
            }
            "{" => {
                let inner: Vec<String> =
                    words.by_ref().take_while(|word| *word != "}").map(str::to_owned).collect();
                tests(&inner)
            }
            name => acls.get(name).cloned().unwrap_or_else(|| vec![Test::Unknown]),
        };
        all.last_mut()?.push((std::mem::take(&mut not), term));
    }
    if negated {
        // `unless` one term is `if` not that term; more would be other alternatives.
        let [terms] = &mut all[..] else { return None };
        let [(not, _)] = &mut terms[..] else { return None };
        *not = !*not;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::words::lines;

    fn said(text: &str, condition_of: &str) -> Option<Vec<Vec<Term>>> {
        let lines = lines(text).unwrap();
        let words: Vec<String> = condition_of.split_ascii_whitespace().map(str::to_owned).collect();
        condition(&words, &acls(lines.iter()))
    }

    #[test]
    fn acls_test_paths_hosts_and_upgrades() {
        for (acl, expected) in [
            ("path_beg /socket.io", Test::Path("/socket.io".to_owned())),
            ("path -m beg /a", Test::Path("/a".to_owned())),
            ("hdr(host) -i A.example:80", Test::Host("a.example".to_owned())),
            ("req.hdr(Host),lower a.example", Test::Host("a.example".to_owned())),
            ("hdr_end(host) -i .a.example", Test::Host("*.a.example".to_owned())),
            ("hdr(Upgrade) -i WebSocket", Test::Upgrade),
            ("req_ssl_sni -i a.example", Test::ServerName("a.example".to_owned())),
            ("ssl_fc", Test::Tls),
            ("req.payload(0,22) -m str <policy-file-request/>", Test::FlashPolicy),
            ("src 10.0.0.0/8", Test::Unknown),
            ("path_beg -f list", Test::Unknown),
        ] {
            let found = said(&format!("acl x {acl}"), "if x").unwrap();
            assert_eq!(found, [[(false, vec![expected])]], "{acl}");
        }
    }

    #[test]
    fn conditions_are_alternatives_of_terms() {
        let acls = "acl a path_beg /a\nacl a path_beg /b\nacl t ssl_fc";
        let path = |text: &str| Test::Path(text.to_owned());
        let a = vec![path("/a"), path("/b")];
        assert_eq!(said(acls, ""), Some(vec![vec![]]));
        assert_eq!(said(acls, "if a !t"), Some(vec![vec![(false, a.clone()), (true, vec![Test::Tls])]]));
        assert_eq!(said(acls, "if ! t or a"), Some(vec![vec![(true, vec![Test::Tls])], vec![(false, a)]]));
        assert_eq!(said(acls, "unless { ssl_fc }"), Some(vec![vec![(true, vec![Test::Tls])]]));
        assert_eq!(said(acls, "unless a t"), None);
        assert_eq!(said(acls, "if nobody"), Some(vec![vec![(false, vec![Test::Unknown])]]));
    }
}
