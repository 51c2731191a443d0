//! A TLS listener serves what a plain one does: requests, upgrades, tunnels, ends. And it says what it is.
//!
//! Fails if bytes that come with the last handshake message are lost, if an answer is cut or its end is not
//! declared, if a backend is not told that its client used TLS, or if a tunnel's end is taken for a failure
//! or a failure for an end.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use ringbolt_harness::raw::{ACCEPTED, Backend, End, Pattern, Wire};
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustls::version::{TLS12, TLS13};

const BOTH_ENGINES: [Engine; 2] = [Engine::Uring, Engine::Epoll];
const NAME: &str = "a.example";
const GET: &str = "GET /a?b HTTP/1.1\r\nHost: a.example\r\nX-Client-Cert-Subject: CN=root\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A daemon with one TLS listener for a.example, and more lines for it and its listener.
fn proxy(authority: &Authority, backend: &Backend, engine: Engine, listener: &str, tls: &str) -> Ringbolt {
    let certificate = authority.issue("a", &[NAME]).entry();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n[listener.tls]\n\
         certificates = [{certificate}]\n{tls}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nhttps_redirect = true\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [\"{}\"]\n[timeouts]\nkeep_alive = \"2s\"\n",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { engine, config: Some(config), ..options })
}

fn session(authority: &Authority, ringbolt: &Ringbolt) -> Wire {
    connect(ringbolt.address(), NAME, &authority.client()).expect("a session").0
}

#[test]
fn requests_are_served_and_backends_are_told_of_tls() {
    let authority = Authority::new();
    for engine in BOTH_ENGINES {
        for version in [&TLS12, &TLS13] {
            let backend = Backend::named("hello");
            let ringbolt = proxy(&authority, &backend, engine, "", "hsts = \"max-age=60\"");
            let config = authority.client_with(&[version], None);
            let (mut client, agreed) = connect(ringbolt.address(), NAME, &config).expect("a session");
            assert_eq!(agreed.version, format!("{:?}", version.version));
            assert_eq!(agreed.alpn.as_deref(), Some("http/1.1"));
            for _ in 0..3 {
                let answer = client.exchange(GET);
                assert_eq!((answer.status(), &answer.body[..]), (200, b"hello".as_slice()));
                assert_eq!(answer.head.value("Strict-Transport-Security"), Some("max-age=60"));
            }
            let head = backend.requests()[0].head().clone();
            assert_eq!(head.value("X-Forwarded-Proto"), Some("https"));
            assert_eq!(head.values("X-Client-Cert-Subject"), [""; 0], "a client has forged it");
            let metrics = ringbolt.metrics();
            let shown = if version.version == TLS13.version { "1.3" } else { "1.2" };
            assert_eq!(metrics[&format!("ringbolt_tls_handshakes_total{{version=\"{shown}\"}}")], 1.0);
            let expiry = "ringbolt_tls_certificate_expiry_timestamp_seconds{certificate=\"a.example\"}";
            assert!(metrics[expiry] > 1e9, "{}", metrics[expiry]);
        }
    }
}

