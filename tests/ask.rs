//! A sid that the proxy does not know is asked for at the backends: the session is found, once, and what strangers can
//! make of it is bounded.
//!
//! Fails with 400 `Session ID unknown` for a living session, with a question for each request, or with backends that a
//! flood of random sids keeps busy.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Gate, Message, Request, Wire};
use ringbolt_harness::{Options, Ringbolt};

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const KNOWN: &str = r#"{"code":3,"message":"Bad request"}"#;

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The value of a query's parameter.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let (_, query) = request.head().target().split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn is_question(request: &Request) -> bool {
    parameter(request, "transport") == Some("websocket") && parameter(request, "sid").is_some()
}

/// How often a backend was asked for sessions.
fn questions(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| is_question(request)).count()
}

/// A backend that has the sessions whose sids begin with its name, as engine.io tells; `delay` before each question.
fn engine_io(name: &'static str, delay: impl Fn() + Send + Sync + 'static) -> Backend {
    Backend::start(move |request, wire| {
        let known = parameter(request, "sid").is_none_or(|sid| sid.starts_with(name));
        if is_question(request) {
            delay();
            wire.send(answer("400 Bad Request", if known { KNOWN } else { UNKNOWN }));
        } else if known {
            wire.send(answer("200 OK", name));
        } else {
            wire.send(answer("400 Bad Request", UNKNOWN));
        }
    })
}

/// Backends `a`, `b` and `c`.
fn three() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| engine_io(name, || {}))
}

