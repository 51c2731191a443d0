//! TLS towards backends: verified, pooled, resumed, tunnelled; a backend that is not who it should be gets nothing.
//!
//! Fails if a request reaches a backend whose certificate is of another name or issuer, or if every request
//! costs a connection or every connection a whole handshake.
#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, End, TcpBackend, UPGRADE, Wire};
use ringbolt_harness::tls::{Authority, Front};
use ringbolt_harness::{Backends, Engine, Kind, Options, Ringbolt};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);

fn proxy(front: &Front, engine: Engine, tls: &str) -> Ringbolt {
    proxy_with(front, engine, tls, "")
}

/// With more keys of the upstream.
fn proxy_with(front: &Front, engine: Engine, tls: &str, keys: &str) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"https://{}\"]\ntls = {{ {tls} }}\n{keys}\n[timeouts]\nconnect = \"60s\"\n",
        front.address()
    );
    let options = Options { engine, workers: 1, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) };
    Ringbolt::start(&Options { config: Some(config), ..options })
}

#[test]
fn requests_go_to_the_right_backend_over_pooled_connections() {
    let authority = Authority::new();
    let issued = authority.issue("backend", &["backend.example", "127.0.0.1"]);
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = Backend::named("ok");
        let front = Front::terminating(backend.address(), issued.server(None));
        for name in ["", ", server_name = \"backend.example\""] {
            let ringbolt = proxy(&front, engine, &format!("ca = {:?}{name}", authority.file()));
            let mut client = Wire::connect(ringbolt.address());
            for _ in 0..5 {
                assert_eq!(client.exchange(GET).status(), 200);
            }
            assert_eq!(ringbolt.metrics()["ringbolt_upstream_reuses_total"], 4.0);
        }
    }
}

#[test]
fn a_backend_that_cannot_prove_who_it_is_gets_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let backend = Backend::named("ok");
    let refused = "ringbolt_upstream_connects_total{result=\"tls\"}";
    for (issuer, names) in [(&authority, ["other.example"]), (&stranger, ["127.0.0.1"])] {
        let front = Front::terminating(backend.address(), issuer.issue("backend", &names).server(None));
        let ringbolt = proxy(&front, Engine::Auto, &format!("ca = {:?}", authority.file()));
        let answer = Wire::connect(ringbolt.address()).exchange(GET);
        assert_eq!(answer.status(), 502, "{answer:?}");
        assert!(String::from_utf8_lossy(&answer.body).contains("TLS handshake"), "{answer:?}");
        assert!(ringbolt.metrics()[refused] >= 1.0);
        assert_eq!(backend.requests().len(), 0);
    }
    // Unless nobody asks.
    let front = Front::terminating(backend.address(), stranger.issue("backend", &["x.example"]).server(None));
    let ringbolt = proxy(&front, Engine::Auto, "verify = false");
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 200);
}

#[test]
fn a_backend_may_ask_who_we_are() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let backend = Backend::named("ok");
    let server = authority.issue("backend", &["127.0.0.1"]).server(Some(&clients));
    let front = Front::terminating(backend.address(), server);
    let own = clients.issue("edge", &["edge.example"]);
    let ca = format!("ca = {:?}", authority.file());
    let ours = format!("{ca}, client_certificate = {:?}, client_key = {:?}", own.certificate, own.key);
    let ringbolt = proxy(&front, Engine::Auto, &ours);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 200);
    let ringbolt = proxy(&front, Engine::Auto, &ca);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 502);
}

/// How many checks have ended like this.
fn checks(ringbolt: &Ringbolt, result: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_health_checks_total{{result=\"{result}\"}}")]
}

fn wait_for_checks(ringbolt: &Ringbolt, result: &str, count: f64) {
    let deadline = Instant::now() + LIMIT;
    while checks(ringbolt, result) < count {
        assert!(Instant::now() < deadline, "no check has {result}:\n{}", ringbolt.process().output());
        thread::yield_now();
    }
}

#[test]
fn checks_speak_tls_and_verify_as_requests_do() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = format!("ca = {:?}", authority.file());
    let often = "interval = \"100ms\", timeout = \"5s\"";
    let real = Backends::shared(Kind::SocketIo4).addresses()[0];
    let web = Backend::named("fine");
    for (to, check) in [(web.address(), "check = \"http\", body = \"fine\""), (real, "check = \"engine-io\"")]
    {
        let check = format!("health = {{ {check}, {often} }}");
        let front = Front::terminating(to, authority.issue("backend", &["127.0.0.1"]).server(None));
        let ringbolt = proxy_with(&front, Engine::Auto, &ca, &check);
        wait_for_checks(&ringbolt, "passed", 3.0);
        assert_eq!(checks(&ringbolt, "failed"), 0.0, "{}", ringbolt.process().output());

        let front = Front::terminating(to, stranger.issue("backend", &["other.example"]).server(None));
        let ringbolt = proxy_with(&front, Engine::Auto, &ca, &check);
        wait_for_checks(&ringbolt, "failed", 1.0);
        let log =
            ringbolt.process().line("why", LIMIT, |line| line.contains("is down").then(|| line.to_owned()));
        assert!(log.contains("TLS: invalid peer certificate"), "{log}");
        assert_eq!(checks(&ringbolt, "passed"), 0.0);
    }
}

#[test]
fn checks_begin_with_a_proxy_header_where_connections_do() {
    let authority = Authority::new();
    let backend = TcpBackend::start(|wire| {
        // PROXY UNKNOWN of version 1, then the request that came over TLS.
        let head = wire.read_exactly(20, "a PROXY header and a request");
        if head == *b"PROXY UNKNOWN\r\nGET /" {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        let _ = wire.read_ever();
    });
    let server = authority.issue("backend", &["127.0.0.1"]).server(None);
    let front = Front::terminating_behind_header(backend.address(), server);
    let keys =
        "proxy_protocol = \"v1\"\nhealth = { check = \"http\", interval = \"100ms\", timeout = \"5s\" }";
    let ringbolt = proxy_with(&front, Engine::Auto, &format!("ca = {:?}", authority.file()), keys);
    wait_for_checks(&ringbolt, "passed", 2.0);
    assert_eq!(checks(&ringbolt, "failed"), 0.0, "{}", ringbolt.process().output());
}

#[test]
fn a_tunnel_to_a_tls_backend_carries_bytes_and_ends() {
    let authority = Authority::new();
    let issued = authority.issue("backend", &["127.0.0.1"]);
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = Backend::start(|_, wire| {
            wire.send(format!("{ACCEPTED}early"));
            let long = wire.read_exactly(300_000, "a long message");
            wire.send(&long);
            assert_eq!(wire.expect_end(), End::Fin);
            wire.send("after");
            wire.close();
        });
        let front = Front::terminating(backend.address(), issued.server(None));
        let ringbolt = proxy(&front, engine, &format!("ca = {:?}", authority.file()));
        let mut client = Wire::connect(ringbolt.address());
        assert_eq!(client.exchange(UPGRADE).status(), 101);
        assert_eq!(client.read_exactly(5, "early bytes"), b"early");
        let long: Vec<u8> = (0..300_000_u32).map(|number| number.to_be_bytes()[3]).collect();
        client.send(&long);
        assert_eq!(client.read_exactly(long.len(), "the echo"), long);
        client.finish();
        assert_eq!(client.read_to_end(), (b"after".to_vec(), End::Fin));
    }
}
