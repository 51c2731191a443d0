//! Real Socket.IO sessions while backends are added, removed from service, killed and lost.
//!
//! Fails with `disconnected` or another backend's answer if a session moves that has nothing to do with it, with a
//! backend that gets everything when it comes, or with clients that are sent to a silent backend after it was found out.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::Wire;
use ringbolt_harness::{Backends, Client, Kind, Lane, Options, Ringbolt, Scenario};
use rustix::process::Signal;
use serde_json::Value;

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);

fn start(backends: &[SocketAddr], more: &str) -> Ringbolt {
    let list: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(number, address)| format!("{{ name = \"backend-{}\", address = \"{address}\" }}", number + 1))
        .collect();
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn lane(ringbolt: &Ringbolt) -> [Lane; 1] {
    [Lane::plain(ringbolt.engine(), ringbolt.address())]
}

fn order(ringbolt: &Ringbolt, arguments: &[&str]) -> String {
    let (code, said) = ringbolt.order(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

/// Sessions and tunnels of a backend.
fn load(ringbolt: &Ringbolt, name: &str) -> u64 {
    let all: Vec<Value> = serde_json::from_str(&order(ringbolt, &["backends", "--json"])).expect("a list");
    let of = all.iter().find(|backend| backend["name"] == name).expect("the backend");
    of["load"].as_u64().expect("a load")
}

#[test]
fn a_backend_added_under_load_moves_no_session_and_is_not_flooded() {
    let backends = Backends::shared(Kind::SocketIo4);
    let ringbolt = start(&backends.addresses()[..2], "slow_start = 50");
    let scenario = Scenario { name: "handover", client: Client::Node4, limit: Duration::from_secs(90) };
    thread::scope(|scope| {
        let running = scope.spawn(|| scenario.run(backends, &lane(&ringbolt)));
        while ringbolt.metrics()["ringbolt_tunnels_active"] < 8.0 && !running.is_finished() {
            thread::yield_now();
        }
        let third = backends.addresses()[2].to_string();
        order(&ringbolt, &["add", "a", &third, "--name", "backend-3"]);
        let began = Instant::now();
        let mut opened = 0;
        let mut open = || {
            opened += 1;
            let from = Ipv4Addr::new(127, 0, 61, opened);
            let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";
            assert_eq!(Wire::connect_from(from, ringbolt.address()).exchange(request).status(), 200);
            opened
        };
        while load(&ringbolt, "backend-3") == 0 {
            assert!(open() < 200 && began.elapsed() < LIMIT, "no new session has reached it");
        }
        let reached = began.elapsed();
        while open() < 60 {}
        let given = load(&ringbolt, "backend-3");
        println!("reached after {reached:?}, then it had {given} of 60 new sessions");
        // Those of `handover` that come and go add a few; all of them would be a flood.
        assert!((1..36).contains(&given), "{given} of 60");
        assert!(!running.is_finished(), "the sessions were there all the time");
    });
}

#[test]
fn a_killed_backend_s_sessions_end_at_once_and_no_others() {
    let backends = Backends::start(Kind::SocketIo4, 3);
    // Sessions of one address would begin at two of three backends.
    let ringbolt = start(backends.addresses(), "balance = \"least-tunnels\"");
    let scenario = Scenario { name: "killed", client: Client::Node4, limit: Duration::from_secs(60) };
    scenario.run(&backends, &lane(&ringbolt));
}

#[test]
fn with_one_backend_silent_no_client_sees_an_error_after_its_detection() {
    let backends = Backends::start(Kind::SocketIo4, 3);
    let ringbolt = start(
        backends.addresses(),
        "balance = \"least-tunnels\"\n[upstream.a.health]\ncheck = \"engine-io\"\ninterval = \"1s\"\n\
         fast_interval = \"500ms\"\ntimeout = \"1s\"\nfall = 2\n",
    );
    let scenario = Scenario { name: "newcomers", client: Client::Node4, limit: Duration::from_secs(60) };
    scenario.run(&backends, &lane(&ringbolt));
    let is_down = || {
        let name = "ringbolt_backend_state{upstream=\"a\",backend=\"backend-2\",state=\"down\"}";
        ringbolt.metrics()[name] == 1.0
    };
    let passed = || ringbolt.metrics()["ringbolt_health_checks_total{result=\"passed\"}"];
    let began = Instant::now();
    // Twice each: one that was never checked would be down at once.
    while passed() < 6.0 {
        assert!(began.elapsed() < LIMIT, "no check has passed");
    }
    assert!(!is_down());
    backends.processes()[1].signal(Signal::STOP);
    let began = Instant::now();
    while !is_down() {
        assert!(began.elapsed() < LIMIT, "backend-2 is not found out");
    }
    // An interval, a fast one, a tenth more, and two timeouts are 3.65 s; one interval less at least.
    let took = began.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(7)).contains(&took), "{took:?}");
    scenario.run(&backends, &lane(&ringbolt));
    backends.processes()[1].signal(Signal::CONT);
}