fn proxy(backends: &[Backend], more: &str) -> Ringbolt {
    let addresses: Vec<_> = backends.iter().map(|backend| format!("\"{}\"", backend.address())).collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.main]\nbackends = [{}]\n{more}\n",
        addresses.join(", ")
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn get(ringbolt: &Ringbolt, target: &str) -> Message {
    Wire::connect(ringbolt.address()).exchange(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
}

fn poll(ringbolt: &Ringbolt, sid: &str) -> Message {
    get(ringbolt, &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"))
}

fn lookups(ringbolt: &Ringbolt, result: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_sid_lookups_total{{result=\"{result}\"}}")]
}

#[test]
fn each_session_is_found_and_asked_for_once() {
    let backends = three();
    let ringbolt = proxy(&backends, "");
    for sid in ["a1", "b2", "c3", "b%2B%2F4"] {
        for _ in 0..5 {
            assert_eq!(poll(&ringbolt, sid).text(), sid[..1], "{sid}");
        }
    }
    assert_eq!(lookups(&ringbolt, "found"), 4.0);
    // One for each backend at most, and one more to each that it tells its sessions apart.
    let asked: usize = backends.iter().map(questions).sum();
    assert!((4..=15).contains(&asked), "{asked} questions");
    let known = ringbolt.metrics()["ringbolt_sid_questions_total{answer=\"known\"}"];
    assert!(known >= 4.0, "{known} sessions were claimed");
    let question = backends[1].requests().into_iter().find(|request| {
        is_question(request) && parameter(request, "sid").is_some_and(|sid| sid.starts_with("b%2B"))
    });
    let question = question.expect("the sid in the form in which it came");
    assert_eq!(
        question.head().target(),
        "/socket.io/?EIO=4&transport=websocket&sid=b%2B%2F4",
        "a question never polls"
    );
    assert_eq!(question.head().value("Upgrade"), None);
}

#[test]
fn requests_of_one_session_wait_for_one_lookup_over_all_workers() {
    let gate = Gate::default();
    let closed = gate.clone();
    let backends = [engine_io("a", move || closed.wait("a question")), engine_io("b", || {})];
    let ringbolt = proxy(&backends, "ask_timeout = \"20s\"");
    // Whoever is asked first: the one that waits must be asked before the session is found.
    let polls: Vec<_> = (0..6)
        .map(|_| {
            let wire = Wire::connect(ringbolt.address());
            wire.send("GET /?EIO=4&transport=polling&sid=a1 HTTP/1.1\r\nHost: a.example\r\n\r\n");
            wire
        })
        .collect();
    while ringbolt.metrics()["ringbolt_sids_unknown_total{reason=\"not_found\"}"] < 6.0 {
        thread::yield_now();
    }
    gate.open();
    for mut wire in polls {
        assert_eq!(wire.read_response().text(), "a");
    }
    let about_it = |request: &&Request| is_question(request) && parameter(request, "sid") == Some("a1");
    let asked = backends[0].requests().iter().filter(about_it).count();
    // One lookup, or a few on a machine so slow that a question takes its whole second.
    let [found, unclear, joined] = ["found", "unclear", "joined"].map(|result| lookups(&ringbolt, result));
    assert!(asked as f64 <= found + unclear && joined > 0.0, "{asked} questions, {joined} have joined");
}

#[test]
fn nobody_s_session_is_told_so_at_once_and_not_asked_for_again() {
    let backends = three();
    let ringbolt = proxy(&backends, "");
    let request = "GET /?EIO=4&transport=polling&sid=nobodys HTTP/1.1\r\nHost: a.example\r\nOrigin: http://b.example\r\n\r\n";
    let mut wire = Wire::connect(ringbolt.address());
    for _ in 0..3 {
        let told = wire.exchange(request);
        assert_eq!((told.status(), &*told.text()), (400, UNKNOWN));
        assert_eq!(told.head.value("Access-Control-Allow-Origin"), Some("http://b.example"));
        assert_eq!(told.head.value("Content-Type"), Some("application/json"));
    }
    assert_eq!(backends.each_ref().map(questions), [1, 1, 1]);
    assert!(backends.iter().all(|backend| backend.requests().len() == 1), "nothing but questions");
    assert_eq!([lookups(&ringbolt, "nobody"), lookups(&ringbolt, "cached")], [1.0, 2.0]);
}

#[test]
fn a_flood_of_sids_costs_the_backends_the_configured_questions_and_other_clients_nothing() {
    const RATE: usize = 20;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let backends = three();
    let ringbolt = proxy(&backends, &format!("ask_rate = {RATE}\nask_timeout = \"1s\""));
    assert_eq!(poll(&ringbolt, "b1").text(), "b");
    let began = Instant::now();
    let flood = || {
        let mut wire = Wire::connect(ringbolt.address());
        while began.elapsed() < Duration::from_secs(2) {
            let sid = format!("random{}", NEXT.fetch_add(1, Relaxed));
            let target =
                format!("GET /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            assert!([400, 503].contains(&wire.exchange(target).status()));
        }
    };
    let mut served = 0;
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(flood)));
        while began.elapsed() < Duration::from_secs(2) {
            assert_eq!(poll(&ringbolt, "b1").text(), "b", "a session that is known is served");
            served += 1;
        }
    });
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a few") + 1;
    let most = RATE * (seconds + 1) + 2;
    let asked = backends.each_ref().map(questions);
    assert!(asked.iter().all(|asked| *asked <= most), "{asked:?} questions in {seconds} s");
    assert!(asked.iter().any(|asked| *asked > RATE), "{asked:?}: it was a flood");
    let polled: usize = backends.iter().map(|backend| backend.requests().len()).sum();
    // Where an answer to a question comes too late, its backend may be the right one.
    let passed = polled - asked.iter().sum::<usize>() - served - 1;
    let unclear = lookups(&ringbolt, "unclear");
    assert!(passed as f64 <= unclear, "{passed}, {unclear}: the flood reached nobody but by questions");
    assert!(lookups(&ringbolt, "busy") > 0.0, "much of it was refused");
}

