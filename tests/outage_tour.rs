//! A tour of outages: each cause shows on the status page, in one metric and in one line of the log.
//!
//! Fails with an operator at 3 a.m. who sees that clients fail, and not why.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, Wire};
use ringbolt_harness::tls::Authority;
use ringbolt_harness::{Options, Process, Ringbolt, browser_folder, descriptors_end, limit_descriptors};
use rustix::process::Signal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const BROWSER_LIMIT: Duration = Duration::from_secs(60);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn start(text: &str) -> Ringbolt {
    let config = Some(format!("[admin]\naddress = \"127.0.0.1:0\"\n{text}"));
    Ringbolt::start(&Options { config, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn listener(backend: &Backend) -> String {
    format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n", backend.address())
}

fn causes(ringbolt: &Ringbolt) -> Vec<Value> {
    causes_of(&ringbolt.shown("/overview"))
}

fn causes_of(overview: &Value) -> Vec<Value> {
    overview["causes"].as_array().expect("causes").clone()
}

/// A status page in a browser, opened before anything happens: starting one may take longer than a cause is told.
struct Page(Process);

impl Page {
    fn open(ringbolt: &Ringbolt) -> Self {
        let mut node = Command::new("node");
        node.arg(browser_folder().join("cause.mjs")).arg(format!("http://{}/", ringbolt.admin()));
        let process = Process::spawn("cause.mjs", &mut node);
        process.line("open page", BROWSER_LIMIT, |line| (line == "open").then_some(()));
        Self(process)
    }

    /// What it looks for stands in `cause.mjs`.
    fn has(&mut self, cause: &Value) {
        let text = |name| cause[name].as_str().unwrap_or_else(|| panic!("no {name} in {cause:#}"));
        assert!(text("cure").len() > 10, "{cause:#}");
        self.0.write_line(&json!({ "seen": text("seen"), "cure": text("cure") }).to_string());
        let shown = format!("shown {}", text("seen"));
        self.0.line("cause on the page", BROWSER_LIMIT, |line| (line == shown).then_some(()));
    }
}

/// The browser is to end with the test.
impl Drop for Page {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.0.write_line("");
            assert!(self.0.wait(BROWSER_LIMIT).success(), "{}", self.0.whole_output());
        }
    }
}

/// Waits until the cause shows, and checks the metric it names, that one line of the log has these words, and the page.
fn shows(ringbolt: &Ringbolt, page: &mut Page, name: &str, metric: &str, line: &str) -> Value {
    let deadline = Instant::now() + LIMIT;
    // The overview that is served may have been collected in the middle of what happened: its numbers grow still.
    let collected_before = ringbolt.shown("/overview")["uptime_seconds"].clone();
    let cause = loop {
        let overview = ringbolt.shown("/overview");
        let cause = causes_of(&overview).into_iter().find(|cause| cause["name"] == name);
        if let Some(cause) = cause.filter(|_| overview["uptime_seconds"] != collected_before) {
            break cause;
        }
        assert!(Instant::now() < deadline, "no {name} in {overview:#}\n{}", ringbolt.process().output());
        thread::sleep(Duration::from_millis(50));
    };
    page.has(&cause);
    let (shown, wanted) = metric.split_once(' ').expect("a name and a value");
    assert!(shown.starts_with(cause["metric"].as_str().expect("a metric")), "{cause:#}");
    let value = ringbolt.metrics()[shown];
    assert!(if wanted == "some" { value > 0.0 } else { value.to_string() == wanted }, "{metric}: {value}");
    ringbolt.process().line(line, LIMIT, |said| said.contains(line).then_some(()));
    let said = ringbolt.process().output();
    assert_eq!(said.lines().filter(|said| said.contains(line)).count(), 1, "{line} once in\n{said}");
    cause
}

#[test]
fn a_backend_dies() {
    // The kernel accepts connections until it is closed.
    let dying = TcpListener::bind("127.0.0.1:0").expect("a port");
    let living = Backend::named("living");
    let ringbolt = start(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\",\n\
         {{ name = \"dying\", address = \"{}\" }}]\n\
         [upstream.a.health]\ncheck = \"tcp\"\ninterval = \"1s\"\nfall = 1\n",
        living.address(),
        dying.local_addr().expect("an address")
    ));
    let mut page = Page::open(&ringbolt);
    assert_eq!(causes(&ringbolt), Vec::<Value>::new());
    drop(dying);
    let metric = "ringbolt_backend_state{upstream=\"a\",backend=\"dying\",state=\"down\"} 1";
    let cause = shows(&ringbolt, &mut page, "backend_down", metric, "\"backend is down\"");
    assert_eq!(cause["subject"], "a/dying");
}

