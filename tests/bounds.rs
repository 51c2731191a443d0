//! A bound holds for all workers together, for each client alone, and is told from the others.
//!
//! Fails with one client that takes what is everybody's, or with everybody refused for one client.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::time::Instant;

use ringbolt_harness::raw::{ACCEPTED, Backend, UPGRADE, WAIT, Wire};
use ringbolt_harness::{Options, Ringbolt};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OPEN: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 1);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 2);

/// A daemon of four workers, over which the kernel spreads one client's connections.
fn start(backend: &Backend, listener: &str, rest: &str) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n{listener}\n\
         [upstream.a]\nbackends = [\"{}\"]\n{rest}\n",
        backend.address()
    );
    Ringbolt::start(&Options {
        workers: 4,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

fn limited(ringbolt: &Ringbolt, limit: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_limited_total{{limit=\"{limit}\"}}")]
}

/// A new connection that was answered; `None`: it was closed.
fn served(ringbolt: &Ringbolt, from: Ipv4Addr) -> Option<Wire> {
    let mut wire = Wire::connect_from(from, ringbolt.address());
    let _ = wire.try_send(GET);
    let answer = wire.read("an answer or the end").ok()?;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
    Some(wire)
}

/// Waits for what follows from the end of a connection, which the daemon hears of when it does.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !happened() {
        assert!(Instant::now() < deadline, "waited {WAIT:?} for {what}");
    }
}

#[test]
fn connections_of_one_client_are_bounded_over_all_workers() {
    let backend = Backend::answering(OK);
    let ringbolt = start(&backend, "", "[limits]\nconnections_per_client = 5");
    let mut open: Vec<Wire> = (0..5).map(|_| served(&ringbolt, A).expect("within the bound")).collect();
    for _ in 0..8 {
        assert!(served(&ringbolt, A).is_none(), "beyond the bound");
    }
    assert!(served(&ringbolt, B).is_some(), "another client is not concerned");
    assert_eq!(limited(&ringbolt, "client_connections"), 8.0);
    open.pop().unwrap().close();
    eventually("room for one more", || served(&ringbolt, A).is_some());
}

#[test]
fn a_trusted_proxy_may_have_as_many_connections_as_its_clients_need() {
    let backend = Backend::answering(OK);
    let limits = "[limits]\nconnections_per_client = 1\nconnection_rate_per_client = 1";
    let ringbolt = start(&backend, "trusted_proxies = [\"127.0.8.1\"]", limits);
    let open: Vec<_> = (0..4).map(|_| served(&ringbolt, A).expect("a trusted proxy")).collect();
    assert!(served(&ringbolt, B).is_some_and(|_open| served(&ringbolt, B).is_none()));
    drop(open);
}

#[test]
fn a_tunnel_counts_as_long_as_it_lives() {
    let backend = Backend::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let ringbolt = start(&backend, "", "[limits]\nconnections_per_client = 1");
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut tunnel = Wire::connect_from(A, ringbolt.address());
    assert_eq!(tunnel.exchange(upgrade).status(), 101);
    let refused = |from| {
        let mut wire = Wire::connect_from(from, ringbolt.address());
        let _ = wire.try_send(upgrade);
        wire.read("an answer or the end").is_err()
    };
    assert!(refused(A));
    tunnel.reset();
    eventually("the end of the tunnel", || !refused(A));
}

#[test]
fn connections_of_a_listener_are_bounded_over_all_clients() {
    let backend = Backend::answering(OK);
    let ringbolt = start(&backend, "connections = 3", "");
    let open: Vec<Option<Wire>> = [A, B, A].map(|from| served(&ringbolt, from)).into();
    assert!(open.iter().all(Option::is_some));
    assert!(served(&ringbolt, B).is_none());
    assert_eq!(limited(&ringbolt, "listener_connections"), 1.0);
    drop(open);
    eventually("room again", || served(&ringbolt, B).is_some());
}

/// Does something until it is refused, and checks that it was not let through more often than `rate` allows.
fn until_refused(rate: u64, mut attempt: impl FnMut() -> bool) {
    let began = Instant::now();
    let admitted = (0..2_000).take_while(|_| attempt()).count() as u64;
    let most = rate + rate * (began.elapsed().as_secs() + 1);
    assert!((rate..=most).contains(&admitted), "{admitted} at {rate} a second in {:?}", began.elapsed());
}

