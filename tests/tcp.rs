//! A connection in TCP mode is a tunnel to one backend, chosen by its client's address, and nothing of it needs HTTP.
//!
//! Fails with a client that changes backends, with all clients on one of them, with bytes added or lost on the
//! way, or with tunnels that bounds, timeouts and the drain do not reach.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use ringbolt_harness::raw::{Dead, End, Pattern, TcpBackend, WAIT, Wire};
use ringbolt_harness::{Options, Ringbolt};

const LISTENER: &str = "detect = [\"tcp\"]";

/// A proxy with one listener of these keys, one upstream of these, and more sections.
fn start(backends: &[SocketAddr], listener: &str, upstream: &str, more: &str) -> Ringbolt {
    let entries: Vec<_> = ('a'..='z')
        .zip(backends)
        .map(|(name, address)| format!("{{ name = \"{name}\", address = \"{address}\" }}"))
        .collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [upstream.raw]\n{upstream}\nbackends = [{}]\n{more}\n",
        entries.join(", ")
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

/// Backends that greet with their name, a letter, and echo.
fn named<const COUNT: usize>() -> [TcpBackend; COUNT] {
    let mut letters = ('a'..='z').map(String::from);
    std::array::from_fn(|_| TcpBackend::echoing(letters.next().expect("a letter")))
}

fn addresses(backends: &[TcpBackend]) -> Vec<SocketAddr> {
    backends.iter().map(TcpBackend::address).collect()
}

/// A tunnel of this client, and the name of its backend.
fn tunnel(ringbolt: &Ringbolt, client: Ipv4Addr) -> (Wire, String) {
    let mut wire = Wire::connect_from(client, ringbolt.address());
    let name = String::from_utf8(wire.read_exactly(1, "the backend's name")).expect("a letter");
    (wire, name)
}

/// How often each name occurs.
fn counted<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    names.into_iter().fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name.as_str()).or_default() += 1;
        counts
    })
}

#[test]
fn a_client_stays_with_its_backend_and_many_are_spread() {
    let backends = named::<3>();
    let ringbolt = start(&addresses(&backends), LISTENER, "", "");
    let served = |last: u8| {
        let (mut wire, name) = tunnel(&ringbolt, Ipv4Addr::new(127, 0, 5, last));
        wire.close();
        ringbolt.wait_for_metric("ringbolt_tunnels_active", |open| open == 0.0);
        name
    };
    let first: Vec<String> = (1..=40).map(served).collect();
    let again: Vec<String> = (1..=40).map(served).collect();
    assert_eq!(first, again);
    let counts = counted(&first);
    assert!(counts.len() == 3 && counts.values().all(|count| *count >= 4), "{counts:?}");
    assert_eq!(ringbolt.metrics()["ringbolt_tunnels_by_kind_total{kind=\"tcp\"}"], 80.0);
}

#[test]
fn one_client_cannot_fill_its_backend_beyond_its_bound() {
    let backends = named::<3>();
    let ringbolt = start(&addresses(&backends), LISTENER, "", "");
    let (_open, names): (Vec<Wire>, Vec<String>) =
        (0..60).map(|_| tunnel(&ringbolt, Ipv4Addr::new(127, 0, 5, 1))).unzip();
    let counts = counted(&names);
    // 1.25 of a third of 60.
    assert!(counts.values().all(|count| *count <= 25), "{counts:?}");
    assert!(counts.values().any(|count| *count >= 24), "its favourite is filled first: {counts:?}");
}

#[test]
fn client_ip_has_no_bound() {
    let backends = named::<3>();
    let ringbolt = start(&addresses(&backends), LISTENER, "affinity = \"client-ip\"", "");
    let (_open, names): (Vec<Wire>, Vec<String>) =
        (0..30).map(|_| tunnel(&ringbolt, Ipv4Addr::new(127, 0, 5, 1))).unzip();
    assert_eq!(counted(&names).len(), 1);
}

