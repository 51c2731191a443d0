//! Where the kernel refuses io_uring, `auto` serves on epoll and says so, and `uring` does not start.
//!
//! Fails in most containers, whose seccomp filters refuse io_uring: without the fallback nothing serves
//! there, and without the line and the metric nobody learns why the processor does more than it should.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Engine, Options, Process, Ringbolt};
use ringbolt_reactor::{available_cores, pin_to_core};

/// Runs what follows under a filter that answers EPERM to every io_uring call.
const WITHOUT_IO_URING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/socketio/without_io_uring.py");

fn options(backend: &Backend, engine: Engine, without_io_uring: bool) -> Options {
    Options { engine, without_io_uring, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()]) }
}

fn assert_serves(ringbolt: &Ringbolt) {
    let answer = Wire::connect(ringbolt.address()).exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(answer.text(), "a");
}

#[test]
fn auto_uses_the_ring_where_there_is_one() {
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&options(&backend, Engine::Auto, false));
    assert_serves(&ringbolt);
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_engine_info{engine=\"uring\"}"], 2.0);
    assert_eq!(metrics["ringbolt_ring_fallbacks_total"], 0.0);
}

#[test]
fn auto_falls_back_to_epoll_with_one_line_and_a_metric() {
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&options(&backend, Engine::Auto, true));
    assert_serves(&ringbolt);
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_engine_info{engine=\"epoll\"}"], 2.0);
    assert_eq!(metrics["ringbolt_ring_fallbacks_total"], 2.0);
    let output = ringbolt.process().output();
    let lines: Vec<_> = output.lines().filter(|line| line.contains("io_uring")).collect();
    let [line] = lines[..] else { panic!("not one line about it: {output}") };
    assert!(line.contains("epoll"), "what serves instead: {line}");
    assert!(line.contains("seccomp"), "cause and cure: {line}");
}

/// As above, where it is the kernel's setting and no filter that forbids.
#[test]
#[ignore = "needs kernel.io_uring_disabled=2 (Linux 6.6): cargo xtask kernels"]
fn auto_falls_back_where_a_setting_forbids_io_uring() {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").expect("a kernel with it");
    assert_eq!(disabled.trim(), "2");
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&options(&backend, Engine::Auto, false));
    assert_eq!(ringbolt.engine(), "epoll");
    assert_serves(&ringbolt);
    assert_eq!(ringbolt.metrics()["ringbolt_ring_fallbacks_total"], 2.0);
    let output = ringbolt.process().output();
    assert!(output.contains("kernel.io_uring_disabled=2"), "cause: {output}");
    assert!(output.contains("sysctl kernel.io_uring_disabled=0"), "cure: {output}");
}

#[test]
fn epoll_is_used_where_it_is_asked_for_without_a_word() {
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&options(&backend, Engine::Epoll, false));
    assert_serves(&ringbolt);
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_engine_info{engine=\"epoll\"}"], 2.0);
    assert_eq!(metrics["ringbolt_ring_fallbacks_total"], 0.0);
    assert!(!ringbolt.process().output().contains("io_uring"), "{}", ringbolt.process().output());
}

#[test]
fn uring_does_not_start_without_a_ring_and_says_why() {
    let mut command = Command::new("python3");
    command.args([WITHOUT_IO_URING, "--", env!("CARGO_BIN_EXE_ringbolt")]);
    command.args(["run", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1"]);
    let mut process = Process::spawn("ringbolt", command.args(["--admin", "off", "--engine", "uring"]));
    assert_eq!(process.wait(Duration::from_secs(10)).code(), Some(1));
    let output = process.whole_output();
    assert!(output.contains("io_uring") && output.contains("seccomp"), "cause and cure: {output}");
}

/// Switches of a worker thread: it sleeps and wakes for every connection that it serves alone.
fn switches(ringbolt: &Ringbolt, worker: usize) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", ringbolt.pid())).expect("a process");
    let read = |thread: &Path, file| std::fs::read_to_string(thread.join(file)).unwrap_or_default();
    let thread = threads
        .map(|thread| thread.expect("a thread").path())
        .find(|thread| read(thread, "comm").trim() == format!("worker-{worker}"))
        .expect("a worker");
    let status = read(&thread, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

/// Loopback's packets are received by the core that sends them. (Fails on kernels before 6.2, which take no heed.)
#[test]
fn a_steered_worker_serves_the_connections_of_its_core() {
    const CONNECTIONS: u64 = 200;
    let backend = Backend::named("a");
    let config = format!(
        "[workers]\ncount = 2\nsteer = true\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [\"{}\"]\n",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let cores = available_cores().expect("cores");
    assert!(cores.len() > 1, "this needs two cores");
    for worker in [0, 1] {
        let before = [0, 1].map(|worker| switches(&ringbolt, worker));
        let (core, ringbolt) = (cores[worker], &ringbolt);
        thread::scope(|scope| {
            scope.spawn(move || {
                pin_to_core(core).expect("a core of ours");
                (0..CONNECTIONS).for_each(|_| assert_serves(ringbolt));
            });
        });
        let after = [0, 1].map(|worker| switches(ringbolt, worker));
        let served = [0, 1].map(|worker| after[worker] - before[worker]);
        println!("worker {worker}: {served:?}");
        assert!(served[worker] > 3 * served[1 - worker], "worker {worker}: {served:?}");
    }
}
