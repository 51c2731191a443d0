//! The two ends against each other: a harness that misreads bytes would blame the proxy.

use std::time::Duration;

use super::*;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn messages_are_decoded_by_their_framing() {
    let backend = Backend::start(|request, wire| match request.head().target() {
        "/length" => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        "/chunked" => wire.send_in_pieces(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: 1\r\n\r\n",
            3,
        ),
        _ => {
            wire.send("HTTP/1.1 200 OK\r\n\r\nabc");
            wire.close();
        }
    });
    let mut wire = Wire::connect(backend.address());
    for (target, ending, trailers) in [
        ("length", Ending::Length, ""),
        ("chunked", Ending::Chunked, "T: 1\r\n"),
        ("close", Ending::Close, ""),
    ] {
        let response = wire.exchange(format!("GET /{target} HTTP/1.1\r\n\r\n"));
        assert_eq!((response.status(), response.ending, &*response.text()), (200, ending, "abc"));
        assert_eq!(response.trailers, trailers.as_bytes());
    }
    assert_eq!((backend.connections(), backend.requests().len()), (1, 3));
}

#[test]
fn pipelined_requests_and_bodies_are_kept_apart() {
    let backend = Backend::start(|request, wire| {
        let body = &request.message.body;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        wire.send(body);
    });
    let mut wire = Wire::connect(backend.address());
    wire.send(
        "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n",
    );
    assert_eq!(wire.read_response().text(), "xy");
    assert_eq!(wire.read_response().text(), "z");
}

#[test]
fn resets_and_ends_are_told_apart() {
    let backend = Backend::start(|_, wire| wire.reset());
    let mut wire = Wire::connect(backend.address());
    wire.send(GET);
    assert_eq!(wire.read_to_end(), (Vec::new(), End::Reset));
    let backend = Backend::start(|_, wire| wire.close());
    let mut wire = Wire::connect(backend.address());
    wire.send(GET);
    assert_eq!(wire.expect_end(), End::Fin);
    let mut wire = Wire::connect(backend.address());
    wire.send("GET");
    wire.reset();
    assert_eq!(backend.wait_for_ends(1), [End::Reset]);
}

#[test]
fn a_full_connection_is_noticed_and_drains() {
    let gate = Gate::default();
    let opened = gate.clone();
    let backend = Backend::start_at_head(move |request, wire| {
        opened.wait("until the sender is full");
        let mut pattern = Pattern::default();
        let length: u64 = request.head().value("X-Length").unwrap_or_default().parse().unwrap_or(0);
        while pattern.position() < length {
            pattern.check(&wire.read("the stream").unwrap());
        }
        wire.send("HTTP/1.1 204 No Content\r\n\r\n");
    });
    let mut wire = Wire::connect(backend.address());
    wire.send("POST / HTTP/1.1\r\nX-Length: 1000000\r\n\r\n");
    backend.wait_for_requests(1);
    let mut pattern = Pattern::default();
    let taken = wire.send_until_full(Duration::from_millis(100), 1 << 30, |buffer| pattern.fill(buffer));
    assert!(taken > 1_000_000);
    gate.open();
    assert_eq!(wire.read_response().status(), 204);
}

#[test]
fn dead_addresses_refuse_or_say_nothing() {
    let connect = |address| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let refusing = Dead::refusing();
    assert_eq!(connect(refusing.address()).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let silent = Dead::silent();
    assert_eq!(connect(silent.address()).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}
