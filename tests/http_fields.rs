//! A head goes through with every byte that is the ends' own business, and without what is not.
//!
//! Fails with links broken by a rewritten target, cookies lost from repeated fields, a backend that
//! believes a client's claim about its own address, or a hop's private field that reaches the next hop.
#![forbid(unsafe_code)]

use ringbolt_harness::raw::{Backend, End, Head, Wire};
use ringbolt_harness::{Options, Ringbolt};

fn proxy(backend: &Backend) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What of a request with this target and these lines arrives.
fn forwarded(target: &str, lines: &str) -> Head {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let answer = client.exchange(format!("GET {target} HTTP/1.1\r\n{lines}\r\n"));
    assert_eq!(answer.status(), 200, "{answer:?}");
    backend.only_head()
}

/// What of an answer with these lines arrives.
fn answered(lines: &str) -> Head {
    let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
    let ringbolt = proxy(&backend);
    Wire::connect(ringbolt.address()).exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").head
}

#[test]
fn no_byte_of_a_target_is_touched() {
    for target in
        ["/", "/a%2Fb//../c/.;x?q=%zz&r=[]{}|\\^`\"<>&&=", "/%00%ff?a=b?c=d", "//evil.example/x", "/a?"]
    {
        assert_eq!(forwarded(target, "Host: a.example\r\n").first_line(), format!("GET {target} HTTP/1.1"));
    }
}

#[test]
fn host_keeps_its_port_and_case() {
    for host in ["a.example:8080", "A.Example", "127.0.0.1:1", "[::1]:80"] {
        assert_eq!(forwarded("/", &format!("Host: {host}\r\n")).values("Host"), [host]);
    }
}

#[test]
fn an_absolute_target_decides_host_and_is_sent_on_in_origin_form() {
    let head = forwarded("http://b.example:81/x?y", "Host: a.example\r\n");
    assert_eq!(head.first_line(), "GET /x?y HTTP/1.1");
    assert_eq!(head.values("Host"), ["b.example:81"]);
}

#[test]
fn repeated_fields_keep_their_order_and_their_lines() {
    let lines = "X-A: 1\r\nCookie: a=1\r\nX-B: , ,\r\nX-A: 2, 3\r\nCookie: b=2\r\nx-a:\t4 \t\r\nX-Empty:\r\n";
    let head = forwarded("/", &format!("Host: a.example\r\n{lines}"));
    let names = ["x-a", "x-b", "cookie", "x-empty"];
    let kept: Vec<_> =
        head.fields().filter(|(name, _)| names.contains(&&*name.to_ascii_lowercase())).collect();
    let expected = [
        ("X-A", "1"),
        ("Cookie", "a=1"),
        ("X-B", ", ,"),
        ("X-A", "2, 3"),
        ("Cookie", "b=2"),
        ("x-a", "4"),
        ("X-Empty", ""),
    ];
    assert_eq!(kept, expected);
    let head = answered("Set-Cookie: a=1; Path=/\r\nX-A: 1\r\nSet-Cookie: b=2\r\nx-a: 2\r\n");
    assert_eq!(head.values("Set-Cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(head.values("X-A"), ["1", "2"]);
}

/// Fields that are between two neighbours only (RFC 9110 section 7.6.1), and two nominated ones.
const HOP_BY_HOP: &str = "Connection: X-Hop, close-not\r\nConnection: x-other\r\nX-Hop: 1\r\nX-Other: 1\r\n\
    Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: thing\r\nX-End: 1\r\n";

fn assert_no_hop_by_hop(head: &Head) {
    for name in ["X-Hop", "X-Other", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"] {
        assert!(head.values(name).is_empty(), "{name} was passed on: {head:?}");
    }
    assert_eq!(head.value("X-End"), Some("1"));
}

#[test]
fn hop_by_hop_and_nominated_fields_end_here_in_both_directions() {
    assert_no_hop_by_hop(&forwarded("/", &format!("Host: a.example\r\n{HOP_BY_HOP}")));
    assert_no_hop_by_hop(&answered(HOP_BY_HOP));
}

#[test]
fn connection_cannot_remove_what_backends_and_clients_rely_on() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let answer = client.exchange(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\
         Connection: host, content-length, x-forwarded-for, x-forwarded-proto, via\r\n\r\nabc",
    );
    assert_eq!(answer.status(), 200);
    let request = backend.only_request().message;
    assert_eq!((request.head.value("Host"), &*request.text()), (Some("a.example"), "abc"));
    assert_eq!(request.head.value("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(request.head.value("X-Forwarded-Proto"), Some("http"));
    assert!(request.head.value("Via").is_some());
    let answer = answered("Connection: content-length, date\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n");
    assert_eq!(answer.value("Content-Length"), Some("0"));
}

#[test]
fn a_backend_learns_who_the_client_is_and_not_what_the_client_says() {
    let head = forwarded(
        "/",
        "Host: a.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7, 8.8.8.8\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nVia: 1.0 other\r\n",
    );
    let chain = head.values("X-Forwarded-For").join(", ");
    assert_eq!(chain, "6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1", "the last element is the peer");
    assert_eq!(head.values("X-Forwarded-Proto"), ["http"]);
    assert_eq!(head.values("X-Forwarded-Host"), ["a.example:81"]);
    assert_eq!(head.values("X-Real-IP"), ["127.0.0.1"]);
    assert_eq!(head.values("Via").join(", "), "1.0 other, 1.1 ringbolt");
    for name in ["Forwarded", "X_Forwarded_For", "X-Forwarded-Port"] {
        assert!(head.values(name).is_empty(), "{name} was passed on: {head:?}");
    }
}

#[test]
fn via_names_the_version_the_client_spoke() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    Wire::connect(ringbolt.address()).exchange("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(backend.only_head().value("Via"), Some("1.0 ringbolt"));
}

#[test]
fn a_head_of_16_kib_goes_through_both_ways() {
    let cookie = "c".repeat(16 * 1024);
    assert_eq!(
        forwarded("/", &format!("Host: a.example\r\nCookie: {cookie}\r\n")).value("Cookie"),
        Some(&*cookie)
    );
    assert_eq!(answered(&format!("X-Long: {cookie}\r\n")).value("X-Long"), Some(&*cookie));
    let target = format!("/{}", "t".repeat(15 * 1024));
    assert_eq!(forwarded(&target, "Host: a.example\r\n").target(), target);
}

/// The status of a refused request, which nobody behind the proxy may see.
fn refused(request: &str) -> u16 {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send(request);
    let answer = client.read_response();
    assert_eq!(answer.head.value("Connection"), Some("close"));
    assert_eq!(client.expect_end(), End::Fin);
    assert_eq!(backend.connections(), 0);
    answer.status()
}

#[test]
fn a_head_of_33_kib_is_answered_431() {
    let long = "c".repeat(33 * 1024);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: a.example\r\nCookie: {long}\r\n\r\n")), 431);
    let many = "X: 1\r\n".repeat(1000);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{many}\r\n")), 431);
}

#[test]
fn a_target_of_17_kib_is_answered_414() {
    let long = "t".repeat(17 * 1024);
    assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\nHost: a.example\r\n\r\n")), 414);
}