#[test]
fn long_bodies_go_both_ways_whole() {
    let authority = Authority::new();
    for engine in BOTH_ENGINES {
        for framing in ["Content-Length: 3000000", "Transfer-Encoding: chunked"] {
            let backend = Backend::start(move |request, wire| {
                Pattern::default().check(&request.message.body);
                assert_eq!(request.message.body.len(), 2_000_000);
                let mut body = vec![0; 3_000_000];
                Pattern::default().fill(&mut body);
                wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
                if framing.starts_with('C') {
                    return wire.send(&body);
                }
                for piece in body.chunks(70_000) {
                    wire.send(format!("{:x}\r\n", piece.len()));
                    wire.send(piece);
                    wire.send("\r\n");
                }
                wire.send("0\r\n\r\n");
            });
            let ringbolt = proxy(&authority, &backend, engine, "", "");
            let mut client = session(&authority, &ringbolt);
            let mut body = vec![0; 2_000_000];
            Pattern::default().fill(&mut body);
            client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2000000\r\n\r\n");
            client.send(&body);
            let answer = client.read_response();
            assert_eq!(answer.body.len(), 3_000_000);
            Pattern::default().check(&answer.body);
            assert_eq!(ringbolt.metrics()["ringbolt_body_spliced_bytes_total"], 0.0);
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_declared_complete() {
    let authority = Authority::new();
    let backend = Backend::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n\r\nto the end");
        wire.close();
    });
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "", "");
    let mut client = session(&authority, &ringbolt);
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    let (answer, end) = client.read_to_end();
    assert!(answer.ends_with(b"to the end"));
    assert_eq!(end, End::Fin, "close_notify is missing");
}

#[test]
fn an_idle_connection_ends_in_order() {
    let authority = Authority::new();
    let backend = Backend::named("a");
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "", "");
    let mut client = session(&authority, &ringbolt);
    assert_eq!(client.exchange(GET).status(), 200);
    assert_eq!(client.expect_end(), End::Fin);
}

