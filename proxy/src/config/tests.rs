//! A configuration that is refused says where and why, and a valid one is complete.
//!
//! Fails when a message loses its place, its key or its hint: operators copy these from a console.

mod reference;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use ringbolt_core::http::Location;

use super::*;
use crate::config::upstream::Origin;
use crate::golden;

const SMALLEST: &str = r#"
[[listener]]
address = "0.0.0.0:8080"
[upstream.chat]
backends = ["10.0.0.1:3000", "10.0.0.2:3000"]
"#;

fn parsed(text: &str) -> Config {
    Config::parse("ringbolt.toml", text).unwrap_or_else(|refused| panic!("{refused}"))
}

fn refused(text: &str) -> String {
    Config::parse("ringbolt.toml", text).expect_err("must be refused").to_string()
}

#[test]
fn every_refusal_reads_as_agreed() {
    let mut cases: Vec<_> = fs::read_dir(golden::path("src/config/snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let file = case.file_name().unwrap().to_str().unwrap();
        let told = Config::parse(file, &fs::read_to_string(&case).unwrap())
            .expect_err(&format!("{file} must be refused"));
        golden::assert_same(&case.with_extension("txt"), &format!("{told}\n"));
    }
}

#[test]
fn four_lines_are_a_complete_configuration() {
    let config = parsed(SMALLEST);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].upstream.as_deref(), Some("chat"));
    let chat = &config.upstreams["chat"];
    assert_eq!(chat.affinity, Affinity::EngineIo);
    assert_eq!(chat.backends[1].name, "10.0.0.2:3000");
    assert_eq!(chat.backends[1].weight, 1);
    assert_eq!(config.admin, Some(Admin::default()));
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn every_documented_key_of_operation_and_backends_is_read() {
    let config = parsed(include_str!("complete.toml"));
    let chat = &config.upstreams["chat"];
    assert_eq!(chat.affinity, Affinity::Cookie(b"Place".as_slice().into()));
    let drained = Backend {
        name: "b".to_owned(),
        address: "10.0.0.2:3000".parse().unwrap(),
        tls: false,
        weight: 2,
        state: BackendState::Drain,
        backup: true,
        maxconn: Some(90),
        origin: Origin::Config,
    };
    assert_eq!(chat.backends[1], drained);
    assert_eq!((chat.balance, chat.slow_start), (Some(Balance::RandomTwo), Some(100)));
    assert_eq!((chat.queue, chat.queue_timeout), (110, Duration::from_secs(12)));
    assert_eq!((chat.ask_rate, chat.ask_timeout), (Some(300), Duration::from_secs(13)));
    let tags = chat.sid_tags.as_ref().unwrap();
    assert_eq!(
        (tags.file.as_path(), tags.max_age, tags.issue),
        (Path::new("complete.keys"), Duration::from_secs(3 * 3600), false)
    );
    let (path, host) = ("/health".to_owned(), Some("health.example.com".to_owned()));
    let health = Health {
        check: Some(Check::Http { path, host, status: 200..=204, body: Some("fine".to_owned()) }),
        interval: Duration::from_secs(10),
        fast_interval: Duration::from_secs(2),
        timeout: Duration::from_secs(3),
        rise: 4,
        fall: 5,
        failures: Some(6),
        failure_pause: Duration::from_secs(7),
        panic_threshold: 40,
    };
    assert_eq!(chat.health, health);
    assert_eq!(config.admin_socket.as_deref(), Some(Path::new("/run/a.sock")));
    assert!(config.reload.watch);
    let token = config.order_token.unwrap();
    assert_eq!((token.file.as_path(), token.in_clear), (Path::new("complete.token"), true));
}

