//! Backends, affinity and fields all see the same client, and only trusted proxies say who it is.
//!
//! Fails with every client behind a balancer on one backend if its address is not looked behind, and with
//! clients that choose their address freely if anybody's word is believed.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use ringbolt_harness::raw::{Backend, Head, Wire};
use ringbolt_harness::{Options, Ringbolt};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The trusted proxy's address; clients that connect by themselves come from 127.0.0.1.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);

/// A daemon that trusts `PROXY`.
fn trusting(backends: &[&Backend], listener: &str, upstream: &str) -> Ringbolt {
    let addresses: Vec<_> = backends.iter().map(|backend| format!("\"{}\"", backend.address())).collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.7.0/24\"]\n{listener}\n\
         [upstream.a]\n{upstream}\nbackends = [{}]\n",
        addresses.join(", ")
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n")
}

/// What arrives of a request with these lines from the proxy and from anybody.
fn forwarded(listener: &str, lines: &str) -> [Head; 2] {
    let backend = Backend::answering(OK);
    let ringbolt = trusting(&[&backend], listener, "");
    assert_eq!(Wire::connect_from(PROXY, ringbolt.address()).exchange(get(lines)).status(), 200);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(get(lines)).status(), 200);
    let heads: Vec<Head> = backend.requests().into_iter().map(|request| request.message.head).collect();
    heads.try_into().expect("two requests")
}

const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6, 198.51.100.9\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: shop.example\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=198.51.100.9\r\n\
    X_Forwarded_For: 6.6.6.6\r\nX-Request-ID: from-outside\r\n";

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let [head, _] = forwarded("request_id = true", CLAIMS);
    for (name, value) in [
        ("X-Forwarded-For", "6.6.6.6, 198.51.100.9, 127.0.7.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Real-IP", "198.51.100.9"),
        ("Forwarded", "for=198.51.100.9, for=127.0.7.1"),
        ("X-Request-ID", "from-outside"),
    ] {
        assert_eq!(head.value(name), Some(value), "{name}");
    }
    assert_eq!(head.value("X_Forwarded_For"), None);
}

#[test]
fn nobody_else_does() {
    let [_, head] = forwarded("request_id = true", CLAIMS);
    for (name, value) in [
        ("X-Forwarded-For", Some("6.6.6.6, 198.51.100.9, 127.0.0.1")),
        ("X-Forwarded-Proto", Some("http")),
        ("X-Forwarded-Host", Some("a.example")),
        ("X-Real-IP", Some("127.0.0.1")),
        ("Forwarded", None),
        ("X_Forwarded_For", None),
    ] {
        assert_eq!(head.value(name), value, "{name}");
    }
    let id = head.value("X-Request-ID").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[test]
fn a_request_id_is_nobodys_business_unless_asked_for() {
    for head in forwarded("", CLAIMS) {
        assert_eq!(head.value("X-Request-ID"), Some("from-outside"));
    }
}

#[test]
fn affinity_sees_the_client_behind_the_proxy() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let ringbolt = trusting(&[&a, &b], "", "affinity = \"client-ip\"");
    let mut proxied = Wire::connect_from(PROXY, ringbolt.address());
    let mut answer =
        |client: u8| proxied.exchange(get(&format!("X-Forwarded-For: 198.51.100.{client}\r\n"))).text();
    let first: Vec<String> = (0..32).map(&mut answer).collect();
    let again: Vec<String> = (0..32).map(&mut answer).collect();
    assert_eq!(first, again, "a client keeps its backend");
    assert!(first.iter().any(|name| name == "a") && first.iter().any(|name| name == "b"), "{first:?}");
}
