//! Each affinity binds by what its name says, and new sessions are spread as their weights ask.
//!
//! Fails with all clients of one address on one backend, with a user who changes backends between two
//! requests, or with new sessions on a backend that is being emptied.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ringbolt_harness::raw::{Backend, Gate, Wire};
use ringbolt_harness::{Options, Ringbolt};

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Backends that answer with their name: `a`, `b`, and so on.
fn named<const COUNT: usize>() -> [Backend; COUNT] {
    let mut letters = ('a'..='z').map(String::from);
    std::array::from_fn(|_| Backend::named(&letters.next().expect("a letter")))
}

/// Backends whose every answer opens an Engine.IO session of a new sid.
fn handshaking<const COUNT: usize>() -> [Backend; COUNT] {
    std::array::from_fn(|number| {
        let issued = std::sync::atomic::AtomicUsize::new(0);
        Backend::start(move |_, wire| {
            let count = issued.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let body = format!(
                r#"0{{"sid":"{number}-{count}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#
            );
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        })
    })
}

/// A proxy with one upstream of these backends, each with its name and more of its table, if any.
fn proxy(affinity: &str, backends: &[Backend], more: &[&str]) -> Ringbolt {
    let entries: Vec<_> = ('a'..='z')
        .zip(backends)
        .enumerate()
        .map(|(index, (name, backend))| {
            let more = more.get(index).copied().unwrap_or_default();
            format!("{{ name = \"{name}\", address = \"{}\"{more} }}", backend.address())
        })
        .collect();
    start(&format!("[upstream.main]\naffinity = \"{affinity}\"\nbackends = [{}]\n", entries.join(", ")))
}

fn start(config: &str) -> Ringbolt {
    let config = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{config}");
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

/// The name of the backend that serves a request with these lines, on a connection of its own.
fn served_by(ringbolt: &Ringbolt, lines: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
    Wire::connect(ringbolt.address()).exchange(request).text()
}

/// How often each name occurs.
fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

#[test]
fn client_ip_binds_each_address_and_spreads_many() {
    let backends = named::<3>();
    let ringbolt = proxy("client-ip", &backends, &[]);
    let served = |last: u8| {
        let mut client = Wire::connect_from(Ipv4Addr::new(127, 0, 0, last), ringbolt.address());
        client.exchange("GET /?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n").text()
    };
    let first: Vec<_> = (1..=60).map(served).collect();
    let again: Vec<_> = (1..=60).map(served).collect();
    assert_eq!(first, again);
    let counts = counted(first.into_iter());
    assert!(counts.len() == 3 && counts.values().all(|count| *count >= 8), "{counts:?}");
}

#[test]
fn a_header_binds_each_value_from_every_connection() {
    let backends = named::<3>();
    let ringbolt = proxy("header:x-user", &backends, &[]);
    let served = |number: usize| served_by(&ringbolt, &format!("X-User: user{number}\r\n"));
    let first: Vec<_> = (0..60).map(served).collect();
    let again: Vec<_> = (0..60).map(served).collect();
    assert_eq!(first, again);
    let counts = counted(first.into_iter());
    assert!(counts.len() == 3 && counts.values().all(|count| *count >= 8), "{counts:?}");
    let without = counted((0..10).map(|_| served_by(&ringbolt, "")));
    assert_eq!(without.len(), 1, "without the header the address decides: {without:?}");
}

#[test]
fn a_cookie_is_set_once_and_honoured() {
    let backends: [Backend; 3] = std::array::from_fn(|number| {
        Backend::answering(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 1\r\n\r\n{number}"
        ))
    });
    let ringbolt = proxy("cookie:route", &backends, &[]);
    let ask = |cookie: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{cookie}\r\n");
        Wire::connect(ringbolt.address()).exchange(request)
    };
    let mut seen = BTreeMap::new();
    for _ in 0..30 {
        let first = ask("");
        let cookies = first.head.values("Set-Cookie");
        assert_eq!((cookies.len(), cookies[0]), (2, "own=1"), "{first:?}");
        let (pair, attributes) = cookies[1].split_once("; ").unwrap();
        assert!(pair.starts_with("route="), "{pair}");
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        assert!(seen.insert(first.text(), pair.to_owned()).is_none_or(|known| known == pair));
        for line in [format!("Cookie: {pair}\r\n"), format!("Cookie: x=1; {pair}; route2=2\r\n")] {
            let next = ask(&line);
            assert_eq!(next.text(), first.text(), "{line}");
            assert_eq!(next.head.values("Set-Cookie"), ["own=1"], "{line}: set again");
        }
    }
    let unknown = ask("Cookie: route=0000000000000000\r\n");
    assert_eq!(unknown.head.values("Set-Cookie").len(), 2, "a cookie that names no backend is replaced");
}

#[test]
fn none_spreads_evenly() {
    let backends = named::<3>();
    let ringbolt = proxy("none", &backends, &[]);
    let counts = counted((0..60).map(|_| served_by(&ringbolt, "")));
    assert!(counts.len() == 3 && counts.values().all(|count| (15..=25).contains(count)), "{counts:?}");
}

