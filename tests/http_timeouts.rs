//! Every wait of a client's connection ends by its own timeout, with an answer where one was asked for.
//!
//! Fails with connections that are held for ever by clients that say nothing (slow loris), or with a 408
//! for a browser that opened a connection in advance.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, End, Gate, UPGRADE, WAIT, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A proxy with this one timeout at 2 s, within which whatever is to come in time comes on a busy machine too.
fn proxy(backend: &Backend, timeout: &str, engine: Engine) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n[timeouts]\n{timeout} = \"2s\"\n",
        backend.address()
    );
    let config = Some(config);
    Ringbolt::start(&Options { engine, config, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

/// Neither at once nor much later than after the 2 s of [`proxy`].
fn assert_after_timeout(began: Instant) {
    let after = began.elapsed();
    assert!((Duration::from_secs(1)..WAIT).contains(&after), "{after:?}");
}

#[test]
fn a_connection_without_a_request_is_closed_without_a_word() {
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = Backend::named("a");
        let ringbolt = proxy(&backend, "keep_alive", engine);
        let began = Instant::now();
        assert_eq!(Wire::connect(ringbolt.address()).expect_end(), End::Fin);
        assert_after_timeout(began);
    }
}

#[test]
fn half_a_head_is_answered_408() {
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = Backend::named("a");
        let ringbolt = proxy(&backend, "request_head", engine);
        let mut client = Wire::connect(ringbolt.address());
        assert_eq!(client.exchange(GET).text(), "a");
        let began = Instant::now();
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost:").status(), 408);
        assert_eq!(client.expect_end(), End::Fin);
        assert_after_timeout(began);
        assert_eq!(backend.requests().len(), 1);
    }
}

