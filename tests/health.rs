//! A backend that fails is found out in the configured time, and nobody is sent there from then on.
//!
//! Fails with clients that wait for a dead backend again and again, with an upstream that is emptied because one
//! bad minute looked like death, or with checks that leave sessions behind on every backend.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Dead, Wire};
use ringbolt_harness::{Backends, Kind, Options, Ringbolt};

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at the metrics, which the thread that makes the checks writes.
const PAUSE: Duration = Duration::from_millis(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn start(backends: &[String], more: &str) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [{}]\n{more}\n",
        backends.join(", ")
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn entry(name: &str, address: std::net::SocketAddr) -> String {
    format!("{{ name = \"{name}\", address = \"{address}\" }}")
}

/// Whether the backend is in this state.
fn is(ringbolt: &Ringbolt, backend: &str, state: &str) -> bool {
    let name = format!("ringbolt_backend_state{{upstream=\"a\",backend=\"{backend}\",state=\"{state}\"}}");
    ringbolt.metrics()[&name] == 1.0
}

/// Waits until the backend is in this state; how long that took.
fn wait_until(ringbolt: &Ringbolt, backend: &str, state: &str) -> Duration {
    let began = Instant::now();
    while !is(ringbolt, backend, state) {
        assert!(began.elapsed() < LIMIT, "{backend} is not {state}:\n{}", ringbolt.process().output());
        thread::sleep(PAUSE);
    }
    began.elapsed()
}

/// Waits until this many checks have passed, none failed.
fn wait_for_checks(ringbolt: &Ringbolt, passed: f64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let metrics = ringbolt.metrics();
        let checks = |result: &str| metrics[&format!("ringbolt_health_checks_total{{result=\"{result}\"}}")];
        assert_eq!(checks("failed") + checks("timeout"), 0.0, "{}", ringbolt.process().output());
        if checks("passed") >= passed {
            return;
        }
        assert!(Instant::now() < deadline, "{passed} checks should have passed");
        thread::sleep(PAUSE);
    }
}

/// A backend that answers its name, or nothing while it is frozen.
fn freezing(name: &str) -> (Backend, Arc<AtomicBool>) {
    let (name, frozen) = (name.to_owned(), Arc::new(AtomicBool::new(false)));
    let is_frozen = Arc::clone(&frozen);
    let backend = Backend::start(move |_, wire| {
        while is_frozen.load(Relaxed) {
            thread::park_timeout(Duration::from_millis(5));
        }
        // Whoever asked may have given up.
        let _ = wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
    });
    (backend, frozen)
}

fn names(ringbolt: &Ringbolt, count: usize) -> Vec<String> {
    let name = |_| {
        let answer = Wire::connect(ringbolt.address()).exchange(GET);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.text()
    };
    (0..count).map(name).collect()
}

#[test]
fn a_backend_that_falls_silent_is_down_in_the_configured_time_and_comes_back() {
    let (backends, frozen): (Vec<_>, Vec<_>) = ["x", "y", "z"].map(freezing).into_iter().unzip();
    let entries: Vec<_> =
        ["x", "y", "z"].iter().zip(&backends).map(|(name, backend)| entry(name, backend.address())).collect();
    let ringbolt = start(
        &entries,
        "affinity = \"none\"\n[upstream.a.health]\ncheck = \"http\"\nbody = \"\u{79}\"\nstatus = \"200\"\n\
         interval = \"1s\"\nfast_interval = \"300ms\"\ntimeout = \"5s\"\nfall = 3\nrise = 2\n",
    );
    // Only y answers what is wanted.
    wait_until(&ringbolt, "x", "down");
    wait_until(&ringbolt, "z", "down");
    assert!(names(&ringbolt, 9).iter().all(|name| name == "y"));
    ringbolt.wait_for_metric("ringbolt_health_checks_total{result=\"failed\"}", |failed| failed >= 2.0);
    ringbolt.wait_for_metric("ringbolt_health_checks_total{result=\"passed\"}", |passed| passed >= 1.0);
    drop(ringbolt);

    let ringbolt = start(
        &entries,
        "affinity = \"none\"\n[upstream.a.health]\ncheck = \"http\"\n\
         interval = \"1s\"\nfast_interval = \"300ms\"\ntimeout = \"1s\"\nfall = 3\nrise = 2\n",
    );
    // Twice each: one that was never checked would be down at once.
    wait_for_checks(&ringbolt, 6.0);
    assert!(["x", "y", "z"].iter().all(|name| names(&ringbolt, 9).iter().any(|got| got == name)));
    frozen[0].store(true, Relaxed);
    let took = wait_until(&ringbolt, "x", "down");
    // At least two fast intervals and the last two timeouts; at most an interval and the first timeout more.
    assert!((Duration::from_millis(2400)..Duration::from_secs(15)).contains(&took), "{took:?}");
    let got = names(&ringbolt, 30);
    assert!(got.iter().all(|name| name != "x"), "{got:?}");
    // Health outlives a reload that changes something else.
    ringbolt.process().signal(rustix::process::Signal::HUP);
    ringbolt.process().line("reloaded line", LIMIT, |line| line.contains("reloaded").then_some(()));
    assert!(is(&ringbolt, "x", "down"));
    frozen[0].store(false, Relaxed);
    wait_until(&ringbolt, "x", "up");
    assert!(names(&ringbolt, 9).iter().any(|name| name == "x"));
}

