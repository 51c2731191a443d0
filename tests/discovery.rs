//! Backends that DNS names come, stand and go as those of the configuration do, and DNS that fails takes nobody away.
//!
//! Fails with sessions that move when an answer changes, with backends that get sessions while they leave, or with an
//! upstream that is emptied because a DNS server was restarted.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Dns, Mood, Options, Ringbolt};
use serde_json::Value;

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);
const NAME: &str = "chat.example";
const SERVICE: &str = "_chat._tcp.example";

/// A backend at this address that answers with its name.
///
/// A bare number would be a packet of Engine.IO, and 1 closes the session.
fn named(number: u8, address: SocketAddr) -> Backend {
    let name = format!("b{number}");
    Backend::start_on(address, move |request, wire| request.answer_as(&name, wire))
}

/// Backends of one port at addresses that end with these numbers.
fn fleet(network: u8, numbers: &[u8]) -> (u16, Vec<Backend>) {
    let address = |number: u8, port| SocketAddr::from((ip(network, number), port));
    // Another test may have the port at another address, but not at one of this network.
    let first = named(numbers[0], address(numbers[0], 0));
    let port = first.address().port();
    let others = numbers[1..].iter().map(|number| named(*number, address(*number, port)));
    let others: Vec<_> = others.collect();
    (port, [first].into_iter().chain(others).collect())
}

fn ip(network: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, network, number)
}

fn config(dns: &Dns, discovery: &str, upstream: &str) -> String {
    format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [discovery]\nresolvers = [\"{}\"]\ntimeout = \"1s\"\n{discovery}\n[upstream.u]\n{upstream}\n",
        dns.address()
    )
}

