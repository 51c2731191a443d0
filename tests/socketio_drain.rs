//! A backend is drained over some seconds while real Socket.IO clients talk to it by polling: their sessions are closed one by
//! one, and every client goes on at another backend.
//!
//! Fails with sessions that all end together when the backend is stopped, with clients that see an error, and with
//! Python's client staying away for good if it gets a close packet.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use ringbolt_harness::{Backends, Client, Kind, Lane, Options, Ringbolt, Scenario};

/// As many as `tests/socketio` opens, and the last.
const SESSIONS: f64 = 61.0;

fn polling_sessions_find_another_backend(kind: Kind, client: Client, told: &str) {
    let backends = Backends::shared(kind);
    let named = (1..).zip(backends.addresses());
    let list: Vec<_> = named
        .map(|(number, address)| format!("{{ name = \"backend-{number}\", address = \"{address}\" }}"))
        .collect();
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbalance = \"least-tunnels\"\nbackends = [{}]\n",
        list.join(", ")
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let lane = Lane::plain(ringbolt.engine(), ringbolt.address());
    let scenario = Scenario { name: "drained", client, limit: Duration::from_secs(60) };
    thread::scope(|scope| {
        let running = scope.spawn(|| scenario.run(backends, &[lane]));
        while ringbolt.metrics()["ringbolt_sid_table_entries"] < SESSIONS && !running.is_finished() {
            thread::yield_now();
        }
        let (code, said) = ringbolt.order(&["drain", "backend-1", "--over", "6s"]);
        assert_eq!(code, Some(0), "{said}");
    });
    let metrics = ringbolt.metrics();
    let by = |by| metrics[&format!("ringbolt_polling_sessions_drained_total{{by=\"{by}\"}}")];
    let all = by("close_packet") + by("unknown_sid");
    assert!(all >= 10.0 && by(told) == all, "{metrics:?}");
    assert_eq!(metrics["ringbolt_responses_total{status=\"5xx\"}"], 0.0, "no session is refused elsewhere");
}

#[test]
fn socketio2() {
    polling_sessions_find_another_backend(Kind::SocketIo2, Client::Node2, "close_packet");
}

#[test]
fn socketio3() {
    polling_sessions_find_another_backend(Kind::SocketIo3, Client::Node3, "close_packet");
}

#[test]
fn socketio4() {
    polling_sessions_find_another_backend(Kind::SocketIo4, Client::Node4, "close_packet");
}

#[test]
fn python() {
    polling_sessions_find_another_backend(Kind::Python, Client::Python, "unknown_sid");
}
