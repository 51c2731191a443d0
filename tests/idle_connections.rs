//! A client's connection between two requests, or before its first one, costs little memory of the proxy's.
//!
//! Fails if a connection keeps what a request needs, a buffer or a head or the state of an exchange, while
//! it waits for the next: browsers hold six connections for minutes and use one now and then.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

const CONNECTIONS: usize = 4_000;
const BYTES_PER_CONNECTION_MAX: u64 = 700;
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn open(address: SocketAddr, count: usize, asks: bool) -> Vec<Wire> {
    (0..count)
        .map(|_| {
            let mut client = Wire::connect(address);
            if asks {
                assert_eq!(client.exchange(REQUEST).status(), 200);
            }
            client
        })
        .collect()
}

/// With `detects` the listener waits to see what its clients speak, also those that say nothing.
fn costs_little(engine: Engine, asks: bool, detects: bool) {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let ringbolt = Ringbolt::start(&Options {
        engine,
        workers: 1,
        config: detects.then(|| {
            format!(
                "[[listener]]\naddress = \"127.0.0.1:0\"\ndetect = [\"http\", \"tcp\"]\n\
                 [upstream.a]\nbackends = [\"{}\"]\n[timeouts]\ndetect = \"1h\"\n",
                backend.address()
            )
        }),
        // Huge pages would hide two megabytes of growth in the first page.
        environment: vec![("MIMALLOC_ALLOW_THP".to_owned(), "0".to_owned())],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    });
    // Some first, so that what the process sets up once is not counted. The last one asks, and is answered
    // after all others have been accepted.
    let first = open(ringbolt.address(), 200, true);
    let _ = ringbolt.metrics();
    let before = ringbolt.memory_bytes();
    let connections = open(ringbolt.address(), CONNECTIONS, asks);
    let last = open(ringbolt.address(), 1, true);
    let all = (200 + CONNECTIONS + 1) as f64;
    ringbolt.wait_for_metric("ringbolt_connections_accepted_total", |accepted| accepted >= all);
    let after = ringbolt.memory_bytes();
    let each = after.saturating_sub(before) / CONNECTIONS as u64;
    println!("{engine:?}, has asked: {asks}, detects: {detects}: {each} bytes per idle connection");
    assert!(each <= BYTES_PER_CONNECTION_MAX, "{each} bytes, has asked: {asks}, detects: {detects}");
    drop((first, connections, last));
}

#[test]
fn a_connection_that_waits_costs_at_most_700_bytes() {
    for engine in [Engine::Uring, Engine::Epoll] {
        costs_little(engine, true, false);
        costs_little(engine, false, false);
        costs_little(engine, true, true);
        costs_little(engine, false, true);
    }
}
