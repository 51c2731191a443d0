//! `ringbolt doctor` says what is wrong with nginx and HAProxy as they are usually set up wrong, and that nothing is
//! where they are right.
//!
//! Fails with a doctor that knows our stand-ins only: users run it against these two first.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::{Backends, Kind, Process, own_address};
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_ringbolt");
const LIMIT: Duration = Duration::from_secs(60);

/// Passes an upgrade on, as nginx must be told.
const UPGRADES: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
    proxy_set_header Connection \"upgrade\"; proxy_set_header Host $host;";
const WARNING: i32 = 3;
const FAULT: i32 = 4;

/// A proxy that runs.
struct Proxy {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

/// Waits until somebody listens there.
fn wait_for(address: SocketAddr) {
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {address}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// nginx before two Socket.IO servers, chosen by `balance`, with these settings of its location.
fn nginx(balance: &str, settings: &str) -> Proxy {
    let (folder, address) = (tempfile::tempdir().expect("a folder"), own_address());
    let at = folder.path().display();
    let servers = backends(|_, backend| format!("server {backend};"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; {temporary} upstream chat {{ {balance} {servers} }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://chat; {settings} }} }} }}\n"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text).expect("a configuration");
    let mut command = Command::new("nginx");
    command.arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(file);
    let process = Process::spawn("nginx", &mut command);
    wait_for(address);
    Proxy { address, _process: process, _folder: folder }
}

/// HAProxy before the same servers, in HTTP mode, with these settings of its section.
fn haproxy(settings: &str) -> Proxy {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("HAProxy inherits it");
    let servers = backends(|index, backend| format!(" server s{index} {backend}\n"));
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
         listen chat\n bind fd@{}\n{settings}\n{servers}",
        listener.as_raw_fd()
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, text).expect("a configuration");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    let address = listener.local_addr().expect("an address");
    Proxy { address, _process: Process::spawn("haproxy", &mut command), _folder: folder }
}

fn backends(line: impl Fn(usize, &SocketAddr) -> String) -> String {
    let addresses = Backends::shared(Kind::SocketIo4).addresses();
    assert!(addresses.len() > 1, "sessions can get lost");
    addresses.iter().enumerate().map(|(index, address)| line(index, address)).collect()
}

/// What the doctor said of a proxy: severity, what was seen and the cure of each check; and the exit code.
fn examined(proxy: &Proxy, arguments: &[&str]) -> (Value, i32) {
    let mut command = Command::new(BINARY);
    command.args(["doctor", &format!("http://{}", proxy.address), "--json"]).args(arguments);
    let mut process = Process::spawn("doctor", &mut command);
    let code = process.wait(LIMIT).code().expect("an exit code");
    (serde_json::from_str(&process.whole_output()).expect("a report"), code)
}

fn text<'a>(report: &'a Value, check: &str, key: &str) -> &'a str {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.and_then(|found| found[key].as_str()).unwrap_or_else(|| panic!("no {key} of {check}: {report:#}"))
}

/// The checks that found something.
fn complaints(report: &Value) -> Vec<(&str, &str)> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let all = findings
        .map(|found| (found["check"].as_str().unwrap_or(""), found["severity"].as_str().unwrap_or("")));
    all.filter(|(_, severity)| *severity != "ok").collect()
}

#[test]
fn right_ones_have_no_fault() {
    for proxy in [nginx("ip_hash;", UPGRADES), haproxy(" balance source")] {
        let (report, code) = examined(&proxy, &["--quick"]);
        // Both pass an HTTP/1.0 upgrade on, which whoever asked for it cannot use.
        assert_eq!((code, complaints(&report)), (WARNING, vec![("HTTP/1.0", "warning")]), "{report:#}");
    }
}

#[test]
fn round_robin_loses_sessions() {
    for proxy in [nginx("", UPGRADES), haproxy(" balance roundrobin")] {
        let (report, code) = examined(&proxy, &["--quick", "--sessions", "8"]);
        assert_eq!(code, FAULT, "{report:#}");
        assert!(text(&report, "affinity", "seen").contains("of 8 sessions were unknown"), "{report:#}");
        assert!(text(&report, "affinity", "cure").contains("Ringbolt does so"), "{report:#}");
    }
}

#[test]
fn nginx_as_it_comes_drops_upgrades() {
    let (report, code) = examined(&nginx("ip_hash;", ""), &["--quick", "--sessions", "4"]);
    assert_eq!(code, FAULT, "{report:#}");
    assert_eq!(text(&report, "affinity", "severity"), "ok", "{report:#}");
    assert_eq!(text(&report, "upgrade", "severity"), "fault", "{report:#}");
    assert!(text(&report, "upgrade", "cure").contains("proxy_set_header Upgrade"), "{report:#}");
}

/// The 60 s of both, made short.
#[test]
fn short_timeouts_cut_polls_and_tunnels() {
    let proxies = [
        nginx("ip_hash;", &format!("{UPGRADES} proxy_read_timeout 2s;")),
        haproxy(" balance source\n timeout server 2s\n timeout tunnel 2s"),
    ];
    for proxy in proxies {
        let (report, code) = examined(&proxy, &["--sessions", "2", "--idle", "5"]);
        assert_eq!(code, FAULT, "{report:#}");
        // nginx repeats the poll at the next backend, which does not know it.
        let polled = if report["hops"].to_string().contains("nginx") { "400 after " } else { "504 after " };
        for (check, what) in [("held poll", polled), ("tunnel", "ended after ")] {
            let seen = text(&report, check, "seen").strip_prefix(what);
            let after = seen.and_then(|seen| seen.split(' ').next()?.parse::<f64>().ok());
            // The proxy's clock and the doctor's begin at different moments.
            assert!(after.is_some_and(|after| (1.5..4.5).contains(&after)), "{report:#}");
            assert!(text(&report, check, "cure").contains("timeout is shorter"), "{report:#}");
        }
        assert_eq!(text(&report, "upgrade", "severity"), "ok", "{report:#}");
    }
}
