//! Real Socket.IO sessions by polling outlive their proxy: it is killed, another one knows nothing of them, and each
//! goes on. The same over two proxies at once, which know nothing of each other.
//!
//! Fails with 400 `Session ID unknown` from the wrong backend if sessions are found in the memory of one process only.
//! That is so for sessions between two polls, 40 of 40 over the four kinds of clients: what stands in front lets the proxy
//! be killed then. A poll that is held when its proxy dies dies with it, and its session by the rules of Engine.IO, at
//! both ends: every client reports a transport error and comes back by itself with a new sid. That is tested too, and that
//! its first try succeeds. Node clients notice at once. The Python client's HTTP library repeats the broken poll by itself,
//! its server holds that one too and answers neither, so it notices by its own timeout, after 30 s.
#![forbid(unsafe_code)]

use std::fs;
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::Relay;
use ringbolt_harness::{Backends, Client, Kind, Lane, Options, Redis, Ringbolt, Scenario};
use rustix::process::Signal;
use tempfile::TempDir;

/// Sessions of each kind of client.
const SESSIONS: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// By what a proxy finds sessions that it has not seen begin.
enum Evidence {
    /// As it comes: by asking.
    Ask,
    /// By their tags, with the key in this folder, and where sids have none by asking.
    TagsAndAsk(TempDir),
    /// By their tags alone.
    Tags(TempDir),
    /// In a directory that all proxies share, alone.
    Directory(Redis),
}

impl Evidence {
    fn tags() -> Self {
        Self::Tags(keys())
    }

    fn tags_and_ask() -> Self {
        Self::TagsAndAsk(keys())
    }

    fn proxy(&self, backends: &Backends) -> Ringbolt {
        let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), backends.addresses());
        let tagged = |folder: &TempDir| {
            format!("sid_tags = {{ keys = \"{}\" }}", folder.path().join("keys").display())
        };
        let (section, key, ask_rate) = match self {
            Self::Ask => return Ringbolt::start(&options),
            Self::TagsAndAsk(folder) => (String::new(), tagged(folder), "500"),
            Self::Tags(folder) => (String::new(), tagged(folder), "\"off\""),
            // Patient, for machines with much else to do.
            Self::Directory(redis) => (
                format!("[directory]\nurl = \"redis://{}\"\ntimeout = \"5s\"\n", redis.address()),
                "directory = true".to_owned(),
                "\"off\"",
            ),
        };
        let entries: Vec<_> = backends.addresses().iter().map(|address| format!("\"{address}\"")).collect();
        let config = format!(
            "{section}[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.chat]\nask_rate = {ask_rate}\n\
             {key}\nbackends = [{}]\n",
            entries.join(", ")
        );
        Ringbolt::start(&Options { config: Some(config), ..options })
    }

    /// How often it has found one. Sids of clients of the old protocol have no tags.
    fn found(&self, proxy: &Ringbolt) -> f64 {
        let metrics = proxy.metrics();
        match self {
            Self::Ask | Self::TagsAndAsk(_) => metrics["ringbolt_sid_lookups_total{result=\"found\"}"],
            Self::Tags(_) => metrics["ringbolt_sid_tags_total{result=\"valid\"}"],
            Self::Directory(_) => metrics["ringbolt_directory_lookups_total{result=\"found\"}"],
        }
    }
}

fn keys() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("keys"), "0123456789abcdef".repeat(4)).expect("the file is written");
    folder
}

/// As many ways to one relay as there are sessions.
fn lanes(relay: &Relay) -> Vec<Lane> {
    (1..=SESSIONS).map(|number| Lane::plain(number.to_string(), relay.address())).collect()
}