#[test]
fn none_prefers_the_backend_with_the_least_to_do() {
    let (held, gate) = (Gate::default(), Gate::default());
    let backends: [Backend; 2] = ["a", "b"].map(|name| {
        let (held, gate) = (held.clone(), gate.clone());
        Backend::start(move |request, wire| {
            if request.head().target() == "/held" {
                held.open();
                gate.wait("until the others have been served");
            }
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}"));
        })
    });
    let addresses = backends.each_ref().map(Backend::address);
    // One worker, because requests in flight are counted by each for itself.
    let ringbolt = Ringbolt::start(&Options {
        workers: 1,
        arguments: vec!["--affinity".into(), "none".into()],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &addresses)
    });
    let mut holder = Wire::connect(ringbolt.address());
    holder.send("GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n");
    held.wait("until one of them is busy");
    let idle = served_by(&ringbolt, "");
    for _ in 0..20 {
        assert_eq!(served_by(&ringbolt, ""), idle);
    }
    gate.open();
    assert_ne!(holder.read_response().text(), idle);
}

#[test]
fn routes_choose_by_host_and_longest_path() {
    let backends = named::<5>();
    let upstreams: String = ('a'..='z')
        .zip(&backends)
        .map(|(name, backend)| format!("[upstream.{name}]\nbackends = [\"{}\"]\n", backend.address()))
        .collect();
    let route = |host: &str, path: &str, upstream: &str| {
        let host = if host.is_empty() { String::new() } else { format!("host = \"{host}\"\n") };
        format!("[[route]]\n{host}path = \"{path}\"\nupstream = \"{upstream}\"\n")
    };
    let routes = [
        route("", "/", "a"),
        route("", "/socket.io/", "b"),
        route("", "/socket.io/admin/", "c"),
        route("chat.example", "/", "d"),
        route("chat.example", "/socket.io/", "e"),
    ];
    let ringbolt = start(&[routes.concat(), upstreams].concat());
    for (host, path, expected) in [
        ("other.example", "/", "a"),
        ("other.example", "/socket.iox", "a"),
        ("other.example", "/socket.io/?EIO=4", "b"),
        ("other.example:81", "/socket.io/admin/x", "c"),
        ("chat.example", "/x", "d"),
        ("CHAT.Example:8080", "/x", "d"),
        ("chat.example", "/socket.io/", "e"),
        ("chat.example", "/socket.io/admin/", "e"),
        ("sub.chat.example", "/", "a"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(Wire::connect(ringbolt.address()).exchange(request).text(), expected, "{host} {path}");
    }
}

#[test]
fn a_request_no_route_takes_is_a_404() {
    let backend = Backend::named("a");
    let ringbolt = start(&format!(
        "[[route]]\npath = \"/only/\"\nupstream = \"a\"\n[upstream.a]\nbackends = [\"{}\"]\n",
        backend.address()
    ));
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange("GET /only/x HTTP/1.1\r\nHost: a.example\r\n\r\n").status(), 200);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange("GET /other HTTP/1.1\r\nHost: a.example\r\n\r\n").status(), 404);
}

/// How many of `count` new sessions from one address each backend gets.
fn placed<const COUNT: usize>(count: usize, more: &[&str]) -> [usize; COUNT] {
    let backends = handshaking::<COUNT>();
    let ringbolt = proxy("engine-io", &backends, more);
    for _ in 0..count {
        assert_eq!(Wire::connect(ringbolt.address()).exchange(HANDSHAKE).status(), 200);
    }
    backends.each_ref().map(|backend| backend.requests().len())
}

#[test]
fn sessions_from_one_address_spread_over_all_backends() {
    let counts = placed::<4>(200, &[]);
    assert!(counts.iter().all(|count| *count <= 75), "above 1.5 times its share: {counts:?}");
}

#[test]
fn a_backend_of_three_times_the_weight_gets_three_times_the_sessions() {
    let backends = handshaking::<2>();
    let ringbolt = proxy("engine-io", &backends, &["", ", weight = 3"]);
    for last in 1..=200 {
        let mut client = Wire::connect_from(Ipv4Addr::new(127, 0, 1, last), ringbolt.address());
        assert_eq!(client.exchange(HANDSHAKE).status(), 200);
    }
    let counts = backends.each_ref().map(|backend| backend.requests().len());
    assert!((35..=65).contains(&counts[0]), "{counts:?} instead of about [50, 150]");
}

#[test]
fn sessions_from_one_address_spread_by_weight_within_the_load_bound() {
    // The address prefers one backend, which takes up to 1.25 times its share; the rest goes on.
    let counts = placed::<2>(200, &["", ", weight = 3"]);
    assert!(counts[0] <= 65 && counts[1] <= 190, "{counts:?}: above 1.25 times its share of [50, 150]");
}

#[test]
fn a_draining_backend_gets_no_new_session() {
    assert_eq!(placed::<3>(60, &["", ", state = \"drain\""])[1], 0);
}

#[test]
fn a_draining_backend_keeps_what_is_bound_to_it() {
    let backends = named::<3>();
    let cookies: BTreeMap<String, String> = {
        let ringbolt = proxy("cookie:route", &backends, &[]);
        let answers = (0..30).map(|_| {
            let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
            let answer = Wire::connect(ringbolt.address()).exchange(request);
            let cookie =
                answer.head.value("Set-Cookie").expect("a cookie").split(';').next().unwrap().to_owned();
            (answer.text(), cookie)
        });
        answers.collect()
    };
    // What a cookie names follows from the backend's name, so another instance reads it.
    let ringbolt = proxy("cookie:route", &backends, &[", state = \"drain\"", ", state = \"drain\""]);
    for (name, cookie) in &cookies {
        assert_eq!(served_by(&ringbolt, &format!("Cookie: {cookie}\r\n")), *name);
    }
    assert!(cookies.contains_key("a") || cookies.contains_key("b"), "{cookies:?}");
    assert_eq!(counted((0..20).map(|_| served_by(&ringbolt, ""))).into_keys().collect::<Vec<_>>(), ["c"]);
}
