//! A backend that fails costs at most the request it failed on, and never looks like one that did not.
//!
//! Fails with half an answer taken for a whole one, with an answer handed to the wrong client, or with a
//! request executed twice, if a fault upstream is smoothed over instead of shown.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Dead, End, Gate, WAIT, Wire};
use ringbolt_harness::{Options, Ringbolt};

fn proxy(backends: &[std::net::SocketAddr]) -> Ringbolt {
    Ringbolt::start(&Options { workers: 1, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), backends) })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc";
/// Below all timeouts.
const AT_ONCE: Duration = WAIT;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

#[test]
fn a_lone_backend_that_refuses_is_a_502_at_once() {
    let dead = Dead::refusing();
    let ringbolt = proxy(&[dead.address()]);
    for request in [GET, POST] {
        let asked = Instant::now();
        assert_eq!(Wire::connect(ringbolt.address()).exchange(request).status(), 502);
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
}

#[test]
fn where_one_backend_refuses_the_next_serves_whatever_the_method() {
    let (dead, backend) = (Dead::refusing(), Backend::named("alive"));
    let ringbolt = proxy(&[dead.address(), backend.address()]);
    let handshake = get("/socket.io/?EIO=4&transport=polling");
    for request in [GET, POST, &handshake].repeat(5) {
        let answer = Wire::connect(ringbolt.address()).exchange(request);
        assert_eq!((answer.status(), &*answer.text()), (200, "alive"), "{request}");
    }
}

const TIMEOUTS: &str = "ringbolt_upstream_connects_total{result=\"timeout\"}";

#[test]
fn where_one_backend_is_silent_the_next_serves_after_one_connect_timeout() {
    let (silent, backend) = (Dead::silent(), Backend::named("alive"));
    let addresses = format!("\"{}\", \"{}\"", silent.address(), backend.address());
    let ringbolt = with_connect_timeout(&addresses);
    for requests in 1..=4 {
        assert_eq!(Wire::connect(ringbolt.address()).exchange(POST).text(), "alive");
        assert!(ringbolt.metrics()[TIMEOUTS] <= f64::from(requests), "one each at most");
    }
    assert!(ringbolt.metrics()[TIMEOUTS] > 0.0, "the silent one was tried");
}

#[test]
fn backends_that_are_all_silent_are_a_504_within_two_connect_timeouts() {
    let silent = [Dead::silent(), Dead::silent(), Dead::silent()];
    let addresses = silent.each_ref().map(|silent| format!("\"{}\"", silent.address())).join(", ");
    let ringbolt = with_connect_timeout(&addresses);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 504);
    // Where the first one's end is noticed late, there is no time for another.
    assert!((1.0..=2.0).contains(&ringbolt.metrics()[TIMEOUTS]), "attempts");
}

fn with_connect_timeout(backends: &str) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [{backends}]\n[timeouts]\nconnect = \"1s\"\n"
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

/// What no client may be shown.
const BAD_HEADS: [(&str, &str); 19] = [
    ("negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    ("signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("lettered length", "HTTP/1.1 200 OK\r\nContent-Length: 2a\r\n\r\nok"),
    ("overflowing length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    (
        "length and coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"),
    ("unasked 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    ("status 000", "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 20", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 2000", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 999", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"),
    ("no status line", "hello\r\n\r\n"),
    ("a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    ("a folded line", "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"),
];

#[test]
fn a_head_that_is_none_is_a_502() {
    let backend = Backend::start(|request, wire| {
        let number: usize = request.head().target()[1..].parse().unwrap();
        wire.send(BAD_HEADS[number].1);
    });
    let ringbolt = proxy(&[backend.address()]);
    for (number, (what, _)) in BAD_HEADS.iter().enumerate() {
        let answer = Wire::connect(ringbolt.address()).exchange(get(&format!("/{number}")));
        assert_eq!(answer.status(), 502, "{what}: {answer:?}");
        assert!(!answer.body.is_empty(), "{what}: the answer names no cause");
    }
    assert_eq!(backend.connections(), BAD_HEADS.len(), "a connection was used again after nonsense");
    assert_eq!(backend.requests().len(), BAD_HEADS.len(), "a request was sent again");
}

#[test]
fn a_head_of_40_kib_is_a_502() {
    let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40 * 1024)));
    let ringbolt = proxy(&[backend.address()]);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 502);
}

