//! A drain ends polling sessions one by one, each by the answer to a poll that its client comes back on.
//!
//! Fails with sessions that are cut all at once at the end, with an answer that is torn because it had begun, and with
//! clients that are told in a framing they cannot read.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Gate, Message, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustix::process::Signal;

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64)";
const LIMIT: Duration = Duration::from_secs(20);

/// A backend that opens sessions, and holds every poll until its connection ends; it says when one has.
fn holding() -> (Backend, Receiver<()>) {
    let issued = AtomicUsize::new(0);
    let (sender, ended) = mpsc::channel();
    let backend = Backend::start(move |request, wire| {
        if request.head().target().contains("sid=") {
            while wire.read_ever().is_ok() {}
            // Whoever does not wait for it has gone.
            let _ = sender.send(());
            return wire.close();
        }
        let packet = format!(
            r#"0{{"sid":"session{:04}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#,
            issued.fetch_add(1, Relaxed)
        );
        let body = if request.head().target().contains("EIO=3") {
            format!("{}:{packet}", packet.len())
        } else {
            packet
        };
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    (backend, ended)
}

fn start(engine: Engine, backend: &Backend, more: &str) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\nbackends = [{{ name = \"a\", address = \"{}\" }}]\n{more}",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { engine, config: Some(config), ..options })
}

fn order(ringbolt: &Ringbolt, arguments: &[&str]) {
    let (code, said) = ringbolt.order(arguments);
    assert_eq!(code, Some(0), "{said}");
}

/// A client of one session.
struct Session {
    wire: Wire,
    target: String,
    user_agent: &'static str,
}

impl Session {
    fn open(ringbolt: &Ringbolt, query: &str, user_agent: &'static str) -> Self {
        let mut wire = Wire::connect(ringbolt.address());
        let target = format!("/socket.io/?{query}&transport=polling");
        let answer = wire.exchange(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        let body = String::from_utf8(answer.body).expect("text");
        let sid = body.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid");
        Self { wire, target: format!("{target}&sid={sid}"), user_agent }
    }

    fn poll(&self) {
        let Self { wire, target, user_agent } = self;
        wire.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {user_agent}\r\nOrigin: http://b.example\r\n\r\n"
        ));
    }

    fn answer(&mut self) -> Message {
        self.wire.read_response()
    }
}

fn drained(ringbolt: &Ringbolt, by: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_polling_sessions_drained_total{{by=\"{by}\"}}")]
}

fn sids(ringbolt: &Ringbolt) -> f64 {
    ringbolt.metrics()["ringbolt_sid_table_entries"]
}

#[test]
fn each_client_is_told_in_its_own_framing_and_the_backend_by_the_end_of_the_poll() {
    for engine in [Engine::Uring, Engine::Epoll] {
        let (backend, ended) = holding();
        let ringbolt = start(engine, &backend, "");
        let mut sessions = [
            ("EIO=4", BROWSER, "1"),
            ("EIO=3", BROWSER, "1:1"),
            ("EIO=4&j=3", BROWSER, "___eio[3](\"1\");"),
            ("EIO=3", "node-XMLHttpRequest", "1:1"),
        ]
        .map(|(query, user_agent, body)| (Session::open(&ringbolt, query, user_agent), body));
        let mut stranger = Session::open(&ringbolt, "EIO=4", "Python/3.11 aiohttp/3.14.5");
        for session in sessions.iter().map(|(session, _)| session).chain([&stranger]) {
            session.poll();
        }
        backend.wait_for_requests(10);
        order(&ringbolt, &["drain", "a", "--over", "1s"]);
        for (session, body) in &mut sessions {
            let answer = session.answer();
            assert_eq!((answer.head.status(), String::from_utf8_lossy(&answer.body)), (200, (*body).into()));
            assert_eq!(answer.head.value("Access-Control-Allow-Origin"), Some("http://b.example"));
        }
        let answer = stranger.answer();
        assert_eq!(answer.head.status(), 400);
        assert!(String::from_utf8_lossy(&answer.body).contains("Session ID unknown"), "{answer:?}");
        for _ in 0..5 {
            ended.recv_timeout(LIMIT).expect("the backend sees every poll break off");
        }
        assert_eq!((drained(&ringbolt, "close_packet"), drained(&ringbolt, "unknown_sid")), (4.0, 1.0));
        assert_eq!(sids(&ringbolt), 0.0);
        // The connection goes on.
        stranger.wire.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(stranger.answer().head.status(), 503, "the only backend takes nothing new");
    }
}

#[test]
fn a_session_between_two_polls_ends_by_the_next() {
    let (backend, ended) = holding();
    let ringbolt = start(Engine::Auto, &backend, "");
    let mut session = Session::open(&ringbolt, "EIO=4", BROWSER);
    order(&ringbolt, &["drain", "a", "--over", "1ms"]);
    session.poll();
    assert_eq!(session.answer().body, b"1");
    ended.recv_timeout(LIMIT).expect("the poll reaches the backend, to break off there");
}

#[test]
fn a_drain_that_is_called_off_leaves_polls_alone_and_another_one_counts_anew() {
    let (backend, _) = holding();
    let ringbolt = start(Engine::Auto, &backend, "");
    let mut sessions: Vec<_> = (0..16).map(|_| Session::open(&ringbolt, "EIO=4", BROWSER)).collect();
    sessions.iter().for_each(Session::poll);
    backend.wait_for_requests(2 * 16);
    order(&ringbolt, &["drain", "a", "--over", "2s"]);
    order(&ringbolt, &["enable", "a"]);
    // Some may have been told between the two orders; a session is forgotten a moment before it counts as told.
    let deadline = Instant::now() + LIMIT;
    let told = loop {
        let (told, left) = (drained(&ringbolt, "close_packet"), sids(&ringbolt));
        if told + left == 16.0 {
            break told;
        }
        assert!(Instant::now() < deadline, "{told} told, {left} left");
    };
    assert!(told < 16.0, "all were told before it was called off");
    // What does not happen cannot be awaited.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(drained(&ringbolt, "close_packet"), told, "the sessions would all have been over");
    order(&ringbolt, &["drain", "a", "--over", "1ms"]);
    for session in &mut sessions {
        assert_eq!(session.answer().body, b"1");
    }
}

#[test]
fn an_answer_that_has_begun_is_not_cut() {
    let (begun, rest) = (Gate::default(), Gate::default());
    let of_backend = (begun.clone(), rest.clone());
    let backend = Backend::start(move |request, wire| {
        if !request.head().target().contains("sid=") {
            return request.answer_as("one", wire);
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Le");
        of_backend.0.open();
        of_backend.1.wait("the test lets the answer end");
        wire.send("ngth: 4\r\n\r\n4abc");
    });
    let ringbolt = start(Engine::Auto, &backend, "");
    let mut session = Session::open(&ringbolt, "EIO=4", BROWSER);
    session.poll();
    begun.wait("the answer begins");
    order(&ringbolt, &["drain", "a", "--over", "1ms"]);
    rest.open();
    assert_eq!(session.answer().body, b"4abc");
}

#[test]
fn sigterm_ends_held_polls_evenly_over_the_drain_time() {
    const COUNT: usize = 60;
    let (backend, _) = holding();
    let mut ringbolt = start(Engine::Auto, &backend, "[timeouts]\ndrain = \"6s\"\n");
    let mut sessions: Vec<_> = (0..COUNT).map(|_| Session::open(&ringbolt, "EIO=4", BROWSER)).collect();
    sessions.iter().for_each(Session::poll);
    backend.wait_for_requests(2 * COUNT);
    let began = Instant::now();
    let times: Vec<Duration> = thread::scope(|scope| {
        let told = |session: &'_ mut Session| {
            let answer = session.answer();
            assert_eq!((answer.body.as_slice(), answer.head.value("Connection")), (&b"1"[..], Some("close")));
            began.elapsed()
        };
        let clients: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(move || told(session))).collect();
        ringbolt.signal(Signal::TERM);
        clients.into_iter().map(|client| client.join().expect("a close packet")).collect()
    });
    assert_eq!(ringbolt.wait().code(), Some(0));
    // The last ones are told half the time before the deadline.
    let (first, last) = (times.iter().min().expect("many"), times.iter().max().expect("many"));
    assert!(*last - *first > Duration::from_secs(2), "{times:?}");
    assert!(*last < Duration::from_secs(6), "{times:?}");
}
