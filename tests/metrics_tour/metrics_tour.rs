//! Every metric of the catalogue moves when that happens which it counts.
//!
//! Fails with a metric that stays at 0 whatever happens, with one that is on the page and not in `docs/metrics.md`, and
//! with one that is in neither the tour nor the list of tests that see it move.
#![forbid(unsafe_code)]

mod tour;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ringbolt_harness::raw::{ACCEPTED, Backend, Dead, Gate, UPGRADE, Wire};
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustix::process::Signal;

use self::tour::Tour;

/// A metric that the tour does not see move, and the test that does.
struct Elsewhere {
    metric: &'static str,
    file: &'static str,
    test: &'static str,
    /// What the file says of the metric.
    words: &'static str,
}

const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        metric: "ringbolt_polling_sessions_drained_total",
        file: "tests/drain_polling.rs",
        test: "each_client_is_told_in_its_own_framing_and_the_backend_by_the_end_of_the_poll",
        words: "ringbolt_polling_sessions_drained_total",
    },
    Elsewhere {
        metric: "ringbolt_sid_lookups_total",
        file: "tests/ask.rs",
        test: "each_session_is_found_and_asked_for_once",
        words: "ringbolt_sid_lookups_total",
    },
    Elsewhere {
        metric: "ringbolt_sid_questions_total",
        file: "tests/ask.rs",
        test: "each_session_is_found_and_asked_for_once",
        words: "ringbolt_sid_questions_total",
    },
    Elsewhere {
        metric: "ringbolt_sid_tags_total",
        file: "tests/sid_tags.rs",
        test: "any_proxy_with_the_key_finds_sessions_whose_sids_are_the_same_everywhere",
        words: "ringbolt_sid_tags_total",
    },
    Elsewhere {
        metric: "ringbolt_directory_lookups_total",
        file: "tests/directory.rs",
        test: "requests_of_one_session_wait_for_one_lookup_over_all_workers",
        words: "count(ringbolt, \"lookups\"",
    },
    Elsewhere {
        metric: "ringbolt_directory_writes_total",
        file: "tests/directory.rs",
        test: "a_directory_behind_tls_proves_who_it_is",
        words: "count(&deceived, \"writes\"",
    },
    Elsewhere {
        metric: "ringbolt_directory_failures_total",
        file: "tests/directory.rs",
        test: "a_password_and_a_secret_stand_in_files",
        words: "count(&refused, \"failures\"",
    },
    Elsewhere {
        metric: "ringbolt_handover_tunnels_staying",
        file: "tests/upgrade_tls.rs",
        test: "tunnels_of_tls_in_user_space_stay_until_the_drain_has_told_them",
        words: "ringbolt_handover_tunnels_staying",
    },
    Elsewhere {
        metric: "ringbolt_ring_fallbacks_total",
        file: "tests/lifecycle_engine.rs",
        test: "auto_falls_back_to_epoll_with_one_line_and_a_metric",
        words: "ringbolt_ring_fallbacks_total",
    },
    Elsewhere {
        metric: "ringbolt_ring_overflows_total",
        file: "proxy/reactor/src/tests/ring.rs",
        test: "more_completions_than_fit_are_all_served",
        words: "completion_overflows > 0",
    },
    Elsewhere {
        metric: "ringbolt_access_log_lost_total",
        file: "tests/access_log.rs",
        test: "a_log_that_takes_nothing_holds_nobody_up",
        words: "ringbolt_access_log_lost_total",
    },
    Elsewhere {
        metric: "ringbolt_trace_spans_total",
        file: "tests/traces.rs",
        test: "a_trace_goes_on_through_the_proxy",
        words: "ringbolt_trace_spans_total",
    },
    Elsewhere {
        metric: "ringbolt_trace_spans_lost_total",
        file: "tests/traces.rs",
        test: "a_collector_that_is_down_costs_spans_and_nothing_else",
        words: "ringbolt_trace_spans_lost_total",
    },
];

const NAME: &str = "a.example";
/// Enough to be bulk at once.
const BULK_BYTES: usize = 16 << 20;
const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

fn ask(ringbolt: &Ringbolt, target: &str) -> u16 {
    Wire::connect(ringbolt.address()).exchange(get(target)).status()
}