fn start(config: String) -> Ringbolt {
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

/// What is told of each backend, by name.
fn backends(ringbolt: &Ringbolt) -> BTreeMap<String, Value> {
    let (code, said) = ringbolt.order(&["backends", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let all: Vec<Value> = serde_json::from_str(&said).expect("a list");
    all.into_iter().map(|backend| (backend["name"].as_str().expect("a name").to_owned(), backend)).collect()
}

fn states(ringbolt: &Ringbolt) -> Vec<(String, String)> {
    let state =
        |(name, backend): (String, Value)| (name, backend["state"].as_str().expect("a state").to_owned());
    backends(ringbolt).into_iter().map(state).collect()
}

fn until(what: &str, ringbolt: &Ringbolt, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {:?}\n{}", states(ringbolt), ringbolt.process().output());
        thread::yield_now();
    }
}

fn get(ringbolt: &Ringbolt, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    Wire::connect(ringbolt.address()).exchange(request).text()
}

/// Opens a session from an address of its own; returns its sid, which names its backend.
fn session(ringbolt: &Ringbolt, number: u8) -> String {
    let request = "GET /?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let from = Ipv4Addr::new(127, 0, 60, number);
    let answer = Wire::connect_from(from, ringbolt.address()).exchange(request).text();
    answer.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid").to_owned()
}

/// Opens a tunnel; the name of its backend.
fn tunnel(ringbolt: &Ringbolt) -> (Wire, String) {
    let (wire, answer) = ringbolt.counted_tunnel(
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let name = answer.head.value("X-Name").expect("a tunnel").to_owned();
    (wire, name)
}

#[test]
fn addresses_of_a_name_are_backends_as_long_as_it_has_them() {
    let dns = Dns::start(0);
    let (port, _backends) = fleet(41, &[1, 2]);
    dns.set_addresses(NAME, &[ip(41, 1)]);
    let upstream = format!("backends = [\"{NAME}:{port}\"]\nbalance = \"least-tunnels\"");
    let ringbolt = start(config(&dns, "ttl_min = \"100ms\"\nhold = \"6s\"", &upstream));
    let [first, second] = [1, 2].map(|number| format!("127.0.41.{number}:{port}"));
    // Asked before anybody is served.
    assert_eq!(states(&ringbolt), [(first.clone(), "up".to_owned())]);
    assert_eq!(backends(&ringbolt)[&first]["origin"], "dns");
    assert_eq!(session(&ringbolt, 1), "b1");
    dns.set_addresses(NAME, &[ip(41, 2), ip(41, 1)]);
    until("another address", &ringbolt, || states(&ringbolt).len() == 2);
    assert_eq!(session(&ringbolt, 2), "b2", "it has fewer");
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=b1"), "b1");
    // It leaves: it keeps its sessions for a while, and gets no others.
    dns.set_addresses(NAME, &[ip(41, 2)]);
    until("drain", &ringbolt, || states(&ringbolt)[0] == (first.clone(), "drain".to_owned()));
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=b1"), "b1");
    for number in 3..9 {
        assert_eq!(session(&ringbolt, number), "b2");
    }
    until("removal", &ringbolt, || states(&ringbolt) == [(second.clone(), "up".to_owned())]);
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=b1"), "b2", "nobody else is left");
    // Back before its sids are forgotten.
    dns.set_addresses(NAME, &[ip(41, 1)]);
    until("return", &ringbolt, || states(&ringbolt)[0] == (first.clone(), "up".to_owned()));
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=b1"), "b1");
}

#[test]
fn dns_that_fails_takes_nobody_away_and_is_told() {
    let dns = Dns::start(0);
    let (port, _backends) = fleet(42, &[1]);
    dns.set_addresses(NAME, &[ip(42, 1)]);
    let upstream = format!("backends = [\"{NAME}:{port}\"]");
    let ringbolt = start(config(&dns, "ttl_min = \"100ms\"\nhold = \"0s\"", &upstream));
    let looks = |result: &str| {
        ringbolt.metrics()[&format!("ringbolt_discovery_lookups_total{{result=\"{result}\"}}")]
    };
    let failing = || ringbolt.metrics()["ringbolt_discovery_sources_failing"];
    for (mood, result) in
        [(Mood::Silent, "failed"), (Mood::Fails, "failed"), (Mood::Denies, "empty"), (Mood::Answers, "empty")]
    {
        let before = looks(result);
        dns.set_mood(mood);
        if mood == Mood::Answers {
            dns.set_addresses(NAME, &[]);
        }
        until("a failed look", &ringbolt, || looks(result) > before && failing() == 1.0);
        assert_eq!(get(&ringbolt, "/"), "b1", "{mood:?}");
        dns.set_mood(Mood::Answers);
        dns.set_addresses(NAME, &[ip(42, 1)]);
        until("recovery", &ringbolt, || failing() == 0.0);
    }
    ringbolt.process().line("log line", LIMIT, |line| line.contains("the last ones stay").then_some(()));
    ringbolt.process().line("log line", LIMIT, |line| line.contains("found again").then_some(()));
}

#[test]
fn a_start_without_an_answer_serves_what_it_can_until_there_is_one() {
    let dns = Dns::start(0);
    let (port, _backends) = fleet(43, &[1]);
    dns.set_mood(Mood::Fails);
    let ringbolt = start(config(&dns, "ttl_min = \"100ms\"", &format!("backends = [\"{NAME}:{port}\"]")));
    assert!(
        ringbolt.process().output().contains("serving without backends"),
        "{}",
        ringbolt.process().output()
    );
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(Wire::connect(ringbolt.address()).exchange(request).status(), 503);
    dns.set_addresses(NAME, &[ip(43, 1)]);
    dns.set_mood(Mood::Answers);
    until("an answer", &ringbolt, || get(&ringbolt, "/") == "b1");
}

#[test]
fn services_stand_as_their_records_say() {
    let dns = Dns::start(0);
    let all: Vec<_> = (1..=3).map(|number: u8| named(number, ([127, 0, 0, 1], 0).into())).collect();
    let ports: Vec<_> = all.iter().map(|backend| backend.address().port()).collect();
    dns.set_addresses("a.example", &[Ipv4Addr::LOCALHOST]);
    dns.set_addresses("b.example", &[Ipv4Addr::LOCALHOST]);
    let services =
        [(10, 1, ports[0], "a.example"), (10, 3, ports[1], "B.example"), (20, 0, ports[2], "a.example")];
    dns.set_services(SERVICE, &services);
    let upstream = format!("backends = [{{ srv = \"{SERVICE}\" }}]\nbalance = \"least-tunnels\"");
    let ringbolt = start(config(&dns, "ttl_min = \"100ms\"\nhold = \"0s\"", &upstream));
    let told: Vec<_> = backends(&ringbolt)
        .into_iter()
        .map(|(name, backend)| (name, backend["weight"].as_u64(), backend["backup"].as_bool()))
        .collect();
    let mut expected = [
        (format!("a.example:{}", ports[0]), Some(1), Some(false)),
        (format!("b.example:{}", ports[1]), Some(3), Some(false)),
        (format!("a.example:{}", ports[2]), Some(1), Some(true)),
    ];
    expected.sort();
    assert_eq!(told, expected);
    let (_wires, names): (Vec<_>, Vec<_>) = (0..40).map(|_| tunnel(&ringbolt)).unzip();
    let of = |name: &str| names.iter().filter(|named| *named == name).count();
    assert_eq!([of("b1"), of("b2"), of("b3")], [10, 30, 0]);
    // Whoever is named first is gone: the backup steps in.
    dns.set_services(SERVICE, &services[2..]);
    until("the others' end", &ringbolt, || states(&ringbolt).len() == 1);
    assert_eq!(session(&ringbolt, 50), "b3");
    // A target whose address cannot be found for now keeps the one it had.
    dns.set_addresses("a.example", &[]);
    dns.set_services(SERVICE, &[services[2], (20, 0, ports[1], "b.example")]);
    until("another one", &ringbolt, || states(&ringbolt).len() == 2);
}

#[test]
fn one_backend_may_change_its_address_under_its_name() {
    let dns = Dns::start(0);
    let (port, _backends) = fleet(44, &[1, 2]);
    dns.set_addresses(NAME, &[ip(44, 1)]);
    let upstream = format!("backends = [{{ name = \"one\", address = \"{NAME}:{port}\" }}]");
    let ringbolt = start(config(&dns, "ttl_min = \"100ms\"", &upstream));
    assert_eq!(session(&ringbolt, 1), "b1");
    dns.set_addresses(NAME, &[ip(44, 2)]);
    let moved = format!("127.0.44.2:{port}");
    until("another address", &ringbolt, || backends(&ringbolt)["one"]["address"] == *moved);
    assert_eq!(states(&ringbolt), [("one".to_owned(), "up".to_owned())]);
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=b1"), "b2", "its sessions are the name's");
    assert_eq!(ringbolt.metrics()["ringbolt_sids_unknown_total{reason=\"not_found\"}"], 0.0);
}

#[test]
fn an_answer_holds_for_its_time_to_live() {
    let dns = Dns::start(2);
    let (port, _backends) = fleet(45, &[1]);
    dns.set_addresses(NAME, &[ip(45, 1)]);
    let ringbolt = start(config(&dns, "ttl_min = \"100ms\"", &format!("backends = [\"{NAME}:{port}\"]")));
    let found = || ringbolt.metrics()["ringbolt_discovery_lookups_total{result=\"found\"}"];
    let (began, before) = (Instant::now(), found());
    until("two more looks", &ringbolt, || found() >= before + 2.0);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "two looks in {took:?}");
}

#[test]
fn a_reload_begins_and_ends_looking() {
    let dns = Dns::start(0);
    let (port, all) = fleet(46, &[1, 2]);
    dns.set_addresses(NAME, &[ip(46, 2)]);
    let file = |entry: &str| config(&dns, "ttl_min = \"100ms\"", &format!("backends = [\"{entry}\"]"));
    let fixed = all[0].address().to_string();
    let ringbolt = start(file(&fixed));
    assert_eq!(get(&ringbolt, "/"), "b1");
    let reload = |entry: &str| {
        ringbolt.configure(&file(entry));
        let (code, said) = ringbolt.order(&["reload"]);
        assert_eq!(code, Some(0), "{said}");
    };
    reload(&format!("{NAME}:{port}"));
    assert_eq!(get(&ringbolt, "/"), "b2", "found before it is served");
    // A reload that changes nothing about it keeps what was found, though nobody answers now.
    dns.set_mood(Mood::Silent);
    reload(&format!("{NAME}:{port}"));
    assert_eq!(get(&ringbolt, "/"), "b2");
    reload(&fixed);
    assert_eq!(get(&ringbolt, "/"), "b1");
    assert_eq!(ringbolt.metrics()["ringbolt_discovery_sources_failing"], 0.0);
}
