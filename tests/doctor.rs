//! `ringbolt doctor` finds nothing wrong where nothing is, and names the cause where something is: at real servers,
//! through proxies that do what users' proxies do.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ringbolt_harness::raw::Backend;
use ringbolt_harness::{Backends, Kind, Options, Process, Ringbolt};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_ringbolt");

/// Above the time of its slowest check.
const LIMIT: Duration = Duration::from_secs(90);

const OK: i32 = 0;
const WARNING: i32 = 3;
const FAULT: i32 = 4;

/// What it said, and its exit code.
fn doctor(at: SocketAddr, arguments: &[&str]) -> (Value, i32) {
    doctor_at(at, "", arguments)
}

fn doctor_at(at: SocketAddr, path: &str, arguments: &[&str]) -> (Value, i32) {
    let mut command = Command::new(BINARY);
    command.args(["doctor", &format!("http://{at}{path}"), "--json"]).args(arguments);
    let mut process = Process::spawn("doctor", &mut command);
    let status: ExitStatus = process.wait(LIMIT);
    let said = process.whole_output();
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, status.code().expect("an exit code"))
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {report:#}"))
}

fn severity<'a>(report: &'a Value, check: &str) -> &'a str {
    finding(report, check)["severity"].as_str().expect("a severity")
}

/// A proxy with this affinity before these backends.
fn proxy(affinity: &str, backends: &[SocketAddr]) -> Ringbolt {
    let mut options = Options::new(BINARY, backends);
    options.arguments = vec!["--affinity".into(), affinity.into()];
    Ringbolt::start(&options)
}

/// Fails if a check misjudges what works: these servers, behind a proxy that keeps sessions together.
#[test]
fn nothing_is_wrong_behind_ringbolt() {
    for (kind, generation) in [
        (Kind::SocketIo2, "3"),
        (Kind::SocketIo4, "4"),
        (Kind::SocketIo4, "3"),
        (Kind::Python, "4"),
        (Kind::EngineIo6, "4"),
    ] {
        let path = if kind == Kind::EngineIo6 { "/engine.io" } else { "" };
        let proxy = proxy("engine-io", Backends::shared(kind).addresses());
        let (report, code) = doctor_at(proxy.address(), path, &["--eio", generation, "--quick"]);
        assert_eq!(code, OK, "{kind:?}: {report:#}");
        for check in ["polling", "upgrade", "affinity", "HTTP/1.0", "tunnel"] {
            assert_eq!(severity(&report, check), "ok", "{kind:?}: {report:#}");
        }
    }
}

#[test]
fn a_held_poll_and_a_tunnel_are_waited_for() {
    let backends = Backends::shared(Kind::SocketIo4);
    let proxy = proxy("engine-io", backends.addresses());
    let (report, code) = doctor(proxy.address(), &["--sessions", "1", "--idle", "2"]);
    assert_eq!(code, OK, "{report:#}");
    let seen = finding(&report, "held poll")["seen"].as_str().expect("what was seen");
    let held = seen.strip_prefix("held for ").and_then(|seen| seen.split(' ').next()?.parse::<f64>().ok());
    // The server's clock begins before the doctor's.
    assert!(
        held.is_some_and(|held| (24.0..30.0).contains(&held)),
        "the server's ping interval of 25 s: {seen}"
    );
    assert_eq!(finding(&report, "tunnel")["seen"], "open for 2 s with a ping every 25 s");
}

/// What round robin does to sessions.
#[test]
fn lost_sessions_are_counted_and_explained() {
    let proxy = proxy("none", Backends::shared(Kind::SocketIo4).addresses());
    let (report, code) = doctor(proxy.address(), &["--quick", "--sessions", "10"]);
    assert_eq!(code, FAULT);
    let found = finding(&report, "affinity");
    assert_eq!(found["severity"], "fault", "{report:#}");
    let seen = found["seen"].as_str().expect("what was seen");
    assert!(
        seen.contains("of 10 sessions were unknown: 400 ") && seen.contains("Session ID unknown"),
        "{seen}"
    );
    assert!(found["cure"].as_str().expect("a cure").contains("?sid="));
}

const OPEN: &str = r#"0{"sid":"AbC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nServer: stand-in\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A service as it looks through a hop that drops the Upgrade header: the server is asked for an upgrade that is none.
#[test]
fn a_dropped_upgrade_is_told_from_a_lost_session() {
    let backend = Backend::start(|request, wire| {
        let line = request.head().first_line().to_owned();
        let bytes = match line.contains("sid=") || line.contains("transport=websocket") {
            false => answer("200 OK", OPEN),
            true => answer("400 Bad Request", r#"{"code":3,"message":"Bad request"}"#),
        };
        wire.send(bytes.as_bytes());
    });
    let (report, code) = doctor(backend.address(), &["--quick", "--sessions", "2"]);
    assert_eq!(code, FAULT);
    assert_eq!(report["hops"], serde_json::json!(["stand-in"]));
    assert_eq!(severity(&report, "affinity"), "ok", "{report:#}");
    let found = finding(&report, "upgrade");
    assert_eq!(found["severity"], "fault", "{report:#}");
    assert!(found["cure"].as_str().expect("a cure").contains("proxy_set_header Upgrade"));
}

#[test]
fn a_service_that_is_none_is_told_apart() {
    let backend = Backend::start(|_, wire| wire.send(answer("404 Not Found", "no such page").as_bytes()));
    let (report, code) = doctor(backend.address(), &["--quick"]);
    assert_eq!(code, FAULT);
    let found = finding(&report, "polling");
    assert_eq!(found["seen"], "404 in place of an Engine.IO handshake: no such page");
    assert!(found["cure"].as_str().expect("a cure").contains("path"));
    assert_eq!(report["findings"].as_array().expect("findings").len(), 1, "nothing else can be looked at");
}

#[test]
fn a_hop_that_speaks_http10_is_named() {
    let backend = Backend::start(|request, wire| {
        let old = answer("200 OK", OPEN).replace("HTTP/1.1", "HTTP/1.0");
        let is_first =
            !request.head().first_line().contains("sid=") && request.head().first_line().contains("polling");
        wire.send(if is_first { old } else { answer("400 Bad Request", "no") }.as_bytes());
    });
    let (report, _) = doctor(backend.address(), &["--quick", "--sessions", "1"]);
    assert_eq!(severity(&report, "version"), "warning", "{report:#}");
}

#[test]
fn a_service_without_websocket_is_a_warning() {
    let open = OPEN.replace("\"websocket\"", "");
    let backend = Backend::start(move |request, wire| {
        let is_first = request.head().first_line().contains("transport=polling HTTP");
        wire.send(
            if is_first { answer("200 OK", &open) } else { answer("400 Bad Request", "no") }.as_bytes(),
        );
    });
    let (report, code) = doctor(backend.address(), &["--quick", "--sessions", "1"]);
    assert_eq!(code, WARNING, "{report:#}");
    assert_eq!(severity(&report, "upgrade"), "warning");
}
