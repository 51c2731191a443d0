//! A new binary takes a running process' place and nobody notices: no tunnel, no session, no request that is under
//! way.
//!
//! Fails with tunnels cut or bytes missing if a descriptor is closed, or read by both processes, before it has
//! changed hands; with sessions answered by another backend if a sid is forgotten or not told in time.
#![forbid(unsafe_code)]

#[path = "upgrade/busy.rs"]
mod busy;
#[path = "upgrade/site.rs"]
mod site;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Gate, Tunnel, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt, Upgraded, fewer_if_emulated};

use self::busy::{CHATS, PAUSE, Seen, Stop, StopAtEnd, keep_busy};
use self::site::{config, fleet, open_session, own_backend, poll, sid_in, sources, start};

const IDLE: usize = 1000;
const BULKS: usize = 8;
const SESSIONS: usize = 40;
const BUSY_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at what busy tunnels and clients have done, which need the processors.
const LOOK: Duration = Duration::from_millis(20);
const SPLICED: &str = "ringbolt_tunnel_spliced_bytes_total{direction=\"upstream_to_client\"}";

fn three_upgrades(engine: Engine) {
    let (backends, own) = (fleet(3), own_backend());
    let mut ringbolt = start(config(&backends, &own, ""), engine);
    let address = ringbolt.address();
    let idle: Vec<_> = (0..IDLE).map(|_| Tunnel::open(address, &own)).collect();
    let busy: Vec<_> = (0..CHATS + BULKS).map(|_| Tunnel::open(address, &own)).collect();
    let sids: Vec<_> = sources().take(SESSIONS).map(|from| open_session(address, from)).collect();
    let (stop, polls) = (Stop::default(), AtomicUsize::new(0));
    let (seen, upgrades) = thread::scope(|scope| {
        let (stop, polls, sids) = (&stop, &polls, &sids);
        let busy = scope.spawn(move || keep_busy(busy, stop));
        scope.spawn(move || {
            for (sid, from) in sids.iter().cycle().zip(sources()).take_while(|_| !stop.is_set()) {
                poll(address, sid);
                // And a new one, which the next process must know as well.
                poll(address, &open_session(address, from));
                polls.fetch_add(2, Relaxed);
            }
        });
        // However it ends, the others end too.
        let stopping = StopAtEnd(stop.clone());
        let busily = [("ringbolt_tunnel_chats_total", CHATS / 2), (SPLICED, BULKS << 20)];
        let uring = ringbolt.engine() == "uring";
        // They never become so where this process gets too little of the machine.
        let deadline = Instant::now() + BUSY_LIMIT;
        for (metric, enough) in busily.into_iter().skip(usize::from(!uring)) {
            while ringbolt.metrics()[metric] < enough as f64
                && !busy.is_finished()
                && Instant::now() < deadline
            {
                thread::sleep(LOOK);
            }
        }
        let upgrades: Vec<Upgraded> = (0..3)
            .map(|_| {
                let before = polls.load(Relaxed);
                let upgraded = ringbolt.upgrade();
                while polls.load(Relaxed) < before + 20 && !busy.is_finished() {
                    thread::sleep(LOOK);
                }
                ringbolt.former_ends();
                upgraded
            })
            .collect();
        drop(stopping);
        (busy.join().expect("busy tunnels live"), upgrades)
    });
    idle.iter().for_each(Tunnel::check);
    let Seen { pauses, round_trips, bulk_bytes } = seen;
    println!("{upgrades:?}; pauses {pauses:?}, {round_trips} round trips, {bulk_bytes} bytes in bulk");
    assert!(upgrades.iter().all(|upgraded| upgraded.tunnels >= IDLE as u64), "{upgrades:?}");
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_handovers_total{result=\"taken_over\"}"], 1.0);
    assert_eq!(metrics["ringbolt_tunnels_active"], IDLE as f64);
    assert_eq!(metrics["ringbolt_sids_unknown_total{reason=\"not_found\"}"], 0.0);
}

// One test: each takes two cores, and two at once take minutes instead of seconds.
#[test]
fn three_upgrades_lose_no_tunnel_and_no_session() {
    three_upgrades(Engine::Uring);
    three_upgrades(Engine::Epoll);
}

/// Of its own, because the test holds both ends of each.
#[test]
fn thousands_of_idle_tunnels_survive() {
    let (backends, own) = (fleet(1), own_backend());
    let mut ringbolt = start(config(&backends, &own, ""), Engine::Auto);
    let idle: Vec<_> = (0..5000).map(|_| Tunnel::open(ringbolt.address(), &own)).collect();
    let upgrades = [ringbolt.upgrade(), ringbolt.upgrade(), ringbolt.upgrade()];
    println!("{upgrades:?}");
    assert!(upgrades.iter().all(|upgraded| upgraded.tunnels == idle.len() as u64), "{upgrades:?}");
    idle.iter().for_each(Tunnel::check);
}

