//! A WebSocket upgrade opens a tunnel when both ends mean it, and nothing else ever does.
//!
//! Fails with lost first frames, connections cut in one direction when the other ends, or a raw way past
//! routing and field rules (h2c smuggling, a forged 101) if a tunnel opens on one end's word alone.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, End, Gate, Head, WAIT, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

const BOTH_ENGINES: [Engine; 2] = [Engine::Uring, Engine::Epoll];

/// The example of RFC 6455 section 1.3.
const UPGRADE: &str = "GET /chat?x=y HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const GET: &str = "GET /after HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn proxy(backend: &Backend, engine: Engine) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        engine,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

/// A client whose upgrade was accepted.
fn upgraded(ringbolt: &Ringbolt) -> Wire {
    let mut client = Wire::connect(ringbolt.address());
    let answer = client.exchange(UPGRADE);
    assert_eq!(answer.status(), 101, "{answer:?}");
    client
}

#[test]
fn the_right_accept_opens_the_tunnel_and_both_heads_arrive() {
    let backend = Backend::start(|_, wire| {
        wire.send(ACCEPTED);
        let asked = wire.read_exactly(4, "a frame");
        wire.send(&asked);
        assert_eq!(wire.expect_end(), End::Fin);
    });
    let ringbolt = proxy(&backend, Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    let answer = client.exchange(UPGRADE);
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.head.value("Upgrade"), Some("websocket"));
    assert_eq!(answer.head.value("Connection"), Some("Upgrade"));
    assert_eq!(answer.head.value("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("ping");
    assert_eq!(client.read_exactly(4, "the echo"), b"ping");
    let head = backend.only_head();
    assert_eq!(head.first_line(), "GET /chat?x=y HTTP/1.1");
    assert_eq!(head.value("Upgrade"), Some("websocket"));
    assert_eq!(head.value("Connection"), Some("Upgrade"));
    assert_eq!(head.value("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn bytes_that_come_with_the_heads_arrive_first() {
    for engine in BOTH_ENGINES {
        for piece in [1, 7, 10_000] {
            let backend = Backend::start(move |_, wire| {
                wire.send_in_pieces(format!("{ACCEPTED}early from the backend"), piece);
                assert_eq!(wire.read_exactly(21, "early bytes"), b"early from the client");
                wire.send(", late");
            });
            let ringbolt = proxy(&backend, engine);
            let mut client = Wire::connect(ringbolt.address());
            client.send_in_pieces(format!("{UPGRADE}early from the client"), piece);
            assert_eq!(client.read_response().status(), 101);
            assert_eq!(client.read_exactly(28, "early bytes"), b"early from the backend, late");
        }
    }
}

#[test]
fn a_101_without_the_right_accept_is_a_502() {
    let others = [
        ("another accept", ACCEPTED.replace("s3pP", "S3pP")),
        ("no accept", ACCEPTED.replace("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "")),
        ("another protocol", ACCEPTED.replace("Upgrade: websocket", "Upgrade: h2c")),
        ("no upgrade", ACCEPTED.replace("Upgrade: websocket\r\n", "")),
        ("no connection", ACCEPTED.replace("Connection: Upgrade\r\n", "")),
        ("HTTP/1.0", ACCEPTED.replace("HTTP/1.1", "HTTP/1.0")),
    ];
    for (what, answer) in others {
        assert_ne!(answer, ACCEPTED, "{what}");
        let backend = Backend::answering(answer);
        let ringbolt = proxy(&backend, Engine::Auto);
        let mut client = Wire::connect(ringbolt.address());
        assert_eq!(client.exchange(UPGRADE).status(), 502, "{what}");
        assert_eq!(client.expect_end(), End::Fin, "{what}");
        assert_eq!(backend.wait_for_ends(1).len(), 1, "{what}");
    }
}

#[test]
fn a_wrong_accept_can_be_let_pass() {
    let backend = Backend::start(|_, wire| {
        wire.send(ACCEPTED.replace("s3pP", "S3pP"));
        let asked = wire.read_exactly(4, "a frame");
        wire.send(&asked);
    });
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.lax]\nverify_accept = false\nbackends = [\"{}\"]\n",
        backend.address()
    );
    let ringbolt = Ringbolt::start(&Options {
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    let mut client = upgraded(&ringbolt);
    client.send("ping");
    assert_eq!(client.read_exactly(4, "the echo"), b"ping");
}

#[test]
fn an_unasked_101_is_a_502() {
    let backend = Backend::answering(ACCEPTED);
    let ringbolt = proxy(&backend, Engine::Auto);
    assert_eq!(Wire::connect(ringbolt.address()).exchange(GET).status(), 502);
}

#[test]
fn a_declined_upgrade_is_an_ordinary_answer_and_the_connection_goes_on() {
    let backend = Backend::start(|request, wire| match request.head().value("Upgrade") {
        Some(_) => wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
        None => wire.send(OK),
    });
    let ringbolt = proxy(&backend, Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..3 {
        let declined = client.exchange(UPGRADE);
        assert_eq!((declined.status(), &*declined.text()), (400, "no"));
        assert_eq!(client.exchange(GET).text(), "ok");
    }
}

/// What of `request` reaches a backend that would upgrade at the first chance.
fn forwarded_plainly(request: &str) -> Head {
    let backend = Backend::answering(OK);
    let ringbolt = proxy(&backend, Engine::Auto);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(request).status(), 200);
    assert_eq!(client.exchange(GET).status(), 200, "the connection does not go on");
    backend.requests().swap_remove(0).message.head
}

#[test]
fn what_is_no_websocket_handshake_is_forwarded_without_its_upgrade() {
    let rows = [
        ("h2c", UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c")),
        ("two protocols", UPGRADE.replace("Upgrade: websocket", "Upgrade: websocket, h2c")),
        ("two lines", UPGRADE.replace("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c")),
        ("another protocol", UPGRADE.replace("Upgrade: websocket", "Upgrade: thing/1")),
        ("POST", UPGRADE.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n")),
        ("a body", UPGRADE.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc")),
        ("not nominated", UPGRADE.replace("keep-alive, Upgrade", "keep-alive")),
        ("no key", UPGRADE.replace("Sec-WebSocket-Key", "X-Key")),
        ("a short key", UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl")),
    ];
    for (what, request) in rows {
        assert_ne!(request, UPGRADE, "{what}");
        let head = forwarded_plainly(&request);
        assert_eq!(head.value("Upgrade"), None, "{what}");
        assert_eq!(head.value("HTTP2-Settings"), None, "{what}");
        assert!(head.values("Connection").is_empty(), "{what}: {head:?}");
    }
}

#[test]
fn an_http10_upgrade_is_refused_at_once_with_the_cause() {
    let backend = Backend::answering(ACCEPTED);
    let ringbolt = proxy(&backend, Engine::Auto);
    let http10 = UPGRADE.replace("HTTP/1.1", "HTTP/1.0");
    // The second is what a hop leaves that drops the field and keeps the key.
    let rows =
        [http10.clone(), http10.replace("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", "")];
    for request in rows {
        let asked = Instant::now();
        let mut client = Wire::connect(ringbolt.address());
        let answer = client.exchange(&request);
        assert!((400..500).contains(&answer.status()), "{answer:?}");
        assert!(answer.text().contains("HTTP/1.0"), "the body names no cause: {}", answer.text());
        assert!(asked.elapsed() < WAIT);
        assert_eq!(client.expect_end(), End::Fin);
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_client_that_closes_its_half_still_gets_everything() {
    for engine in BOTH_ENGINES {
        let backend = Backend::start(|_, wire| {
            wire.send(ACCEPTED);
            assert_eq!(wire.read_to_end(), (b"last words".to_vec(), End::Fin));
            wire.send("answer to the last words");
            wire.close();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        client.send("last words");
        client.finish();
        assert_eq!(client.read_to_end(), (b"answer to the last words".to_vec(), End::Fin));
    }
}

#[test]
fn a_backend_that_closes_its_half_still_gets_everything() {
    for engine in BOTH_ENGINES {
        let (done, told) = (Gate::default(), Gate::default());
        let (tell, wait) = (done.clone(), told.clone());
        let backend = Backend::start(move |_, wire| {
            wire.send(format!("{ACCEPTED}last words"));
            wire.finish();
            wait.wait("until the client has seen the end");
            assert_eq!(wire.read_to_end(), (b"answer to the last words".to_vec(), End::Fin));
            tell.open();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        assert_eq!(client.read_to_end(), (b"last words".to_vec(), End::Fin));
        told.open();
        client.send("answer to the last words");
        client.close();
        done.wait("until the backend has seen the answer and the end");
    }
}

#[test]
fn a_reset_client_ends_its_backend_connection_at_once() {
    for engine in BOTH_ENGINES {
        let ended = Gate::default();
        let tell = ended.clone();
        let backend = Backend::start(move |_, wire| {
            wire.send(ACCEPTED);
            let _ = wire.expect_end();
            tell.open();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        let began = Instant::now();
        client.reset();
        ended.wait("until the backend's connection ends");
        assert!(began.elapsed() < WAIT, "{engine:?}: {:?}", began.elapsed());
    }
}

#[test]
fn a_reset_backend_ends_its_client_at_once() {
    for engine in BOTH_ENGINES {
        let ready = Gate::default();
        let wait = ready.clone();
        let backend = Backend::start(move |_, wire| {
            wire.send(ACCEPTED);
            wait.wait("until the client is in the tunnel");
            wire.reset();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        let began = Instant::now();
        ready.open();
        let _ = client.expect_end();
        assert!(began.elapsed() < WAIT, "{engine:?}: {:?}", began.elapsed());
    }
}

/// Until a send that takes nothing counts as stuck.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn a_client_that_resets_while_it_is_stuck_ends_its_backend_at_once() {
    for engine in BOTH_ENGINES {
        let (full, ended) = (Gate::default(), Gate::default());
        let (tell_full, tell_ended) = (full.clone(), ended.clone());
        let backend = Backend::start(move |_, wire| {
            wire.send(ACCEPTED);
            wire.send_until_full(QUIET, 1 << 30, |_| {});
            tell_full.open();
            let _ = wire.expect_end();
            tell_ended.open();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        full.wait("until nothing more fits");
        let began = Instant::now();
        client.reset();
        ended.wait("until the backend's connection ends");
        assert!(began.elapsed() < WAIT, "{engine:?}: {:?}", began.elapsed());
    }
}

#[test]
fn a_backend_that_resets_while_it_is_stuck_ends_its_client_at_once() {
    for engine in BOTH_ENGINES {
        let full = Gate::default();
        let wait = full.clone();
        let backend = Backend::start(move |_, wire| {
            wire.send(ACCEPTED);
            wait.wait("until nothing more fits");
            wire.reset();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        client.send_until_full(QUIET, 1 << 30, |_| {});
        let began = Instant::now();
        full.open();
        let _ = client.expect_end();
        assert!(began.elapsed() < WAIT, "{engine:?}: {:?}", began.elapsed());
    }
}

#[test]
fn a_direction_that_is_stuck_does_not_stop_the_other() {
    for engine in BOTH_ENGINES {
        let full = Gate::default();
        let tell = full.clone();
        let backend = Backend::start(move |_, wire| {
            wire.send(ACCEPTED);
            wire.send_until_full(QUIET, 1 << 30, |_| {});
            tell.open();
            assert_eq!(wire.read_exactly(5, "bytes against the stream"), b"hello");
            wire.reset();
        });
        let ringbolt = proxy(&backend, engine);
        let mut client = upgraded(&ringbolt);
        full.wait("until nothing more fits");
        client.send("hello");
        let began = Instant::now();
        // The end, behind what was under way.
        while client.read("the end").is_ok() {}
        assert!(began.elapsed() < WAIT, "{engine:?}: {:?}", began.elapsed());
    }
}