#[test]
fn an_upgrade_becomes_a_tunnel_and_ends_pass_through_it() {
    let authority = Authority::new();
    for engine in BOTH_ENGINES {
        let backend = Backend::start(|request, wire| {
            wire.send(format!("{ACCEPTED}early"));
            let word = wire.read_exactly(4, "a word");
            wire.send(&word);
            match request.head().target() {
                "/chat" => assert_eq!(wire.expect_end(), End::Fin),
                _ => assert_eq!(wire.expect_end(), End::Reset),
            }
            wire.send("after");
            wire.close();
        });
        let ringbolt = proxy(&authority, &backend, engine, "", "");
        let mut client = session(&authority, &ringbolt);
        client.send(format!("{UPGRADE}ping"));
        assert_eq!(client.read_response().status(), 101);
        assert_eq!(client.read_exactly(9, "early bytes and the echo"), b"earlyping");
        // close_notify closes one way, as FIN does.
        client.finish();
        assert_eq!(client.read_to_end(), (b"after".to_vec(), End::Fin));

        let mut client = session(&authority, &ringbolt);
        client.send(format!("{}ping", UPGRADE.replace("/chat", "/cut")));
        assert_eq!(client.read_response().status(), 101);
        assert_eq!(client.read_exactly(9, "early bytes and the echo"), b"earlyping");
        client.reset();
        let closed = |ringbolt: &Ringbolt| {
            let metrics = ringbolt.metrics();
            ["client_closed", "client_reset"]
                .map(|reason| metrics[&format!("ringbolt_tunnels_closed_total{{reason=\"{reason}\"}}")])
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while closed(&ringbolt) != [1.0, 1.0] {
            assert!(std::time::Instant::now() < deadline, "{:?}", closed(&ringbolt));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Byte for byte, and on kernels that have it, in `cargo xtask ktls proxy`.
#[test]
fn who_seals_the_records_of_a_tunnel_is_told() {
    let authority = Authority::new();
    let backend = Backend::start(|_, wire| {
        wire.send(ACCEPTED);
        assert_eq!(wire.expect_end(), End::Fin);
        wire.close();
    });
    for (tls, of_kernel) in [("", None), ("ktls = \"off\"", Some(0.0))] {
        let ringbolt = proxy(&authority, &backend, Engine::Epoll, "", tls);
        let mut client = session(&authority, &ringbolt);
        client.send(UPGRADE);
        assert_eq!(client.read_response().status(), 101);
        client.finish();
        assert_eq!(client.read_to_end(), (Vec::new(), End::Fin));
        let metrics = ringbolt.metrics();
        let [kernel, user_space] = ["kernel", "user_space"]
            .map(|records| metrics[&format!("ringbolt_tls_tunnels_total{{records=\"{records}\"}}")]);
        assert_eq!(kernel + user_space, 1.0);
        assert!(of_kernel.is_none_or(|of_kernel| kernel == of_kernel));
    }
}

#[test]
fn a_reader_that_stops_stops_the_sender() {
    let authority = Authority::new();
    for engine in BOTH_ENGINES {
        let backend = Backend::start(|_, wire| {
            wire.send(ACCEPTED);
            let mut pattern = Pattern::default();
            let quiet = Duration::from_millis(700);
            let taken = wire.send_until_full(quiet, 1 << 30, |buffer| pattern.fill(buffer));
            assert!(taken < 100 << 20, "{taken} bytes");
            wire.close();
        });
        let ringbolt = proxy(&authority, &backend, engine, "", "");
        let mut client = session(&authority, &ringbolt);
        assert_eq!(client.exchange(UPGRADE).status(), 101);
        backend.wait_for_requests(1);
        let before = ringbolt.memory_bytes();
        // The backend finds the tunnel full; then the client reads, and misses nothing.
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(ringbolt.memory_bytes() < before + (8 << 20), "what nobody reads is held here");
        let mut pattern = Pattern::default();
        loop {
            match client.read("the tunnel's bytes") {
                Ok(bytes) => pattern.check(&bytes),
                Err(end) => break assert_eq!(end, End::Fin),
            }
        }
        assert!(pattern.position() > 1 << 20);
    }
}

#[test]
fn http_on_a_tls_port_is_told_so() {
    let authority = Authority::new();
    let backend = Backend::named("a");
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "", "");
    let answer = Wire::connect(ringbolt.address()).exchange(GET);
    assert_eq!(answer.status(), 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("this port speaks TLS"), "{answer:?}");
    assert_eq!(ringbolt.metrics()["ringbolt_connections_refused_total{reason=\"http\"}"], 1.0);
}

#[test]
fn tls_on_a_plain_port_is_told_so() {
    let authority = Authority::new();
    let backend = Backend::named("a");
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "", "");
    let refused = connect(ringbolt.listeners()[2], NAME, &authority.client()).expect_err("no TLS there");
    assert!(refused.contains("fatal alert"), "{refused}");
    assert_eq!(ringbolt.metrics()["ringbolt_connections_refused_total{reason=\"tls\"}"], 1.0);
}

#[test]
fn plain_requests_are_sent_to_https() {
    let authority = Authority::new();
    let backend = Backend::named("a");
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "https_redirect = true", "");
    let answer = Wire::connect(ringbolt.listeners()[1]).exchange(GET);
    assert_eq!((answer.status(), answer.head.value("Location")), (308, Some("https://a.example/a?b")));
    assert_eq!(answer.head.value("Strict-Transport-Security"), None);
    // Who has come over TLS is not sent in a circle.
    assert_eq!(session(&authority, &ringbolt).exchange(GET).status(), 200);
}

#[test]
fn a_protocol_we_do_not_speak_is_refused() {
    let authority = Authority::new();
    let backend = Backend::named("a");
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "", "");
    let with = |protocols: &[&str]| {
        let mut config = Arc::unwrap_or_clone(authority.client());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        connect(ringbolt.address(), NAME, &Arc::new(config)).map(|(_, agreed)| agreed.alpn)
    };
    assert_eq!(with(&["h2", "http/1.1"]), Ok(Some("http/1.1".to_owned())));
    assert_eq!(with(&[]), Ok(None));
    let refused = with(&["h2"]).expect_err("only HTTP/2 is spoken");
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    // Counted when the alert has left, so perhaps a moment after it was read.
    let counted = "ringbolt_tls_handshake_failures_total{reason=\"incompatible\"}";
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while ringbolt.metrics()[counted] != 1.0 {
        assert!(std::time::Instant::now() < deadline, "the refusal is not counted");
    }
}
