//! What could be understood in two ways is refused, closed, and reaches no backend.
//!
//! Fails with one client's bytes taken for another's request (smuggling) if the proxy and a backend
//! read the same bytes differently, which is what every row of these tables makes some pair of servers do.
#![forbid(unsafe_code)]

use ringbolt_harness::raw::{Backend, End, Wire};
use ringbolt_harness::{Options, Ringbolt};

fn proxy(backend: &Backend) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends every row on a connection of its own and expects its status, then the end, and no trace of it
/// at the backend; clients before and after are served.
fn assert_refused(rows: &[(&str, &[u8], u16)]) {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut other = Wire::connect(ringbolt.address());
    assert_eq!(other.exchange(GET).status(), 200);
    for (what, bytes, status) in rows {
        let mut client = Wire::connect(ringbolt.address());
        client.send(bytes);
        let answer = client.read_response();
        assert_eq!(answer.status(), *status, "{what}: {answer:?}");
        assert_eq!(answer.head.value("Connection"), Some("close"), "{what}");
        assert!(!answer.body.is_empty(), "{what}: the answer names no cause");
        assert_eq!(client.expect_end(), End::Fin, "{what}");
    }
    assert_eq!(other.exchange(GET).status(), 200);
    assert_eq!(
        backend.requests().len(),
        2,
        "a refused request reached the backend: {:?}",
        backend.requests()
    );
    assert!(backend.fragments().is_empty(), "a part of one reached the backend: {:?}", backend.fragments());
}

/// `lines` in a request with a small body.
macro_rules! post {
    ($lines:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a.example\r\n", $lines, "\r\n0\r\n\r\n").as_bytes()
    };
}

/// `lines` in a request without a body.
macro_rules! get {
    ($lines:literal) => {
        concat!("GET / HTTP/1.1\r\nHost: a.example\r\n", $lines, "\r\n").as_bytes()
    };
}

