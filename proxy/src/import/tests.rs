//! Whatever the source, the result is one that Ringbolt takes, or a message; and the samples of the documents say
//! what they are said to say.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::golden;

fn samples() -> Vec<PathBuf> {
    let folder = golden::path("../docs/migration/samples");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| !path.extension().is_some_and(|end| end == "toml" || end == "txt"));
    all.sort();
    assert!(all.len() >= 10, "{all:?}");
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
        let (made, report) = translate(kind, &name(&path), &text, &Resolver::default()).unwrap();
        golden::assert_same(&path.with_extension("toml"), &made);
        golden::assert_same(&path.with_extension("txt"), &format!("{report}\n"));
    }
}

#[test]
fn a_file_of_traefik_means_the_same_in_toml() {
    let yaml = "http:\n  routers:\n    a:\n      rule: Host(`a.example`)\n      service: s\n      tls: {}\n  \
        services:\n    s:\n      loadBalancer:\n        servers:\n          - url: https://b.example\n\
        tls:\n  certificates:\n    - {certFile: a.pem, keyFile: a.key}\n";
    let toml = "[http.routers.a]\nrule = \"Host(`a.example`)\"\nservice = \"s\"\ntls = {}\n[http.services.s.loadBalancer]\n\
        servers = [{ url = \"https://b.example\" }]\n[tls]\ncertificates = [{ certFile = \"a.pem\", keyFile = \"a.key\" }]\n";
    let made = [yaml, toml].map(|text| {
        let (made, report) = translate(Kind::of(text).unwrap(), "a", text, &Resolver::default()).unwrap();
        assert!(report.is_complete(), "{report}");
        let values = made.lines().map(|line| line.split('#').next().unwrap().trim_end());
        values.collect::<Vec<_>>().join("\n")
    });
    assert_eq!(made[0], made[1]);
    for told in ["https://b.example:443", "server_name = \"b.example\"", "a.pem", "0.0.0.0:443"] {
        assert!(made[0].contains(told), "{told} in {}", made[0]);
    }
}

#[test]
fn what_access_control_guards_stays_closed() {
    let nginx = "server { listen 80; location / { proxy_pass http://127.0.0.1:1; }\n\
                 location /admin/ { allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:1; } }";
    let haproxy = "frontend a\n mode http\n bind :80\n acl office src 10.0.0.0/8\n\
                   http-request deny if { path_beg /admin/ } !office\n default_backend b\n\
                   backend b\n mode http\n server s 127.0.0.1:1\n";
    let traefik = "http:\n  routers:\n    all: {rule: PathPrefix(`/`), service: s}\n    \
        admin: {rule: PathPrefix(`/admin/`), service: s, middlewares: [office]}\n  middlewares:\n    office:\n      \
        chain: {middlewares: [list]}\n    list: {ipAllowList: {sourceRange: [10.0.0.0/8]}}\n  \
        services: {s: {loadBalancer: {servers: [{url: http://127.0.0.1:1}]}}}\n";
    for (kind, text) in [(Kind::Nginx, nginx), (Kind::Haproxy, haproxy), (Kind::Traefik, traefik)] {
        let (made, report) = translate(kind, "a", text, &Resolver::default()).unwrap();
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
    let (made, report) = translate(Kind::Haproxy, "a", text, &Resolver::default()).unwrap();
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
    let problem = translate(Kind::Nginx, "a", text, &Resolver::default()).unwrap_err();
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
        sample in 0usize..10,
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..12),
    ) {
        let path = &samples()[sample];
        let text = fs::read_to_string(path).unwrap();
        let kind = Kind::of(&text).unwrap();
        if let Err(problem) = translate(kind, "a", &spoilt(&text, &changes), &Resolver::default()) {
            prop_assert!(!problem.contains("please report"), "{problem}");
        }
    }
}