#[test]
fn a_client_connects_only_so_often() {
    let backend = Backend::answering(OK);
    let ringbolt = start(&backend, "", "[limits]\nconnection_rate_per_client = 2");
    until_refused(2, || served(&ringbolt, A).is_some());
    assert!(served(&ringbolt, B).is_some());
    assert_eq!(limited(&ringbolt, "client_connection_rate"), 1.0);
}

#[test]
fn sessions_are_opened_only_so_often_and_the_refusal_is_one_a_browser_can_read() {
    let backend = Backend::answering(OK);
    let ringbolt = start(&backend, "", "[limits]\nsession_rate_per_client = 2");
    let mut client = Wire::connect_from(A, ringbolt.address());
    until_refused(2, || {
        let answer = client.exchange(OPEN);
        if answer.status() == 200 {
            return true;
        }
        assert_eq!((answer.status(), answer.head.value("Retry-After")), (429, Some("1")));
        assert_eq!(answer.head.value("Access-Control-Allow-Origin"), Some("*"));
        false
    });
    assert_eq!(client.exchange(GET).status(), 200, "other requests are not concerned");
    assert_eq!(Wire::connect_from(B, ringbolt.address()).exchange(OPEN).status(), 200);
    assert_eq!(limited(&ringbolt, "client_session_rate"), 1.0);
}

