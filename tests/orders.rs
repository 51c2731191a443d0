//! What an operator orders holds at once, over reloads, and until it is taken back; and it is seen.
//!
//! Fails with a backend that gets sessions while it is being taken out, with tunnels cut all at once where a time
//! was given, or with an order that is forgotten when the file is read again.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, UPGRADE, Wire};
use ringbolt_harness::{Options, Ringbolt};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

fn named(name: &str) -> Backend {
    let name = name.to_owned();
    Backend::start(move |request, wire| request.answer_as(&name, wire))
}

/// A daemon with the backends `a` and `b`.
fn start(backends: &[Backend; 2]) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\nbalance = \"least-tunnels\"\nbackends = [{{ name = \"a\", address = \"{}\" }}, \
         {{ name = \"b\", address = \"{}\" }}]\n",
        backends[0].address(),
        backends[1].address()
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

/// Gives an order that is carried out; returns what was said.
fn order(ringbolt: &Ringbolt, arguments: &[&str]) -> String {
    let (code, said) = ringbolt.order(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

/// What is told of a backend.
fn backend(ringbolt: &Ringbolt, name: &str) -> Value {
    let all: Value = serde_json::from_str(&order(ringbolt, &["backends", "--json"])).expect("JSON");
    let found = all.as_array().expect("a list").iter().find(|backend| backend["name"] == name);
    found.expect("the backend").clone()
}

fn get(ringbolt: &Ringbolt, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    Wire::connect(ringbolt.address()).exchange(request).text()
}

/// Who gets the next six sessions.
fn sessions(ringbolt: &Ringbolt) -> Vec<bool> {
    let of_a = |_| get(ringbolt, "/?EIO=4&transport=polling").contains("\"sid\":\"a\"");
    (0..6).map(of_a).collect()
}

/// Opens this many tunnels, half of them to each backend.
fn tunnels(ringbolt: &Ringbolt, count: usize) -> [Vec<Wire>; 2] {
    let mut wires = [Vec::new(), Vec::new()];
    for _ in 0..count {
        let (wire, answer) = ringbolt.counted_tunnel(UPGRADE);
        wires[usize::from(answer.head.value("X-Name") == Some("b"))].push(wire);
    }
    assert_eq!([wires[0].len(), wires[1].len()], [count / 2; 2]);
    wires
}

#[test]
fn a_drained_backend_keeps_its_sessions_over_reloads_until_it_is_enabled() {
    let backends = ["a", "b"].map(named);
    let ringbolt = start(&backends);
    assert!(sessions(&ringbolt).contains(&true));
    assert_eq!(order(&ringbolt, &["drain", "u/a"]), "u/a: drain\n");
    assert_eq!(sessions(&ringbolt), [false; 6]);
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "a");
    let told = backend(&ringbolt, "a");
    assert_eq!((&told["state"], &told["ordered"]), (&"drain".into(), &true.into()));
    order(&ringbolt, &["reload"]);
    assert_eq!(sessions(&ringbolt), [false; 6], "the file does not take an order back");
    order(&ringbolt, &["maintenance", "a"]);
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "b");
    order(&ringbolt, &["enable", "a"]);
    assert!(sessions(&ringbolt).contains(&true));
    order(&ringbolt, &["weight", "a", "5"]);
    let told = backend(&ringbolt, "a");
    assert_eq!((&told["state"], &told["weight"], &told["ordered"]), (&"up".into(), &5.into(), &true.into()));
    order(&ringbolt, &["reset", "a"]);
    let told = backend(&ringbolt, "a");
    assert_eq!((&told["weight"], &told["ordered"]), (&1.into(), &false.into()));
}

/// Clients that were told that their tunnels end.
fn drained(ringbolt: &Ringbolt) -> f64 {
    ringbolt.metrics()["ringbolt_tunnels_drained_total{by=\"close_frame\"}"]
}

