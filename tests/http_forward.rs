//! A body arrives as its sender meant it, whatever its framing, in whatever pieces the bytes come.
//!
//! Fails with a missing, added or shifted byte if framing is copied instead of decided anew: the two
//! ends of a proxy then disagree about where a message ends, and the next one begins in its middle.
#![forbid(unsafe_code)]

use ringbolt_harness::raw::{Backend, End, Ending, Wire};
use ringbolt_harness::{Options, Ringbolt};

fn proxy(backend: &Backend) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// "hello world" with everything a chunked body may have: extensions, leading zeros, trailers.
const CHUNKED: &str =
    "5;ext=\"a;b\"\r\nhello\r\n1;x\r\n \r\n0005\r\nworld\r\n0\r\nX-Checksum: 1\r\nX-Sum: 2\r\n\r\n";

#[test]
fn a_request_body_with_a_length_arrives_byte_by_byte() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send_in_pieces("POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\r\nhello world", 1);
    assert_eq!(client.read_response().text(), "ok");
    let request = backend.only_request().message;
    assert_eq!((request.ending, &*request.raw_body), (Ending::Length, &b"hello world"[..]));
    assert_eq!(request.head.value("Content-Length"), Some("11"));
    assert_eq!(request.head.value("Transfer-Encoding"), None);
}

#[test]
fn a_length_with_leading_zeros_is_sent_on_in_its_shortest_form() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.exchange("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0003\r\n\r\nabc");
    assert_eq!(backend.only_head().values("Content-Length"), ["3"]);
}

#[test]
fn a_chunked_request_body_arrives_whole_however_it_is_split() {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{CHUNKED}"
    );
    for piece in (1..40).chain([request.len()]) {
        client.send_in_pieces(&request, piece);
        assert_eq!(client.read_response().text(), "ok", "in pieces of {piece}");
    }
    for request in backend.requests() {
        assert_eq!(request.message.text(), "hello world");
        assert_eq!(request.message.ending, Ending::Chunked);
        assert_eq!(request.message.trailers, b"X-Checksum: 1\r\nX-Sum: 2\r\n");
        assert!(
            !request.message.raw_body.contains(&b';'),
            "an extension was sent on, though only one hop may read it"
        );
    }
}

#[test]
fn a_chunked_answer_arrives_whole_however_it_is_split() {
    let backend = Backend::start(|request, wire| {
        let piece = request.head().target()[1..].parse().unwrap();
        wire.send_in_pieces(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"), piece);
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for piece in (1..40).chain([1000]) {
        let answer = client.exchange(format!("GET /{piece} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!((answer.status(), &*answer.text(), answer.ending), (200, "hello world", Ending::Chunked));
        assert_eq!(answer.trailers, b"X-Checksum: 1\r\nX-Sum: 2\r\n");
    }
    assert_eq!(backend.connections(), 1, "a complete chunked answer leaves its connection usable");
}

#[test]
fn an_answer_with_a_length_arrives_whole_however_it_is_split() {
    let backend = Backend::start(|request, wire| {
        let piece = request.head().target()[1..].parse().unwrap();
        wire.send_in_pieces("HTTP/1.1 200 Fine by me\r\nContent-Length: 11\r\n\r\nhello world", piece);
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for piece in 1..60 {
        let answer = client.exchange(format!("GET /{piece} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!((&*answer.text(), answer.ending), ("hello world", Ending::Length));
        assert_eq!(answer.head.first_line(), "HTTP/1.1 200 Fine by me");
    }
}

/// Answers with a body that ends with the connection.
fn close_delimited() -> Backend {
    Backend::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        wire.close();
    })
}

#[test]
fn a_body_that_ends_with_its_connection_becomes_chunked_and_the_client_goes_on() {
    let backend = close_delimited();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..3 {
        let answer = client.exchange(GET);
        assert_eq!((&*answer.text(), answer.ending), ("until the end", Ending::Chunked));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn an_http10_client_gets_such_a_body_raw_and_then_the_end() {
    let backend = close_delimited();
    let ringbolt = proxy(&backend);
    for fields in ["", "Connection: keep-alive\r\n"] {
        let mut client = Wire::connect(ringbolt.address());
        let answer = client.exchange(format!("GET / HTTP/1.0\r\nHost: a.example\r\n{fields}\r\n"));
        assert_eq!((&*answer.raw_body, answer.ending), (&b"until the end"[..], Ending::Close));
    }
}

#[test]
fn an_http10_client_gets_a_chunked_answer_unchunked() {
    let backend =
        Backend::answering(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"));
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let answer = client.exchange("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((&*answer.raw_body, answer.ending), (&b"hello world"[..], Ending::Close));
    assert_eq!(answer.head.value("Transfer-Encoding"), None);
    assert!(backend.only_head().first_line().ends_with(" HTTP/1.1"), "the backend is spoken to in HTTP/1.1");
}

#[test]
fn head_204_and_304_have_no_body_whatever_their_fields_say() {
    let backend = Backend::start(|request, wire| {
        wire.send(match request.head().target() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 700\r\nETag: \"x\"\r\n\r\n",
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n",
        });
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let head = client.exchange("HEAD /200 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((head.status(), head.head.value("Content-Length")), (200, Some("700")));
    assert_eq!(client.exchange("HEAD /chunked HTTP/1.1\r\nHost: a.example\r\n\r\n").status(), 200);
    let no_content = client.exchange("GET /204 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((no_content.status(), no_content.head.value("Content-Length")), (204, None));
    assert_eq!(no_content.head.value("Transfer-Encoding"), None);
    let not_modified = client.exchange("GET /304 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((not_modified.status(), not_modified.head.value("ETag")), (304, Some("\"x\"")));
    assert_eq!(client.exchange("HEAD /200 HTTP/1.1\r\nHost: a.example\r\n\r\n").status(), 200);
    client.finish();
    assert_eq!(client.expect_end(), End::Fin);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_body_waits_for_the_backends_100_continue() {
    let backend = Backend::start_at_head(|request, wire| {
        assert_eq!(request.head().value("Expect"), Some("100-continue"));
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = wire.read_request_body(request.head().clone()).unwrap().text();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read_response().status(), 100);
    client.send("body");
    assert_eq!(client.read_response().text(), "body");
}

#[test]
fn a_final_answer_instead_of_100_continue_reaches_the_client() {
    let backend = Backend::start_at_head(|_, wire| {
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        wire.close();
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.status(), &*answer.text()), (413, "big"));
}

#[test]
fn early_hints_reach_http11_clients_and_no_http10_client() {
    let backend = Backend::answering(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n{OK}"
    ));
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    let first = client.exchange(GET);
    assert_eq!((first.status(), first.head.value("Link")), (103, Some("</a>")));
    assert_eq!(client.read_response().head.value("Link"), Some("</b>"));
    assert_eq!(client.read_response().text(), "ok");
    let mut old = Wire::connect(ringbolt.address());
    assert_eq!(old.exchange("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").text(), "ok");
}
