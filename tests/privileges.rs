//! A daemon that serves has no privilege but those it needs, and one that would have more does not serve.
//!
//! Fails with a taken-over process that may do everything the one who started it may.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn config(backend: &Backend, process: &str) -> String {
    format!(
        "{process}\n[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n",
        backend.address()
    )
}

/// What the kernel says of each thread's rights.
fn statuses(ringbolt: &Ringbolt) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", ringbolt.pid())).expect("threads of the daemon");
    let status = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("status")).expect("a thread of the daemon");
        let pairs = text.lines().filter_map(|line| line.split_once(":"));
        pairs.map(|(key, value)| (key.to_owned(), value.trim().replace('\t', " "))).collect()
    };
    tasks.flatten().map(|task| status(task.path())).collect()
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn assert_without_capabilities(status: &BTreeMap<String, String>) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set} of {}", status["Name"]);
    }
    assert_eq!(status["NoNewPrivs"], "1", "{}", status["Name"]);
}

#[test]
fn no_thread_has_a_capability_or_a_way_to_one() {
    let backend = Backend::named("a");
    for engine in [Engine::Uring, Engine::Epoll] {
        let ringbolt = Ringbolt::start(&Options {
            config: Some(config(&backend, "")),
            engine,
            ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
        });
        assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "a");
        for status in statuses(&ringbolt) {
            assert_without_capabilities(&status);
            if is_root() {
                assert_eq!(status["CapBnd"], "0000000000000000");
            }
        }
    }
}

#[test]
fn started_as_root_it_becomes_the_configured_user() {
    if !is_root() {
        // Only root can become somebody else; the other half is below.
        return;
    }
    let backend = Backend::named("a");
    let ringbolt = Ringbolt::start(&Options {
        config: Some(config(&backend, "[process]\nuser = \"nobody\"\ngroup = \"12345\"")),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "a");
    let all = statuses(&ringbolt);
    assert!(all.len() >= 3, "two workers and housekeeping");
    for status in all {
        assert_eq!(status["Uid"], "65534 65534 65534 65534");
        assert_eq!(status["Gid"], "12345 12345 12345 12345");
        assert_eq!(status["Groups"], "");
        assert_without_capabilities(&status);
    }
    assert!(ringbolt.metrics()["process_open_fds"] > 3.0, "it can still read what it shows");
}

#[test]
fn who_cannot_become_the_configured_user_does_not_serve() {
    let backend = Backend::named("a");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ringbolt.toml");
    let mut refused = vec![("no-such-user", "there is no \"no-such-user\"")];
    if !is_root() {
        refused.push(("root", "has to be started as root"));
    }
    for (user, reason) in refused {
        fs::write(&path, config(&backend, &format!("[process]\nuser = \"{user}\""))).expect("write");
        let output = Command::new(env!("CARGO_BIN_EXE_ringbolt"))
            .args(["run", "--admin", "127.0.0.1:0", "--config"])
            .arg(&path)
            .output()
            .expect("the daemon runs");
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(reason), "{told}");
    }
}
