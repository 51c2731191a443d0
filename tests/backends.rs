//! Backends get what is theirs: by state, weight, policy and room, counted over all workers.
//!
//! Fails with sessions on backends that were taken out, with a backend that drowns in what its neighbours could
//! take, or with clients that wait for ever or not at all for one that is full.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Gate, UPGRADE, Wire};
use ringbolt_harness::{Options, Ringbolt};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Answers `/held` when the gate opens, and else as a backend of this name does.
fn named(name: &str, gate: &Gate) -> Backend {
    let (name, gate) = (name.to_owned(), gate.clone());
    Backend::start(move |request, wire| {
        if request.head().target() == "/held" {
            gate.wait("until the test lets the answer go");
        }
        request.answer_as(&name, wire);
    })
}

fn config(backends: &[String], more: &str) -> String {
    format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [{}]\n{more}\n",
        backends.join(", ")
    )
}

fn entry(backend: &Backend, more: &str) -> String {
    format!("{{ address = \"{}\"{more} }}", backend.address())
}

fn start(config: String) -> Ringbolt {
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn reload(ringbolt: &Ringbolt, config: &str) {
    ringbolt.configure(config);
    let (code, said) = ringbolt.order(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
}

fn get(ringbolt: &Ringbolt, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    Wire::connect(ringbolt.address()).exchange(request).text()
}

/// Opens `count` tunnels one after the other; how many each backend got. They close with the returned wires.
fn tunnels(ringbolt: &Ringbolt, count: usize) -> (Vec<Wire>, BTreeMap<String, usize>) {
    let mut by_name = BTreeMap::new();
    let wires = (0..count)
        .map(|_| {
            let (wire, answer) = ringbolt.counted_tunnel(UPGRADE);
            let name = answer.head.value("X-Name").expect("a tunnel").to_owned();
            *by_name.entry(name).or_default() += 1;
            wire
        })
        .collect();
    (wires, by_name)
}

#[test]
fn a_backend_in_maintenance_gets_nothing_and_one_that_drains_keeps_its_sessions() {
    let backends = ["a", "b"].map(|name| named(name, &Gate::default()));
    let file = |state: &str| {
        config(&[entry(&backends[0], &format!(", state = \"{state}\"")), entry(&backends[1], "")], "")
    };
    // All sessions of one address begin at one backend, which may be the other.
    let only = config(&[entry(&backends[0], "")], "");
    let ringbolt = start(only);
    assert!(get(&ringbolt, "/?EIO=4&transport=polling").contains("\"sid\":\"a\""));
    reload(&ringbolt, &file("drain"));
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "a");
    for _ in 0..8 {
        assert!(get(&ringbolt, "/?EIO=4&transport=polling").contains("\"sid\":\"b\""));
        assert_eq!(get(&ringbolt, "/"), "b");
    }
    let before = backends[0].requests().len();
    reload(&ringbolt, &file("maintenance"));
    for target in ["/", "/?EIO=4&transport=polling&sid=a", "/?EIO=4&transport=polling&sid=unknown"] {
        assert_eq!(get(&ringbolt, target), "b", "{target}");
    }
    assert_eq!(backends[0].requests().len(), before);
    reload(&ringbolt, &file("up"));
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "a", "its sessions are its own again");
}

#[test]
fn a_backup_serves_when_nobody_else_can() {
    let backends = ["a", "backup"].map(|name| named(name, &Gate::default()));
    let file = |state: &str| {
        let main = entry(&backends[0], &format!(", state = \"{state}\""));
        config(&[entry(&backends[1], ", backup = true"), main], "affinity = \"none\"")
    };
    let ringbolt = start(file("up"));
    for (state, expected) in [("up", "a"), ("maintenance", "backup"), ("up", "a"), ("drain", "backup")] {
        reload(&ringbolt, &file(state));
        let names: Vec<_> = (0..6).map(|_| get(&ringbolt, "/")).collect();
        assert!(names.iter().all(|name| name == expected), "{state}: {names:?}");
    }
    // It steps in within a request, too.
    drop(backends);
    let backup = named("backup", &Gate::default());
    let dead = ringbolt_harness::raw::Dead::refusing();
    let file = format!("\"{}\"", dead.address());
    reload(&ringbolt, &config(&[file, entry(&backup, ", backup = true")], "affinity = \"none\""));
    assert_eq!(get(&ringbolt, "/"), "backup");
}