/// A request that is held, one that opens a session and one that opens a tunnel are all under way at the upgrade.
#[test]
fn what_is_under_way_ends_well() {
    let own = own_backend();
    let (held, gate) = (Gate::default(), Gate::default());
    let sessions: Vec<_> = (0..4)
        .map(|number| {
            let (held, gate) = (held.clone(), gate.clone());
            Backend::start(move |request, wire| {
                let target = request.head().target();
                if target.contains("slow") {
                    held.open();
                    gate.wait("the upgrade");
                }
                let body = match target.contains("sid=") {
                    true => format!("backend{number}"),
                    false => format!(r#"0{{"sid":"backend{number}-1","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#),
                };
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            })
        })
        .collect();
    let mut ringbolt = start(config(&sessions, &own, ""), Engine::Auto);
    let address = ringbolt.address();
    let sid = open_session(address, Ipv4Addr::LOCALHOST);
    let poll_request =
        format!("GET /slow?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let (mut polling, mut opening) =
        (Wire::connect(address), Wire::connect_from(Ipv4Addr::new(127, 0, 9, 9), address));
    polling.send(poll_request);
    opening.send("GET /slow?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n");
    held.wait("a request that is held");
    let asked = Tunnel::ask(address, &own);
    // One that waits for its next request, and one that has said nothing yet.
    let known = format!("GET /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut waiting = [Wire::connect(address), Wire::connect(address)];
    assert_eq!(waiting[0].exchange(&known).status(), 200);
    ringbolt.upgrade();
    gate.open();
    assert_eq!(polling.read_response().text(), sid.split('-').next().expect("a name"));
    let new = sid_in(&opening.read_response().text());
    (0..8).for_each(|_| poll(address, &new));
    // Its end would be that of the old process, if it stayed there.
    let late = asked.accept();
    ringbolt.former_ends();
    late.check();
    for wire in &mut waiting {
        assert_eq!(wire.exchange(&known).text(), sid.split('-').next().expect("a name"));
    }
    let metrics = ringbolt.metrics();
    assert_eq!(
        (metrics["ringbolt_tunnels_active"], metrics["ringbolt_sids_unknown_total{reason=\"not_found\"}"]),
        (1.0, 0.0)
    );
}

/// Connections that wait are the last that the old process has: it must not end before the new one has them.
#[test]
fn connections_that_wait_are_served_by_the_new_process() {
    let own = own_backend();
    let backend = Backend::named("only");
    let mut ringbolt = start(config(std::slice::from_ref(&backend), &own, ""), Engine::Auto);
    let request = "GET /waiting HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut waiting: Vec<_> =
        (0..fewer_if_emulated(1000)).map(|_| Wire::connect(ringbolt.address())).collect();
    for _ in 0..3 {
        for wire in &mut waiting {
            assert_eq!(wire.exchange(request).status(), 200);
        }
        ringbolt.upgrade();
        ringbolt.former_ends();
    }
    for wire in &mut waiting {
        assert_eq!(wire.exchange(request).status(), 200);
    }
}

#[test]
fn workers_and_listeners_may_change_with_the_binary() {
    let (backends, own) = (fleet(2), own_backend());
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n";
    let file = |workers: usize, listeners: usize| {
        let more = format!("{}[workers]\ncount = {workers}\n", listener.repeat(listeners - 1));
        config(&backends, &own, &more)
    };
    let mut ringbolt = Ringbolt::start(&Options {
        config: Some(file(3, 2)),
        workers: 0,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    let [kept, removed] = *ringbolt.listeners() else { panic!("two listeners") };
    let tunnels: Vec<_> = (0..60).map(|_| Tunnel::open(kept, &own)).collect();
    let sids: Vec<_> = sources().take(SESSIONS).map(|from| open_session(kept, from)).collect();
    for (workers, listeners) in [(1, 1), (4, 2), (2, 1)] {
        ringbolt.configure(&file(workers, listeners));
        let (code, said) = ringbolt.order(&["upgrade"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(ringbolt.upgraded().tunnels, 60);
        ringbolt.former_ends();
        assert_eq!(ringbolt.thread_names().iter().filter(|name| name.starts_with("worker")).count(), workers);
        tunnels.iter().for_each(Tunnel::check);
        sids.iter().for_each(|sid| poll(kept, sid));
        assert_eq!(ringbolt.listeners().len(), listeners);
        // Connections spread over all sockets, and each is accepted by somebody.
        for address in ringbolt.listeners().to_vec() {
            (0..20).for_each(|_| poll(address, &sids[0]));
        }
        assert!(std::net::TcpStream::connect_timeout(&removed, PAUSE).is_err(), "a removed port is closed");
    }
}
