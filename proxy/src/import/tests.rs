//! Whatever the source, the result is one that Ringbolt takes, or a message; and the samples of the documents say
//! what they are said to say.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::golden;

fn resolver() -> Resolver {
    let addresses = [("app01", 1), ("app02", 2), ("app03", 3)];
    Resolver::silent(addresses.map(|(name, last)| (name.to_owned(), [10, 0, 0, last].into())))
}

fn samples() -> Vec<PathBuf> {
    let folder = golden::path("../docs/migration/samples");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| !path.extension().is_some_and(|end| end == "toml" || end == "txt"));
    all.sort();
    assert!(all.len() >= 7, "{all:?}");
    all
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn each_sample_becomes_the_file_beside_it() {
    for path in samples() {
        let text = fs::read_to_string(&path).unwrap();
        let kind = Kind::of(&text).unwrap_or_else(|| panic!("{} is recognised", path.display()));
        assert_eq!(Kind::parse(name(&path).split(['-', '.']).next().unwrap()), Ok(kind));
        let (made, report) = translate(kind, &name(&path), &text, &mut resolver()).unwrap();
        golden::assert_same(&path.with_extension("toml"), &made);
        golden::assert_same(&path.with_extension("txt"), &format!("{report}\n"));
    }
}

#[test]
fn what_access_control_guards_stays_closed() {
    let nginx = "server { listen 80; location / { proxy_pass http://127.0.0.1:1; }\n\
                 location /admin/ { allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:1; } }";
    let haproxy = "frontend a\n mode http\n bind :80\n acl office src 10.0.0.0/8\n\
                   http-request deny if { path_beg /admin/ } !office\n default_backend b\n\
                   backend b\n mode http\n server s 127.0.0.1:1\n";
    for (kind, text) in [(Kind::Nginx, nginx), (Kind::Haproxy, haproxy)] {
        let (made, report) = translate(kind, "a", text, &mut resolver()).unwrap();
        let closed = made
            .split("[[route]]")
            .any(|route| route.contains("\"/admin/\"") && route.contains("status = 403"));
        assert!(closed && !report.is_complete(), "{made}\n{report}");
    }
}

#[test]
fn an_earlier_rule_stays_before_a_later_one() {
    let text = "frontend a\n mode http\n bind :80\n\
                use_backend io if { path_beg /socket.io/ }\n\
                use_backend web if { hdr(host) -i a.example }\n\
                use_backend old if { path_beg /socket.io/x }\n\
                backend io\n server s 127.0.0.1:1\nbackend web\n server s 127.0.0.1:2\nbackend old\n server s 127.0.0.1:3\n";
    let (made, report) = translate(Kind::Haproxy, "a", text, &mut resolver()).unwrap();
    let route = |host: &str, path: &str, upstream: &str| {
        made.split("[[route]]").any(|route| {
            let has = |text: String| route.contains(&text);
            (host.is_empty() != route.contains("host = "))
                && (host.is_empty() || has(format!("host = \"{host}\"")))
                && has(format!("path = \"{path}\""))
                && has(format!("upstream = \"{upstream}\""))
        })
    };
    assert!(route("", "/socket.io/", "io") && route("a.example", "/socket.io/", "io"), "{made}");
    assert!(route("a.example", "/", "web"), "{made}");
    assert!(!made.contains("upstream = \"old\"") && !report.is_complete(), "{made}");
}

#[test]
fn tls_that_cannot_be_opened_is_not_served_plain() {
    let text = "server { listen 443 ssl; location / { proxy_pass http://127.0.0.1:1; } }";
    let problem = translate(Kind::Nginx, "a", text, &mut resolver()).unwrap_err();
    assert!(problem.contains("no certificate") && problem.contains("no address to listen on"), "{problem}");
}

/// Replaces, doubles and removes lines and words of the samples.
fn spoilt(text: &str, changes: &[(u8, usize, usize)]) -> String {
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', ';']).collect();
    for (change, from, to) in changes {
        let (from, to) = (from % words.len(), to % words.len());
        match change % 4 {
            0 => words[to] = words[from],
            1 => words.insert(to, words[from]),
            2 if words.len() > 1 => _ = words.remove(from),
            _ => words.swap(from, to),
        }
    }
    words.concat()
}

proptest! {
    #[test]
    fn a_spoilt_sample_is_refused_or_becomes_a_valid_file(
        sample in 0usize..7,
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..12),
    ) {
        let path = &samples()[sample];
        let text = fs::read_to_string(path).unwrap();
        let kind = Kind::of(&text).unwrap();
        if let Err(problem) = translate(kind, "a", &spoilt(&text, &changes), &mut resolver()) {
            prop_assert!(!problem.contains("please report"), "{problem}");
        }
    }
}