/// Sends `beginning` and then 20 bytes a second, and sees that they are answered 408 in the time of [`proxy`].
fn assert_a_drip_is_answered_408(ringbolt: &Ringbolt, beginning: &'static str) {
    let mut client = TcpStream::connect(ringbolt.address()).expect("the proxy accepts");
    let mut drip = client.try_clone().expect("a second descriptor");
    let began = Instant::now();
    // The pauses are the attack: each is shorter than the timeout.
    let dripping = thread::spawn(move || {
        drip.write_all(beginning.as_bytes()).expect("the beginning goes out");
        while drip.write_all(b"x").is_ok() && began.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let mut answer = [0; 12];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 408");
    assert_after_timeout(began);
    // It may have ended by itself.
    let _ = client.shutdown(Shutdown::Both);
    dripping.join().expect("the drip ends");
}

#[test]
fn a_head_that_drips_is_answered_408_all_the_same() {
    let backend = Backend::named("a");
    let ringbolt = proxy(&backend, "request_head", Engine::Auto);
    assert_a_drip_is_answered_408(&ringbolt, "GET / HTTP/1.1\r\nHost: a.example\r\nX: ");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_connection_between_two_requests_is_closed_without_a_word() {
    let backend = Backend::named("a");
    let ringbolt = proxy(&backend, "keep_alive", Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    let began = Instant::now();
    assert_eq!(client.exchange(GET).text(), "a");
    assert_eq!(client.expect_end(), End::Fin);
    assert_after_timeout(began);
}

#[test]
fn half_a_body_is_answered_408_and_ends_at_the_backend() {
    let backend = Backend::named("a");
    let ringbolt = proxy(&backend, "request_body_idle", Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    let began = Instant::now();
    let half = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello";
    assert_eq!(client.exchange(half).status(), 408);
    assert_after_timeout(began);
    let _ = backend.wait_for_ends(1);
    assert!(backend.requests().is_empty(), "half a body looked complete to the backend");
}

#[test]
fn a_body_that_drips_is_answered_408_all_the_same() {
    let backend = Backend::named("a");
    let ringbolt = proxy(&backend, "request_body_idle", Engine::Auto);
    // Each byte comes within the timeout, and of 20 a second 240 are wanted.
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n";
    assert_a_drip_is_answered_408(&ringbolt, head);
    assert!(backend.requests().is_empty(), "a part of a body looked complete to the backend");
}

#[test]
fn a_client_that_takes_its_answer_too_slowly_lets_go_of_its_backend() {
    let (sender, ended) = mpsc::channel();
    let backend = Backend::start(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while wire.try_send([b'x'; 65_536]).is_ok() {}
        let _ = sender.send(());
    });
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"{}\"]\n\
         [timeouts]\nresponse = \"7s\"\n[limits]\nresponse_min_rate = 1000000\n",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let mut client = TcpStream::connect(ringbolt.address()).unwrap();
    client.write_all(GET.as_bytes()).unwrap();
    // 320 KB a second: the send buffer has room again before 7 s are over, and still it is too slow.
    let mut buffer = [0; 16_384];
    let began = Instant::now();
    while ended.try_recv().is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(25),
            "the backend is held by a client that hardly reads"
        );
        let _ = client.read(&mut buffer);
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_backend_that_falls_silent_within_its_answer_breaks_it_off() {
    let backend = Backend::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        let _ = wire.expect_end();
    });
    let ringbolt = proxy(&backend, "response", Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    let began = Instant::now();
    client.send(GET);
    assert_eq!(client.read_head().expect("a head").status(), 200);
    assert!(client.read_to_end().0.len() < 10);
    assert_after_timeout(began);
}

#[test]
fn a_tunnel_whose_one_end_has_closed_ends_with_the_other_in_time() {
    let closed = Gate::default();
    let wait = closed.clone();
    let backend = Backend::start(move |_, wire| {
        wire.send(ACCEPTED);
        wait.wait("until the client's connection has ended, without closing this one");
        wire.close();
    });
    let ringbolt = proxy(&backend, "tunnel_half_closed", Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(UPGRADE).status(), 101);
    let began = Instant::now();
    client.finish();
    let _ = client.expect_end();
    assert_after_timeout(began);
    closed.open();
}

#[test]
fn a_silent_tunnel_ends_only_where_that_is_configured() {
    let backend = Backend::start(|_, wire| {
        wire.send(ACCEPTED);
        let _ = wire.expect_end();
    });
    let ringbolt = proxy(&backend, "tunnel_idle", Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(UPGRADE).status(), 101);
    let began = Instant::now();
    let _ = client.expect_end();
    let after = began.elapsed();
    assert!(after < WAIT, "{after:?}");
}

#[test]
fn a_tunnel_that_talks_ends_at_its_maximum_age_where_that_is_configured() {
    let backend = Backend::start(|_, wire| {
        wire.send(ACCEPTED);
        while let Ok(bytes) = wire.read("bytes to send back") {
            let _ = wire.try_send(bytes);
        }
    });
    let ringbolt = proxy(&backend, "tunnel_max_age", Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(UPGRADE).status(), 101);
    let began = Instant::now();
    while client.try_send("still here").is_ok() && client.read("what was sent, or the end").is_ok() {
        assert!(began.elapsed() < WAIT, "it goes on");
    }
    assert_eq!(ringbolt.metrics()["ringbolt_tunnels_closed_total{reason=\"max_age\"}"], 1.0);
}

/// Fails with a 504 for the poll if the timeout for answers cuts what the server of a session holds.
#[test]
fn a_poll_may_be_held_as_long_as_its_session_lives() {
    const POLL: &str = "GET /socket.io/?EIO=4&transport=polling&sid=AbC HTTP/1.1\r\nHost: a.example\r\n\r\n";
    const OPEN: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let (held, answered) = (Gate::default(), Gate::default());
    let (hold, ended) = (held.clone(), answered.clone());
    let backend = Backend::start(move |request, wire| {
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let target = request.head().target();
        if target.contains("sid=") {
            hold.wait("the end of the hold");
            wire.send(answer("2"));
        } else if target.contains("EIO=4") {
            wire.send(answer(r#"0{"sid":"AbC","pingInterval":25000,"pingTimeout":20000}"#));
        } else {
            ended.wait("the answer in its place");
        }
    });
    let ringbolt = proxy(&backend, "response", Engine::Auto);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(OPEN).status(), 200);
    let mut poll = Wire::connect(ringbolt.address());
    poll.send(POLL);
    backend.wait_for_requests(2);
    // Sent later, and its time is over.
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 504);
    held.open();
    assert_eq!(poll.read_response().text(), "2");
    answered.open();
}
