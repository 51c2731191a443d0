//! Operators see which sessions live, as far as it is known, and clients notice nothing of it.
//!
//! Fails with a sid that is shown, with totals that do not add up or cut lists that look whole, and with workers that
//! stand still while the table is walked.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, Gate, Wire};
use ringbolt_harness::{Options, Ringbolt};
use serde_json::Value;

/// Of each backend.
const SESSIONS: usize = 50;

/// A backend that issues the sids `NAME-NUMBER`, upgrades what wants it and holds what asks for `/held`.
fn backend(name: &'static str, gate: &Gate) -> Backend {
    let (issued, gate) = (AtomicUsize::new(0), gate.clone());
    Backend::start(move |request, wire| {
        let target = request.head().target();
        if request.head().value("Upgrade").is_some() {
            return wire.send(ACCEPTED);
        }
        if target.starts_with("/held") {
            gate.wait("until the test lets the answer go");
        }
        let body = match target.contains("sid=") {
            true => name.to_owned(),
            false => {
                let sid = format!("{name}-{}", issued.fetch_add(1, Relaxed));
                format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#)
            }
        };
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    })
}

fn request(path: &str, more: &str) -> String {
    format!("GET {path}&EIO=4 HTTP/1.1\r\nHost: a.example\r\n{more}\r\n")
}

fn told(ringbolt: &Ringbolt, arguments: &[&str]) -> Value {
    let (code, said) = ringbolt.order(&[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    serde_json::from_str(&said).expect("JSON")
}

/// Sessions of each backend, by the totals.
fn totals(told: &Value) -> BTreeMap<String, u64> {
    let rows = told["backends"].as_array().expect("a list").iter();
    let total = |row: &Value| (row["backend"].to_string(), row["sessions"].as_u64().expect("a number"));
    rows.map(total).collect()
}

fn list(told: &Value) -> &Vec<Value> {
    told["sessions"].as_array().expect("a list")
}

#[test]
fn sessions_are_listed_by_backend_and_up_to_a_limit() {
    let gate = Gate::default();
    let backends = ["a", "b", "c"].map(|name| backend(name, &gate));
    let entry = |(name, backend): (&str, &Backend)| {
        format!("{{ name = \"{name}\", address = \"{}\" }}", backend.address())
    };
    let entries: Vec<_> = ["a", "b", "c"].into_iter().zip(&backends).map(entry).collect();
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\nbalance = \"round-robin\"\nbackends = [{}]\n",
        entries.join(", ")
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    for _ in 0..3 * SESSIONS {
        let answer = Wire::connect(ringbolt.address()).exchange(request("/?transport=polling", ""));
        assert!(answer.text().contains("\"sid\""), "{}", answer.text());
    }
    let all = told(&ringbolt, &["sessions"]);
    let even = |name: &str| (format!("\"{name}\""), SESSIONS as u64);
    assert_eq!(totals(&all), BTreeMap::from(["a", "b", "c"].map(even)));
    assert_eq!((list(&all).len(), &all["left_out"]), (100, &50.into()));

    let mut held = Wire::connect(ringbolt.address());
    held.send(request("/held?transport=polling&sid=a-1", ""));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut upgraded = Wire::connect(ringbolt.address());
    assert_eq!(upgraded.exchange(request("/?transport=websocket&sid=b-2", upgrade)).status(), 101);
    backends[0].wait_for_requests(SESSIONS + 1);

    let all = told(&ringbolt, &["sessions", "--limit", "10000"]);
    gate.open();
    assert_eq!(held.read_response().text(), "a");
    assert_eq!((list(&all).len(), &all["left_out"]), (3 * SESSIONS, &0.into()));
    let digests: BTreeSet<_> = list(&all).iter().map(|session| session["digest"].to_string()).collect();
    assert_eq!(digests.len(), 3 * SESSIONS);
    assert!(!all.to_string().contains("a-1"), "{all}");
    for (sid, transport, requests) in [("a-1", "polling", 1), ("b-2", "upgrading", 1), ("c-3", "polling", 0)]
    {
        let owner = &told(&ringbolt, &["session", sid])[0];
        let session = list(&all).iter().find(|session| session["digest"] == owner["digest"]).expect("listed");
        assert_eq!(
            (&session["backend"], &session["transport"]),
            (&owner["backend"], &transport.into()),
            "{sid}: {session}"
        );
        let in_progress = session["requests_in_progress"].as_u64().expect("a number");
        assert!(in_progress == requests || transport == "upgrading", "{sid}: {session}");
        let left = session["expires_seconds"].as_u64().expect("a number");
        let age = session["age_seconds"].as_u64().expect("a number");
        assert!((1..=60).contains(&left) && age < 60, "{sid}: {session}");
    }
    let of_b = told(&ringbolt, &["sessions", "--backend", "u/b", "--limit", "7"]);
    assert_eq!(totals(&of_b), BTreeMap::from([even("b")]));
    assert_eq!((list(&of_b).len(), &of_b["left_out"]), (7, &43.into()));
    assert!(list(&of_b).iter().all(|session| session["backend"] == "b"), "{of_b}");
    assert!(list(&told(&ringbolt, &["sessions", "--limit", "0"])).is_empty());
    for (arguments, why) in [
        (&["sessions", "--limit", "10001"][..], "at most 10000"),
        (&["sessions", "--backend", "x"], "there is no"),
    ] {
        let (code, said) = ringbolt.order(arguments);
        assert!(code == Some(1) && said.contains(why), "{said}");
    }
    let (_, table) = ringbolt.order(&["sessions", "--limit", "1"]);
    let headings: Vec<_> = table.lines().filter(|line| line.starts_with(char::is_uppercase)).collect();
    assert!(headings[0].starts_with("UPSTREAM  BACKEND  SESSIONS"), "{table}");
    assert!(headings[1].starts_with("DIGEST    UPSTREAM  BACKEND  TRANSPORT"), "{table}");
    assert!(table.ends_with("left_out  149\n"), "{table}");

    // Those of a backend that was removed live on for a while, and nobody is called by its number.
    assert_eq!(ringbolt.order(&["remove", "c"]).0, Some(0));
    let left = totals(&told(&ringbolt, &["sessions"]));
    assert_eq!(left.get("null"), Some(&(SESSIONS as u64)), "{left:?}");
}

/// The table is walked again and again, whole, and every poll is answered meanwhile.
#[test]
fn polls_go_on_while_sessions_are_listed() {
    let backend = backend("a", &Gate::default());
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\nbackends = [\"{}\"]\n",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let mut opening = Wire::connect(ringbolt.address());
    for _ in 0..2000 {
        assert_eq!(opening.exchange(request("/?transport=polling", "")).status(), 200);
    }
    let listed = AtomicBool::new(false);
    thread::scope(|scope| {
        let polling = scope.spawn(|| {
            let (mut polls, mut longest) = (0_u32, Duration::ZERO);
            let mut wire = Wire::connect(ringbolt.address());
            while !listed.load(Relaxed) {
                let began = Instant::now();
                let answer =
                    wire.exchange(request(&format!("/?transport=polling&sid=a-{}", polls % 2000), ""));
                assert_eq!(answer.text(), "a");
                longest = longest.max(began.elapsed());
                polls += 1;
            }
            (polls, longest)
        });
        for _ in 0..30 {
            let all = told(&ringbolt, &["sessions", "--limit", "10000"]);
            assert_eq!(list(&all).len(), 2000);
        }
        listed.store(true, Relaxed);
        let (polls, longest) = polling.join().expect("polls are answered");
        println!("{polls} polls, the longest took {longest:?}");
        assert!(polls > 30, "{polls}");
    });
}
