//! A new binary that is broken, or breaks at any moment, changes nothing: the old process serves on with all it had.
//!
//! Fails with tunnels cut, bytes missing or sessions lost if anything is given away for good before the new process
//! has said that it has it, and with a daemon that stands still if it waits for one that hangs.
#![forbid(unsafe_code)]

#[path = "upgrade/busy.rs"]
mod busy;
#[path = "upgrade/site.rs"]
mod site;

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::{Tunnel, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustix::process::Signal;

use self::busy::{CHATS, Stop, StopAtEnd, keep_busy};
use self::site::{config, fleet, open_session, own_backend, poll, sources, start};

const SESSIONS: usize = 40;

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a program");
}

/// A new process that ends, hangs, or dies at any stage it can reach: the old one serves on with all it had, and the
/// next attempt succeeds.
fn failures(engine: Engine) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (program, stage) = (folder.path().join("ringbolt"), folder.path().join("stage"));
    let install = |what: &dyn Fn(&Path)| {
        let new = folder.path().join("new");
        what(&new);
        fs::rename(&new, &program).expect("the program is replaced");
    };
    let good = |path: &Path| symlink(env!("CARGO_BIN_EXE_ringbolt"), path).expect("a link");
    install(&good);
    let (backends, own) = (fleet(3), own_backend());
    let file = config(&backends, &own, "");
    let mut ringbolt = Ringbolt::start(&Options {
        config: Some(file.clone()),
        engine,
        environment: vec![("RINGBOLT_TEST_DIES_AT".to_owned(), stage.to_str().expect("text").to_owned())],
        ..Options::new(&program, &[])
    });
    let address = ringbolt.address();
    let tunnels: Vec<_> = (0..200).map(|_| Tunnel::open(address, &own)).collect();
    let sids: Vec<_> = sources().take(SESSIONS).map(|from| open_session(address, from)).collect();
    let busy: Vec<_> = (0..CHATS).map(|_| Tunnel::open(address, &own)).collect();
    let stop = Stop::default();
    thread::scope(|scope| {
        let busy = scope.spawn(|| keep_busy(busy, &stop));
        let stopping = StopAtEnd(stop.clone());
        let mut attempts = 0.0;
        let mut fails = |ringbolt: &Ringbolt, cause: &str| {
            let (code, said) = ringbolt.order(&["upgrade"]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.starts_with("not upgraded, the process serves on: "), "{said}");
            assert!(said.contains(cause), "{cause}: {said}");
            tunnels.iter().for_each(Tunnel::check);
            sids.iter().for_each(|sid| poll(address, sid));
            poll(address, &open_session(address, Ipv4Addr::new(127, 0, 11, 1)));
            attempts += 1.0;
            let metrics = ringbolt.metrics();
            assert_eq!(metrics["ringbolt_handovers_total{result=\"failed\"}"], attempts);
            assert_eq!(metrics["ringbolt_tunnels_active"], (tunnels.len() + CHATS) as f64);
        };
        for named in ["started", "taken", "prepared", "commit"] {
            fs::write(&stage, named).expect("a stage");
            fails(&ringbolt, "the new process has ended: signal: 6");
        }
        fs::remove_file(&stage).expect("no stage");
        install(&|path| script(path, "exit 3"));
        fails(&ringbolt, "the new process has ended: exit status: 3");
        install(&|path| script(path, "exec sleep 600 </dev/null"));
        fails(&ringbolt, "the new process has failed: the other process has ended or given up");
        install(&|path| fs::write(path, "no program").expect("a file"));
        fails(&ringbolt, "the new process cannot be started");
        install(&good);
        ringbolt.configure(&format!("{file}[timeout]\nconnect = \"1s\"\n"));
        fails(&ringbolt, "the new process has ended: exit status: 78");
        ringbolt.configure(&file);
        let (code, said) = ringbolt.order(&["upgrade"]);
        assert_eq!(code, Some(0), "{said}");
        ringbolt.upgraded();
        tunnels.iter().for_each(Tunnel::check);
        sids.iter().for_each(|sid| poll(address, sid));
        drop(stopping);
        let seen = busy.join().expect("busy tunnels live");
        println!("{seen:?}");
    });
}