#[test]
fn a_check_by_connection_finds_a_dead_backend_before_any_client_does() {
    let (live, dead, silent) = (Backend::named("live"), Dead::refusing(), Dead::silent());
    let entries =
        [entry("live", live.address()), entry("dead", dead.address()), entry("silent", silent.address())];
    let ringbolt = start(
        &entries,
        "affinity = \"none\"\n[upstream.a.health]\ncheck = \"tcp\"\ninterval = \"5s\"\nfast_interval = \"1s\"\ntimeout = \"300ms\"\n",
    );
    // One that was never checked is down with its first failure.
    wait_until(&ringbolt, "dead", "down");
    wait_until(&ringbolt, "silent", "down");
    assert_eq!(names(&ringbolt, 12), ["live"; 12]);
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_upstream_connects_total{result=\"refused\"}"], 0.0);
    assert!(metrics["ringbolt_health_checks_total{result=\"timeout\"}"] >= 1.0);
}

#[test]
fn requests_that_fail_make_a_backend_suspect_and_the_clients_wait_for_it_no_more() {
    let (live, dead) = (Backend::named("live"), Dead::silent());
    let entries = [entry("live", live.address()), entry("silent", dead.address())];
    let ringbolt = start(
        &entries,
        "affinity = \"none\"\nbalance = \"round-robin\"\n[upstream.a.health]\nfailures = 3\nfailure_pause = \"60s\"\n\
         [timeouts]\nconnect = \"1s\"\n",
    );
    assert_eq!(names(&ringbolt, 20), ["live"; 20]);
    assert!(is(&ringbolt, "silent", "suspect"));
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_upstream_connects_total{result=\"timeout\"}"], 3.0);
    assert_eq!(metrics["ringbolt_backends_suspected_total"], 1.0);
    // Where most are suspect, suspicion is not heeded: nobody is refused who might be served.
    drop(live);
    for _ in 0..4 {
        assert!(Wire::connect(ringbolt.address()).exchange(GET).status() >= 502);
    }
    let tried = ringbolt.metrics()["ringbolt_upstream_connects_total{result=\"timeout\"}"];
    assert!(tried > 3.0, "{tried}");
}

#[test]
fn the_engine_io_check_opens_a_session_and_closes_it() {
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let backend = Backend::start(move |request, wire| {
        let open = r#"0{"sid":"a+/=b","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
        let is_open = request.head().first_line().starts_with("GET");
        wire.send(ok(if is_open { open } else { "ok" }));
    });
    let wrong = Backend::named("no handshake");
    let ringbolt = start(
        &[entry("good", backend.address()), entry("wrong", wrong.address())],
        "[upstream.a.health]\ncheck = \"engine-io\"\ninterval = \"200ms\"\nhost = \"check.example\"\n",
    );
    wait_until(&ringbolt, "wrong", "down");
    backend.wait_for_requests(4);
    assert!(is(&ringbolt, "good", "up"));
    let requests = backend.requests();
    for two in requests.chunks_exact(2) {
        assert_eq!(two[0].head().target(), "/socket.io/?EIO=4&transport=polling");
        assert_eq!(two[0].head().value("Host"), Some("check.example"));
        assert_eq!(two[1].head().target(), "/socket.io/?EIO=4&transport=polling&sid=%61%2B%2F%3D%62");
        assert_eq!(two[1].message.body, b"1");
    }
}

#[test]
fn the_engine_io_check_passes_on_real_servers_of_both_generations() {
    for kind in [Kind::SocketIo2, Kind::SocketIo4, Kind::Python] {
        let backends = Backends::shared(kind);
        let entries: Vec<_> =
            (0..).zip(backends.addresses()).map(|(n, a)| entry(&format!("b{n}"), *a)).collect();
        let ringbolt = start(
            &entries,
            "[upstream.a.health]\ncheck = \"engine-io\"\ninterval = \"200ms\"\ntimeout = \"5s\"\n",
        );
        wait_for_checks(&ringbolt, 9.0);
    }
}