#[test]
fn every_documented_key_is_read() {
    let config = parsed(include_str!("complete.toml"));
    let process = Process { user: Some("ringbolt".to_owned()), group: Some("1234".to_owned()) };
    assert_eq!(config.process, process);
    let workers = Workers { count: Some(2), engine: Engine::Epoll, pin: false, steer: true };
    assert_eq!(config.workers, workers);
    assert_eq!(config.admin, None);
    assert_eq!(config.listeners[1].upstream.as_deref(), Some("raw"));
    let trusted = ["10.0.0.0/8", "fd00::7/128"];
    assert_eq!(config.listeners[1].trusted_proxies, trusted.map(|network| network.parse().unwrap()));
    assert!(config.listeners[1].proxy_protocol && !config.listeners[0].proxy_protocol);
    assert_eq!(config.upstreams["raw"].proxy_protocol, Some(ProxyVersion::V2));
    assert_eq!(config.upstreams["chat"].proxy_protocol, None);
    assert!(config.upstreams["chat"].abort_on_close && !config.upstreams["raw"].abort_on_close);
    assert!(config.upstreams["chat"].verify_accept && !config.upstreams["raw"].verify_accept);
    assert!(config.listeners[1].request_id && !config.listeners[0].request_id);
    assert_eq!((config.listeners[1].connections, config.routes[0].request_rate), (Some(30), Some(40)));
    let route = &config.routes[0];
    assert_eq!(route.host.as_deref(), Some("chat.example.com"));
    assert_eq!((route.path.as_str(), &route.goal), ("/socket.io/", &Goal::Upstream("chat".to_owned())));
    assert_eq!(route.rewrite, Some(PathRewrite::new("/socket.io/", "/v2")));
    let mut rules = FieldRules::default();
    rules.remove("X-Debug").and_then(|()| rules.set("X-Env", "prod")).unwrap();
    rules.add("X-Tag", "a").and_then(|()| rules.add("X-Tag", "b")).unwrap();
    assert_eq!(route.request, rules);
    assert!(!route.response.is_empty());
    let location = Location::parse("https://{host}{target}").unwrap();
    assert_eq!(config.routes[1].goal, Goal::Reply(RouteReply::Redirect { status: 301, location }));
    let fixed = RouteReply::Fixed { status: 404, content_type: "text/html".into(), body: "none".into() };
    assert_eq!(config.routes[2].goal, Goal::Reply(fixed));
    assert_eq!(config.routes[3].rewrite, Some(PathRewrite::new("/app", "/")));
    assert_eq!(route.affinity, Some(Affinity::Header(b"x-room".as_slice().into())));
    assert_eq!((route.sid_tags, config.routes[3].sid_tags), (Some(false), None));
}

#[test]
fn every_documented_timeout_and_limit_is_read() {
    let config = parsed(include_str!("complete.toml"));
    let timeouts = Timeouts {
        tls_handshake: Duration::from_secs(8),
        request_head: Duration::from_secs(1),
        request_body_idle: Duration::from_secs(2),
        keep_alive: Duration::from_secs(3),
        detect: Duration::from_secs(8),
        connect: Duration::from_millis(4),
        response: Duration::from_secs(5 * 60),
        tunnel_half_closed: Duration::from_secs(6),
        tunnel_idle: Some(Duration::from_secs(7 * 3600)),
        tunnel_max_age: Some(Duration::from_secs(10 * 3600)),
        drain_delay: Duration::from_secs(11),
        drain: Duration::ZERO,
        drain_idle: Duration::from_secs(12),
        upstream_keep_alive: Duration::from_secs(9),
    };
    assert_eq!(config.timeouts, timeouts);
    let limits = Limits {
        connections: 10,
        request_head_bytes: 16 * 1024,
        request_body_bytes: Some(1024 * 1024),
        request_body_min_rate: Some(90),
        response_min_rate: None,
        memory: Some(1024 * 1024 * 1024),
        sids: 20,
        connections_per_client: Some(50),
        connection_rate_per_client: Some(60),
        session_rate_per_client: Some(70),
        session_rate: Some(71),
        session_rate_per_backend: Some(72),
        clients: 80,
        dry_run: true,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
}

#[test]
fn every_key_of_the_access_log_is_read() {
    let log = parsed(include_str!("complete.toml")).access_log.unwrap();
    assert_eq!(log.output, AccessOutput::Syslog("/run/other.sock".into()));
    assert_eq!((log.format, log.query, log.sample), (AccessFormat::Json, false, 10));
    assert_eq!(log.min_duration, Some(Duration::from_secs(1)));
    let wanted = [404, 502, 0].map(|status| log.statuses.has(status));
    assert_eq!((wanted, log.statuses.has(200)), ([true; 3], false));
    assert_eq!(log.paths, ["/socket.io/", "/api"]);
    assert!(log.events.requests && !log.events.tunnels);
    let traces = parsed(include_str!("complete.toml")).traces.unwrap();
    assert_eq!((traces.collector, traces.sample), ("127.0.0.1:4318".parse().unwrap(), 7));
}

#[test]
fn every_key_of_tls_is_read() {
    let complete = include_str!("complete.toml");
    let config = Config::parse("/etc/ringbolt/ringbolt.toml", complete).unwrap();
    let path = |name: &str| PathBuf::from("/etc/ringbolt").join(name);
    let tls = ListenerTls {
        certificates: vec![
            CertificateFiles { certificate: path("a.pem"), key: path("a.key"), ocsp: Some(path("a.ocsp")) },
            CertificateFiles { certificate: "/b.pem".into(), key: "/b.pem".into(), ocsp: None },
        ],
        folder: Some(path("more")),
        strict: true,
        policy: TlsPolicy {
            min: TlsVersion::V1_3,
            max: TlsVersion::V1_3,
            ciphers: vec!["TLS13_CHACHA20_POLY1305_SHA256"],
        },
        client_auth: ClientAuth::Optional,
        client_ca: Some(path("clients.pem")),
        ticket_keys: Some(path("tickets")),
        hsts: Some("max-age=60".to_owned()),
        ktls: false,
        inside: [Protocol::FlashPolicy, Protocol::Tcp].into_iter().collect(),
    };
    assert_eq!(config.listeners[1].tls, Some(tls));
    assert!(config.listeners[1].https_redirect);
    assert_eq!(config.listeners[0].tls, None);
    let own = CertificateFiles { certificate: path("c.pem"), key: path("c.key"), ocsp: None };
    let tls = UpstreamTls {
        ca: Some(path("ca.pem")),
        server_name: Some("b.example".to_owned()),
        verify: true,
        client: Some(own),
    };
    assert_eq!(config.upstreams["secret"].tls, tls);
    assert!(config.upstreams["secret"].backends[0].tls);
    let mixed: Vec<bool> = config.upstreams["mixed"].backends.iter().map(|backend| backend.tls).collect();
    assert_eq!(mixed, [true, false]);
}

#[test]
fn a_listener_serves_only_routes_when_there_are_routes_and_it_names_no_upstream() {
    let config = parsed(&format!("{SMALLEST}\n[[route]]\npath = \"/a\"\nupstream = \"chat\""));
    assert_eq!(config.listeners[0].upstream, None);
}

#[test]
fn port_zero_may_be_listened_on_twice() {
    let config = parsed(
        r#"
        listener = [{ address = "127.0.0.1:0" }, { address = "127.0.0.1:0" }]
        upstream.a.backends = ["localhost:3000"]
        "#,
    );
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.upstreams["a"].backends[0].name, "127.0.0.1:3000");
}

