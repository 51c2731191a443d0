//! Real Socket.IO sessions by polling outlive their proxy: it is killed, another one knows nothing of them, and each
//! goes on. The same over two proxies at once, which know nothing of each other.
//!
//! Fails with 400 `Session ID unknown` from the wrong backend if sessions are found in the memory of one process only.
//! A poll that is held when its proxy dies dies with it, and its session by the rules of Engine.IO: what stands in
//! front here lets the proxy be killed between two polls.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::Relay;
use ringbolt_harness::{Backends, Client, Kind, Lane, Options, Ringbolt, Scenario};
use rustix::process::Signal;

/// Sessions of each kind of client.
const SESSIONS: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);

fn proxy(backends: &Backends) -> Ringbolt {
    Ringbolt::start(&Options::new(env!("CARGO_BIN_EXE_ringbolt"), backends.addresses()))
}

/// As many ways to one relay as there are sessions.
fn lanes(relay: &Relay) -> Vec<Lane> {
    (1..=SESSIONS).map(|number| Lane::plain(number.to_string(), relay.address())).collect()
}

fn sessions_outlive_their_proxy(kind: Kind, client: Client) {
    let backends = Backends::shared(kind);
    let mut former = proxy(backends);
    let relay = Relay::start(&[former.address()]);
    let scenario = Scenario { name: "restart", client, limit: LIMIT };
    thread::scope(|scope| {
        let sessions = scope.spawn(|| scenario.run(backends, &lanes(&relay)));
        relay.wait_for_clients(SESSIONS, LIMIT);
        relay.hold();
        former.signal(Signal::KILL);
        former.wait();
        let proxy = proxy(backends);
        relay.release(&[proxy.address()]);
        // As long as it serves.
        sessions.join().expect("every session goes on");
        let found = proxy.metrics()["ringbolt_sid_lookups_total{result=\"found\"}"];
        assert!(found >= SESSIONS as f64, "{found} sessions were asked for");
    });
}

fn sessions_spread_over_two_proxies(kind: Kind, client: Client) {
    let backends = Backends::shared(kind);
    let proxies = [proxy(backends), proxy(backends)];
    let relay = Relay::start(&proxies.each_ref().map(Ringbolt::address));
    Scenario { name: "polling", client, limit: LIMIT }.run(backends, &lanes(&relay));
    for proxy in &proxies {
        let found = proxy.metrics()["ringbolt_sid_lookups_total{result=\"found\"}"];
        assert!(found > 0.0, "each proxy met sessions of the other");
    }
}

macro_rules! sessions {
    ($($name:ident: $kind:ident, $client:ident;)+) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn outlive_their_proxy() {
                    sessions_outlive_their_proxy(Kind::$kind, Client::$client);
                }

                #[test]
                fn spread_over_two_proxies() {
                    sessions_spread_over_two_proxies(Kind::$kind, Client::$client);
                }
            }
        )+
    };
}

sessions! {
    socketio2: SocketIo2, Node2;
    socketio3: SocketIo3, Node3;
    socketio4: SocketIo4, Node4;
    python: Python, Python;
}
