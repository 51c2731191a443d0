//! The process starts completely or says why not, and ends without cutting off what it has begun.
//!
//! Fails with answers cut in half at every deployment, with balancers that go on sending to a proxy
//! that drains, or with an operator who reads "Address already in use" and has to guess whose.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use ringbolt_harness::Process;
use ringbolt_harness::raw::{ACCEPTED, Backend, End, Gate, UPGRADE, WAIT, Wire};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(10);
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A running proxy, with its process at hand for signals.
struct Running {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    /// Holds the configuration file.
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts with this backend and `more` configuration.
    fn start(backend: &Backend, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ringbolt.toml");
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n{more}",
            backend.address()
        );
        fs::write(&file, config).expect("write the configuration");
        let mut command = ringbolt(&["run", "--admin", "127.0.0.1:0", "--workers", "2", "-c"]);
        let process = Process::spawn("ringbolt", command.arg(file));
        let (address, admin) = process.line("ready line", LIMIT, |line| {
            let after = |name: &str| line.split(name).nth(1)?.split(' ').next()?.parse().ok();
            line.contains(" ready ").then(|| Some((after("listeners=")?, after("admin=")?)))?
        });
        Self { process, address, admin, _folder: folder }
    }

    /// Sends SIGTERM and waits until the drain has begun.
    fn drain(&self) {
        self.process.signal(Signal::TERM);
        self.process.line("line about the drain", LIMIT, |line| line.contains("draining").then_some(()));
    }

    fn ask_admin(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        let answer = Wire::connect(self.admin).exchange(request);
        (answer.status(), answer.text())
    }
}

fn ringbolt(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbolt"));
    command.args(arguments);
    command
}

/// The exit status and output of a start that fails.
fn failed_start(command: &mut Command) -> (ExitStatus, String) {
    let mut process = Process::spawn("ringbolt", command);
    let status = process.wait(LIMIT);
    (status, process.whole_output())
}