#[test]
fn without_affinity_the_backend_with_least_tunnels_is_next() {
    let backends = named::<3>();
    let ringbolt = start(&addresses(&backends), LISTENER, "affinity = \"none\"", "");
    let (_open, names): (Vec<Wire>, Vec<String>) =
        (0..30).map(|_| tunnel(&ringbolt, Ipv4Addr::new(127, 0, 5, 1))).unzip();
    assert_eq!(counted(&names), BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]));
}

#[test]
fn a_backend_that_cannot_be_reached_is_passed_over() {
    let (dead, [alive]) = (Dead::refusing(), named::<1>());
    let ringbolt = start(&[dead.address(), alive.address()], LISTENER, "affinity = \"none\"", "");
    for _ in 0..4 {
        let (mut wire, name) = tunnel(&ringbolt, Ipv4Addr::LOCALHOST);
        assert_eq!(name, "a", "the only one that greets");
        wire.send("through");
        assert_eq!(wire.read_exactly(7, "an echo"), b"through");
    }
    let connects = |result: &str| {
        ringbolt.metrics()[&format!("ringbolt_upstream_connects_total{{result=\"{result}\"}}")]
    };
    assert_eq!(connects("ok"), 4.0);
    assert!(connects("refused") >= 1.0);
}

#[test]
fn without_any_backend_the_client_is_reset() {
    let dead = [Dead::refusing(), Dead::refusing()];
    let ringbolt = start(&[dead[0].address(), dead[1].address()], LISTENER, "", "");
    // It may come before connect(2) has returned.
    let met = TcpStream::connect(ringbolt.address()).and_then(|mut client| {
        client.set_read_timeout(Some(WAIT))?;
        client.read(&mut [0; 1])
    });
    assert_eq!(met.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_connections_refused_total{reason=\"no_backend\"}"], 1.0);
    assert_eq!(metrics["ringbolt_tunnels_total"], 0.0);
    ringbolt.wait_for_metric("ringbolt_connections_active", |open| open == 0.0);
}

/// A backend that sends back the first `length` bytes of each connection.
fn showing(length: usize) -> TcpBackend {
    TcpBackend::start(move |wire| {
        let first = wire.read_exactly(length, "a PROXY header and more");
        wire.send(first);
        while wire.read_ever().is_ok() {}
    })
}

#[test]
fn the_client_of_a_proxy_header_is_told_to_the_backend() {
    let v1 = b"PROXY TCP4 198.51.100.9 203.0.113.1 40000 443\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x09\xcb\0\x71\x01\x9c\x40\x01\xbb";
    let listener = "detect = [\"tcp\", \"http\"]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    for (version, header) in [("v1", &v1[..]), ("v2", &v2[..])] {
        for piece in [1, 500] {
            // The destination of the header that goes out is this machine's own address.
            let out = if version == "v1" { "PROXY TCP4 198.51.100.9 127.0.0.1 40000 ".len() } else { 20 };
            let backend = showing(out + 20);
            let proxy_out = format!("proxy_protocol = \"{version}\"");
            let ringbolt = start(&[backend.address()], listener, &proxy_out, "");
            let mut client = Wire::connect(ringbolt.address());
            client.send_in_pieces([header, b"\0first bytes of the client"].concat(), piece);
            let came = client.read_exactly(out + 20, "what the backend got");
            let text = came.escape_ascii().to_string();
            match version {
                "v1" => assert!(text.starts_with("PROXY TCP4 198.51.100.9 127.0.0.1 40000 "), "{text}"),
                _ => assert_eq!(came[..20], [&v2[..16], &[198, 51, 100, 9]].concat(), "{text}"),
            }
            let port = ringbolt.address().port();
            let rest = match version {
                "v1" => format!("{port}\r\n").into_bytes(),
                _ => [&[127, 0, 0, 1], &40_000_u16.to_be_bytes()[..], &port.to_be_bytes()].concat(),
            };
            let behind = [&rest[..], b"\0first bytes of the client"].concat();
            assert_eq!(came[out..], behind[..20], "{text}");
        }
    }
}