#[test]
fn problems_beyond_a_screenful_are_counted() {
    let lines: String = (0..100).map(|number| format!("unknown{number} = 1\n")).collect();
    let told = refused(&format!("{lines}{SMALLEST}"));
    assert!(told.ends_with("and 75 more"), "{told}");
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    for text in
        ["a = ".to_owned() + &"[".repeat(200_000), "a.".repeat(200_000) + "a = 1", "{".repeat(200_000)]
    {
        assert!(!refused(&text).is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent.toml");
    let told = Config::load(&path).expect_err("is absent").to_string();
    assert!(told.contains("absent.toml: cannot be read: No such file"), "{told}");

    let latin1 = folder.path().join("latin1.toml");
    fs::write(&latin1, b"# good\n# caf\xe9\n").unwrap();
    let told = Config::load(&latin1).expect_err("is no UTF-8").to_string();
    assert!(told.contains("latin1.toml:2:6: syntax: a byte that is not UTF-8"), "{told}");

    let huge = folder.path().join("huge.toml");
    fs::write(&huge, vec![b'\n'; usize::try_from(bounds::FILE_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(Config::load(&huge).expect_err("is too long").to_string().contains("longer than 4 MiB"));
}

#[test]
fn every_documented_key_of_detection_is_read() {
    let config = parsed(include_str!("complete.toml"));
    let detect = Detect {
        protocols: Protocol::ALL.into_iter().collect(),
        tcp_upstream: Some("raw".to_owned()),
        sni: [(None, "raw"), (Some("*.example.com"), "chat"), (Some("db.example.com"), "raw")]
            .map(|(name, upstream)| (name.map(str::to_owned), upstream.to_owned()))
            .to_vec(),
    };
    assert_eq!((&config.listeners[0].detect, &config.listeners[1].detect), (&Detect::default(), &detect));
    let [domains, ports] = [vec!["*.example.com".to_owned()], vec!["443".to_owned(), "8000-8100".to_owned()]];
    assert_eq!(config.flash_policy, Some(Policy::Given(FlashPolicy::allowing(&domains, &ports).unwrap())));
}

#[test]
fn what_is_not_said_of_tcp_follows_from_what_is() {
    let listening = |listener: &str, upstreams: &str| {
        parsed(&format!("[[listener]]\naddress = \"0.0.0.0:1\"\n{listener}\n{upstreams}")).listeners.remove(0)
    };
    let one = "[upstream.a]\nbackends = [\"localhost:1\"]";
    let two = &format!("{one}\n[upstream.b]\nbackends = [\"localhost:2\"]");
    let mail = listening("detect = [\"tcp\"]", one);
    assert_eq!(mail.detect.tcp_upstream.as_deref(), Some("a"));
    let mail = listening("detect = [\"tcp\"]\ntcp_upstream = \"b\"", two);
    assert_eq!((mail.upstream, mail.detect.tcp_upstream.as_deref()), (None, Some("b")));
    let both = listening("upstream = \"a\"\ntcp_upstream = \"b\"", two).detect.protocols;
    assert_eq!(both, [Protocol::Http, Protocol::Tcp].into_iter().collect());
}

#[test]
fn what_is_spoken_inside_tls_follows_from_what_is_spoken_outside() {
    let listening = |listener: &str, tls: &str| {
        let files = "certificates = [{ certificate = \"a.pem\" }]";
        let upstream = "[upstream.a]\nbackends = [\"localhost:1\"]";
        let policy = "[flash_policy]\ndomains = [\"*\"]\nports = [\"*\"]";
        let listener =
            format!("[[listener]]\naddress = \"0.0.0.0:1\"\n{listener}\n[listener.tls]\n{files}\n{tls}");
        parsed(&format!("{listener}\n{upstream}\n{policy}")).listeners.remove(0)
    };
    let these = |protocols: &[Protocol]| protocols.iter().copied().collect::<Protocols>();
    let inside = |listener: &str, tls: &str| listening(listener, tls).tls.expect("it is there").inside;
    let [http, flash_policy, tcp] = [Protocol::Http, Protocol::FlashPolicy, Protocol::Tcp];
    assert_eq!(inside("", ""), these(&[http]));
    assert_eq!(inside("detect = [\"tls\", \"tcp\"]", ""), these(&[http, tcp]));
    assert_eq!(inside("detect = [\"tls\", \"flash-policy\"]", ""), these(&[http, flash_policy]));
    assert_eq!(inside("detect = [\"tls\", \"http\", \"tcp\"]", "detect = [\"http\"]"), these(&[http]));
    let mail = listening("", "detect = [\"tcp\"]");
    assert_eq!((mail.upstream, mail.detect.tcp_upstream.as_deref()), (None, Some("a")));
    assert!(mail.detect.protocols.is_only(Protocol::Tls));
}

#[test]
fn a_flash_policy_may_be_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringbolt.toml");
    fs::write(&path, format!("{SMALLEST}\n[flash_policy]\nfile = \"policy.xml\"")).unwrap();
    let told = Config::load(&path).expect_err("there is no policy").to_string();
    assert!(told.contains("flash_policy.file: policy.xml cannot be read: No such file"), "{told}");
    fs::write(folder.path().join("policy.xml"), "<html>").unwrap();
    let told = Config::load(&path).expect_err("there is no policy").to_string();
    assert!(told.contains("flash_policy.file: policy.xml is no Flash policy"), "{told}");
    fs::write(folder.path().join("policy.xml"), "<cross-domain-policy/>\n").unwrap();
    let policy = FlashPolicy::from_text(b"<cross-domain-policy/>\n").unwrap();
    assert_eq!(Config::load(&path).unwrap().flash_policy, Some(Policy::Given(policy)));
}

#[test]
fn the_token_for_orders_is_read_and_stays_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringbolt.toml");
    let load = |admin: &str| {
        fs::write(&path, format!("{SMALLEST}\n[admin]\ntoken_file = \"token\"\n{admin}")).unwrap();
        Config::load(&path)
    };
    let told = |admin: &str| load(admin).expect_err("must be refused").to_string();
    assert!(told("").contains("token cannot be read: No such file"), "{}", told(""));
    fs::write(folder.path().join("token"), "short\n").unwrap();
    assert!(told("").contains("holds no token"), "{}", told(""));
    fs::write(folder.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let token = load("").unwrap().order_token.unwrap();
    assert_eq!(token.secret.0, b"0123456789abcdef0123456789abcdef");
    assert!(!format!("{token:?}").contains("0123"), "it stands in no log");
    let open = "address = \"10.0.0.1:9180\"";
    assert!(told(open).contains("admin.token_file: the token would go over a network"), "{}", told(open));
    load(&format!("{open}\ntoken_in_clear = true")).unwrap();
}

#[test]
fn a_start_without_file_obeys_the_same_rules() {
    let [a, b] = ["127.0.0.1:0".parse().unwrap(), "127.0.0.1:3000".parse().unwrap()];
    let config = Config::without_file(&[a, a], &[b], Affinity::None).unwrap();
    assert_eq!(config.upstreams["default"].affinity, Affinity::None);
    assert_eq!(config.listeners[1].upstream.as_deref(), Some("default"));
    let told = Config::without_file(&[a], &[b, b], Affinity::None).expect_err("b is there twice");
    assert_eq!(told.to_string(), "command line: --backend 127.0.0.1:3000 is given twice");
}

#[test]
fn durations_and_sizes_have_units() {
    assert_eq!(value::duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(value::duration("5 m"), Ok(Duration::from_secs(300)));
    assert_eq!(value::duration("720h"), Ok(bounds::TIMEOUT_MAX));
    assert_eq!(value::bytes("32KiB"), Ok(32 * 1024));
    assert_eq!(value::bytes("0"), Ok(0));
    for text in ["", "s", "10", "-1s", "1.5s", "1m30s", "0s", "721h", "99999999999999999999h", "10S"] {
        assert!(value::duration(text).is_err(), "{text}");
    }
    for text in ["", "KiB", "-1", "1kb", "1KB", "99999999999999999999", "18014398509481984KiB", "1 TiB"] {
        assert!(value::bytes(text).is_err(), "{text}");
    }
}

#[test]
fn affinities_have_names() {
    for text in ["engine-io", "client-ip", "none", "header:x-room", "cookie:Place"] {
        assert_eq!(text.parse::<Affinity>().unwrap().to_string(), text);
    }
    for text in ["", "header", "header:", "header:a b", "cookie:a=b", "Engine-IO", "ip:x"] {
        assert!(text.parse::<Affinity>().is_err(), "{text}");
    }
}

/// Pieces that make valid and nearly valid files likely.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[[listener]]\n".to_owned()),
        Just("[upstream.chat]\n".to_owned()),
        Just("[[route]]\n".to_owned()),
        Just("[timeouts]\n".to_owned()),
        Just("[limits]\n".to_owned()),
        ("[a-z_.]{1,12}", "[-0-9a-zA-Z\"\\[\\]{}=:,. ]{0,24}")
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
        ("(address|backends|upstream|path|host|affinity|connect|sids)", "[ -~é\t]{0,24}")
            .prop_map(|(key, value)| format!("{key} = \"{value}\"\n")),
        "\\PC{0,20}",
        "[\\x00-\\x7f]{0,10}",
    ]
}

proptest! {
    #[test]
    fn no_text_panics(fragments in prop::collection::vec(fragment(), 0..12)) {
        if let Err(refused) = Config::parse("f", &fragments.concat()) {
            prop_assert!(!refused.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_panics(text in "\\PC{0,40}") {
        let _ = (value::duration(&text), value::bytes(&text), value::host(&text), value::path(&text));
        let _ = (value::listen_address(&text), value::backend_address(&text), text.parse::<Affinity>());
    }

    #[test]
    fn an_address_reads_back(address: std::net::SocketAddrV6) {
        let address = SocketAddr::V6(std::net::SocketAddrV6::new(*address.ip(), address.port(), 0, 0));
        prop_assert_eq!(value::listen_address(&address.to_string()), Ok(address));
    }
}

#[test]
fn a_star_stands_for_the_first_labels_only() {
    assert_eq!(value::host("*.Example.com").as_deref(), Ok("*.example.com"));
    for text in ["*", "*.", "a.*.com", "*a.com", "**.com"] {
        assert!(value::host(text).is_err(), "{text}");
    }
}

#[test]
fn a_check_has_only_keys_that_it_looks_at() {
    let check = |keys: &str| {
        let text = format!("{SMALLEST}\n[upstream.chat.health]\n{keys}\n");
        let config = Config::parse("a.toml", &text).map_err(|refused| refused.to_string())?;
        Ok::<_, String>(config.upstreams["chat"].health.check.clone())
    };
    assert_eq!(check(""), Ok(None));
    assert_eq!(check("check = \"off\""), Ok(None));
    assert_eq!(check("check = \"tcp\""), Ok(Some(Check::Tcp)));
    let engine_io = Check::EngineIo { path: "/socket.io/".to_owned(), host: None };
    assert_eq!(check("check = \"engine-io\""), Ok(Some(engine_io)));
    let refused = check("check = \"tcp\"\npath = \"/\"").unwrap_err();
    assert!(refused.contains("upstream.chat.health.path: is only for"), "{refused}");
    for status in ["20", "399-200", "200-", "x"] {
        let refused = check(&format!("check = \"http\"\nstatus = \"{status}\"")).unwrap_err();
        assert!(refused.contains("is no range of statuses"), "{refused}");
    }
}