#[test]
fn a_length_with_two_meanings_is_refused() {
    assert_refused(&[
        ("length and coding", post!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("coding and length", post!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400),
        ("two lengths", post!("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
        ("the same length twice", post!("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
        ("a list of lengths", post!("Content-Length: 5, 6\r\n"), 400),
        ("negative", post!("Content-Length: -5\r\n"), 400),
        ("signed", post!("Content-Length: +5\r\n"), 400),
        ("hexadecimal", post!("Content-Length: 0x5\r\n"), 400),
        ("two numbers", post!("Content-Length: 5 5\r\n"), 400),
        ("empty", post!("Content-Length:\r\n"), 400),
        ("a letter", post!("Content-Length: 5a\r\n"), 400),
        ("2^63", post!("Content-Length: 9223372036854775808\r\n"), 400),
        ("overflowing", post!("Content-Length: 99999999999999999999\r\n"), 400),
    ]);
}

#[test]
fn a_transfer_coding_other_than_chunked_is_refused() {
    assert_refused(&[
        ("gzip", post!("Transfer-Encoding: gzip\r\n"), 501),
        ("identity", post!("Transfer-Encoding: identity\r\n"), 501),
        ("nearly chunked", post!("Transfer-Encoding: xchunked\r\n"), 501),
        ("gzip and chunked", post!("Transfer-Encoding: gzip, chunked\r\n"), 501),
        ("chunked twice", post!("Transfer-Encoding: chunked, chunked\r\n"), 400),
        ("chunked on two lines", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("empty", post!("Transfer-Encoding:\r\n"), 400),
        (
            "in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ]);
}

#[test]
fn a_host_that_is_missing_repeated_or_malformed_is_refused() {
    assert_refused(&[
        ("missing", b"GET / HTTP/1.1\r\n\r\n", 400),
        ("repeated", get!("Host: b.example\r\n"), 400),
        ("the same twice", get!("Host: a.example\r\n"), 400),
        ("with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("with user info", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("a port of letters", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("a port too large", b"GET / HTTP/1.1\r\nHost: a:70000\r\n\r\n", 400),
        ("an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("a control byte", b"GET / HTTP/1.1\r\nHost: a\x01b\r\n\r\n", 400),
        ("malformed beside an absolute target", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ]);
}

#[test]
fn lines_that_servers_read_differently_are_refused() {
    assert_refused(&[
        ("bare LF throughout", b"GET / HTTP/1.1\nHost: a.example\n\n", 400),
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a.example\r\n\r\n", 400),
        ("bare LF after a field", b"GET / HTTP/1.1\r\nHost: a.example\nX: 1\r\n\r\n", 400),
        ("bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: a.example\r\n\n", 400),
        ("a folded line", get!("X: 1\r\n 2\r\n"), 400),
        ("a folded first line", b"GET / HTTP/1.1\r\n X: 1\r\nHost: a.example\r\n\r\n", 400),
        ("space before a colon", get!("X : 1\r\n"), 400),
        ("space before the colon of a length", post!("Content-Length : 5\r\n"), 400),
        ("space in a name", get!("X Y: 1\r\n"), 400),
        ("no colon", get!("X\r\n"), 400),
        ("no name", get!(": 1\r\n"), 400),
        ("NUL in a name", get!("X\0: 1\r\n"), 400),
        ("NUL in a value", get!("X: a\0b\r\n"), 400),
        ("CR in a value", get!("X: a\rb\r\n"), 400),
        ("a control byte in a value", get!("X: a\x01b\r\n"), 400),
    ]);
}

#[test]
fn request_lines_that_are_none_are_refused() {
    assert_refused(&[
        ("CONNECT", b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n", 405),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", 505),
        ("HTTP/3.0", b"GET / HTTP/3.0\r\nHost: a.example\r\n\r\n", 505),
        ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: a.example\r\n\r\n", 400),
        ("a version in lower case", b"GET / http/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("no version", b"GET /\r\nHost: a.example\r\n\r\n", 400),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("a tab", b"GET\t/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("a space in front", b" GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("a target without slash", b"GET a HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("a star", b"GET * HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("an absolute target without host", b"GET http:///a HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("a control byte in the target", b"GET /\x01 HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("an endless method", &[b'A'; 100], 501),
        ("an unknown expectation", get!("Expect: a miracle\r\n"), 417),
    ]);
}

#[test]
fn what_is_pipelined_behind_a_refused_request_is_never_read() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send(
        "GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n\
         POST /bad HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    );
    assert_eq!(client.read_response().status(), 200);
    assert_eq!(client.read_response().status(), 400);
    assert_eq!(client.expect_end(), End::Fin);
    assert_eq!(backend.only_head().target(), "/first");
}

/// Bodies whose first chunk is fine, then broken so that servers disagree about where they end.
const BAD_CHUNKS: [(&str, &[u8]); 15] = [
    ("no number", b"x\r\nhello\r\n0\r\n\r\n"),
    ("negative", b"-1\r\nhello\r\n0\r\n\r\n"),
    ("signed", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("prefixed", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("empty", b"\r\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the size", b"5\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the data", b"5\r\nhello\n0\r\n\r\n"),
    ("junk behind the data", b"5\r\nhelloXX0\r\n\r\n"),
    ("a size beyond any counter", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("too many digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    ("bare LF in the trailers", b"0\r\nX: 1\n\r\n"),
    ("a folded trailer", b"0\r\nX: 1\r\n 2\r\n\r\n"),
    ("NUL in a trailer", b"0\r\nX: a\0b\r\n\r\n"),
];

#[test]
fn a_bad_chunk_line_ends_both_connections_without_a_last_chunk() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let long = [b"5;".to_vec(), vec![b'e'; 5000], b"\r\nhello\r\n0\r\n\r\n".to_vec()].concat();
    let rows = BAD_CHUNKS.into_iter().chain([("an endless extension", &*long)]);
    for (number, (what, chunks)) in rows.enumerate() {
        let mut client = Wire::connect(ringbolt.address());
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        client.send(chunks);
        let answer = client.read_response();
        assert_eq!(
            (answer.status(), answer.head.value("Connection")),
            (400, Some("close")),
            "{what}: {answer:?}"
        );
        assert_eq!(client.expect_end(), End::Fin, "{what}");
        // The backend has heard of the request: its connection must end without a last chunk.
        let _ = backend.wait_for_ends(number + 1);
        assert!(backend.requests().is_empty(), "{what}: it looked complete to the backend");
    }
    for fragment in backend.fragments() {
        assert!(!fragment.ends_with(b"0\r\n\r\n"), "\"{}\"", fragment.escape_ascii());
    }
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 200);
}