/// Opens sessions, echoes in tunnels, gives without end in those to `/pour`, and much for `/bulk`. What asks for `/held` waits.
fn backend(gate: &Gate) -> Backend {
    let (gate, opened, bulk) = (gate.clone(), AtomicUsize::new(0), "x".repeat(BULK_BYTES));
    Backend::start(move |request, wire| {
        let target = request.head().target().to_owned();
        if request.head().value("Upgrade").is_some() {
            wire.send(ACCEPTED);
            while target == "/pour" && wire.try_send(&bulk).is_ok() {}
            while let Ok(bytes) = wire.read_ever() {
                let _ = wire.try_send(bytes);
            }
            return;
        }
        if target == "/held" {
            gate.wait("the end of the queue");
        }
        let body = match target.as_str() {
            "/bulk" => bulk.clone(),
            target if target.contains("&sid=") => "2".to_owned(),
            _ => format!(
                r#"0{{"sid":"sid-{}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}"#,
                opened.fetch_add(1, Relaxed)
            ),
        };
        let _ = wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    })
}

fn start(workers: usize, config: String) -> Ringbolt {
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { workers, engine: Engine::Uring, config: Some(config), ..options })
}

fn tunnel(ringbolt: &Ringbolt, target: &str) -> Wire {
    let mut wire = Wire::connect(ringbolt.address());
    assert_eq!(wire.exchange(UPGRADE.replace("GET / ", &format!("GET {target} "))).status(), 101);
    wire
}

/// Bounds that are reached, backends that are not there, and a queue.
fn scarcity(tour: &mut Tour) {
    let (gate, folder) = (Gate::default(), tempfile::tempdir().expect("a folder"));
    let (backend, gone) = (backend(&gate), Dead::refusing());
    let list = folder.path().join("backends.toml");
    fs::write(&list, format!("backends = [\"{}\"]\n", backend.address())).expect("a file");
    let upstream =
        |name: &str, rest: &str| format!("[[route]]\npath = \"/{name}\"\nupstream = \"{name}\"\n{rest}");
    let ringbolt = start(
        1,
        format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [limits]\nsids = 2\nclients = 1\nconnections_per_client = 100\n\
             [access_log]\noutput = \"{log}\"\n[[route]]\npath = \"/\"\nupstream = \"u\"\n{gone_route}{held_route}\
             [upstream.u]\nbackends_file = \"{list}\"\n[upstream.u.health]\ncheck = \"tcp\"\ninterval = \"1s\"\n\
             [upstream.gone]\nbackends = [\"{gone}\"]\n[upstream.gone.health]\nfailures = 1\n\
             [upstream.held]\nbackends = [{{ address = \"{held}\", maxconn = 1 }}]\nqueue_timeout = \"3s\"\n",
            log = folder.path().join("log").display(),
            gone_route = upstream("gone", "request_rate = 1\n"),
            held_route = upstream("held", ""),
            list = list.display(),
            gone = gone.address(),
            held = backend.address(),
        ),
    );
    tour.until(
        &ringbolt,
        &["ringbolt_backend_checks_total", "ringbolt_backend_check_duration_seconds"],
        || {},
    );
    // Each of these is a client, and has a session.
    let mut open: Vec<Wire> = (1..=64)
        .map(|number| Wire::connect_from(Ipv4Addr::new(127, 0, 9, number), ringbolt.address()))
        .collect();
    tour.until(&ringbolt, &["ringbolt_clients_unseen_total", "ringbolt_sid_table_full_total"], || {
        open.iter_mut().for_each(|wire| drop(wire.exchange(HANDSHAKE)));
    });
    let refused =
        ["ringbolt_backend_failures_total", "ringbolt_backends_suspected_total", "ringbolt_limited_total"];
    tour.until(&ringbolt, &refused, || assert!([502, 503].contains(&ask(&ringbolt, "/gone"))));
    let held = Wire::connect(ringbolt.address());
    held.send(get("/held"));
    tour.until(&ringbolt, &["ringbolt_requests_active"], || {});
    let mut waits = Wire::connect(ringbolt.address());
    waits.send(get("/held"));
    tour.until(&ringbolt, &["ringbolt_queue_waiting", "ringbolt_backend_queue_waiting"], || {});
    assert_eq!(waits.read_response().status(), 503);
    gate.open();
    tour.look(&ringbolt);
    fs::write(&list, "backends = [\"10.0.0.1\"]\n").expect("a file");
    tour.until(&ringbolt, &["ringbolt_discovery_sources_failing"], || {});
}

