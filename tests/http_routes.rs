//! A route changes what it is told to change, on every message, and answers by itself where it should.
//!
//! Fails with backends that see a path they do not know, rules that are applied to some messages only, or
//! a connection that breaks behind a redirect.
#![forbid(unsafe_code)]

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Options, Ringbolt};

fn start(backend: &Backend, routes: &str) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n{routes}\n\
         [upstream.a]\nbackends = [\"{}\"]\n",
        backend.address()
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nServer: secret\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\nok";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example:8080\r\nX-Debug: 1\r\nX-Env: theirs\r\n\r\n")
}

const RULES: &str = "[[route]]\npath = \"/app\"\nupstream = \"a\"\nstrip_prefix = true\n\
    request = { set_headers = { X-Env = \"prod\" }, remove_headers = [\"x-debug\"] }\n\
    response = { add_headers = { Strict-Transport-Security = \"max-age=1\" }, remove_headers = [\"Server\"] }\n";

#[test]
fn rules_of_a_route_apply_to_its_messages_and_to_no_others() {
    let backend = Backend::answering(OK);
    let ringbolt = start(&backend, RULES);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..2 {
        let answer = client.exchange(get("/app/x?y"));
        assert_eq!(answer.head.value("Strict-Transport-Security"), Some("max-age=1"));
        assert_eq!((answer.head.value("Server"), answer.head.value("X-Old")), (None, Some("1")));
    }
    let other = client.exchange(get("/apple"));
    assert_eq!(
        (other.head.value("Strict-Transport-Security"), other.head.value("Server")),
        (None, Some("secret"))
    );
    let heads: Vec<_> = backend.requests().into_iter().map(|request| request.message.head).collect();
    for head in &heads[..2] {
        assert_eq!(head.target(), "/x?y");
        assert_eq!((head.value("X-Env"), head.value("X-Debug")), (Some("prod"), None));
    }
    assert_eq!((heads[2].target(), heads[2].value("X-Env")), ("/apple", Some("theirs")));
}

#[test]
fn rules_apply_to_a_websocket_upgrade() {
    let backend = Backend::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: secret\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let ringbolt = start(&backend, RULES);
    let answer = Wire::connect(ringbolt.address()).exchange(
        "GET /app/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!((answer.status(), answer.head.value("Server")), (101, None));
    assert_eq!(backend.only_head().target(), "/ws");
}

#[test]
fn redirects_and_fixed_responses_come_from_the_proxy_and_leave_the_connection_usable() {
    let backend = Backend::answering(OK);
    let routes = "[[route]]\nhost = \"a.example\"\nredirect = \"https://{host}{target}\"\n\
        response.set_headers = { X-A = \"1\" }\n\
        [[route]]\npath = \"/health\"\nrespond = { body = \"fine\" }\n";
    let ringbolt = start(&backend, routes);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..2 {
        let answer = client.exchange(get("/x?y"));
        assert_eq!((answer.status(), answer.head.value("Location")), (308, Some("https://a.example/x?y")));
        assert_eq!(answer.head.value("X-A"), Some("1"));
    }
    let fixed = client.exchange("GET /health HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((fixed.status(), &*fixed.text()), (200, "fine"));
    assert_eq!(fixed.head.value("Content-Type"), Some("text/plain; charset=utf-8"));
    let head = client.exchange("HEAD /health HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((head.head.value("Content-Length"), head.body.len()), (Some("4"), 0));
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: b\r\n\r\n").text(), "ok");
    assert_eq!(backend.requests().len(), 1);

    let mut posting = Wire::connect(ringbolt.address());
    posting.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n");
    let answer = posting.read_response();
    assert_eq!((answer.status(), answer.head.value("Connection")), (308, Some("close")));
}
