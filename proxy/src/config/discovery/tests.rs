//! What is said about backends that are found is read, and a file of them is judged as the configuration is.

use std::fs;

use super::*;
use crate::config::bounds::FILE_BYTES_MAX;
use crate::config::value::Reached;
use crate::golden;

#[test]
fn every_documented_key_of_discovery_is_read() {
    let config = Config::parse("/etc/ringbolt/ringbolt.toml", include_str!("../complete.toml")).unwrap();
    let discovery = Discovery {
        resolvers: vec!["10.0.0.53:53".parse().unwrap()],
        timeout: Duration::from_secs(3),
        ttl_min: Duration::from_secs(4),
        ttl_max: Duration::from_secs(300),
        hold: Duration::ZERO,
    };
    assert_eq!(config.discovery, discovery);
    let found = &config.upstreams["found"];
    assert_eq!(found.backends, []);
    let source = |place| Source {
        place,
        name: None,
        tls: false,
        weight: 1,
        state: BackendState::Up,
        backup: false,
        maxconn: None,
    };
    let host = |name: &str| Place::Host(name.to_owned(), 3000);
    let one = Source { name: Some("one".to_owned()), weight: 3, ..source(host("chat-1.example.com.")) };
    let srv = Place::Srv("_chat._tcp.example.com".to_owned());
    let srv = Source { backup: true, maxconn: Some(9), ..source(srv) };
    let file = source(Place::File("/etc/ringbolt/complete.backends.toml".into()));
    assert_eq!(found.sources, [source(host("chat.example.com")), one, srv, file]);
    let read = read_backends(&golden::path("src/config/complete.backends.toml")).unwrap();
    let listed = |backend: &Backend| (backend.name.clone(), backend.weight, backend.state, backend.origin);
    assert_eq!(
        read.iter().map(listed).collect::<Vec<_>>(),
        [
            ("10.0.0.6:3000".to_owned(), 1, BackendState::Up, Origin::BackendsFile),
            ("seven".to_owned(), 2, BackendState::Drain, Origin::BackendsFile)
        ]
    );
}

#[test]
fn a_file_of_backends_obeys_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringbolt.toml");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends_file = \"b.toml\"\n";
    let told = |backends: &str| {
        fs::write(&path, listener).unwrap();
        fs::write(folder.path().join("b.toml"), backends).unwrap();
        Config::load(&path).expect_err("must be refused").to_string()
    };
    let long = "#".repeat(usize::try_from(FILE_BYTES_MAX).unwrap()) + "\nbackends = [\"10.0.0.1:1\"]";
    for (backends, why) in [
        (&*long, "b.toml: is longer than 4 MiB"),
        ("", "backends: is missing"),
        ("backends = []", "b.toml:1:12: backends: is empty"),
        ("backends = [\"10.0.0.1:1\", \"10.0.0.1:1\"]", "there is a backend \"10.0.0.1:1\""),
        ("backends = [\"chat:1\"]", "are addresses in a file of their own"),
        ("backend = [\"10.0.0.1:1\"]", "did you mean `backends`?"),
        ("backends = [", "b.toml:1:"),
    ] {
        let told = told(backends);
        assert!(told.contains(why), "{backends}: {told}");
    }
    fs::remove_file(folder.path().join("b.toml")).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("b.toml: cannot be read"));
}

#[test]
fn names_to_look_up_are_told_from_addresses() {
    let reached = |text: &str| value::backend_url(text);
    let through = |name: &str| Ok((false, Reached::Through(name.to_owned(), 3000)));
    for (text, name) in
        [("chat:3000", "chat"), ("Chat-1.example.COM.:3000", "chat-1.example.com."), ("_a.b:3000", "_a.b")]
    {
        assert_eq!(reached(text), through(name), "{text}");
    }
    let at = |text: &str| Ok((true, Reached::At(text.parse().unwrap())));
    assert_eq!(reached("https://localhost:3000"), at("127.0.0.1:3000"));
    assert_eq!(reached("https://[fd00::1]:3000"), at("[fd00::1]:3000"));
    let long = format!("{}:3000", "a.".repeat(127) + "a");
    for text in [
        "10.0.0.300:3000",
        "chat",
        "chat:",
        "chat:0",
        "chat:+80",
        "chat:65536",
        "a..b:3000",
        ":3000",
        "a b:3000",
        &long,
    ] {
        assert!(reached(text).is_err(), "{text}");
    }
}