#[test]
fn tunnels_of_a_drained_backend_close_evenly_over_the_given_time_and_no_others() {
    let backends = ["a", "b"].map(named);
    let ringbolt = start(&backends);
    let [mut of_a, of_b] = tunnels(&ringbolt, 80);
    let began = Instant::now();
    let said = order(&ringbolt, &["drain", "a", "--over", "4s"]);
    assert_eq!(said, "u/a: drain, its sessions are closed over 4 s\n");
    let closed = || drained(&ringbolt);
    let middle = Duration::from_millis(1500)..Duration::from_millis(2500);
    let mut halfway = None;
    loop {
        let (before, now, behind) = (began.elapsed(), closed(), began.elapsed());
        if now >= 40.0 {
            break;
        }
        assert!(behind < LIMIT, "{now} closed");
        if middle.contains(&before) && middle.contains(&behind) {
            halfway = Some(now);
        }
    }
    let took = began.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&took), "{took:?}");
    // A machine that did not get to look in a whole second proves nothing here.
    assert!(halfway.is_none_or(|closed| (8.0..33.0).contains(&closed)), "{halfway:?} of 40 halfway");
    for wire in &mut of_a {
        assert_eq!(wire.read_exactly(4, "a close frame"), [0x88, 2, 3, 0xf4]);
        wire.close();
    }
    while ringbolt.metrics()["ringbolt_tunnels_active"] > of_b.len() as f64 {
        assert!(began.elapsed() < LIMIT, "tunnels of a live on");
    }
    assert_eq!(ringbolt.metrics()["ringbolt_tunnels_active"], of_b.len() as f64);
}

#[test]
fn enabling_a_backend_stops_the_closing_of_its_tunnels() {
    let backends = ["a", "b"].map(named);
    let ringbolt = start(&backends);
    let _open = tunnels(&ringbolt, 20);
    order(&ringbolt, &["drain", "a", "--rate", "1"]);
    let closed = || drained(&ringbolt);
    let began = Instant::now();
    while closed() == 0.0 {
        assert!(began.elapsed() < LIMIT, "nothing is closed");
    }
    order(&ringbolt, &["enable", "a"]);
    let before = closed();
    // As long as several more would have taken.
    std::thread::sleep(Duration::from_secs(4));
    assert!(closed() <= before + 1.0, "{} after {before}", closed());
}

