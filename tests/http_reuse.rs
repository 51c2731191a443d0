//! Connections are used again on both sides, in order, and only where nothing is left over on them.
//!
//! Fails with answers in the wrong order, or with a connection for each request, which costs a client
//! a round trip and the proxy a port each time.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, End, Wire};
use ringbolt_harness::{Options, Ringbolt};

fn proxy(backend: &Backend) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

/// Answers with the target and the length of the body.
fn echo() -> Backend {
    Backend::start(|request, wire| {
        let text = format!("{} {}", request.head().target(), request.message.body.len());
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
    })
}

/// What a server answers who opens a session.
const HANDSHAKE: &str = r#"0{"sid":"known","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    let post = "POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /";
    let chunked =
        "POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let all = [&get("/a"), post, chunked, &get("/d")].concat();
    for piece in [all.len(), 1, 7, 50] {
        let mut client = Wire::connect(ringbolt.address());
        client.send_in_pieces(&all, piece);
        for expected in ["/a 0", "/b 5", "/c 3", "/d 0"] {
            assert_eq!(client.read_response().text(), expected, "in pieces of {piece}");
        }
    }
}

#[test]
fn a_hundred_pipelined_requests_are_all_answered() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send((0..100).map(|number| get(&format!("/{number}"))).collect::<String>());
    for number in 0..100 {
        assert_eq!(client.read_response().text(), format!("/{number} 0"));
    }
}

#[test]
fn one_client_connection_and_one_backend_connection_carry_many_requests() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for number in 0..20 {
        assert_eq!(client.exchange(get(&format!("/{number}"))).text(), format!("/{number} 0"));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn the_next_client_gets_the_backend_connection_of_the_last() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    for number in 0..20 {
        let mut client = Wire::connect(ringbolt.address());
        client.exchange(get(&format!("/{number}")));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_that_says_close_is_closed_and_the_backend_connection_stays() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    for _ in 0..3 {
        let mut client = Wire::connect(ringbolt.address());
        let answer = client.exchange("GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        assert_eq!((&*answer.text(), answer.head.value("Connection")), ("/a 0", Some("close")));
        assert_eq!(client.expect_end(), End::Fin);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_backend_that_says_close_costs_the_client_nothing() {
    let backend = Backend::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        wire.close();
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..5 {
        let answer = client.exchange(get("/"));
        assert_eq!((&*answer.text(), answer.head.value("Connection")), ("ok", None));
    }
    assert_eq!(backend.connections(), 5);
}

#[test]
fn an_http10_backend_without_keep_alive_is_not_used_again() {
    let backend = Backend::answering("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..3 {
        let answer = client.exchange(get("/"));
        assert_eq!((answer.head.first_line(), &*answer.text()), ("HTTP/1.1 200 OK", "ok"));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn an_http10_client_is_closed_after_its_answer() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let answer = client.exchange("GET /a HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!((answer.status(), &*answer.text()), (200, "/a 0"));
    assert_eq!(client.expect_end(), End::Fin);
}

#[test]
fn an_http10_client_that_asks_for_keep_alive_gets_it() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..3 {
        let answer = client.exchange("GET /a HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.text(), "/a 0");
        let connection = answer.head.value("Connection").unwrap_or_default().to_ascii_lowercase();
        assert_eq!(connection, "keep-alive", "such a client waits for the end unless it is told");
    }
}

#[test]
fn an_empty_line_between_requests_is_no_request() {
    let backend = echo();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send([get("/a"), "\r\n".into(), get("/b")].concat());
    assert_eq!(
        (client.read_response().text(), client.read_response().text()),
        ("/a 0".into(), "/b 0".into())
    );
}

/// The workers say once a second how often they have asked for memory, some of it for their housekeeping: over at least
/// three seconds that is less than for a tenth of the requests.
#[test]
fn a_request_on_open_connections_allocates_nothing() {
    const LEAST: (Duration, u32) = (Duration::from_secs(3), 3000);
    let backend = Backend::named(HANDSHAKE);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(get("/?EIO=4&transport=polling")).text(), HANDSHAKE);
    let polls = get("/?EIO=4&transport=polling&sid=known");
    let mut exchange = || assert_eq!(client.exchange(&polls).status(), 200);
    let allocations = || ringbolt.metrics()["ringbolt_memory_allocations_total"];
    (0..100).for_each(|_| exchange());
    // Both are shown once a second: what came before is counted.
    let shown = ringbolt.metrics()["ringbolt_loop_turns_total"];
    ringbolt.wait_for_metric("ringbolt_loop_turns_total", |turns| turns > shown);
    let (before, began, mut requests) = (allocations(), Instant::now(), 0);
    while began.elapsed() < LEAST.0 || requests < LEAST.1 {
        exchange();
        requests += 1;
    }
    let allocated = allocations() - before;
    println!("{allocated} allocations, {requests} requests");
    assert!(allocated < f64::from(requests / 10), "{allocated} for {requests} requests");
}
