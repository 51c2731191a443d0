//! What a hop in front or behind breaks is recognised, counted, logged once and listed with its cure.
//!
//! Fails with an operator who looks for the fault in Ringbolt, because nothing says that it is elsewhere; or with a
//! log full of what one broken hop does with every request.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::{ACCEPTED, Backend, End, Wire};
use ringbolt_harness::{Options, Ringbolt};
use serde_json::Value;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const LOG_LIMIT: Duration = Duration::from_secs(5);

fn proxy(backend: &Backend) -> Ringbolt {
    Ringbolt::start(&Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()]))
}

fn upgrade(version: &str, query: &str, fields: &str) -> String {
    format!("GET /socket.io/?EIO=4&transport=websocket{query} HTTP/{version}\r\nHost: a\r\n{fields}\r\n")
}

/// A backend that opens a session for each handshake, holds its polls and accepts its upgrades.
fn engine_io() -> Backend {
    let opened = AtomicUsize::new(0);
    Backend::start(move |request, wire| {
        let line = request.head().first_line().to_owned();
        if request.head().value("Upgrade").is_some() {
            return wire.send(ACCEPTED);
        }
        if line.contains("sid=") {
            while wire.read_ever().is_ok() {}
            return;
        }
        let sid = opened.fetch_add(1, Relaxed);
        let body = format!(
            r#"0{{"sid":"s{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}"#
        );
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    })
}

/// The finding of this reason, once it is there.
fn finding(ringbolt: &Ringbolt, reason: &str) -> Value {
    let findings = ringbolt.shown("/findings");
    let found =
        findings.as_array().expect("a list").iter().find(|finding| finding["reason"] == reason).cloned();
    found.unwrap_or_else(|| panic!("no {reason} in {findings:#}"))
}

fn counted(ringbolt: &Ringbolt, reason: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_downgrades_total{{reason=\"{reason}\"}}")]
}

fn lines(ringbolt: &Ringbolt, reason: &str) -> usize {
    let reason = format!("\"reason\":\"{reason}\"");
    ringbolt.process().line("line of the log", LOG_LIMIT, |line| line.contains(&reason).then_some(()));
    ringbolt.process().output().lines().filter(|line| line.contains(&reason)).count()
}

#[test]
fn a_torn_upgrade_names_its_hop_and_is_logged_once() {
    for (reason, version, fields, status) in [
        ("http_1_0", "1.0", format!("Via: 1.1 edge (old)\r\n{UPGRADE}{KEY}"), 426),
        ("connection_missing", "1.1", format!("Via: 1.1 edge (old)\r\nUpgrade: websocket\r\n{KEY}"), 200),
        ("upgrade_missing", "1.1", format!("Via: 1.1 edge (old)\r\nConnection: close\r\n{KEY}"), 200),
        ("websocket_fields_missing", "1.1", format!("Via: 1.1 edge (old)\r\n{UPGRADE}"), 200),
    ] {
        let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let ringbolt = proxy(&backend);
        assert_eq!(ringbolt.shown("/findings"), serde_json::json!([]));
        for _ in 0..3 {
            let mut client = Wire::connect(ringbolt.address());
            assert_eq!(client.exchange(upgrade(version, "", &fields)).status(), status, "{reason}");
        }
        let found = finding(&ringbolt, reason);
        assert_eq!(found["source"], "127.0.0.1", "{found:#}");
        assert_eq!(found["hop"], "Via: 1.1 edge (old)", "{found:#}");
        assert_eq!(found["count"], 3, "{found:#}");
        assert!(found["cure"].as_str().is_some_and(|cure| cure.contains("hop")), "{found:#}");
        assert_eq!(counted(&ringbolt, reason), 3.0);
        assert_eq!(lines(&ringbolt, reason), 1, "one line an interval");
        // Another source has a line of its own.
        let mut other = Wire::connect_from(Ipv4Addr::new(127, 0, 0, 2), ringbolt.address());
        assert_eq!(other.exchange(upgrade(version, "", &fields)).status(), status);
        assert_eq!(finding(&ringbolt, reason)["source"], "127.0.0.2");
        ringbolt.process().line("line of the other source", LOG_LIMIT, |line| {
            (line.contains(reason) && line.contains("127.0.0.2")).then_some(())
        });
    }
}