#[test]
fn tunnels_are_spread_by_policy_and_weight_over_all_workers() {
    let backends = ["a", "b", "c"].map(|name| named(name, &Gate::default()));
    let file = |balance: &str| {
        let weights = [1, 1, 2].map(|weight| format!(", weight = {weight}"));
        let entries: Vec<_> =
            backends.iter().zip(&weights).map(|(backend, weight)| entry(backend, weight)).collect();
        config(&entries, &format!("affinity = \"none\"\nbalance = \"{balance}\""))
    };
    let ringbolt = start(file("least-tunnels"));
    let spread = |count| {
        let (wires, by_name) = tunnels(&ringbolt, count);
        drop(wires);
        ringbolt.wait_for_metric("ringbolt_tunnels_active", |active| active == 0.0);
        ["a", "b", "c"].map(|name| by_name.get(name).copied().unwrap_or(0))
    };
    assert_eq!(spread(80), [20, 20, 40]);
    reload(&ringbolt, &file("round-robin"));
    assert_eq!(spread(80), [20, 20, 40]);
    reload(&ringbolt, &file("random-two"));
    let drawn = spread(80);
    assert!(drawn.iter().zip([20, 20, 40]).all(|(count, share)| count.abs_diff(share) <= 10), "{drawn:?}");
    // All clients are behind one address: its favourite gets 1.25 times its share, and no other would be asked.
    reload(&ringbolt, &file("rendezvous"));
    let hashed = spread(80);
    assert!(hashed.iter().any(|count| *count == 25 || *count == 50), "{hashed:?}");
}

#[test]
fn a_backend_that_comes_is_filled_slowly() {
    let backends = ["a", "b", "new"].map(|name| named(name, &Gate::default()));
    let file = |count: usize| {
        let entries: Vec<_> = backends[..count].iter().map(|backend| entry(backend, "")).collect();
        config(&entries, "affinity = \"none\"\nbalance = \"least-tunnels\"\nslow_start = 100")
    };
    let ringbolt = start(file(2));
    let (_first, _) = tunnels(&ringbolt, 200);
    reload(&ringbolt, &file(3));
    let (_second, by_name) = tunnels(&ringbolt, 60);
    // It is the emptiest all the time: without a slow start it would get all of them.
    let given = by_name.get("new").copied().unwrap_or(0);
    assert!((1..30).contains(&given), "{by_name:?}");
}

#[test]
fn a_full_backend_s_requests_wait_for_their_turn() {
    let gate = Gate::default();
    let backend = named("a", &gate);
    let ringbolt = start(config(
        &[entry(&backend, ", maxconn = 2")],
        "affinity = \"none\"\nqueue = 2\nqueue_timeout = \"30s\"",
    ));
    let held = "GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut inside = Wire::connect(ringbolt.address());
    inside.send(held);
    backend.wait_for_requests(1);
    // A tunnel counts as long as it is open.
    let (mut tunnel, _) = tunnels(&ringbolt, 1);
    let waiting = |count: f64| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while ringbolt.metrics()["ringbolt_queue_waiting"] != count {
            assert!(Instant::now() < deadline, "{count} should wait");
        }
    };
    let mut waits: Vec<_> = (1..=2_u8)
        .map(|number| {
            let wire = Wire::connect(ringbolt.address());
            wire.send(GET);
            waiting(number.into());
            wire
        })
        .collect();
    let refused = Wire::connect(ringbolt.address()).exchange(GET);
    assert_eq!((refused.status(), refused.head.value("Retry-After")), (503, Some("1")));
    assert!(refused.text().contains("queue"), "{}", refused.text());
    assert_eq!(backend.requests().len(), 2, "nobody passes by");
    tunnel[0].close();
    assert_eq!(waits[0].read_response().text(), "a");
    assert_eq!(waits[1].read_response().text(), "a");
    waiting(0.0);
    // One who goes away gives up the place.
    let mut second = Wire::connect(ringbolt.address());
    second.send(held);
    backend.wait_for_requests(5);
    let mut gone = Wire::connect(ringbolt.address());
    gone.send(GET);
    waiting(1.0);
    gone.close();
    waiting(0.0);
    gate.open();
    assert_eq!((inside.read_response().status(), second.read_response().status()), (200, 200));
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "a");
    let metrics = ringbolt.metrics();
    let queued = ["served", "full", "gone"]
        .map(|result| metrics[&format!("ringbolt_queued_total{{result=\"{result}\"}}")]);
    // Who comes right behind an answer may wait a moment for the place that it gives back.
    assert!(queued[0] >= 2.0 && queued[1..] == [1.0, 1.0], "{queued:?}");
}

#[test]
fn a_queue_has_an_end_and_a_neighbour_with_room_is_taken_first() {
    let gate = Gate::default();
    let backends = ["a", "b"].map(|name| named(name, &gate));
    let file = |count: usize| {
        // A place is given back a moment after the answer: the neighbour has a second one.
        let bounds = [", maxconn = 1", ", maxconn = 2"];
        let entries: Vec<_> =
            backends[..count].iter().zip(bounds).map(|(backend, bound)| entry(backend, bound)).collect();
        config(&entries, "affinity = \"none\"\nqueue_timeout = \"500ms\"")
    };
    let ringbolt = start(file(1));
    let held = Wire::connect(ringbolt.address());
    held.send("GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n");
    backends[0].wait_for_requests(1);
    let refused = Wire::connect(ringbolt.address()).exchange(GET);
    assert_eq!((refused.status(), refused.head.value("Retry-After")), (503, Some("1")));
    assert_eq!(ringbolt.metrics()["ringbolt_queued_total{result=\"timeout\"}"], 1.0);
    reload(&ringbolt, &file(2));
    for _ in 0..6 {
        assert_eq!(get(&ringbolt, "/"), "b");
    }
    gate.open();
}