/// A backend that answers `/` at once, everything else when the gate opens, and echoes through tunnels.
fn backend(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::start(move |request, wire| {
        if request.head().value("Upgrade").is_some() {
            wire.send(ACCEPTED);
            while let Ok(bytes) = wire.read_ever() {
                wire.send(bytes);
            }
            wire.close();
            return;
        }
        if request.head().target() != "/" {
            gate.wait("until the test lets the answer go");
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    })
}

#[test]
fn sigterm_finishes_the_answer_under_way_and_exits_0() {
    let gate = Gate::default();
    let backend = backend(&gate);
    let mut running = Running::start(&backend, "");
    let mut client = Wire::connect(running.address);
    client.send("GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n");
    backend.wait_for_requests(1);
    running.drain();
    gate.open();
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(client.expect_end(), End::Fin);
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn sigint_drains_as_well() {
    let backend = backend(&Gate::default());
    let mut running = Running::start(&backend, "");
    running.process.signal(Signal::INT);
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn idle_connections_get_one_more_answer_while_draining_or_are_closed_soon() {
    let backend = backend(&Gate::default());
    let mut running = Running::start(&backend, "[timeouts]\ndrain_idle = \"2s\"\n");
    let [mut used, mut silent] = [(); 2].map(|()| Wire::connect(running.address));
    for wire in [&mut used, &mut silent] {
        assert_eq!(wire.exchange(GET).status(), 200);
    }
    let mut unused = Wire::connect(running.address);
    // Served later than `unused` was accepted by the kernel, so both are known to the proxy or queued.
    assert_eq!(Wire::connect(running.address).exchange(GET).status(), 200);
    let began = Instant::now();
    running.drain();
    let last = used.exchange(GET);
    assert_eq!((last.status(), last.head.value("Connection")), (200, Some("close")));
    assert_eq!(used.expect_end(), End::Fin);
    assert_eq!(silent.expect_end(), End::Fin);
    let waited = began.elapsed();
    assert!((Duration::from_secs(1)..LIMIT).contains(&waited), "{waited:?}");
    let _ = unused.expect_end();
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn readiness_ends_before_the_drain_and_all_is_served_between() {
    let backend = backend(&Gate::default());
    let mut running =
        Running::start(&backend, "[timeouts]\ndrain_delay = \"3s\"\ndrain_idle = \"0s\"\ndrain = \"1s\"\n");
    assert_eq!(running.ask_admin("/readyz").0, 200);
    let mut tunnel = Wire::connect(running.address);
    assert_eq!(tunnel.exchange(UPGRADE).status(), 101);
    let began = Instant::now();
    running.process.signal(Signal::TERM);
    running.process.line("line about the delay", LIMIT, |line| line.contains("not ready").then_some(()));
    assert_eq!(running.ask_admin("/readyz").0, 503);
    let mut used = Wire::connect(running.address);
    for _ in 0..3 {
        let answer = used.exchange(GET);
        assert_eq!((answer.status(), answer.head.value("Connection")), (200, None));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "too slow a machine to see anything");
    assert_eq!(used.expect_end(), End::Fin);
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(tunnel.read_exactly(4, "a close frame"), [0x88, 2, 3, 0xf4]);
    tunnel.close();
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn new_connections_are_refused_while_draining() {
    let gate = Gate::default();
    let backend = backend(&gate);
    let mut running = Running::start(&backend, "");
    let mut client = Wire::connect(running.address);
    client.send("GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n");
    backend.wait_for_requests(1);
    running.drain();
    let deadline = Instant::now() + WAIT;
    while TcpStream::connect_timeout(&running.address, WAIT).is_ok() {
        assert!(Instant::now() < deadline, "connections are still accepted");
    }
    gate.open();
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn tunnels_are_told_to_end_while_draining_and_end_at_the_deadline() {
    let backend = backend(&Gate::default());
    let mut running = Running::start(&backend, "[timeouts]\ndrain = \"1s\"\n");
    let mut client = Wire::connect(running.address);
    assert_eq!(client.exchange(UPGRADE).status(), 101);
    let began = Instant::now();
    running.drain();
    assert_eq!(client.read_exactly(4, "a close frame"), [0x88, 2, 3, 0xf4]);
    // It does not answer.
    assert_eq!(client.expect_end(), End::Fin);
    let after = began.elapsed();
    assert!((Duration::from_millis(800)..WAIT).contains(&after), "{after:?}");
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn a_held_answer_ends_at_the_deadline_too() {
    let gate = Gate::default();
    let backend = backend(&gate);
    let mut running = Running::start(&backend, "[timeouts]\ndrain = \"500ms\"\n");
    let mut client = Wire::connect(running.address);
    client.send("GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n");
    backend.wait_for_requests(1);
    let began = Instant::now();
    running.drain();
    let _ = client.read_to_end();
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
    assert!(began.elapsed() < WAIT, "{:?}", began.elapsed());
    gate.open();
}

#[test]
fn a_second_signal_exits_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let backend = backend(&Gate::default());
        let mut running = Running::start(&backend, "");
        let mut client = Wire::connect(running.address);
        assert_eq!(client.exchange(UPGRADE).status(), 101);
        running.drain();
        let began = Instant::now();
        running.process.signal(signal);
        assert_eq!(running.process.wait(LIMIT).code(), Some(code));
        assert!(began.elapsed() < WAIT, "{:?}", began.elapsed());
    }
}

#[test]
fn health_readiness_and_metrics_are_served_and_readiness_ends_with_the_drain() {
    let gate = Gate::default();
    let backend = backend(&gate);
    let mut running = Running::start(&backend, "");
    assert_eq!(running.ask_admin("/healthz").0, 200);
    assert_eq!(running.ask_admin("/readyz").0, 200);
    let mut client = Wire::connect(running.address);
    client.send("GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n");
    backend.wait_for_requests(1);
    let (status, page) = running.ask_admin("/metrics");
    assert_eq!(status, 200);
    for sample in ["\nringbolt_connections_active 1\n", "\nringbolt_requests_total{method=\"get\"} 1\n"] {
        assert!(page.contains(sample), "no {sample:?} in\n{page}");
    }
    running.drain();
    assert_eq!(running.ask_admin("/healthz").0, 200);
    assert_eq!(running.ask_admin("/readyz").0, 503);
    gate.open();
    assert_eq!(client.read_response().status(), 200);
    assert_eq!(running.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn a_taken_port_is_named_with_the_way_to_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("a bound socket").to_string();
    let backend = ["--backend", "127.0.0.1:1"];
    for (listen, admin) in [(&*taken, "127.0.0.1:0"), ("127.0.0.1:0", &*taken)] {
        let mut command = ringbolt(&["run", "--listen", listen, "--admin", admin]);
        let (status, output) = failed_start(command.args(backend));
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains(&taken) && output.contains("ss -"), "{output}");
    }
}

#[test]
fn a_port_another_ringbolt_serves_is_not_shared_silently() {
    let backend = backend(&Gate::default());
    let running = Running::start(&backend, "");
    let address = running.address.to_string();
    let arguments = ["run", "--listen", &address, "--backend", "127.0.0.1:1", "--admin", "off"];
    let (status, output) = failed_start(&mut ringbolt(&arguments));
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&address), "{output}");
}

#[test]
fn a_refused_configuration_is_named_by_file_and_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("wrong.toml");
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\n\n[upstream.a]\nbackend = [\"127.0.0.1:1\"]\n";
    fs::write(&file, config).expect("write the configuration");
    let file = file.to_str().expect("a path of text");
    for arguments in [["run", "-c", file], ["check", "-c", file], ["-t", "-c", file]] {
        let (status, output) = failed_start(&mut ringbolt(&arguments));
        assert_eq!(status.code(), Some(78), "{output}");
        assert!(output.contains("wrong.toml:5:"), "{output}");
        assert!(output.contains("did you mean `backends`?"), "{output}");
    }
}
