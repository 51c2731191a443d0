//! A request finds the most specific rule, however Host and path are written.

use proptest::prelude::*;

use super::*;

fn rule(host: Option<&str>, path: &str, target: u32) -> Rule {
    Rule { host: host.map(str::to_owned), path: path.to_owned(), target: TargetId(target) }
}

fn find(routes: &Routes, host: &str, path: &str) -> Option<u32> {
    routes.find(host.as_bytes(), path.as_bytes()).map(|target| target.0)
}

fn example() -> Routes {
    Routes::new(&[
        rule(None, "/socket.io/", 0),
        rule(Some("Chat.Example.com."), "/", 1),
        rule(Some("chat.example.com"), "/app", 2),
        rule(Some("*.example.com"), "/socket.io/", 3),
        rule(Some("*.eu.example.com"), "/socket.io/", 4),
        rule(Some("[2001:db8::1]"), "/v6", 5),
        rule(None, "/socket.io/deep/er", 6),
    ])
    .unwrap()
}

#[test]
fn exact_host_then_longest_wildcard_then_any() {
    let routes = example();
    assert_eq!(find(&routes, "chat.example.com", "/socket.io/"), Some(1));
    assert_eq!(find(&routes, "a.example.com", "/socket.io/"), Some(3));
    assert_eq!(find(&routes, "a.b.example.com", "/socket.io/"), Some(3));
    assert_eq!(find(&routes, "a.eu.example.com", "/socket.io/"), Some(4));
    assert_eq!(find(&routes, "eu.example.com", "/socket.io/"), Some(3));
    assert_eq!(find(&routes, "example.com", "/socket.io/"), Some(0), "the star stands for a label");
    assert_eq!(find(&routes, ".example.com", "/socket.io/"), Some(0));
    assert_eq!(find(&routes, "", "/socket.io/"), Some(0));
    assert_eq!(find(&routes, "a.example.com", "/socket.io/deep/er"), Some(3), "host before path");
    assert_eq!(find(&routes, "a.example.com", "/other"), None);
}

#[test]
fn a_host_is_the_same_in_any_case_with_port_and_final_dot() {
    let routes = example();
    for host in [
        "chat.example.com",
        "CHAT.example.COM:8443",
        "chat.example.com.",
        "chat.example.com.:80",
        "chat.example.com:",
    ] {
        assert_eq!(find(&routes, host, "/app"), Some(2), "{host}");
    }
    assert_eq!(find(&routes, "[2001:DB8::1]:443", "/v6"), Some(5));
    assert_eq!(find(&routes, "[2001:db8::1", "/v6"), None);
    assert_eq!(find(&routes, "achat.example.com", "/app"), None);
}

#[test]
fn paths_match_whole_segments_and_the_longest_wins() {
    let routes = example();
    for (path, target) in
        [("/app", 2), ("/app/", 2), ("/app/x", 2), ("/apple", 1), ("/App", 1), ("/", 1), ("/ap", 1)]
    {
        assert_eq!(find(&routes, "chat.example.com", path), Some(target), "{path}");
    }
    for (path, target) in [
        ("/socket.io", Some(0)),
        ("/socket.io/", Some(0)),
        ("/socket.io/deep/er/x", Some(6)),
        ("/socket.io/deep/erx", Some(0)),
        ("/socket.iox", None),
        ("*", None),
        ("", None),
    ] {
        assert_eq!(find(&routes, "other", path), target, "{path}");
    }
}

#[test]
fn rules_that_cannot_be_are_refused() {
    for host in [
        "",
        "*",
        "*.",
        "a*b",
        "a..b",
        ".a",
        "a:80",
        "a b",
        "*.*.a",
        "[::1",
        "[x]",
        "ä.example",
        &"a".repeat(254),
    ] {
        let error = Routes::new(&[rule(None, "/", 0), rule(Some(host), "/", 0)]).unwrap_err();
        assert_eq!(error, RouteError::BadHost { rule: 1, host: host.to_owned() });
    }
    for path in ["", "app", "/a b", "/a?b", "/a#b", "/\n", "/é"] {
        let error = Routes::new(&[rule(None, path, 0)]).unwrap_err();
        assert_eq!(error, RouteError::BadPath { rule: 0, path: path.to_owned() });
    }
    let error = Routes::new(&[rule(Some("A.b"), "/x", 0), rule(None, "/x", 0), rule(Some("a.b."), "/x/", 1)])
        .unwrap_err();
    assert_eq!(error, RouteError::Duplicate { rule: 2, of: 0 });
    assert_eq!(
        error.to_string(),
        "route 3 has the host and path of route 1 (a final \"/\" makes no difference)"
    );
}

#[test]
fn a_hostile_host_is_short_work() {
    let routes = example();
    assert_eq!(find(&routes, &"a.".repeat(16_000), "/socket.io/"), Some(0));
    assert_eq!(find(&routes, &".".repeat(200), "/socket.io/"), Some(0));
}

/// Looks at every rule and keeps the best.
fn naive(rules: &[Rule], host: &str, path: &str) -> Option<u32> {
    let host = host.split(':').next().unwrap().to_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let rank_of_host = |rule: &Rule| match rule.host.as_deref() {
        None => Some((0, 0)),
        Some(pattern) if pattern == host => Some((2, 0)),
        Some(pattern) => {
            let suffix = pattern.strip_prefix('*')?;
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some((1, suffix.len()))
        }
    };
    let segments = |path: &str| path.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let path: Vec<_> = path.split('/').map(str::to_owned).collect();
    rules
        .iter()
        .filter(|rule| path.starts_with(&segments(&rule.path)))
        .filter_map(|rule| {
            Some(((rank_of_host(rule)?, rule.path.trim_end_matches('/').len()), rule.target.0))
        })
        .max()
        .map(|(_, target)| target)
}

fn names() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..4)
        .prop_map(|labels| labels.join("."))
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["x", "y", "xy", ""]), 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let host = (prop::option::weighted(0.8, names()), any::<bool>())
        .prop_map(|(name, star)| name.map(|name| if star { format!("*.{name}") } else { name }));
    prop::collection::vec((host, paths()), 0..12).prop_map(|shape| {
        let mut rules: Vec<Rule> = Vec::new();
        for (target, (host, path)) in (0..).zip(shape) {
            rules.push(rule(host.as_deref(), &path, target));
            if Routes::new(&rules).is_err() {
                rules.pop();
            }
        }
        rules
    })
}

proptest! {
    #[test]
    fn routes_are_found_as_by_looking_at_every_rule(
        rules in rules(), host in names(), path in paths(), upper: bool, dot: bool, port: bool,
    ) {
        let mut host = if upper { host.to_uppercase() } else { host };
        host += if dot { "." } else { "" };
        host += if port { ":8080" } else { "" };
        let routes = Routes::new(&rules).unwrap();
        prop_assert_eq!(find(&routes, &host, &path), naive(&rules, &host, &path));
    }

    #[test]
    fn any_bytes_find_something_or_nothing(host: Vec<u8>, path: Vec<u8>) {
        let found = example().find(&host, &path);
        prop_assert!(found.is_none_or(|target| target.0 <= 6));
    }
}
