//! The status page shows what happens while it happens, gives orders to who has the token, and trusts nobody's words.
//!
//! Fails with an operator who sees a stale or broken page in an outage, with orders for whoever finds the page, or
//! with a client that puts markup into it.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, Dead, Wire};
use ringbolt_harness::{Options, Ringbolt, browser_folder};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LIMIT: Duration = Duration::from_secs(20);
const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A backend that opens a session for each handshake and echoes in its tunnels.
fn engine_io(name: &'static str) -> Backend {
    let opened = AtomicUsize::new(0);
    Backend::start(move |request, wire| {
        if request.head().value("Upgrade").is_none() {
            let sid = format!("{name}-{}", opened.fetch_add(1, Relaxed));
            let body =
                format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#);
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            return;
        }
        wire.send(ACCEPTED);
        while let Ok(bytes) = wire.read_ever() {
            wire.send(bytes);
        }
    })
}

/// A proxy before two backends that work and one that is gone, which takes orders.
fn start(backends: [SocketAddr; 3], token: &Path) -> Ringbolt {
    let [north, east, west] = backends;
    let text = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.chat]\nbackends = [\n{{ name = \"north\", address = \"{north}\" }},\n\
         {{ name = \"east\", address = \"{east}\", weight = 2 }},\n{{ name = \"west\", address = \"{west}\" }},\n]\n\
         [upstream.chat.health]\ncheck = \"tcp\"\ninterval = \"1s\"\n",
        token.display()
    );
    let mut options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    options.config = Some(text);
    Ringbolt::start(&options)
}

/// Waits until an overview is as it should be.
fn wait_until(ringbolt: &Ringbolt, what: &str, is: impl Fn(&serde_json::Value) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let overview = ringbolt.shown("/overview");
        if is(&overview) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {overview:#}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sessions, tunnels that talk, and a hop that breaks upgrades and has a name that is markup.
fn traffic(ringbolt: &Ringbolt) -> Vec<Wire> {
    for _ in 0..30 {
        assert_eq!(Wire::connect(ringbolt.address()).exchange(HANDSHAKE).status(), 200);
    }
    let broken =
        format!("GET /chat HTTP/1.0\r\nHost: a\r\nVia: 1.1 <img src=x onerror=alert(1)>\r\n{UPGRADE}");
    assert_eq!(Wire::connect(ringbolt.address()).exchange(broken).status(), 426);
    let mut tunnels: Vec<Wire> = (0..20).map(|_| Wire::connect(ringbolt.address())).collect();
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.exchange(format!("GET /chat HTTP/1.1\r\nHost: a\r\n{UPGRADE}")).status(), 101);
    }
    tunnels
}

#[test]
fn the_page_works_in_a_browser() {
    let folder = browser_folder();
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status");
    std::fs::create_dir_all(&screenshots).expect("a folder for screenshots");
    let (north, east) = (engine_io("north"), engine_io("east"));
    let token_folder = tempfile::tempdir().expect("a folder");
    let token = token_folder.path().join("token");
    std::fs::write(&token, TOKEN).expect("write the token");
    let ringbolt = start([north.address(), east.address(), Dead::refusing().address()], &token);
    wait_until(&ringbolt, "one is down", |overview| overview["backends"][2]["state"] == "down");
    let mut tunnels = traffic(&ringbolt);
    let browsing = thread::spawn(move || browse(folder, ringbolt, screenshots));
    // Something moves while somebody looks.
    while !browsing.is_finished() {
        for tunnel in &mut tunnels {
            tunnel.send([b'x'; 1000]);
            tunnel.read_exactly(1000, "the echo");
        }
        thread::sleep(Duration::from_millis(50));
    }
    browsing.join().expect("the browser saw no failure");
}

/// What the browser checks step by step stands in `status.mjs`.
fn browse(folder: PathBuf, ringbolt: Ringbolt, screenshots: PathBuf) -> Ringbolt {
    let url = format!("http://{}/", ringbolt.admin());
    let status =
        Command::new("node").arg(folder.join("status.mjs")).args([&url, TOKEN]).arg(&screenshots).status();
    let status = status.expect("node is installed");
    assert!(
        status.success(),
        "screenshots so far: {}\n{}",
        screenshots.display(),
        ringbolt.process().output()
    );
    ringbolt
}

#[test]
fn nothing_foreign_may_run_in_the_page_and_nobody_may_frame_it() {
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()]));
    let ask = |method: &str, path: &str| {
        Wire::connect(ringbolt.admin()).exchange(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    for (path, kind) in [("/", "text/html"), ("/status.css", "text/css"), ("/status.js", "text/javascript")] {
        let answer = ask("GET", path);
        let value = |name| answer.head.value(name).unwrap_or_else(|| panic!("no {name} of {path}"));
        assert_eq!(answer.status(), 200, "{path}");
        assert!(value("Content-Type").starts_with(kind), "{path}");
        let policy = value("Content-Security-Policy");
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(value("X-Content-Type-Options"), "nosniff");
    }
    assert_eq!(ask("POST", "/").status(), 405);
    for path in ["/reload", "/backends/state"] {
        assert_eq!(ask("POST", path).status(), 403, "{path} of the page needs the token too");
    }
}

#[test]
fn watchers_are_bounded_and_make_room_when_they_leave() {
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()]));
    let watch = || {
        let mut wire = Wire::connect(ringbolt.admin());
        wire.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        let status = wire.read_head().expect("an answer").status();
        (wire, status)
    };
    let mut watchers: Vec<Wire> = (0..16)
        .map(|_| {
            let (wire, status) = watch();
            assert_eq!(status, 200);
            wire
        })
        .collect();
    assert_eq!(watch().1, 503);
    let first = watchers[0].read("an overview").expect("bytes");
    assert!(String::from_utf8_lossy(&first).contains("data: {\"version\""), "{}", first.escape_ascii());
    watchers.truncate(8);
    let deadline = Instant::now() + LIMIT;
    while watch().1 != 200 {
        assert!(Instant::now() < deadline, "nobody else may watch");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn top_shows_the_same_in_a_terminal() {
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()]));
    let address = ringbolt.admin().to_string();
    let top = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ringbolt"))
            .arg("top")
            .args(arguments)
            .output()
            .expect("the program runs")
    };
    let said = top(&["--address", &address, "--once"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("Nothing is wrong."), "{text}");
    assert!(text.contains(&backend.address().to_string()), "{text}");
    let refused = top(&["--socket", "/nowhere/admin.sock"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("no answer from /nowhere/admin.sock: "));
}
