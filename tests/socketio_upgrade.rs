//! Real Socket.IO sessions go on while the daemon is replaced three times: by polling, by WebSocket and upgraded.
//!
//! Fails with `disconnected` or 400 `Session ID unknown` if a tunnel is closed, or a session forgotten or told to the next
//! process too late.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use ringbolt_harness::{Backends, Client, Engine, Kind, Lane, Options, Ringbolt, Scenario};

fn sessions_go_on(kind: Kind, client: Client, engine: Engine) {
    let backends = Backends::shared(kind);
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), backends.addresses());
    let mut daemon = Ringbolt::start(&Options { engine, ..options });
    let lane = Lane { name: daemon.engine().to_owned(), url: format!("http://{}", daemon.address()) };
    let scenario = Scenario { name: "handover", client, limit: Duration::from_secs(90) };
    thread::scope(|scope| {
        let running = scope.spawn(|| scenario.run(backends, &[lane]));
        while daemon.metrics()["ringbolt_tunnels_active"] < 8.0 && !running.is_finished() {
            thread::yield_now();
        }
        for _ in 0..3 {
            let upgraded = daemon.upgrade();
            // One of those that were waited for may have been one that comes and goes.
            assert!(upgraded.tunnels >= 7 && upgraded.sids >= 4, "{upgraded:?}");
            daemon.former_ends();
        }
        assert!(!running.is_finished(), "the sessions were there all the time");
    });
}

#[test]
fn socketio4() {
    sessions_go_on(Kind::SocketIo4, Client::Node4, Engine::Uring);
}

#[test]
fn socketio2_with_epoll() {
    sessions_go_on(Kind::SocketIo2, Client::Node2, Engine::Epoll);
}
