//! Sessions that say nothing for more than a minute are still there: tunnels without one byte, polls held all along.
//!
//! Fails with `transport close` after 60 s, or whatever it is set to, if a default timeout cuts a live tunnel or poll.
//!
//! A file of its own, so that the minute passes once, for all servers side by side, on any number of cores.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use ringbolt_harness::{Backends, Client, Kind, Scenario, run_everywhere};

#[test]
fn idle() {
    let servers = [
        (Kind::SocketIo2, Client::Node2),
        (Kind::SocketIo3, Client::Node3),
        (Kind::SocketIo4, Client::Node4),
        (Kind::Python, Client::Node4),
    ];
    // A panic in one of the threads is passed on when the scope ends.
    thread::scope(|scope| {
        for (kind, client) in servers {
            scope.spawn(move || {
                let scenario = Scenario { name: "idle", client, limit: Duration::from_secs(120) };
                run_everywhere(env!("CARGO_BIN_EXE_ringbolt"), scenario, Backends::shared(kind));
            });
        }
    });
}
