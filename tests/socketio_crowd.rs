//! 200 clients from one address all work and spread over the backends, none of which gets more than 1.5 times its
//! share; a storm of more than may begin at once is let in bit by bit; and a client whose backend dies finds its way to
//! another one.
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

/// The address all clients come from has one favourite backend. When that is the one that is slow to answer Engine.IO
/// handshakes, a worker that does not see what the others have asked of it sends it more than its share: the slower a
/// backend, the more it would get.
#[test]
fn a_slow_backend_draws_no_crowd() {
    let backends = Backends::shared(Kind::SocketIo4);
    // Names decide which backend is the favourite, so in one of the three it is the slow one.
    let daemons = [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]].map(|names| {
        let named = names.iter().zip(backends.addresses());
        let list: Vec<String> = named
            .map(|(name, address)| format!("{{ name = \"{name}\", address = \"{address}\" }}"))
            .collect();
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.chat]\nbackends = [{}]\n",
            list.join(", ")
        );
        let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
        (names.concat(), Ringbolt::start(&Options { workers: 3, config: Some(config), ..options }))
    });
    let lanes = daemons.each_ref().map(|(name, daemon)| Lane::plain(name.as_str(), daemon.address()));
    let scenario =
        Scenario { name: "crowd_sluggish", client: Client::Node4, limit: Duration::from_secs(120) };
    scenario.run(backends, &lanes);
}

/// 300 clients at once, twice, where 60 sessions a second may begin, and 30 at each backend.
fn storm(kind: Kind, client: Client) {
    let backends = Backends::shared(kind);
    let list: Vec<_> = backends.addresses().iter().map(|address| format!("\"{address}\"")).collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[limits]\nsession_rate = 60\nsession_rate_per_backend = 30\n\
         [upstream.chat]\nbackends = [{}]\n",
        list.join(", ")
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let daemon = Ringbolt::start(&Options { config: Some(config), ..options });
    let scenario = Scenario { name: "storm", client, limit: Duration::from_secs(180) };
    scenario.run(backends, &[Lane::plain(daemon.engine(), daemon.address())]);
    let metrics = daemon.metrics();
    let limited = metrics["ringbolt_limited_total{limit=\"session_rate\"}"];
    assert!(limited > 0.0 && metrics["ringbolt_answers_total{status=\"503\"}"] >= limited, "{metrics:?}");
    assert_eq!(daemon.sessions_lost(), 0.0);
}

#[test]
fn a_storm_is_let_in_bit_by_bit_2() {
    storm(Kind::SocketIo2, Client::Node2);
}

#[test]
fn a_storm_is_let_in_bit_by_bit_4() {
    storm(Kind::SocketIo4, Client::Node4);
}

/// Backends of its own, because the scenario ends two of them.
fn reconnect(kind: Kind, client: Client, without_io_uring: bool) {
    let backends = Backends::start(kind, 3);
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), backends.addresses());
    let daemon = Ringbolt::start(&Options { without_io_uring, ..options });
    let lane = Lane::plain(daemon.engine(), daemon.address());
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
