//! What was ordered of backends and found out about them holds in the new binary as well.
//!
//! Fails with sessions at a backend that was taken out before the upgrade, with one that is flooded in the middle of
//! its slow start, or with more connections to a backend than its `maxconn` allows.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Dead, Tunnel, UPGRADE, Wire};
use ringbolt_harness::{Options, Ringbolt};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn named(name: &str) -> Backend {
    let name = name.to_owned();
    Backend::start(move |request, wire| request.answer_as(&name, wire))
}

fn entry(name: &str, address: std::net::SocketAddr, more: &str) -> String {
    format!("{{ name = \"{name}\", address = \"{address}\"{more} }}")
}

/// A configuration with one upstream, `u`.
fn config(entries: &[String], more: &str) -> String {
    format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\naffinity = \"none\"\nbackends = [{}]\n{more}\n",
        entries.join(", ")
    )
}

fn start(config: String) -> Ringbolt {
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn order(ringbolt: &Ringbolt, arguments: &[&str]) -> String {
    let (code, said) = ringbolt.order(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

/// How all backends stand.
fn standings(ringbolt: &Ringbolt) -> Vec<Value> {
    let all = order(ringbolt, &["backends", "--json"]);
    serde_json::from_str(&all).expect("a list in JSON")
}

fn upgrade(ringbolt: &mut Ringbolt) {
    ringbolt.upgrade();
    ringbolt.former_ends();
}

#[test]
fn orders_and_added_and_removed_backends_go_along() {
    let backends = ["a", "b", "c", "d"].map(named);
    let entries: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(&backends)
        .map(|(name, backend)| entry(name, backend.address(), ""))
        .collect();
    let mut ringbolt = start(config(&entries, ""));
    let untouched = standings(&ringbolt);
    let address = backends[3].address().to_string();
    order(&ringbolt, &["drain", "a"]);
    order(&ringbolt, &["weight", "b", "5"]);
    order(&ringbolt, &["add", "u", &address, "--name", "d", "--weight", "3", "--maxconn", "7", "--backup"]);
    order(&ringbolt, &["maintenance", "d"]);
    order(&ringbolt, &["remove", "c"]);
    let ordered = standings(&ringbolt);
    assert_eq!(ordered.len(), 3, "{ordered:?}");
    for _ in 0..2 {
        upgrade(&mut ringbolt);
        assert_eq!(standings(&ringbolt), ordered);
        for _ in 0..6 {
            assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "b");
        }
    }
    order(&ringbolt, &["reload"]);
    assert_eq!(standings(&ringbolt), ordered);
    ["a", "b", "c", "d"].iter().for_each(|name| drop(order(&ringbolt, &["reset", name])));
    assert_eq!(standings(&ringbolt), untouched);
    // What the new process' file says as well is the file's.
    order(&ringbolt, &["add", "u", &address, "--name", "d"]);
    let file = config(&[&entries[..], &[entry("d", backends[3].address(), ", weight = 9")]].concat(), "");
    ringbolt.configure(&file);
    upgrade(&mut ringbolt);
    let told = standings(&ringbolt);
    let told = &told[3];
    assert_eq!(
        (&told["origin"], &told["weight"], &told["ordered"]),
        (&"config".into(), &9.into(), &false.into())
    );
}

/// Opens `count` tunnels one after the other; how many of them `name` got.
fn tunnels(ringbolt: &Ringbolt, count: usize, name: &str) -> (Vec<Wire>, usize) {
    let mut given = 0;
    let wires = (0..count)
        .map(|_| {
            let (wire, answer) = ringbolt.counted_tunnel(UPGRADE);
            given += usize::from(answer.head.value("X-Name") == Some(name));
            wire
        })
        .collect();
    (wires, given)
}

#[test]
fn a_slow_start_goes_on() {
    let backends = ["a", "new"].map(named);
    let more = "balance = \"least-tunnels\"\nslow_start = 100";
    let mut ringbolt = start(config(&[entry("a", backends[0].address(), "")], more));
    let (_first, _) = tunnels(&ringbolt, 100, "new");
    order(&ringbolt, &["add", "u", &backends[1].address().to_string(), "--name", "new"]);
    upgrade(&mut ringbolt);
    // It is the emptier one all the time, and would get all of them.
    let (_second, given) = tunnels(&ringbolt, 30, "new");
    assert!((1..15).contains(&given), "{given} of 30");
}

#[test]
fn what_checks_and_requests_have_found_goes_along() {
    let (down, suspect, well) = (Dead::refusing(), Dead::refusing(), named("well"));
    let checked = |interval: &str, fall: u32| {
        let health = format!(
            "[upstream.v.health]\ncheck = \"tcp\"\ninterval = \"{interval}\"\nfast_interval = \"{interval}\"\n\
             fall = {fall}\n"
        );
        let entries = [entry("down", down.address(), ""), entry("up", well.address(), "")];
        let other = format!("[upstream.v]\nbackends = [{}]\n{health}", entries.join(", "));
        let health = "[upstream.u.health]\nfailures = 1\nfailure_pause = \"1h\"\n";
        let route = "[[route]]\npath = \"/v\"\nupstream = \"v\"\n[[route]]\npath = \"/\"\nupstream = \"u\"\n";
        config(
            &[entry("suspect", suspect.address(), ""), entry("well", well.address(), "")],
            &format!("{health}{other}{route}"),
        )
    };
    let states = |ringbolt: &Ringbolt| {
        let state = |backend: &Value| backend["state"].as_str().expect("a state").to_owned();
        standings(ringbolt).iter().map(state).collect::<Vec<_>>()
    };
    let mut ringbolt = start(checked("50ms", 1));
    let began = Instant::now();
    while states(&ringbolt) != ["suspect", "up", "down", "up"] {
        assert!(began.elapsed() < LIMIT, "{:?}", states(&ringbolt));
        Wire::connect(ringbolt.address()).exchange(GET);
    }
    // The new process would take weeks to find out by itself.
    ringbolt.configure(&checked("700h", 100));
    upgrade(&mut ringbolt);
    assert_eq!(states(&ringbolt), ["suspect", "up", "down", "up"]);
}

#[test]
fn tunnels_that_moved_count_towards_maxconn() {
    let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = backend.local_addr().expect("bound");
    let mut ringbolt = start(config(&[entry("a", address, ", maxconn = 2")], "queue = 0"));
    let mut open: Vec<_> = (0..2).map(|_| Tunnel::open(ringbolt.address(), &backend)).collect();
    let refused = |ringbolt: &Ringbolt| {
        let answer = Wire::connect(ringbolt.address()).exchange(UPGRADE);
        assert_eq!(answer.status(), 503, "{}", answer.text());
    };
    refused(&ringbolt);
    upgrade(&mut ringbolt);
    refused(&ringbolt);
    open.iter().for_each(Tunnel::check);
    drop(open.pop());
    let began = Instant::now();
    while ringbolt.metrics()["ringbolt_tunnels_active"] > 1.0 {
        assert!(began.elapsed() < LIMIT, "a tunnel whose ends are closed lives on");
    }
    open.push(Tunnel::open(ringbolt.address(), &backend));
    refused(&ringbolt);
    upgrade(&mut ringbolt);
    refused(&ringbolt);
    open.iter().for_each(Tunnel::check);
}

#[test]
fn a_drain_over_some_time_goes_on() {
    let backends = ["a", "b"].map(named);
    let entries = [entry("a", backends[0].address(), ""), entry("b", backends[1].address(), "")];
    let mut ringbolt = start(config(&entries, "balance = \"least-tunnels\""));
    let (_open, of_a) = tunnels(&ringbolt, 60, "a");
    assert_eq!(of_a, 30);
    let began = Instant::now();
    order(&ringbolt, &["drain", "a", "--over", "10s"]);
    ringbolt.upgrade();
    let drained = |ringbolt: &Ringbolt| {
        let load = |backend: &Value| backend["load"].as_u64().expect("a number");
        standings(ringbolt).iter().map(load).collect::<Vec<_>>()
    };
    while drained(&ringbolt) != [0, 30] {
        assert!(began.elapsed() < 2 * LIMIT, "{:?}", drained(&ringbolt));
        std::thread::yield_now();
    }
    let took = began.elapsed();
    // Clients that do not answer have 5 s: closed at once, all would be gone by then.
    assert!(took > Duration::from_secs(9), "all at once, after {took:?}");
}
