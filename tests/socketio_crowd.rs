//! 200 clients from one address all work and spread over the backends, none of which gets more than 1.5 times its
//! share; and a client whose backend dies finds its way to another one.
//!
//! Fails with one backend full and two idle if placement looks at the client's address, with refused clients if it
//! waits or counts wrongly under load, and with a client that never comes back if a dead backend keeps being chosen.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringbolt_harness::{Backends, Client, Kind, Lane, Options, Ringbolt, Scenario};

ringbolt_harness::scenarios! {
    socketio2: SocketIo2, Node2, 120 => crowd crowd_polling crowd_websocket;
    socketio4: SocketIo4, Node4, 120 => crowd crowd_polling crowd_websocket;
    python: Python, Node4, 120 => crowd crowd_polling crowd_websocket;
}

/// Backends of its own, because the scenario ends two of them.
fn reconnect(kind: Kind, client: Client, without_io_uring: bool) {
    let backends = Backends::start(kind, 3);
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), backends.addresses());
    let daemon = Ringbolt::start(&Options { without_io_uring, ..options });
    let lane = Lane { name: daemon.engine().to_owned(), address: daemon.address() };
    let scenario = Scenario { name: "reconnect", client, limit: Duration::from_secs(60) };
    scenario.run(&backends, &[lane]);
}

#[test]
fn reconnect_2() {
    reconnect(Kind::SocketIo2, Client::Node2, false);
}

#[test]
fn reconnect_4() {
    reconnect(Kind::SocketIo4, Client::Node4, false);
}

#[test]
fn reconnect_4_without_io_uring() {
    reconnect(Kind::SocketIo4, Client::Node4, true);
}
