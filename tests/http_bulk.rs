//! A body that is bulk goes by splice(2): every byte in its place, the connections as good as before, and
//! an end that comes too early as visible as ever.
//!
//! Fails with a body of the right length and wrong content if a pipe that still held bytes of one body
//! were used for another, and with a hang if the end of a splice is taken for an empty socket.
#![forbid(unsafe_code)]

use std::thread;

use ringbolt_harness::raw::{Backend, End, Pattern, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

const BOTH_ENGINES: [Engine; 2] = [Engine::Uring, Engine::Epoll];
const LENGTH: u64 = 64 << 20;
const SPLICED: &str = "ringbolt_body_spliced_bytes_total";

fn proxy(backend: &Backend, engine: Engine) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        engine,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

/// Sends bytes of the pattern; stops where the far end is gone.
fn send(wire: &Wire, length: u64) {
    let mut pattern = Pattern::default();
    let mut buffer = vec![0; 251 * 1024];
    while pattern.position() < length {
        let rest = usize::try_from(length - pattern.position()).expect("64 bits").min(buffer.len());
        pattern.fill(&mut buffer[..rest]);
        if wire.try_send(&buffer[..rest]).is_err() {
            return;
        }
    }
}

fn check(wire: &mut Wire, length: u64) {
    let mut pattern = Pattern::default();
    while pattern.position() < length {
        pattern.check(&wire.read("the body").expect("a whole body"));
    }
    assert_eq!(pattern.position(), length);
}

/// Reads the pattern to its end, wherever that is.
fn check_to_end(wire: &mut Wire) -> (u64, End) {
    let mut pattern = Pattern::default();
    loop {
        match wire.read("the body or its end") {
            Ok(bytes) => pattern.check(&bytes),
            Err(end) => return (pattern.position(), end),
        }
    }
}

/// Checks what `/both` sends and sends the same back; tells how long the answer to another target is, and
/// sends as many bytes as that says.
fn mirror() -> Backend {
    Backend::start_at_head(|request, wire| {
        let target = request.head().target().to_owned();
        if target == "/both" {
            check(wire, LENGTH);
        }
        let (declared, sent) = match target.as_str() {
            "/cut" => (LENGTH, LENGTH / 2),
            "/small" => (3, 3),
            _ => (LENGTH, LENGTH),
        };
        let head = if target == "/until-close" {
            "HTTP/1.1 200 OK\r\n\r\n".to_owned()
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {declared}\r\n\r\n")
        };
        if wire.try_send(head).is_ok() {
            send(wire, sent);
        }
        if target == "/until-close" || target == "/cut" {
            wire.close();
        }
    })
}

fn get(target: &str, version: &str) -> String {
    format!("GET {target} HTTP/{version}\r\nHost: a.example\r\n\r\n")
}

#[test]
fn bodies_both_ways_are_whole_and_the_connections_good_for_more() {
    for engine in BOTH_ENGINES {
        let backend = mirror();
        let ringbolt = proxy(&backend, engine);
        let mut client = Wire::connect(ringbolt.address());
        for _ in 0..2 {
            client
                .send(format!("POST /both HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LENGTH}\r\n\r\n"));
            send(&client, LENGTH);
            assert_eq!(client.read_head().expect("an answer").status(), 200);
            check(&mut client, LENGTH);
            assert_eq!(client.exchange(get("/small", "1.1")).body, b"\x00\x01\x02", "{engine:?}");
        }
        assert_eq!(backend.connections(), 1, "{engine:?}: all on one connection");
        let spliced = ringbolt.metrics()[SPLICED];
        assert!(spliced > LENGTH as f64, "{engine:?}: {spliced} bytes were spliced");
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole() {
    for engine in BOTH_ENGINES {
        let ringbolt_backend = mirror();
        let ringbolt = proxy(&ringbolt_backend, engine);
        let mut client = Wire::connect(ringbolt.address());
        // HTTP/1.0 knows no chunks, so nothing is put between the bytes.
        client.send(get("/until-close", "1.0"));
        assert_eq!(client.read_head().expect("an answer").status(), 200);
        assert_eq!(check_to_end(&mut client), (LENGTH, End::Fin), "{engine:?}");
        assert!(ringbolt.metrics()[SPLICED] > 0.0, "{engine:?}");
    }
}

#[test]
fn an_answer_cut_short_by_its_backend_looks_broken() {
    for engine in BOTH_ENGINES {
        let backend = mirror();
        let ringbolt = proxy(&backend, engine);
        let mut client = Wire::connect(ringbolt.address());
        client.send(get("/cut", "1.1"));
        assert_eq!(client.read_head().expect("an answer").status(), 200);
        let (length, _) = check_to_end(&mut client);
        assert!(length <= LENGTH / 2, "{engine:?}: {length} bytes");
    }
}

#[test]
fn clients_that_leave_in_the_middle_spoil_nothing_for_others() {
    for engine in BOTH_ENGINES {
        let backend = mirror();
        let ringbolt = proxy(&backend, engine);
        thread::scope(|scope| {
            for client in 0..8 {
                let address = ringbolt.address();
                scope.spawn(move || {
                    let mut leaver = Wire::connect(address);
                    leaver.send(get("/all", "1.1"));
                    let mut pattern = Pattern::default();
                    assert_eq!(leaver.read_head().expect("an answer").status(), 200);
                    while pattern.position() < LENGTH / 8 * (client + 1) - 1000 {
                        pattern.check(&leaver.read("some of the body").expect("more of it"));
                    }
                    leaver.close();
                });
            }
        });
        let mut client = Wire::connect(ringbolt.address());
        client.send(get("/all", "1.1"));
        assert_eq!(client.read_head().expect("an answer").status(), 200);
        check(&mut client, LENGTH);
        assert_eq!(client.exchange(get("/small", "1.1")).body, b"\x00\x01\x02", "{engine:?}");
    }
}
