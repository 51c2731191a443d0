//! A client that goes away while its backend works is gone for the backend too, at once.
//!
//! Fails with killed Socket.IO sessions if the proxy keeps an abandoned poll open: the client's next poll
//! then overlaps it at the backend, which ends the session, and held polls pile up for clients long gone.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::{Backend, End, Gate, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

const BOTH_ENGINES: [Engine; 2] = [Engine::Uring, Engine::Epoll];
const POLL: &str = "GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn proxy(backend: &Backend, engine: Engine) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        engine,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

/// The backend of a request hears that its client does `leave`, long before any timeout.
fn assert_heard_at_once(request: &str, leave: impl Fn(&mut Wire)) {
    for engine in BOTH_ENGINES {
        // A body may come first; the end is what counts.
        let backend =
            Backend::start_at_head(|_, wire| while wire.read("the end of the abandoned request").is_ok() {});
        let ringbolt = proxy(&backend, engine);
        let mut client = Wire::connect(ringbolt.address());
        client.send(request);
        backend.wait_for_requests(1);
        leave(&mut client);
        let _ = backend.wait_for_ends(1);
    }
}

#[test]
fn a_client_that_closes_ends_its_held_poll() {
    assert_heard_at_once(POLL, Wire::close);
}

#[test]
fn a_client_that_resets_ends_its_held_poll() {
    assert_heard_at_once(POLL, Wire::reset);
}

#[test]
fn a_client_that_closes_its_half_ends_its_held_poll() {
    assert_heard_at_once(POLL, |client| client.finish());
}

/// A proxy whose clients may close their half while they wait.
fn patient_proxy(backend: &Backend) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nabort_on_close = false\nbackends = [\"{}\"]\n",
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { config: Some(config), ..options })
}

#[test]
fn without_abort_on_close_a_client_that_closes_its_half_is_answered() {
    let finished = Gate::default();
    let wait = finished.clone();
    let backend = Backend::start(move |_, wire| {
        wait.wait("until the client has closed its half");
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let ringbolt = patient_proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send(POLL);
    backend.wait_for_requests(1);
    client.finish();
    // Time for an end that must not come: there is no event to wait for.
    thread::sleep(Duration::from_millis(500));
    finished.open();
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(client.expect_end(), End::Fin);
}

#[test]
fn without_abort_on_close_a_reset_ends_the_held_poll_all_the_same() {
    let backend = Backend::start(|_, wire| {
        let _ = wire.expect_end();
    });
    let ringbolt = patient_proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send(POLL);
    backend.wait_for_requests(1);
    client.reset();
    let _ = backend.wait_for_ends(1);
}

#[test]
fn a_client_that_closes_with_another_request_pipelined_ends_its_held_poll() {
    assert_heard_at_once(&POLL.repeat(3), Wire::close);
}

#[test]
fn a_client_that_leaves_within_its_body_ends_the_request() {
    let half = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nthe first of it";
    assert_heard_at_once(half, Wire::close);
    assert_heard_at_once(half, Wire::reset);
}

#[test]
fn a_client_that_leaves_within_its_answer_ends_the_request() {
    for engine in BOTH_ENGINES {
        let backend = Backend::start(|_, wire| {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
            let _ = wire.expect_end();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = Wire::connect(ringbolt.address());
        client.send(POLL);
        client.read_head().expect("the answer has begun");
        client.close();
        let _ = backend.wait_for_ends(1);
    }
}

#[test]
fn a_late_answer_to_an_abandoned_poll_reaches_nobody_else() {
    let answered = Gate::default();
    let tell = answered.clone();
    let backend = Backend::start(move |request, wire| {
        if request.connection == 0 {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfor ");
            let _ = wire.expect_end();
            // Fails where the proxy has closed both directions, as it should have.
            let _ = wire.try_send("no 1");
            tell.open();
        } else {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfor no 2");
        }
    });
    let ringbolt = proxy(&backend, Engine::Auto);
    let mut gone = Wire::connect(ringbolt.address());
    gone.send(POLL);
    gone.read_head().expect("the answer has begun");
    gone.close();
    answered.wait("until the late answer is on its way");
    assert_eq!(Wire::connect(ringbolt.address()).exchange(POLL).text(), "for no 2");
    assert_eq!(backend.connections(), 2);
}