/// Sessions, and what carries bytes.
fn traffic(tour: &mut Tour, ringbolt: &Ringbolt) -> Wire {
    let (address, mut wire) = (ringbolt.address(), Wire::connect(ringbolt.address()));
    let opened = wire.exchange(HANDSHAKE).text();
    let sid = opened.split('"').nth(3).expect("a sid").to_owned();
    for sid in [sid.as_str(), "nobody-knows-this-one"] {
        assert_eq!(
            wire.exchange(get(&format!("/socket.io/?EIO=4&transport=polling&sid={sid}"))).status(),
            200
        );
    }
    let close = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n1"
    );
    assert_eq!(wire.exchange(close).status(), 200);
    // One that is there when the next process takes over.
    assert_eq!(wire.exchange(HANDSHAKE).status(), 200);
    assert_eq!(wire.exchange(get("/bulk")).body.len(), BULK_BYTES);
    let http10 = UPGRADE.replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(Wire::connect(address).exchange(http10).status(), 426);
    let mut poured = tunnel(ringbolt, "/pour");
    // What the client does not take stays in the pipe; whether there is one, the pace of each piece decides.
    let pipes = ["ringbolt_pipes", "ringbolt_tunnel_spliced_bytes_total"];
    tour.until(ringbolt, &pipes, || drop(poured.read_exactly(BULK_BYTES, "what is poured")));
    let mut chats = tunnel(ringbolt, "/chat");
    tour.until(ringbolt, &["ringbolt_tunnel_chats_total", "ringbolt_tunnel_chats_active"], || {
        for _ in 0..50 {
            chats.send(b"a message");
            chats.read_exactly(9, "the echo");
        }
    });
    chats
}

/// What clients of the second listener speak.
fn protocols(tour: &mut Tour, ringbolt: &Ringbolt, authority: &Authority) {
    let address = ringbolt.listeners()[1];
    let client = authority.client();
    assert!(connect(address, NAME, &Authority::new().client()).is_err(), "it trusts somebody else");
    let mut open = Vec::new();
    for _ in 0..2 {
        let (mut wire, _) = connect(address, NAME, &client).expect("a session");
        assert_eq!(wire.exchange(get("/")).status(), 200);
        open.push(wire);
    }
    tour.until(ringbolt, &["ringbolt_tls_sessions_active", "ringbolt_tls_resumptions_total"], || {});
    assert_eq!(open[0].exchange(UPGRADE).status(), 101);
    assert!(connect(ringbolt.address(), NAME, &client).is_err(), "TLS is not served there");
    tour.until(ringbolt, &["ringbolt_connections_refused_total", "ringbolt_tls_tunnels_total"], || {});
}

/// A process that serves, is upgraded and drained.
fn life(tour: &mut Tour) {
    let (authority, backend) = (Authority::new(), backend(&Gate::default()));
    let mut ringbolt = start(
        2,
        format!(
            "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\ndetect = [\"http\", \"tls\"]\n\
             [listener.tls]\ncertificates = [{}]\n\
             [upstream.u]\nbackends = [{{ name = \"one\", address = \"{}\" }}]\n",
            authority.issue("a", &[NAME]).entry(),
            backend.address()
        ),
    );
    let _silent = tunnel(&ringbolt, "/silent");
    let chats = traffic(tour, &ringbolt);
    protocols(tour, &ringbolt, &authority);
    assert_eq!(ringbolt.order(&["reload"]).0, Some(0));
    tour.until(&ringbolt, &["ringbolt_tunnels_idle"], || {});
    let taken = ringbolt.upgrade();
    assert!(taken.tunnels > 0 && taken.sids > 0, "{taken:?}");
    tour.look(&ringbolt);
    assert_eq!(ringbolt.order(&["drain", "u/one", "--over", "1s"]).0, Some(0));
    tour.until(&ringbolt, &["ringbolt_tunnels_drained_total", "ringbolt_tunnels_closed_total"], || {});
    drop(chats);
    assert_eq!(ringbolt.order(&["enable", "u/one"]).0, Some(0));
    let _open = tunnel(&ringbolt, "/open");
    ringbolt.signal(Signal::TERM);
    let drains =
        ["ringbolt_draining", "ringbolt_drain_connections", "ringbolt_drain_deadline_timestamp_seconds"];
    tour.until(&ringbolt, &drains, || {});
}

#[test]
fn every_metric_moves_here_or_in_a_test_that_is_named() {
    let mut tour = Tour::begin();
    scarcity(&mut tour);
    life(&mut tour);
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|elsewhere| elsewhere.metric).collect();
    assert_eq!(tour.missing(), elsewhere, "what is on the left and not on the right never moves");
}

#[test]
fn the_tests_that_are_named_are_there_and_speak_of_the_metric() {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for Elsewhere { metric, file, test, words } in ELSEWHERE {
        assert!(tour::catalogue().contains_key(*metric), "there is no {metric}");
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let from = text.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file}: no {test}"));
        let before = text[..from].trim_end();
        assert!(before.ends_with("#[test]"), "{file}: {test} is no test");
        assert!(text.contains(words), "{file} does not speak of {metric}");
    }
}
