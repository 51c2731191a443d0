//! The access log tells of each request and tunnel where it went, how long it took and why it ended, and never holds
//! anybody up.
//!
//! Fails with outages nobody can explain afterwards if a line is missing or blames the wrong side, with sessions taken
//! over by whoever reads logs if a sid is whole, and with a proxy that stands still beside a full disk.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Dead, Gate, Tunnel, Wire};
use ringbolt_harness::{Options, Ringbolt, Syslog};
use rustix::process::Signal;
use serde_json::{Value, json};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LIMIT: Duration = Duration::from_secs(10);
/// Place of the request that its client gives up.
const HELD: usize = 7;
const SID: &str = "lv_VI97HAXpY6yYWAAAC";

/// A daemon with one worker, this backend, and more of a configuration.
fn start(backend: impl ToString, listener: &str, more: &str) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n{listener}\n\
         [upstream.a]\nbackends = [{{ name = \"one\", address = \"{}\" }}]\n{more}",
        backend.to_string()
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

/// Waits for a line of the daemon's own log.
fn said(ringbolt: &Ringbolt, words: &str) {
    ringbolt.process().line(words, LIMIT, |line| line.contains(words).then_some(()));
}

/// Waits until as many lines are counted: they may be read before that.
fn wait_for_lines(ringbolt: &Ringbolt, count: usize) {
    let queued = || ringbolt.metrics()["ringbolt_access_log_lines_total{result=\"queued\"}"];
    until("count of the lines", || queued() == count as f64);
}

/// Checks fields of a line; `null`: it is not there.
fn assert_has(line: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[field], value, "{field} in {line}");
    }
}

/// Waits for what no event tells.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what}");
        thread::yield_now();
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

#[test]
fn a_line_tells_what_was_asked_and_what_came_of_it() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (log, backend) = (Syslog::new(), Backend::answering(OK));
    let listener = "trusted_proxies = [\"127.0.0.1\"]\nrequest_id = true";
    let ringbolt = start(backend.address(), listener, &log.section(""));
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={SID} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\
         X-Forwarded-For: 198.51.100.9\r\nUser-Agent: a \"quoted\" one\r\nReferer: https://a.example/\r\n\
         Traceparent: {TRACE}\r\nTracestate: a=b\r\n\r\n2ab"
    );
    let mut wire = Wire::connect(ringbolt.address());
    assert_eq!(wire.exchange(&request).status(), 200);
    assert_eq!(wire.exchange(get("/")).status(), 200);
    let line = log.line();
    let head = backend.requests()[0].head().clone();
    assert_eq!(head.value("traceparent"), Some(TRACE), "trace context is passed on as it is");
    assert_eq!(head.value("tracestate"), Some("a=b"));
    assert_has(
        &line,
        &json!({
            "event": "request",
            "client": "198.51.100.9",
            "scheme": "http",
            "method": "POST",
            "host": "a.example",
            "path": "/socket.io/",
            "query": "EIO=4&transport=polling&sid=lv_VI9*",
            "http_version": "1.1",
            "user_agent": "a \"quoted\" one",
            "referer": "https://a.example/",
            "traceparent": TRACE,
            "engine_io": 4,
            "transport": "polling",
            "sid": "lv_VI9",
            "request_id": head.value("X-Request-ID").expect("an id"),
            "upstream": "a",
            "backend": "one",
            "evidence": "rendezvous",
            "status": 200,
            "termination": "--",
            "request_body_bytes": 3,
            "response_body_bytes": 2,
            "reused": null,
            "reason": null,
        }),
    );
    let seconds = |field: &str| line[field].as_f64().unwrap_or_else(|| panic!("{field} in {line}"));
    assert!(seconds("connect_seconds") <= seconds("response_head_seconds"), "{line}");
    assert!(seconds("response_head_seconds") <= seconds("duration_seconds"), "{line}");
    assert!(line["time"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{line}");
    assert_eq!(log.line()["reused"], 1);
    wait_for_lines(&ringbolt, 2);
}

/// Each end has the code of whoever caused it.
#[test]
fn a_code_says_who_ended_a_request_and_when() {
    let log = Syslog::new();
    let (held, gate) = (Gate::default(), Gate::default());
    let backend = {
        let (held, gate) = (held.clone(), gate.clone());
        Backend::start(move |request, wire| match request.head().target() {
            "/held" => {
                held.open();
                gate.wait("the client's end");
            }
            "/broken" => {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                wire.close();
            }
            "/closes" => wire.close(),
            "/nonsense" => wire.send("nonsense\r\n\r\n"),
            "/silent" => gate.wait("the end of the test"),
            _ => wire.send(OK),
        })
    };
    let refusing = Dead::refusing();
    let more = format!(
        "[upstream.dead]\nbackends = [\"{}\"]\n[[route]]\npath = \"/dead\"\nupstream = \"dead\"\n\
         [[route]]\npath = \"/here\"\nrespond = {{ status = 204 }}\n\
         [[route]]\npath = \"/\"\nupstream = \"a\"\n\
         [timeouts]\nresponse = \"3s\"\nrequest_head = \"1s\"\nrequest_body_idle = \"1s\"\n{}",
        refusing.address(),
        log.section("")
    );
    let ringbolt = start(backend.address(), "", &more);
    let ask = |path: &str| {
        let wire = Wire::connect(ringbolt.address());
        wire.send(match path {
            "408" => "GET / HTTP/1.1\r\nHost".to_owned(),
            "505" => "GET / HTTP/9.9\r\n\r\n".to_owned(),
            path => get(path),
        });
        wire
    };
    let cases = [
        ("/", "--", 200),
        ("/here", "LR", 204),
        ("/dead", "SC", 502),
        ("/closes", "SH", 502),
        ("/nonsense", "SH", 502),
        ("/broken", "SD", 200),
        ("/silent", "sH", 504),
        ("/held", "CH", 0),
        // Those that have no head, by their answers.
        ("408", "cR", 408),
        ("505", "PR", 505),
    ];
    let mut wires: Vec<Wire> = cases.iter().map(|(path, ..)| ask(path)).collect();
    held.wait("a request at the backend");
    wires[HELD].close();
    for _ in &cases {
        let line = log.line();
        let status = line["status"].as_u64().expect("a status");
        let path = line["path"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        let case = cases.iter().find(|(of, ..)| *of == path).unwrap_or_else(|| panic!("a second {line}"));
        assert_eq!((line["termination"].as_str(), status), (Some(case.1), case.2), "{line}");
        assert_eq!(line["reason"].is_string(), status >= 400, "{line}");
    }
    gate.open();
}

#[test]
fn a_tunnel_has_a_line_for_its_request_and_one_for_its_end() {
    let (log, backend) = (Syslog::new(), std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = backend.local_addr().expect("an address");
    let mut ringbolt = start(address, "", &log.section(""));
    let tunnel = Tunnel::open(ringbolt.address(), &backend);
    let line = log.line();
    assert_has(&line, &json!({ "event": "request", "status": 101 }));
    tunnel.check();
    tunnel.check();
    drop((tunnel.client, tunnel.upstream));
    let line = log.line();
    assert_has(
        &line,
        &json!({
            "event": "tunnel",
            "termination": "C-",
            "reason": "client_closed",
            "client": "127.0.0.1",
            "path": "/tunnel",
            "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
            "upstream": "a",
            "backend": "one",
            "client_bytes": 20,
            "backend_bytes": 20,
        }),
    );
    let tunnel = Tunnel::open(ringbolt.address(), &backend);
    assert_eq!(log.line()["status"], 101);
    assert_eq!(ringbolt.upgrade().tunnels, 1);
    let line = log.line();
    assert_has(&line, &json!({ "termination": "UT", "reason": "handed_over" }));
    tunnel.check();
    drop((tunnel.upstream, tunnel.client));
    let line = log.line();
    assert_has(&line, &json!({ "taken_over": 1, "client_bytes": 10 }));
}

#[test]
fn a_tunnel_in_tcp_mode_has_a_line() {
    let log = Syslog::new();
    let backend = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listener = "detect = [\"tcp\"]\ntcp_upstream = \"a\"";
    let ringbolt = start(backend.local_addr().expect("an address"), listener, &log.section(""));
    let mut client = Wire::connect(ringbolt.address());
    client.send("hello");
    let (upstream, _) = backend.accept().expect("the proxy connects");
    client.reset();
    let line = log.line();
    assert_has(&line, &json!({ "event": "tunnel", "backend": "one" }));
    assert_has(&line, &json!({ "termination": "CT", "reason": "client_reset" }));
    drop(upstream);
}

/// The statuses of the lines that are left of some requests.
fn statuses_with(settings: &str, count: usize) -> Vec<u64> {
    let (log, backend) = (Syslog::new(), Backend::answering(OK));
    let more = format!(
        "[[route]]\npath = \"/gone\"\nrespond = {{ status = 410 }}\n[[route]]\npath = \"/\"\nupstream = \"a\"\n{}",
        log.section(settings)
    );
    let ringbolt = start(backend.address(), "", &more);
    let mut wire = Wire::connect(ringbolt.address());
    for _ in 0..4 {
        for path in ["/", "/api/a", "/gone"] {
            wire.exchange(get(path));
        }
    }
    let lines = (0..count).map(|_| log.line()["status"].as_u64().expect("a status")).collect();
    wait_for_lines(&ringbolt, count);
    lines
}

#[test]
fn only_what_is_asked_for_is_written() {
    assert_eq!(statuses_with("statuses = [\"4xx\", \"5xx\"]", 4), [410; 4]);
    assert_eq!(statuses_with("paths = [\"/api\"]", 4), [200; 4]);
    assert_eq!(statuses_with("sample = 8", 5), [410, 410, 410, 200, 410]);
    assert_eq!(statuses_with("min_duration = \"1h\"", 0), [0; 0]);
    assert_eq!(statuses_with("events = [\"tunnel\"]", 0), [0; 0]);
}

#[test]
fn the_combined_form_is_that_of_other_servers() {
    let (log, backend) = (Syslog::new(), Backend::answering(OK));
    let ringbolt = start(backend.address(), "", &log.section("format = \"combined\"\nquery = false"));
    let request = "GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8\r\n\r\n";
    Wire::connect(ringbolt.address()).exchange(request);
    let line = log.text();
    let (before, after) = line.split_once(" [").expect("a time");
    let (time, after) = after.split_once("] ").expect("a time");
    assert_eq!(before, "127.0.0.1 - -");
    assert_eq!(time.len(), "21/Nov/2026:20:16:36 +0000".len(), "{line}");
    assert_eq!(after, "\"GET /a HTTP/1.1\" 200 2 \"-\" \"curl/8\"");
}

/// The paths in a file.
fn paths(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a file of lines");
    let path =
        |line| serde_json::from_str::<Value>(line).expect("a line")["path"].as_str().map(str::to_owned);
    text.lines().filter_map(path).collect()
}

/// Rotation: the file is moved away, the signal sent, and no line is lost; nor with the binary replaced.
#[test]
fn a_file_is_opened_anew_and_outlives_an_upgrade() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::answering(OK));
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let section = format!("[access_log]\noutput = \"{}\"\n", file("log").display());
    let mut ringbolt = start(backend.address(), "", &section);
    let ask = |ringbolt: &Ringbolt, path: &str| {
        assert_eq!(Wire::connect(ringbolt.address()).exchange(get(path)).status(), 200);
    };
    ask(&ringbolt, "/before");
    until("a line in the file", || paths(&file("log")).len() == 1);
    fs::rename(file("log"), file("log.1")).expect("the file is there");
    ringbolt.signal(Signal::USR1);
    said(&ringbolt, "access log opened anew");
    ask(&ringbolt, "/after");
    ringbolt.upgrade();
    ask(&ringbolt, "/upgraded");
    ringbolt.former_ends();
    until("a line of each process", || paths(&file("log")).len() == 2);
    assert_eq!(paths(&file("log.1")), ["/before"]);
    let mut later = paths(&file("log"));
    later.sort();
    assert_eq!(later, ["/after", "/upgraded"]);
}

/// Nobody reads what the proxy writes: requests are served all the same, and what is lost is counted.
#[test]
fn a_log_that_takes_nothing_holds_nobody_up() {
    let (log, backend) = (Syslog::new(), Backend::answering(OK));
    let ringbolt = start(backend.address(), "", &log.section(""));
    let mut wire = Wire::connect(ringbolt.address());
    // More than the kernel keeps for a socket nobody reads from.
    for _ in 0..300 {
        assert_eq!(wire.exchange(get("/")).status(), 200);
    }
    until("a line that is lost", || ringbolt.metrics()["ringbolt_access_log_lost_total"] > 0.0);
    assert_eq!(wire.exchange(get("/")).status(), 200);
    said(&ringbolt, "the access log cannot be written");
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringbolt.toml");
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"127.0.0.1:1\"]\n\
        [admin]\naddress = \"off\"\n[access_log]\noutput = \"/nowhere/at/all\"\n";
    fs::write(&file, config).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringbolt"))
        .args(["run", "-c"])
        .arg(file)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("access_log.output: /nowhere/at/all"), "{text}");
}