#[test]
fn the_process_tells_what_it_does_and_refuses_what_means_nothing() {
    let backends = ["a", "b"].map(named);
    let ringbolt = start(&backends);
    let _open = tunnels(&ringbolt, 4);
    get(&ringbolt, "/?EIO=4&transport=polling");
    let status: Value = serde_json::from_str(&order(&ringbolt, &["status", "--json"])).expect("JSON");
    assert_eq!((&status["pid"], &status["phase"]), (&ringbolt.pid().into(), &"ready".into()));
    assert_eq!((&status["tunnels"], &status["sids"], &status["workers"]), (&4.into(), &1.into(), &2.into()));
    assert_eq!(status["engine"], ringbolt.engine());
    let table = order(&ringbolt, &["backends"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("UPSTREAM  NAME  ADDRESS"), "{table}");
    assert!(lines[1].starts_with("u         a     127.0.0.1:"), "{table}");
    let told = ["a", "b"].map(|sid| ringbolt.order(&["session", sid, "--json"]).1);
    assert!(
        told.iter()
            .any(|told| ["a", "b"].iter().any(|name| told.contains(&format!("\"backend\":\"{name}\"")))),
        "{told:?}"
    );
    for (arguments, why) in [
        (&["drain", "nobody"][..], "there is no backend"),
        (&["weight", "a", "0"], "from 1 to 1000"),
        (&["session", "unknown"], "no backend is known"),
    ] {
        let (code, said) = ringbolt.order(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

#[test]
fn orders_are_taken_over_the_admin_address_from_who_has_the_token() {
    let backends = ["a", "b"].map(named);
    let ringbolt = start(&backends);
    let path = ringbolt.folder().join("token");
    let token = |text: &str| std::fs::write(&path, text).expect("write the token");
    let file = ringbolt.configuration();
    let ask = |method: &str, path: &str, field: &str, body: &str| {
        let length = body.len();
        let head =
            format!("Host: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{field}");
        let answer =
            Wire::connect(ringbolt.admin()).exchange(format!("{method} {path} HTTP/1.1\r\n{head}\r\n{body}"));
        (answer.status(), answer.text())
    };
    let (first, second) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let orders = [
        ("GET", "/status", ""),
        ("GET", "/backends", ""),
        ("POST", "/backends/state", r#"{"backend":"a","state":"drain"}"#),
        ("POST", "/reload", ""),
        ("POST", "/upgrade", ""),
    ];
    for (method, path, body) in orders {
        assert_eq!(ask(method, path, &bearer(first), body).0, 403, "{path}: there is no token");
    }
    token(first);
    ringbolt.configure(&file.replace("[admin]\n", "[admin]\ntoken_file = \"token\"\n"));
    order(&ringbolt, &["reload"]);
    for (method, path, body) in orders {
        for field in ["", &bearer(second), &bearer(""), &format!("Cookie: {first}\r\n")] {
            assert_eq!(ask(method, path, field, body).0, 401, "{path} {field}");
        }
    }
    assert_eq!(backend(&ringbolt, "a")["state"], "up");
    let said = ask("POST", "/backends/state", &bearer(first), orders[2].2);
    assert_eq!(said, (200, "u/a: drain\n".to_owned()));
    assert_eq!(backend(&ringbolt, "a")["state"], "drain");
    assert_eq!(ask("GET", "/metrics", "", "").0, 200, "is for everybody who reaches it");
    token(second);
    assert_eq!(ask("POST", "/reload", &bearer(first), "").0, 200);
    assert_eq!(ask("GET", "/status", &bearer(first), "").0, 401, "another token holds");
    assert_eq!(ask("GET", "/status", &bearer(second), "").0, 200);
    ringbolt.configure(&file);
    assert_eq!(ask("POST", "/reload", &bearer(second), "").0, 200);
    assert_eq!(ask("GET", "/status", &bearer(second), "").0, 403, "there is none any more");
}

#[test]
fn backends_are_added_and_removed_while_the_process_runs() {
    let backends = ["a", "b"].map(named);
    let third = named("c");
    let address = third.address().to_string();
    let ringbolt = start(&backends);
    assert!(sessions(&ringbolt).contains(&true));
    let added = ["add", "u", &address, "--name", "c", "--weight", "3", "--maxconn", "7"];
    assert_eq!(order(&ringbolt, &added), "u/c: added\n");
    let told = backend(&ringbolt, "c");
    assert_eq!(
        (&told["weight"], &told["origin"], &told["ordered"]),
        (&3.into(), &"order".into(), &true.into())
    );
    assert!(get(&ringbolt, "/?EIO=4&transport=polling").contains("\"sid\":\"c\""), "it has none");
    assert_eq!(order(&ringbolt, &["remove", "u/b"]), "u/b: removed, its tunnels go on\n");
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "a");
    // Above the file, over reloads.
    order(&ringbolt, &["reload"]);
    let names = |ringbolt: &Ringbolt| {
        let all: Value = serde_json::from_str(&order(ringbolt, &["backends", "--json"])).expect("JSON");
        let name = |backend: &Value| backend["name"].as_str().expect("a name").to_owned();
        all.as_array().expect("a list").iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&ringbolt), ["a", "c"]);
    for (arguments, why) in [
        (&["add", "u", &address, "--name", "c"][..], "is there already"),
        (&["add", "v", &address], "there is no upstream"),
        (&["add", "u", "chat.example:3000"], "names belong into the configuration"),
        (&["add", "u", &address, "--weight", "0"], "from 1 to 1000"),
        (&["add", "u", &address, "--name", "x y"], "is no name"),
        (&["remove", "b"], "there is no backend"),
    ] {
        let (code, said) = ringbolt.order(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    order(&ringbolt, &["remove", "a"]);
    let (code, said) = ringbolt.order(&["remove", "c"]);
    assert!(code == Some(1) && said.contains("left without a backend"), "{said}");
    order(&ringbolt, &["reset", "a"]);
    order(&ringbolt, &["reset", "b"]);
    order(&ringbolt, &["reset", "c"]);
    assert_eq!(names(&ringbolt), ["a", "b"]);
    // Written into the file, it is the file's.
    order(&ringbolt, &added);
    let entry = format!("{{ name = \"c\", address = \"{address}\" }}, {{ name = \"a\"");
    ringbolt.configure(&ringbolt.configuration().replace("{ name = \"a\"", &entry));
    order(&ringbolt, &["reload"]);
    let told = backend(&ringbolt, "c");
    assert_eq!(
        (&told["weight"], &told["origin"], &told["ordered"]),
        (&1.into(), &"config".into(), &false.into())
    );
}