#[test]
fn a_backend_that_closes_or_resets_instead_of_answering_is_a_502() {
    let backend = Backend::start(|request, wire| match request.head().target() {
        "/close" => wire.close(),
        "/reset" => wire.reset(),
        _ => {
            wire.send("HTTP/1.1 200 OK\r\nConte");
            wire.close();
        }
    });
    let ringbolt = proxy(&[backend.address()]);
    for target in ["/close", "/reset", "/half-a-head"] {
        assert_eq!(Wire::connect(ringbolt.address()).exchange(get(target)).status(), 502, "{target}");
    }
    assert_eq!(backend.requests().len(), 3, "a request on a fresh connection was sent again");
}

/// What the client sees of an answer that breaks off: all bytes, and how they end.
fn broken(answer: &'static str, reset: bool, version: &str) -> (String, End) {
    let gate = Gate::default();
    let opened = gate.clone();
    let backend = Backend::start(move |_, wire| {
        wire.send(answer);
        opened.wait("until the client has seen the first of the answer");
        if reset { wire.reset() } else { wire.close() }
    });
    let ringbolt = proxy(&[backend.address()]);
    let mut client = Wire::connect(ringbolt.address());
    client.send(format!("GET / HTTP/{version}\r\nHost: a.example\r\n\r\n"));
    let head = client.read_head().expect("the answer had begun");
    gate.open();
    let (bytes, end) = client.read_to_end();
    (String::from_utf8([head.0, bytes].concat()).expect("text"), end)
}

#[test]
fn an_answer_that_breaks_off_looks_broken_to_the_client() {
    for reset in [false, true] {
        let (seen, _) = broken("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", reset, "1.1");
        assert!(seen.contains("Content-Length: 10\r\n"), "{seen:?}");
        assert!(seen.split("\r\n\r\n").nth(1).unwrap().len() < 10, "{seen:?}");
        for version in ["1.1", "1.0"] {
            let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
            let (seen, end) = broken(chunked, reset, version);
            assert!(!seen.ends_with("0\r\n\r\n"), "{seen:?}");
            assert!(
                version == "1.1" || end == End::Reset,
                "only a reset shows HTTP/1.0 that the body is cut"
            );
        }
    }
    for version in ["1.1", "1.0"] {
        let (seen, end) = broken("HTTP/1.1 200 OK\r\n\r\nhello", true, version);
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen:?}");
        assert!(
            version == "1.1" || end == End::Reset,
            "a body that ends with its connection was cut by a reset"
        );
    }
}

#[test]
fn malformed_chunks_in_an_answer_look_broken_to_the_client() {
    let gate = Gate::default();
    let opened = gate.clone();
    let backend = Backend::start(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        opened.wait("until the client has seen the first of the answer");
        wire.send("x\r\nworld\r\n0\r\n\r\n");
    });
    let ringbolt = proxy(&[backend.address()]);
    let mut client = Wire::connect(ringbolt.address());
    client.send(GET);
    assert_eq!(client.read_head().expect("the answer has begun").status(), 200);
    gate.open();
    let (seen, _) = client.read_to_end();
    let seen = String::from_utf8(seen).unwrap();
    assert!(!seen.contains("world") && !seen.ends_with("0\r\n\r\n"), "{seen:?}");
}

