//! A reload changes what the file says and nothing else: no tunnel, no session, no connection of a listener that
//! stays notices it, and a file that is wrong changes nothing.
//!
//! Fails with tunnels cut and sessions answered by another backend if anything is known by its place in the
//! file, with a process that grows with every reload, or with an operator who is not told that the file is not
//! what is served.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::{Backend, Tunnel, WAIT, Wire};
use ringbolt_harness::{Options, Ringbolt};
use rustix::process::Signal;

const RELOADS: usize = 136;
const TUNNELS: usize = 5000;
const SESSIONS: usize = 200;
const LIMIT: Duration = Duration::from_secs(20);

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A configuration of a daemon with an admin socket, its listeners on free ports.
fn config(listeners: usize, backends: &str, more: &str) -> String {
    let mut text = String::from("[admin]\nsocket = \"FOLDER/admin.sock\"\n");
    for _ in 0..listeners {
        text.push_str("[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n");
    }
    let _ = write!(text, "[upstream.a]\nbackends = [{backends}]\n{more}\n");
    text
}

fn list(backends: &[SocketAddr]) -> String {
    backends.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ")
}

fn start(config: String) -> Ringbolt {
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

/// Reloads with this file and returns what was said.
fn reload(ringbolt: &Ringbolt, config: &str) -> String {
    ringbolt.configure(config);
    let (code, said) = ringbolt.order(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    said
}

/// Backends that issue sids, and answer every request with a sid with their own name; and what else they serve.
fn fleet(count: usize) -> Vec<Backend> {
    let answer = |number: usize, issued: &AtomicUsize| {
        let sid = format!("backend{number}-{}", issued.fetch_add(1, Relaxed));
        format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#)
    };
    let backend = |number| {
        let issued = AtomicUsize::new(0);
        Backend::start(move |request, wire| {
            let target = request.head().target();
            let body = match target.contains("EIO=") && !target.contains("sid=") {
                true => answer(number, &issued),
                false => format!("backend{number}"),
            };
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        })
    };
    (0..count).map(backend).collect()
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(Backend::address).collect()
}

/// Opens a session; returns its sid, which names its backend.
fn open_session(address: SocketAddr, from: Ipv4Addr) -> String {
    let request = "GET /?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let answer = Wire::connect_from(from, address).exchange(request).text();
    answer.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid").to_owned()
}

fn poll(wire: &mut Wire, sid: &str) -> String {
    wire.exchange(format!("GET /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
        .text()
}

/// Waits for this many reloads in all; the addresses of the listeners after the last.
fn reloaded(ringbolt: &Ringbolt, reloads: usize) -> Vec<SocketAddr> {
    let mut seen = 0;
    ringbolt.process().line("reloaded line", LIMIT, |line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let listeners = line["listeners"].as_str().filter(|_| line["message"] == "reloaded")?;
        seen += 1;
        (seen == reloads).then(|| listeners.split(',').filter_map(|address| address.parse().ok()).collect())
    })
}

#[test]
fn reload_after_reload_under_load_loses_no_tunnel_and_no_session() {
    let backends = fleet(3);
    let own = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tunnels = format!(
        "[upstream.t]\nbackends = [\"{}\"]\n[[route]]\npath = \"/tunnel\"\nupstream = \"t\"\n",
        own.local_addr().expect("a bound socket")
    );
    let mut order = addresses(&backends);
    let ringbolt = start(config(1, &list(&order), &tunnels));
    let open: Vec<_> = (0..TUNNELS).map(|_| Tunnel::open(ringbolt.address(), &own)).collect();
    let from = |number: usize| Ipv4Addr::new(127, 0, 9, u8::try_from(number % 250 + 1).expect("small"));
    let sids: Vec<_> = (0..SESSIONS).map(|number| open_session(ringbolt.address(), from(number))).collect();
    let threads = ringbolt.thread_names().len();
    let (stop, polls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let added = Backend::named("added");
    let mut memory = Vec::new();
    thread::scope(|scope| {
        for share in sids.chunks(SESSIONS / 4) {
            let (ringbolt, stop, polls) = (&ringbolt, &stop, &polls);
            scope.spawn(move || {
                // From an address of their own: a sid that is not found goes by the address.
                let elsewhere = Ipv4Addr::new(127, 0, 10, 1);
                let mut wires: Vec<_> =
                    share.iter().map(|_| Wire::connect_from(elsewhere, ringbolt.address())).collect();
                while !stop.load(Relaxed) {
                    for (wire, sid) in wires.iter_mut().zip(share) {
                        assert_eq!(poll(wire, sid), sid.split('-').next().expect("a name"), "{sid} moved");
                        polls.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                open.iter().for_each(Tunnel::check);
            }
        });
        // However it ends, the others end too.
        let _stop = StopAtEnd(&stop);
        for number in 0..RELOADS {
            order.rotate_left(1);
            let more = if number % 2 == 0 { format!(", \"{}\"", added.address()) } else { String::new() };
            let timeouts = format!("{tunnels}[timeouts]\nkeep_alive = \"{}s\"\n", 60 + number);
            reload(&ringbolt, &config(1 + number % 2, &(list(&order) + &more), &timeouts));
            memory.push(ringbolt.memory_bytes());
        }
    });
    open.iter().for_each(Tunnel::check);
    println!("{TUNNELS} tunnels, {SESSIONS} sessions, {} polls, memory {memory:?}", polls.load(Relaxed));
    assert!(polls.load(Relaxed) > SESSIONS);
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_config_reloads_total{result=\"ok\"}"], RELOADS as f64);
    assert_eq!(metrics["ringbolt_tunnels_active"], TUNNELS as f64);
    assert_eq!(metrics["ringbolt_sids_unknown_total{reason=\"not_found\"}"], 0.0);
    assert_eq!(ringbolt.thread_names().len(), threads);
    let settled = &memory[RELOADS / 4..];
    let steps: Vec<i64> = settled.windows(2).map(|two| two[1].cast_signed() - two[0].cast_signed()).collect();
    // One step is the kernel's: it may put a page of 2 MiB in the place of small ones that were partly in use.
    let growth = steps.iter().sum::<i64>() - steps.iter().max().expect("reloads");
    assert!(growth < 1 << 20, "grew by {growth} bytes: {settled:?}");
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_everywhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("a free path");
    manager.set_read_timeout(Some(LIMIT)).expect("an option of an open socket");
    let status = || {
        let mut state = [0; 4096];
        let length = manager.recv(&mut state).expect("the service manager is told");
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    let backends = fleet(2);
    let good = config(1, &list(&addresses(&backends[..1])), "");
    let path = folder.path().join("notify").to_str().expect("a path of text").to_owned();
    let ringbolt = Ringbolt::start(&Options {
        config: Some(good),
        environment: vec![("NOTIFY_SOCKET".to_owned(), path)],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    assert_eq!(status(), "READY=1\nSTATUS=serving");
    let mut client = Wire::connect(ringbolt.address());
    ringbolt.configure(&config(1, &list(&addresses(&backends[1..])), "[timeout]\nconnect = \"1s\"\n"));
    let (code, said) = ringbolt.order(&["reload"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("ringbolt.toml:8:2: timeout: unknown key; did you mean `timeouts`?"), "{said}");
    assert!(status().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let told = status();
    assert!(told.starts_with("READY=1\nSTATUS=not reloaded, the old configuration serves on: "), "{told}");
    ringbolt.process().line("log line", LIMIT, |line| {
        (line.contains("not reloaded") && line.contains("did you mean") && line.contains("ERROR"))
            .then_some(())
    });
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_config_reloads_total{result=\"refused\"}"], 1.0);
    assert_eq!(metrics["ringbolt_config_current"], 0.0);
    assert_eq!(client.exchange(GET).text(), "backend0", "the old configuration serves on");
    // Mended, and told by signal this time.
    ringbolt.configure(&config(1, &list(&addresses(&backends[1..])), ""));
    ringbolt.process().signal(Signal::HUP);
    reloaded(&ringbolt, 1);
    assert_eq!(ringbolt.metrics()["ringbolt_config_current"], 1.0);
    assert_eq!(client.exchange(GET).text(), "backend1");
    status();
    assert_eq!(status(), "READY=1\nSTATUS=reloaded");
}

#[test]
fn listeners_come_and_go_while_the_others_serve() {
    let backends = fleet(1);
    let own = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let more = format!(
        "[upstream.t]\nbackends = [\"{}\"]\n[[route]]\npath = \"/tunnel\"\nupstream = \"t\"\n",
        own.local_addr().expect("a bound socket")
    );
    let file = |listeners| config(listeners, &list(&addresses(&backends)), &more);
    let ringbolt = start(file(1));
    let first = ringbolt.address();
    let mut stays = Wire::connect(first);
    for round in 0..3 {
        reload(&ringbolt, &file(2));
        let both = reloaded(&ringbolt, 2 * round + 1);
        assert_eq!(both[0], first, "its port is kept");
        let mut leaves = Wire::connect(both[1]);
        assert_eq!(leaves.exchange(GET).text(), "backend0");
        let tunnel = Tunnel::open(both[1], &own);
        assert_eq!(stays.exchange(GET).text(), "backend0");
        reload(&ringbolt, &file(1));
        let _ = leaves.expect_end();
        assert!(TcpStream::connect_timeout(&both[1], WAIT).is_err(), "the port is closed");
        tunnel.check();
        assert_eq!(stays.exchange(GET).text(), "backend0");
    }
}

#[test]
fn an_address_that_cannot_be_bound_leaves_everything_as_it_was() {
    let backends = fleet(2);
    let ringbolt = start(config(1, &list(&addresses(&backends[..1])), ""));
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("a bound socket");
    let listener = format!("[[listener]]\naddress = \"{taken}\"\nupstream = \"a\"\n");
    ringbolt.configure(&config(2, &list(&addresses(&backends[1..])), &listener));
    let (code, said) = ringbolt.order(&["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("listener.address: cannot listen on {taken}")), "{said}");
    assert_eq!(ringbolt.metrics()["ringbolt_config_reloads_total{result=\"failed\"}"], 1.0);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "backend0");
    drop(holder);
    reload(&ringbolt, &config(2, &list(&addresses(&backends[1..])), &listener));
    for address in [ringbolt.address(), taken] {
        assert_eq!(Wire::connect(address).exchange(GET).text(), "backend1", "{address}");
    }
}

#[test]
fn limits_change_live_and_what_cannot_is_named() {
    let backends = fleet(1);
    let file = |more: &str| config(1, &list(&addresses(&backends)), more);
    let ringbolt = start(file(""));
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(GET).status(), 200);
    let said =
        reload(&ringbolt, &file("[limits]\nrequest_body_bytes = 4\nsids = 5\n[log]\nlevel = \"warn\""));
    assert_eq!(said, "reloaded; changed, but kept until the next start: limits.sids, log.level\n");
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n12345";
    assert_eq!(client.exchange(post).status(), 413);
    assert_eq!(ringbolt.metrics()["ringbolt_sid_table_capacity"], 1_000_000.0);
}

#[test]
fn a_removed_backend_keeps_its_tunnels_and_loses_its_sessions() {
    let backends = fleet(2);
    let own = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let both = [addresses(&backends), vec![own.local_addr().expect("a bound socket")]].concat();
    let ringbolt = start(config(1, &list(&both[2..]), ""));
    let tunnel = Tunnel::open(ringbolt.address(), &own);
    reload(&ringbolt, &config(1, &list(&both[..2]), ""));
    let sids: Vec<_> =
        (1..=40).map(|number| open_session(ringbolt.address(), Ipv4Addr::new(127, 0, 11, number))).collect();
    assert!(["backend0", "backend1"].iter().all(|name| sids.iter().any(|sid| sid.starts_with(name))));
    reload(&ringbolt, &config(1, &list(&both[1..2]), ""));
    let mut client = Wire::connect(ringbolt.address());
    for sid in &sids {
        assert_eq!(
            poll(&mut client, sid),
            "backend1",
            "{sid}: nobody else is left to say that it is unknown"
        );
    }
    // Back in the file before its sids are forgotten: they are its own again.
    reload(&ringbolt, &config(1, &list(&both[..2]), ""));
    for sid in &sids {
        assert_eq!(poll(&mut client, sid), sid.split('-').next().expect("a name"));
    }
    tunnel.check();
}

#[test]
fn a_watched_file_is_reloaded_by_itself() {
    let backends = fleet(2);
    let file =
        |backend| config(1, &list(&addresses(&backends)[backend..=backend]), "[reload]\nwatch = true\n");
    let ringbolt = start(file(0));
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "backend0");
    ringbolt.configure(&file(1));
    reloaded(&ringbolt, 1);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).text(), "backend1");
}
