//! An Engine.IO session has one line when it has ended, which says how: wherever its requests went, and whether it
//! polled or went on as a tunnel.
//!
//! Fails with ends that nobody can explain if a line is missing or blames the wrong side, with sessions counted twice if
//! there are two, and with memory that grows for ever if what is known of a session is kept.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Gate, Request, Wire};
use ringbolt_harness::{Options, Ringbolt, Syslog};
use serde_json::{Value, json};

/// More than a session's shortest life, or what an upgrade may take, and a sweep.
const LIMIT: Duration = Duration::from_secs(30);
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Sessions live as briefly as they can, but for those that a drain or another process is to find alive.
fn handshake(sid: &str) -> String {
    let ping = if sid.ends_with("until-the-end") || sid == "server-closes-it-soon" { 60_000 } else { 100 };
    format!("0{{\"sid\":\"{sid}\",\"upgrades\":[\"websocket\"],\"pingInterval\":{ping},\"pingTimeout\":100}}")
}

/// A backend whose clients choose their sids, by the path, and what becomes of their sessions, by the sid.
fn backend(held: &Gate) -> Backend {
    let held = held.clone();
    Backend::start(move |request: &Request, wire: &mut Wire| {
        let head = request.head();
        let target = head.target();
        if head.value("Upgrade").is_some() {
            return wire.send(ACCEPTED);
        }
        let Some((_, sid)) = target.split_once("sid=") else {
            let sid = target.trim_start_matches('/').split('?').next().expect("a path");
            return wire.send(ok(&handshake(sid)));
        };
        match sid {
            _ if head.first_line().starts_with("POST") => wire.send(ok("ok")),
            "server-closes-it-soon" => wire.send(ok("1")),
            "is-refused-at-last" => wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            "loses-its-backend-soon" => wire.close(),
            "leaves-its-poll-held" => {
                held.open();
                let _ = wire.read("the end of an abandoned poll");
            }
            _ => wire.send(ok("4hello")),
        }
    })
}

fn start(backend: &Backend, log: &Syslog) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[timeouts]\ndrain = \"2s\"\n\
         [upstream.a]\nbackends = [{{ name = \"one\", address = \"{}\" }}]\n{}",
        backend.address(),
        log.section("events = [\"session\"]")
    );
    // So that a session's requests come to both.
    Ringbolt::start(&Options {
        workers: 2,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

/// A request of a session on a connection of its own, which is left open.
fn ask(ringbolt: &Ringbolt, method: &str, query: &str, more: &str) -> Wire {
    let wire = Wire::connect(ringbolt.address());
    wire.send(format!("{method} {query} HTTP/1.1\r\nHost: a.example\r\n{more}\r\n"));
    wire
}

fn open(ringbolt: &Ringbolt, sid: &str) {
    let mut wire = ask(ringbolt, "GET", &format!("/{sid}?EIO=4&transport=polling"), "");
    assert_eq!(wire.read_response().status(), 200);
}

fn poll(ringbolt: &Ringbolt, sid: &str) -> Wire {
    ask(ringbolt, "GET", &format!("/?EIO=4&transport=polling&sid={sid}"), "")
}

/// A session's upgrade; without a sid it begins with it.
fn upgrade(ringbolt: &Ringbolt, sid: &str) -> Wire {
    let mut wire = ask(ringbolt, "GET", &format!("/?EIO=4&transport=websocket{sid}"), UPGRADE);
    assert_eq!(wire.read_head().expect("an answer").status(), 101);
    wire
}

fn counted(ringbolt: &Ringbolt, reason: &str) -> f64 {
    ringbolt.metrics()[&*format!("ringbolt_engine_io_session_ends_total{{reason=\"{reason}\"}}")]
}

fn wait_until_counted(ringbolt: &Ringbolt, reason: &str, count: f64) {
    let deadline = Instant::now() + LIMIT;
    while counted(ringbolt, reason) < count {
        assert!(Instant::now() < deadline, "no {reason}");
        thread::yield_now();
    }
}

/// Lines by the first letters of their sids.
fn lines(log: &Syslog, count: usize) -> BTreeMap<String, Value> {
    let line = |_| {
        let line = log.line();
        assert_eq!(line["event"], "session", "{line}");
        (line["sid"].as_str().unwrap_or("none").to_owned(), line)
    };
    let lines: BTreeMap<String, Value> = (0..count).map(line).collect();
    assert_eq!(lines.len(), count, "two lines of one session: {lines:?}");
    lines
}

fn assert_has(line: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[field], value, "{field} in {line}");
    }
}