#[test]
fn malformed_chunks_of_which_nothing_has_left_are_a_502() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let plain = format!("{chunked}5\r\nhello\r\nx\r\nworld\r\n0\r\n\r\n");
    // A handshake is held back until it is read, so even its pieces are one answer.
    let handshake = format!("{chunked}1\r\n0\r\nzz\r\n0\r\n\r\n");
    let backend = Backend::start(move |request, wire| match request.head().target() {
        "/" => wire.send(&plain),
        _ => wire.send_in_pieces(&handshake, 1),
    });
    let ringbolt = proxy(&[backend.address()]);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 502);
    for _ in 0..50 {
        let mut client = Wire::connect(ringbolt.address());
        let answer = client.exchange(get("/?EIO=4&transport=polling"));
        assert_eq!(answer.status(), 502, "{answer:?}");
    }
}

#[test]
fn surplus_bytes_end_with_their_answer_and_their_connection() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    );
    let ringbolt = proxy(&[backend.address()]);
    let mut client = Wire::connect(ringbolt.address());
    for number in 1..=5 {
        assert_eq!(client.exchange(GET).text(), "ok");
        assert_eq!(backend.connections(), number);
    }
}

#[test]
fn bytes_that_come_after_the_answer_end_the_pooled_connection() {
    let (asked, sent) = (Gate::default(), Gate::default());
    let (wait, tell) = (asked.clone(), sent.clone());
    let backend = Backend::start(move |request, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if request.connection == 0 {
            wait.wait("until the client has its answer");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
            tell.open();
        }
    });
    let ringbolt = proxy(&[backend.address()]);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(GET).text(), "ok");
    asked.open();
    sent.wait("until the surplus is at the proxy");
    assert_eq!(client.exchange(GET).text(), "ok");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_pooled_connection_that_was_closed_meanwhile_is_not_used() {
    let backend = Backend::named("a");
    let ringbolt = proxy(&[backend.address()]);
    let mut client = Wire::connect(ringbolt.address());
    for request in [GET, POST, GET, POST] {
        assert_eq!(client.exchange(request).text(), "a");
        backend.close_connections();
    }
    assert_eq!((backend.connections(), backend.requests().len()), (4, 4));
}

/// Answers on every connection but the first, where it answers once and then hangs up on the next request.
fn hangs_up_on_the_second() -> Backend {
    Backend::start(|request, wire| {
        if request.connection == 0 && request.head().target() != "/first" {
            wire.close();
        } else {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

/// The status of `request` on a pooled connection that dies of it, and how often the backend got it.
fn on_a_stale_connection(request: &str) -> (u16, usize) {
    let backend = hangs_up_on_the_second();
    let ringbolt = proxy(&[backend.address()]);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(get("/first")).status(), 200);
    let status = client.exchange(request).status();
    (status, backend.requests().len() - 1)
}

#[test]
fn a_get_that_meets_a_stale_connection_is_sent_on_a_fresh_one() {
    assert_eq!(on_a_stale_connection(&get("/second")), (200, 2));
}

#[test]
fn a_request_with_a_body_is_never_sent_twice() {
    for method in ["POST", "PUT", "PATCH", "GET"] {
        let request = format!("{method} /second HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(on_a_stale_connection(&request), (502, 1), "{method}");
    }
}

#[test]
fn a_post_without_a_body_is_never_sent_twice() {
    let request = "POST /second HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(on_a_stale_connection(request), (502, 1));
}

#[test]
fn a_poll_is_never_sent_twice() {
    for target in ["/socket.io/?EIO=4&transport=polling&sid=abc", "/x?sid=abc&transport=polling"] {
        assert_eq!(on_a_stale_connection(&get(target)), (502, 1), "{target}");
    }
}

#[test]
fn a_silent_backend_is_a_504_after_the_response_timeout() {
    let silent = Gate::default();
    let held = silent.clone();
    let backend = Backend::start(move |_, _| held.wait("until the client has its 504"));
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n[timeouts]\nresponse = \"300ms\"\n",
        backend.address()
    );
    let ringbolt = Ringbolt::start(&Options {
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    let asked = Instant::now();
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 504);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    silent.open();
    assert_eq!(backend.requests().len(), 1);
}