#[test]
fn bounds_hold_for_tunnels_until_they_end() {
    let backends = named::<1>();
    let limits = "[limits]\nconnections_per_client = 2";
    let ringbolt = start(&addresses(&backends), LISTENER, "", limits);
    let client = Ipv4Addr::new(127, 0, 5, 1);
    let (mut first, _) = tunnel(&ringbolt, client);
    let (_second, _) = tunnel(&ringbolt, client);
    let mut beyond = Wire::connect_from(client, ringbolt.address());
    assert!(matches!(beyond.read("the end"), Err(End::Fin | End::Reset)));
    let (_other, _) = tunnel(&ringbolt, Ipv4Addr::new(127, 0, 5, 2));
    first.close();
    // What it counts for is given back before it is no connection any more.
    ringbolt.wait_for_metric("ringbolt_connections_active", |open| open <= 2.0);
    let (_third, _) = tunnel(&ringbolt, client);
    assert_eq!(ringbolt.metrics()["ringbolt_limited_total{limit=\"client_connections\"}"], 1.0);
}

#[test]
fn a_drain_ends_tunnels_within_its_time() {
    let backends = named::<1>();
    let mut ringbolt = start(&addresses(&backends), LISTENER, "", "[timeouts]\ndrain = \"3s\"");
    let (mut leaves, _) = tunnel(&ringbolt, Ipv4Addr::LOCALHOST);
    let (mut stays, _) = tunnel(&ringbolt, Ipv4Addr::LOCALHOST);
    ringbolt.drain();
    leaves.close();
    assert_eq!(stays.expect_end(), End::Fin);
    assert_eq!(ringbolt.wait().code(), Some(0));
}

#[test]
fn a_reload_moves_new_tunnels_and_leaves_living_ones() {
    let [a, b] = named::<2>();
    let config = |backend: &TcpBackend, detect: &str| {
        format!(
            "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             detect = [{detect}]\n[upstream.raw]\nbackends = [\"{}\"]\n[timeouts]\ndetect = \"1h\"\n",
            backend.address()
        )
    };
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config(&a, "\"tcp\"")), ..options });
    let (mut old, name) = tunnel(&ringbolt, Ipv4Addr::LOCALHOST);
    assert_eq!(name, "a");
    let reload = |text: &str| {
        ringbolt.configure(text);
        assert_eq!(ringbolt.order(&["reload"]).0, Some(0));
    };
    reload(&config(&b, "\"tcp\""));
    assert_eq!(tunnel(&ringbolt, Ipv4Addr::LOCALHOST).1, "b");
    // From here on the first bytes are waited for.
    reload(&config(&b, "\"tcp\", \"http\""));
    let mut new = Wire::connect(ringbolt.address());
    new.send("\0");
    assert_eq!(new.read_exactly(2, "the name and an echo"), b"b\0");
    old.send("still");
    assert_eq!(old.read_exactly(5, "an echo"), b"still");
}

#[test]
fn a_client_that_has_finished_still_gets_everything_however_long_that_takes() {
    // Silence ends a half-closed tunnel; this one is never silent, and takes longer than silence may.
    let backend = TcpBackend::start(|wire| {
        assert_eq!(wire.read_to_end().0, b"all of it");
        let mut pattern = Pattern::default();
        for _ in 0..6 {
            let mut piece = [0; 1_000];
            pattern.fill(&mut piece);
            wire.send(piece);
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let timeouts = "[timeouts]\ntunnel_half_closed = \"2s\"";
    let ringbolt = start(&[backend.address()], LISTENER, "", timeouts);
    let mut client = Wire::connect(ringbolt.address());
    client.send("all of it");
    client.finish();
    let (bytes, end) = client.read_to_end();
    assert_eq!((bytes.len(), end), (6_000, End::Fin));
    Pattern::default().check(&bytes);
}

#[test]
fn a_silent_tunnel_ends_only_where_that_is_configured() {
    let backends = named::<1>();
    let ringbolt = start(&addresses(&backends), LISTENER, "", "[timeouts]\ntunnel_idle = \"1s\"");
    let (mut wire, _) = tunnel(&ringbolt, Ipv4Addr::LOCALHOST);
    assert_eq!(wire.expect_end(), End::Fin);
    assert_eq!(ringbolt.metrics()["ringbolt_tunnels_closed_total{reason=\"idle_timeout\"}"], 1.0);
}