fn sessions_outlive_their_proxy(kind: Kind, client: Client, evidence: &Evidence) {
    let backends = Backends::shared(kind);
    let mut former = evidence.proxy(backends);
    let relay = Relay::start(&[former.address()]);
    let scenario = Scenario { name: "restart", client, limit: LIMIT };
    thread::scope(|scope| {
        let sessions = scope.spawn(|| scenario.run(backends, &lanes(&relay)));
        relay.wait_for_clients(SESSIONS, LIMIT);
        relay.hold();
        former.signal(Signal::KILL);
        former.wait();
        let proxy = evidence.proxy(backends);
        relay.release(&[proxy.address()]);
        // As long as it serves.
        sessions.join().expect("every session goes on");
        assert!(evidence.found(&proxy) >= SESSIONS as f64);
    });
}

fn clients_whose_polls_are_held_come_back(kind: Kind, client: Client) {
    let backends = Backends::shared(kind);
    let mut former = Evidence::Ask.proxy(backends);
    let relay = Relay::start(&[former.address()]);
    let scenario = Scenario { name: "held", client, limit: 2 * LIMIT };
    thread::scope(|scope| {
        let sessions = scope.spawn(|| scenario.run(backends, &lanes(&relay)));
        relay.wait_for_clients(SESSIONS, LIMIT);
        // No session has two.
        relay.hold_behind_polls(SESSIONS, LIMIT);
        former.signal(Signal::KILL);
        former.wait();
        let proxy = Evidence::Ask.proxy(backends);
        relay.release(&[proxy.address()]);
        // As long as it serves.
        sessions.join().expect("every client is connected again");
    });
}

fn sessions_spread_over_two_proxies(scenario: &str, kind: Kind, client: Client, evidence: &Evidence) {
    let backends = Backends::shared(kind);
    let proxies = [evidence.proxy(backends), evidence.proxy(backends)];
    let relay = Relay::start(&proxies.each_ref().map(Ringbolt::address));
    Scenario { name: scenario, client, limit: LIMIT }.run(backends, &lanes(&relay));
    for proxy in &proxies {
        assert!(evidence.found(proxy) > 0.0, "each proxy met sessions of the other");
    }
}

macro_rules! sessions {
    ($($name:ident: $kind:ident, $client:ident, $evidence:expr;)+) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn outlive_their_proxy() {
                    sessions_outlive_their_proxy(Kind::$kind, Client::$client, &$evidence);
                }

                #[test]
                fn spread_over_two_proxies() {
                    sessions_spread_over_two_proxies("polling", Kind::$kind, Client::$client, &$evidence);
                }
            }
        )+
    };
}

sessions! {
    socketio2: SocketIo2, Node2, Evidence::Ask;
    socketio3: SocketIo3, Node3, Evidence::Ask;
    socketio4: SocketIo4, Node4, Evidence::Ask;
    python: Python, Python, Evidence::Ask;
    socketio3_tagged: SocketIo3, Node3, Evidence::tags();
    socketio4_tagged: SocketIo4, Node4, Evidence::tags();
    socketio2_where_sids_are_tagged: SocketIo2, Node2, Evidence::tags_and_ask();
    old_client_where_sids_are_tagged: SocketIo4, Node2, Evidence::tags_and_ask();
    python_tagged: Python, Python, Evidence::tags();
    socketio2_listed: SocketIo2, Node2, Evidence::Directory(Redis::start());
    socketio3_listed: SocketIo3, Node3, Evidence::Directory(Redis::start());
    socketio4_listed: SocketIo4, Node4, Evidence::Directory(Redis::start());
    python_listed: Python, Python, Evidence::Directory(Redis::start());
}

macro_rules! held_polls {
    ($($name:ident: $kind:ident, $client:ident;)+) => {
        mod clients_whose_polls_are_held_come_back {
            use super::*;

            $(
                #[test]
                fn $name() {
                    super::clients_whose_polls_are_held_come_back(Kind::$kind, Client::$client);
                }
            )+
        }
    };
}

held_polls! {
    socketio2: SocketIo2, Node2;
    socketio3: SocketIo3, Node3;
    socketio4: SocketIo4, Node4;
    python: Python, Python;
}

/// Only tags tell such sessions apart.
#[test]
fn sids_that_every_backend_issues_are_told_apart_by_their_tags() {
    sessions_spread_over_two_proxies("counting", Kind::SocketIo4, Client::Node4, &Evidence::tags());
}