#[test]
fn a_backend_that_declines_is_named() {
    for status in ["200 OK", "400 Bad Request", "426 Upgrade Required"] {
        let number = &status[..3];
        let backend =
            Backend::answering(format!("HTTP/1.1 {status}\r\nServer: stand-in\r\nContent-Length: 0\r\n\r\n"));
        let ringbolt = proxy(&backend);
        let mut client = Wire::connect(ringbolt.address());
        let asked = upgrade("1.1", "", &format!("{UPGRADE}{KEY}"));
        assert_eq!(client.exchange(asked).status().to_string(), number);
        let reason = format!("answered_{number}");
        let found = finding(&ringbolt, &reason);
        assert_eq!(found["source"], backend.address().to_string(), "{found:#}");
        assert_eq!(found["hop"], "Server: stand-in", "{found:#}");
        assert_eq!((counted(&ringbolt, &reason), lines(&ringbolt, &reason)), (1.0, 1));
    }
}

/// Opens a session and returns its sid.
fn open(ringbolt: &Ringbolt, from: Ipv4Addr) -> String {
    let mut client = Wire::connect_from(from, ringbolt.address());
    let answer =
        client.exchange("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n").text();
    answer.split('"').nth(3).expect("a sid").to_owned()
}

#[test]
fn polls_that_a_hop_cuts_are_told_from_those_that_clients_leave() {
    let backend = engine_io();
    let ringbolt = proxy(&backend);
    let (cut, left) = (Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 4));
    thread::scope(|scope| {
        for turn in 0..18 {
            let (ringbolt, backend) = (&ringbolt, &backend);
            scope.spawn(move || {
                let from = if turn < 12 { cut } else { left };
                let sid = open(ringbolt, from);
                let mut client = Wire::connect_from(from, ringbolt.address());
                client.send(format!(
                    "GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n\r\n"
                ));
                backend.wait_for_requests(36);
                // As a hop with a timeout of 5 s, and as people.
                thread::sleep(Duration::from_millis(if turn < 12 { 4950 } else { 300 * (turn - 6) }));
                client.close();
            });
        }
    });
    assert_eq!(lines(&ringbolt, "polls_cut"), 1);
    let found = finding(&ringbolt, "polls_cut");
    assert_eq!(found["source"], cut.to_string(), "{found:#}");
    assert_eq!(found["seen"], "held polls are cut, always after the same time: 5 s");
    assert_eq!(ringbolt.shown("/findings").as_array().map(Vec::len), Some(1));
}

#[test]
fn sessions_that_never_upgrade_and_upgrades_of_strange_sessions_show_in_time() {
    let backend = engine_io();
    let ringbolt = proxy(&backend);
    let [never, sound, strange] = [5, 6, 7].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let upgrade_from = |from, sid: &str| {
        let mut client = Wire::connect_from(from, ringbolt.address());
        client.exchange(upgrade("1.1", &format!("&sid={sid}"), &format!("{UPGRADE}{KEY}"))).status()
    };
    for _ in 0..17 {
        open(&ringbolt, never);
        let sid = open(&ringbolt, sound);
        assert_eq!(upgrade_from(sound, &sid), 101);
        assert_eq!(upgrade_from(strange, "elsewhere"), 101);
    }
    assert_eq!(ringbolt.shown("/findings"), serde_json::json!([]), "too early to tell");
    // What the rules wait for is time itself.
    thread::sleep(Duration::from_millis(10_500));
    open(&ringbolt, never);
    let sid = open(&ringbolt, sound);
    assert_eq!(upgrade_from(sound, &sid), 101);
    for _ in 0..3 {
        assert_eq!(upgrade_from(strange, "elsewhere"), 101);
    }
    let found = finding(&ringbolt, "never_upgraded");
    assert_eq!(found["source"], never.to_string(), "{found:#}");
    let found = finding(&ringbolt, "other_proxy");
    assert_eq!(found["source"], strange.to_string(), "{found:#}");
    assert_eq!(ringbolt.shown("/findings").as_array().map(Vec::len), Some(2));
    assert_eq!((counted(&ringbolt, "never_upgraded"), lines(&ringbolt, "never_upgraded")), (1.0, 1));
    assert_eq!((counted(&ringbolt, "other_proxy"), lines(&ringbolt, "other_proxy")), (1.0, 1));
}

/// Healthy traffic leaves no trace.
#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let backend = engine_io();
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    // nginx with a fixed Connection field.
    let plain = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(client.exchange(plain).status(), 200);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(upgrade("1.1", "", &format!("{UPGRADE}{KEY}"))).status(), 101);
    client.finish();
    assert_eq!(client.expect_end(), End::Fin);
    assert_eq!(ringbolt.shown("/findings"), serde_json::json!([]));
}
