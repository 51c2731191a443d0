//! Out of descriptors the proxy refuses new clients at once, keeps those it has, and recovers by itself.
//!
//! Fails with clients that hang in the kernel's queue if nothing is kept in reserve to refuse them with,
//! and with a counter in the millions if the listener spins meanwhile.
#![forbid(unsafe_code)]

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt, descriptors_end, limit_descriptors};

const BOTH_ENGINES: [Engine; 2] = [Engine::Uring, Engine::Epoll];
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const REFUSED: &str = "ringbolt_connections_refused_total{reason=\"descriptors\"}";

/// A new client that was answered, and not refused.
fn served(ringbolt: &Ringbolt) -> Option<Wire> {
    let mut client = Wire::connect(ringbolt.address());
    client.try_send(REQUEST).ok()?;
    client.read("an answer or the end").ok()?;
    Some(client)
}

#[test]
fn out_of_descriptors_clients_are_refused_at_once_and_later_served() {
    for engine in BOTH_ENGINES {
        let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        // The pooled connection must not give its number back in the middle of the test.
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n\
             [timeouts]\nupstream_keep_alive = \"10m\"\n[admin]\naddress = \"127.0.0.1:0\"\n",
            backend.address()
        );
        let ringbolt = Ringbolt::start(&Options {
            workers: 1,
            engine,
            config: Some(config),
            ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
        });
        let mut old = Wire::connect(ringbolt.address());
        assert_eq!(old.exchange(REQUEST).status(), 200);
        limit_descriptors(ringbolt.pid(), descriptors_end(ringbolt.pid()));

        // A few may get what others gave back, and keep it.
        let held: Vec<_> = (0..30).filter_map(|_| served(&ringbolt)).collect();
        assert!(held.len() < 10, "{engine:?}: {} clients above the limit were served", held.len());
        assert_eq!(old.exchange(REQUEST).status(), 200, "{engine:?}: who was there before is served");

        limit_descriptors(ringbolt.pid(), 1000);
        assert_eq!(Wire::connect(ringbolt.address()).exchange(REQUEST).status(), 200, "{engine:?}");
        let refused = ringbolt.metrics()[REFUSED];
        assert_eq!(refused, (30 - held.len()) as f64, "{engine:?}: one for each client that was refused");
    }
}