#[test]
fn a_session_that_polls_has_one_line_that_says_how_it_ended() {
    let (log, held) = (Syslog::new(), Gate::default());
    let backend = backend(&held);
    let ringbolt = start(&backend, &log);
    let cases = [
        ("client-closes-it-at-once", "C-", "client_closed"),
        ("server-closes-it-soon", "S-", "server_closed"),
        ("falls-silent-after-a-poll", "cP", "expired"),
        ("leaves-its-poll-held", "CP", "client_left"),
        ("loses-its-backend-soon", "SP", "backend_lost"),
        ("is-refused-at-last", "SP", "backend_refused"),
    ];
    for (sid, ..) in cases {
        open(&ringbolt, sid);
        if sid == "client-closes-it-at-once" {
            let mut wire = poll(&ringbolt, sid);
            assert_eq!(wire.read_response().status(), 200);
            // On the same connection: the session knows of a request a moment after its client has the answer.
            let close = format!("/?EIO=4&transport=polling&sid={sid}");
            wire.send(format!("POST {close} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n1"));
            assert_eq!(wire.read_response().status(), 200);
        } else if sid == "leaves-its-poll-held" {
            let mut wire = poll(&ringbolt, sid);
            held.wait("a poll at the backend");
            wire.close();
        } else {
            let _ = poll(&ringbolt, sid).read_response();
        }
    }
    let lines = lines(&log, cases.len());
    for (sid, termination, reason) in cases {
        let line = &lines[&sid[..6]];
        let expected = json!({
            "termination": termination,
            "reason": reason,
            "transports": "polling",
            "client": "127.0.0.1",
            "path": format!("/{sid}"),
            "engine_io": 4,
            "upstream": "a",
            "backend": "one",
            "taken_over": null,
        });
        assert_has(line, &expected);
        assert_eq!(counted(&ringbolt, reason), 1.0, "{reason}");
        assert!(line["duration_seconds"].as_f64() < Some(LIMIT.as_secs_f64()), "{line}");
    }
    let closed = &lines["client"];
    assert_has(closed, &json!({ "requests": 3, "request_body_bytes": 1 }));
    let payload = [&handshake("client-closes-it-at-once"), "4hello", "ok"].concat();
    assert_eq!(closed["response_body_bytes"], payload.len(), "{closed}");
    assert_eq!(ringbolt.metrics()["ringbolt_engine_io_session_duration_seconds_count"], 6.0);
    assert_eq!(ringbolt.metrics()["ringbolt_sid_table_entries"], 0.0);
    assert!(log.is_empty(), "more lines than sessions");
}

/// One whose tunnel ends early may poll on, so its line waits; one whose tunnel lives ends with that.
#[test]
fn a_session_that_became_a_tunnel_ends_with_it() {
    let log = Syslog::new();
    let backend = backend(&Gate::default());
    let mut ringbolt = start(&backend, &log);
    drop(upgrade(&ringbolt, ""));
    let line = log.line();
    let expected =
        json!({ "transports": "websocket", "termination": "C-", "reason": "client_closed", "sid": null });
    assert_has(&line, &expected);
    for sid in ["short-tunnel-of-a-page", "long-tunnel-of-a-page"] {
        open(&ringbolt, sid);
    }
    let mut short = upgrade(&ringbolt, "&sid=short-tunnel-of-a-page");
    short.send("12345");
    short.close();
    let mut long = upgrade(&ringbolt, "&sid=long-tunnel-of-a-page");
    let line = log.line();
    assert_has(&line, &json!({ "sid": "short-", "transports": "polling>websocket", "requests": 2 }));
    assert_has(&line, &json!({ "reason": "client_closed", "client_bytes": 5, "backend_bytes": 0 }));
    wait_until_counted(&ringbolt, "upgraded", 2.0);
    long.close();
    assert_has(&log.line(), &json!({ "sid": "long-t", "reason": "client_closed" }));
    assert!(ringbolt.terminate().success());
}

/// Whoever ends the process ends sessions that nobody takes over.
#[test]
fn sessions_of_a_process_that_ends_have_a_line_too() {
    let log = Syslog::new();
    let backend = backend(&Gate::default());
    let mut ringbolt = start(&backend, &log);
    open(&ringbolt, "polls-until-the-end");
    open(&ringbolt, "tunnel-until-the-end");
    let tunnel = upgrade(&ringbolt, "&sid=tunnel-until-the-end");
    assert!(ringbolt.terminate().success());
    let lines = lines(&log, 2);
    assert_has(&lines["polls-"], &json!({ "termination": "KP", "reason": "drained" }));
    assert_has(&lines["tunnel"], &json!({ "termination": "KT", "reason": "drained" }));
    assert!(log.is_empty(), "more lines than sessions");
    drop(tunnel);
}

/// A session that another process takes over ends there, and has a line if it was seen there.
#[test]
fn a_session_that_was_taken_over_has_one_line() {
    let log = Syslog::new();
    let backend = backend(&Gate::default());
    let mut ringbolt = start(&backend, &log);
    open(&ringbolt, "server-closes-it-soon");
    ringbolt.upgrade();
    ringbolt.former_ends();
    assert!(log.is_empty(), "it has not ended");
    assert_eq!(poll(&ringbolt, "server-closes-it-soon").read_response().status(), 200);
    let line = log.line();
    assert_has(&line, &json!({ "sid": "server", "reason": "server_closed", "taken_over": 1, "requests": 1 }));
    assert!(log.is_empty(), "more lines than sessions");
}