/// A new process that dies when tunnels are its own already and it does not accept yet: they end with it, because going on
/// behind what it may have read would be worse, and nothing else does.
#[test]
fn a_new_process_that_dies_before_it_accepts_takes_only_its_tunnels_along() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stage = folder.path().join("stage");
    let (backends, own) = (fleet(3), own_backend());
    let mut ringbolt = Ringbolt::start(&Options {
        config: Some(config(&backends, &own, "")),
        environment: vec![("RINGBOLT_TEST_DIES_AT".to_owned(), stage.to_str().expect("text").to_owned())],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    let address = ringbolt.address();
    let sids: Vec<_> = sources().take(SESSIONS).map(|from| open_session(address, from)).collect();
    let request =
        |sid| format!("GET /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut waiting: Vec<_> = sids.iter().map(|_| Wire::connect(address)).collect();
    let mut poll_on_all = || {
        for (wire, sid) in waiting.iter_mut().zip(&sids) {
            assert_eq!(wire.exchange(request(sid)).text(), sid.split('-').next().expect("a name"));
        }
    };
    poll_on_all();
    let tunnel = Tunnel::open(address, &own);
    fs::write(&stage, "committed").expect("a stage");
    let (code, said) = ringbolt.order(&["upgrade"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 tunnels were its own already and have ended with it"), "{said}");
    assert_eq!(
        (&tunnel.client).read(&mut [0]).ok().filter(|length| *length > 0),
        None,
        "the tunnel is closed"
    );
    poll_on_all();
    poll(address, &open_session(address, Ipv4Addr::LOCALHOST));
    Tunnel::open(address, &own).check();
    assert_eq!(ringbolt.metrics()["ringbolt_draining"], 0.0);
    fs::remove_file(&stage).expect("no stage");
    let upgraded = ringbolt.upgrade();
    assert!(upgraded.sids >= SESSIONS as u64, "{upgraded:?}");
    // Waiting connections go over.
    poll_on_all();
}

#[test]
fn a_new_process_that_fails_changes_nothing() {
    failures(Engine::Uring);
}

#[test]
fn a_new_process_that_fails_changes_nothing_with_epoll() {
    failures(Engine::Epoll);
}

/// The new process is killed after a little more time with each attempt, wherever that is.
#[test]
fn a_new_process_that_is_killed_at_any_moment_loses_nothing() {
    let (backends, own) = (fleet(3), own_backend());
    let mut ringbolt = start(config(&backends, &own, ""), Engine::Auto);
    let tunnels: Vec<_> = (0..1500).map(|_| Tunnel::open(ringbolt.address(), &own)).collect();
    let mut killed = 0;
    // Until it is too late to be killed: tunnels are its own, whether it accepts already or not.
    while ringbolt.upgrade_or(|successor| {
        thread::sleep(Duration::from_millis(killed));
        successor.signal(Signal::KILL);
    }) && !ringbolt.process().output().contains("were its own already")
    {
        killed += 1;
        tunnels.iter().for_each(Tunnel::check);
        assert!(killed < 500, "it never took over");
    }
    println!("killed {killed} times");
    assert!(killed > 0, "it took over at once");
}

#[test]
fn a_new_process_that_hangs_is_given_up_and_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("ringbolt");
    symlink(env!("CARGO_BIN_EXE_ringbolt"), &program).expect("a link");
    let (backends, own) = (fleet(3), own_backend());
    let options = Options::new(&program, &[]);
    let mut ringbolt = Ringbolt::start(&Options { config: Some(config(&backends, &own, "")), ..options });
    let address = ringbolt.address();
    let tunnel = Tunnel::open(address, &own);
    let sid = open_session(address, Ipv4Addr::LOCALHOST);
    fs::remove_file(&program).expect("the link");
    script(&program, "exec sleep 600");
    let failed = ringbolt.upgrade_or(|_| {
        tunnel.check();
        poll(address, &sid);
        poll(address, &open_session(address, Ipv4Addr::LOCALHOST));
    });
    assert!(failed, "a script took over");
    tunnel.check();
    poll(address, &sid);
}
