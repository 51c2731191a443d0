//! The shapes in which every Socket.IO scenario meets the daemon, and the table that turns scenarios into tests.

use std::path::Path;

use crate::backends::Backends;
use crate::one_port::OnePort;
use crate::ringbolt::{Engine, Options, Ringbolt};
use crate::scenario::{Lane, Scenario};

/// One shape of the daemon.
struct Shape {
    name: &'static str,
    workers: usize,
    /// False: under a seccomp filter that refuses io_uring, where the daemon must find epoll by itself.
    io_uring: bool,
}

/// The shapes that are met over TLS as well, each under a name of its own on one port that serves all there is.
const TLS_SHAPES: [(&Shape, &str); 2] = [(&SHAPES[1], "chat.test"), (&SHAPES[2], "web.test")];

/// Both engines with one worker, where any mistake of sharing stays hidden, and with several, where it shows.
const SHAPES: [Shape; 4] = [
    Shape { name: "uring-1", workers: 1, io_uring: true },
    Shape { name: "uring-2", workers: 2, io_uring: true },
    Shape { name: "epoll-1", workers: 1, io_uring: false },
    Shape { name: "epoll-3", workers: 3, io_uring: false },
];

/// Runs the scenario through the daemon in each of its shapes, all in front of the same backends.
///
/// # Panics
/// If it does not hold in every shape, or the daemon uses another engine than the shape allows.
pub fn run_everywhere(binary: &str, scenario: Scenario<'_>, backends: &Backends) {
    let daemons: Vec<Ringbolt> =
        SHAPES.iter().map(|shape| start(Path::new(binary), shape, backends)).collect();
    let lanes: Vec<Lane> = SHAPES
        .iter()
        .zip(&daemons)
        .map(|(shape, daemon)| Lane::plain(shape.name, daemon.address()))
        .collect();
    let one_port = OnePort::new(TLS_SHAPES.map(|(_, host)| host));
    let start_tls = |(shape, _): &(&Shape, &str)| {
        let engine = if shape.io_uring { Engine::Uring } else { Engine::Epoll };
        let options = Options { workers: shape.workers, engine, ..Options::new(Path::new(binary), &[]) };
        one_port.start(backends, options)
    };
    let tls: Vec<Ringbolt> = TLS_SHAPES.iter().map(start_tls).collect();
    let over_tls = TLS_SHAPES.iter().zip(&tls).map(|((shape, host), daemon)| Lane {
        name: format!("{}-tls", shape.name),
        url: format!("https://{host}:{}", daemon.address().port()),
    });
    let lanes: Vec<Lane> = lanes.into_iter().chain(over_tls).collect();
    scenario.run_believing(Some(&one_port.authority.file()), backends, &lanes);
    for daemon in &tls {
        let handshakes = daemon.metrics()["ringbolt_tls_handshakes_total{version=\"1.3\"}"];
        assert!(handshakes > 0.0, "no client came over TLS");
        one_port.check(daemon);
    }
}

fn start(binary: &Path, shape: &Shape, backends: &Backends) -> Ringbolt {
    let daemon = Ringbolt::start(&Options {
        workers: shape.workers,
        engine: if shape.io_uring { Engine::Uring } else { Engine::Auto },
        without_io_uring: !shape.io_uring,
        ..Options::new(binary, backends.addresses())
    });
    let engine = if shape.io_uring { "uring" } else { "epoll" };
    assert_eq!(daemon.engine(), engine, "engine of {}", shape.name);
    daemon
}

/// One test for each scenario of each group: `group: Kind, Client, seconds => scenario scenario ...;`.
///
/// `Kind` names the backends, three of which the tests of a file share; `seconds` is a scenario's limit.
#[macro_export]
macro_rules! scenarios {
    ($($group:ident: $kind:ident, $client:ident, $seconds:literal => $($scenario:ident)+;)+) => {
        $(
            mod $group {
                use ringbolt_harness::{Backends, Client, Kind, Scenario, run_everywhere};

                $(
                    #[test]
                    fn $scenario() {
                        let limit = std::time::Duration::from_secs($seconds);
                        let scenario = Scenario { name: stringify!($scenario), client: Client::$client, limit };
                        run_everywhere(env!("CARGO_BIN_EXE_ringbolt"), scenario, Backends::shared(Kind::$kind));
                    }
                )+
            }
        )+
    };
}