#[test]
fn a_balancer_in_front_speaks_http10() {
    let backend = Backend::named("a");
    let ringbolt = start(&listener(&backend));
    let mut page = Page::open(&ringbolt);
    for _ in 0..3 {
        let asked = format!("GET /chat HTTP/1.0\r\nHost: a\r\nVia: 1.1 balancer\r\n{UPGRADE}");
        assert_eq!(Wire::connect(ringbolt.address()).exchange(asked).status(), 426);
    }
    let metric = "ringbolt_downgrades_total{reason=\"http_1_0\"} 3";
    let cause = shows(&ringbolt, &mut page, "downgrade", metric, "WebSocket upgrades arrive in HTTP/1.0");
    assert!(cause["cure"].as_str().is_some_and(|cure| cure.contains("HTTP/1.1")), "{cause:#}");
}

#[test]
fn no_descriptor_is_left() {
    let backend = Backend::named("a");
    let ringbolt = start(&listener(&backend));
    let mut page = Page::open(&ringbolt);
    // Its own sockets are all open once it answers.
    assert_eq!(causes(&ringbolt), Vec::<Value>::new());
    limit_descriptors(ringbolt.pid(), descriptors_end(ringbolt.pid()));
    // The first ones may get what others gave back.
    let mut clients = Vec::new();
    let is_refused = (0..50).any(|_| {
        let mut client = Wire::connect(ringbolt.address());
        let refused = client.try_send(GET).is_err() || client.read("an answer or the end").is_err();
        clients.push(client);
        refused
    });
    assert!(is_refused, "nobody is refused");
    // Who looks needs one too. What has happened is told for a minute.
    limit_descriptors(ringbolt.pid(), 1000);
    let metric = "ringbolt_connections_refused_total{reason=\"descriptors\"} some";
    shows(&ringbolt, &mut page, "descriptors", metric, "cannot accept, refusing connections");
}

#[test]
fn a_certificate_is_about_to_end() {
    let (authority, backend) = (Authority::new(), Backend::named("a"));
    let soon = authority.issue_until("a", &["a.example"], Duration::from_secs(5 * 86_400 + 3600));
    let ringbolt = start(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{}]\n\
         [upstream.a]\nbackends = [\"{}\"]\n",
        soon.entry(),
        backend.address()
    ));
    let mut page = Page::open(&ringbolt);
    let metric = "ringbolt_tls_certificate_expiry_timestamp_seconds{certificate=\"a.example\"} some";
    let cause = shows(&ringbolt, &mut page, "certificate_ends", metric, "\"cause\":\"certificate_ends\"");
    assert_eq!(cause["seen"], "the certificate of a.example ends in 5 days");
}

#[test]
fn a_drain_runs() {
    let backend = Backend::start(|_, wire| {
        wire.send(ACCEPTED);
        while wire.read_ever().is_ok() {}
    });
    // The tunnel is told after a part of that, and has ended 5 s later.
    let mut ringbolt = start(&format!("{}[timeouts]\ndrain = \"10m\"\n", listener(&backend)));
    let mut page = Page::open(&ringbolt);
    let mut tunnel = Wire::connect(ringbolt.address());
    assert_eq!(tunnel.exchange(format!("GET /chat HTTP/1.1\r\nHost: a\r\n{UPGRADE}")).status(), 101);
    ringbolt.signal(Signal::TERM);
    let cause = shows(&ringbolt, &mut page, "draining", "ringbolt_draining 1", "draining; a second signal");
    assert_eq!(cause["severity"], "note", "somebody wanted it");
    tunnel.close();
    assert!(ringbolt.wait().success());
}

#[test]
fn it_is_too_much() {
    let backend = Backend::named("a");
    let ringbolt = start(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"a\"\nrequest_rate = 1\n",
        backend.address()
    ));
    let mut page = Page::open(&ringbolt);
    let mut client = Wire::connect(ringbolt.address());
    let refused = (0..20).filter(|_| client.exchange(GET).status() == 503).count();
    assert!(refused > 0, "a bound is reached");
    shows(
        &ringbolt,
        &mut page,
        "overload",
        "ringbolt_answers_total{status=\"503\"} some",
        "\"cause\":\"overload\"",
    );
    let metric = "ringbolt_limited_total{limit=\"route_request_rate\"} some";
    shows(&ringbolt, &mut page, "limited", metric, "\"cause\":\"limited\"");
}