#[test]
fn strangers_wait_for_their_questions_and_nobody_else_does() {
    const STRANGERS: usize = 60;
    let backends = three();
    // The last of them waits for 5 s.
    let ringbolt = proxy(&backends, "ask_rate = 10\nask_timeout = \"7s\"");
    assert_eq!(poll(&ringbolt, "b1").text(), "b");
    let began = Instant::now();
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|number| {
            let wire = Wire::connect(ringbolt.address());
            wire.send(format!(
                "GET /?EIO=4&transport=polling&sid=random{number} HTTP/1.1\r\nHost: a.example\r\n\r\n"
            ));
            wire
        })
        .collect();
    let told = || {
        for mut wire in strangers {
            assert!([400, 503].contains(&wire.read_response().status()));
        }
        began.elapsed()
    };
    let (last, mut others) = thread::scope(|scope| {
        let told = scope.spawn(told);
        let mut others = Vec::new();
        while !told.is_finished() {
            let begun = Instant::now();
            assert_eq!(poll(&ringbolt, "b1").text(), "b");
            assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling").status(), 200, "a new session");
            others.push(begun.elapsed());
        }
        (told.join().expect("all are told"), others)
    });
    others.sort_unstable();
    let median = others[others.len() / 2];
    assert!(last > Duration::from_secs(3), "nobody had to wait: {last:?}");
    assert!(median * 10 < last, "two requests of others took {median:?} while strangers waited for {last:?}");
}

#[test]
fn who_does_not_say_may_have_the_session() {
    let named = |name: &'static str| {
        Backend::start(move |request, wire| match is_question(request) {
            true => wire.send(answer("403 Forbidden", "")),
            false => wire.send(answer("200 OK", name)),
        })
    };
    let backends = [engine_io("a", || {}), named("b"), engine_io("c", || {})];
    let ringbolt = proxy(&backends, "");
    assert_eq!(poll(&ringbolt, "x1").text(), "b", "all others have said no");
    assert_eq!(lookups(&ringbolt, "unclear"), 1.0);
}

#[test]
fn a_backend_that_claims_every_session_is_not_believed() {
    // As python-engineio without WebSocket does.
    let claims = Backend::start(|request, wire| match is_question(request) {
        true => wire.send(answer("400 Bad Request", "\"Invalid transport\"")),
        false => wire.send(answer("200 OK", "claimed")),
    });
    let backends = [claims, engine_io("b", || {}), engine_io("c", || {})];
    let ringbolt = proxy(&backends, "");
    for sid in ["b1", "c1", "b2", "c2"] {
        assert_eq!(poll(&ringbolt, sid).text(), sid[..1]);
    }
}

#[test]
fn a_backend_that_is_silent_or_gone_hides_no_session() {
    let silent = engine_io("a", || thread::sleep(Duration::from_secs(3)));
    let backends = [silent, engine_io("b", || {}), engine_io("c", || {})];
    let ringbolt = proxy(&backends, "");
    backends[0].close_connections();
    assert_eq!(poll(&ringbolt, "b1").text(), "b");
    assert_eq!(poll(&ringbolt, "c1").text(), "c");
}

#[test]
fn where_asking_is_off_no_question_is_put() {
    let backends = three();
    let ringbolt = proxy(&backends, "ask_rate = \"off\"");
    let served: Vec<_> = (0..5).map(|number| poll(&ringbolt, &format!("a{number}")).text()).collect();
    assert!(served.iter().all(|text| *text == served[0]), "all by the address: {served:?}");
    assert_eq!(backends.iter().map(questions).sum::<usize>(), 0);
}

#[test]
fn a_question_goes_where_the_route_sends_requests() {
    let backends = [engine_io("a", || {}), engine_io("b", || {})];
    let ringbolt = proxy(
        &backends,
        "[[route]]\npath = \"/app\"\nupstream = \"main\"\nstrip_prefix = true\n[route.request]\nset_headers = { X-Key = \"k\" }\n",
    );
    assert_eq!(get(&ringbolt, "/app/io/?EIO=3&transport=polling&sid=b7").text(), "b");
    let question = backends[1].requests().into_iter().find(is_question).expect("a question");
    assert!(question.head().target().starts_with("/io/?EIO=3&transport=websocket&sid="), "{question:?}");
    assert_eq!(
        (question.head().value("X-Key"), question.head().value("Host")),
        (Some("k"), Some("a.example"))
    );
}