#[test]
fn a_storm_of_new_sessions_is_let_in_at_its_rate_and_known_ones_go_on() {
    let backend = chat_backend();
    let ringbolt = start(&backend, "", "[limits]\nsession_rate = 3");
    let mut clients = [A, B].map(|address| Wire::connect_from(address, ringbolt.address()));
    let mut number = 0;
    until_refused(3, || {
        number += 1;
        let answer = clients[number % 2].exchange(OPEN);
        if answer.status() == 200 {
            return true;
        }
        let after = answer.head.value("Retry-After").and_then(|seconds| seconds.parse().ok());
        assert!(answer.status() == 503 && after.is_some_and(|seconds: u64| (1..=5).contains(&seconds)));
        assert_eq!(answer.head.value("Access-Control-Allow-Origin"), Some("*"));
        assert!(answer.text().starts_with("{\"code\":3,"), "{}", answer.text());
        false
    });
    let known =
        format!("GET /socket.io/?EIO=4&transport=polling&sid={SID} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(clients[0].exchange(known).status(), 200, "a session that is known is served");
    assert_eq!(limited(&ringbolt, "session_rate"), 1.0);
}

#[test]
fn a_backend_gets_new_sessions_at_its_rate_and_the_rest_goes_to_others() {
    let backends = ["a", "b"].map(|name| Backend::start(move |request, wire| request.answer_as(name, wire)));
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [{{ name = \"a\", address = \"{}\", \
         weight = 100 }}, {{ name = \"b\", address = \"{}\" }}]\n[limits]\nsession_rate_per_backend = 4\n",
        backends[0].address(),
        backends[1].address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let mut client = Wire::connect(ringbolt.address());
    let mut of = [0_u64; 2];
    let both = |of: [u64; 2]| of.iter().all(|sessions| *sessions >= 4);
    until_refused(8, || {
        let answer = client.exchange(OPEN);
        if answer.status() == 200 {
            of[usize::from(answer.text().contains("\"sid\":\"b\""))] += 1;
        }
        answer.status() == 200
    });
    assert!(both(of), "nobody is refused while a backend has room: {of:?}");
    assert_eq!(limited(&ringbolt, "backend_session_rate"), 1.0);
}

#[test]
fn requests_of_a_route_are_bounded_over_all_clients_and_workers() {
    let backend = Backend::answering(OK);
    let route = "[[route]]\npath = \"/slow\"\nupstream = \"a\"\nrequest_rate = 3\n";
    let ringbolt = start(&backend, "", route);
    until_refused(3, || {
        let slow = "GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let answer = Wire::connect_from(A, ringbolt.address()).exchange(slow);
        if answer.status() == 200 {
            return true;
        }
        assert_eq!((answer.status(), answer.head.value("Retry-After")), (503, Some("1")));
        false
    });
    assert_eq!(Wire::connect_from(A, ringbolt.address()).exchange(GET).status(), 200);
    assert_eq!(limited(&ringbolt, "route_request_rate"), 1.0);
}

#[test]
fn a_dry_run_refuses_nothing_and_counts_everything() {
    let backend = Backend::answering(OK);
    let limits = "[limits]\ndry_run = true\nconnections_per_client = 1\nsession_rate_per_client = 1";
    let ringbolt = start(&backend, "connections = 1", limits);
    let open: Vec<_> = (0..4).map(|_| served(&ringbolt, A).expect("nothing is refused")).collect();
    let mut client = Wire::connect_from(B, ringbolt.address());
    assert!((0..4).all(|_| client.exchange(OPEN).status() == 200));
    assert_eq!(limited(&ringbolt, "client_connections"), 3.0);
    assert_eq!(limited(&ringbolt, "listener_connections"), 4.0);
    assert!(limited(&ringbolt, "client_session_rate") >= 1.0);
    drop(open);
}

const SID: &str = "Zk3qGnV7xJw2aYb1AAAA";

/// Opens sessions and tunnels; everything else is answered `ok`.
fn chat_backend() -> Backend {
    Backend::start(|request, wire| {
        let target = request.head().target().to_owned();
        if request.head().0.to_ascii_lowercase().windows(8).any(|bytes| bytes == b"upgrade:") {
            wire.send(ACCEPTED);
            while let Ok(bytes) = wire.read("bytes to send back") {
                wire.send(bytes);
            }
            wire.close();
        } else if target.contains("EIO=4") && !target.contains("sid=") {
            let packet = format!(r#"0{{"sid":"{SID}","pingInterval":25000,"pingTimeout":20000}}"#);
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{packet}", packet.len()));
        } else {
            wire.send(OK);
        }
    })
}

/// One worker with 64 MiB, and clients that may make it hold 128 KiB each.
fn small_memory(backend: &Backend, dry_run: bool) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n\
         [timeouts]\nrequest_head = \"5m\"\nconnect = \"1m\"\n\
         [limits]\nmemory = \"64MiB\"\nrequest_head_bytes = \"128KiB\"\ndry_run = {dry_run}\n",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { workers: 1, config: Some(config), ..options })
}

/// Heads of nearly as much whose ends never come, until something has been refused. Calls `between` now and then.
fn hoard(ringbolt: &Ringbolt, mut between: impl FnMut()) -> Vec<Wire> {
    /// Each round is several MiB: these are more than enough.
    const ROUNDS: usize = 30;
    let part = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {}", "x".repeat(120_000));
    let mut wires = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..30 {
            let wire = Wire::connect(ringbolt.address());
            // One that is refused already is closed meanwhile.
            let _ = wire.try_send(&part);
            wires.push(wire);
        }
        between();
        if limited(ringbolt, "memory") > 0.0 {
            return wires;
        }
    }
    panic!("{} heads do not use the memory up", wires.len());
}

#[test]
fn out_of_memory_what_is_new_is_refused_and_what_lives_goes_on() {
    let backend = chat_backend();
    let ringbolt = small_memory(&backend, false);
    let mut idle = served(&ringbolt, A).expect("served at first");
    let mut session = Wire::connect(ringbolt.address());
    assert_eq!(session.exchange(OPEN).status(), 200);
    let mut tunnel = Wire::connect(ringbolt.address());
    assert_eq!(tunnel.exchange(UPGRADE).status(), 101);

    let hoarders = hoard(&ringbolt, || {
        // The backend's patience with a silent tunnel is short.
        tunnel.send("x");
        assert_eq!(tunnel.read_exactly(1, "what was sent"), b"x");
    });
    assert!(served(&ringbolt, B).is_none(), "a new connection is closed");
    let answer = idle.exchange(GET);
    assert_eq!(answer.status(), 503);
    assert!(answer.head.fields().any(|field| field == ("Retry-After", "1")));
    let poll =
        format!("GET /socket.io/?EIO=4&transport=polling&sid={SID} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(session.exchange(poll).status(), 200, "a living session is served");
    tunnel.send("still here");
    assert_eq!(tunnel.read_exactly(10, "what was sent"), b"still here");

    drop(hoarders);
    eventually("memory to be there again", || served(&ringbolt, A).is_some());
    let held = || ringbolt.metrics()["ringbolt_memory_bytes"];
    eventually("the metric to say so", || held() < 64.0 * 1024.0 * 1024.0);
}

#[test]
fn out_of_memory_nothing_is_refused_in_a_dry_run() {
    let backend = chat_backend();
    let ringbolt = small_memory(&backend, true);
    let _hoarders = hoard(&ringbolt, || assert!(served(&ringbolt, A).is_some()));
    assert!(served(&ringbolt, B).is_some());
}
