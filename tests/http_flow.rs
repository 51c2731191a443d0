//! A slow reader stops its sender, and the proxy holds no more of a body than one buffer.
//!
//! Fails with the proxy's memory growing by the body if anything between the two ends reads ahead
//! without bound, or with a stuck exchange if one direction waits for the other to finish.
#![forbid(unsafe_code)]

use std::fs;
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::{Backend, End, Gate, Pattern, Wire};
use ringbolt_harness::{Options, Ringbolt};

const LENGTH: u64 = 100 << 20;
const GROWTH_MAX: u64 = 8 << 20;
/// After this long without progress a sender counts as stopped.
const QUIET: Duration = Duration::from_millis(300);

fn proxy(backend: &Backend) -> Ringbolt {
    Ringbolt::start(&Options {
        workers: 1,
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[backend.address()])
    })
}

/// Memory of the process that is in RAM now.
fn resident_bytes(ringbolt: &Ringbolt) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", ringbolt.pid())).expect("the proxy runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of proc(5)");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib * 1024
}

/// Sends [`LENGTH`] bytes of the pattern; opens `full` when the far end takes no more for a while.
fn send_all(wire: &Wire, full: &Gate) {
    let mut pattern = Pattern::default();
    let taken = wire.send_until_full(QUIET, LENGTH, |buffer| pattern.fill(buffer));
    full.open();
    // The position is that of whole buffers; what was taken of the last one is somewhere within it.
    let mut rest = Pattern::at(taken);
    let mut buffer = vec![0; 64 * 1024];
    while rest.position() < LENGTH {
        let length = usize::try_from(LENGTH - rest.position()).expect("64 bits").min(buffer.len());
        rest.fill(&mut buffer[..length]);
        wire.send(&buffer[..length]);
    }
}

/// Checks [`LENGTH`] bytes of the pattern and returns the most memory `ringbolt` had meanwhile.
fn check_all(wire: &mut Wire, ringbolt: Option<&Ringbolt>) -> u64 {
    let (mut pattern, mut most, mut pieces) = (Pattern::default(), 0, 0_u32);
    while pattern.position() < LENGTH {
        pattern.check(&wire.read("the body").expect("a whole body"));
        if let Some(ringbolt) = ringbolt
            && pieces.is_multiple_of(64)
        {
            most = most.max(resident_bytes(ringbolt));
        }
        pieces += 1;
    }
    assert_eq!(pattern.position(), LENGTH);
    most
}

fn assert_bounded(before: u64, most: u64) {
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "memory grew by {growth} bytes over a body of {LENGTH}");
}

#[test]
fn a_100_mb_answer_to_a_slow_reader_costs_no_memory() {
    let full = Gate::default();
    let opened = full.clone();
    let backend = Backend::start(move |request, wire| match request.head().target() {
        "/body" => {
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            send_all(wire, &opened);
        }
        _ => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.exchange("GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let before = resident_bytes(&ringbolt);
    client.send("GET /body HTTP/1.1\r\nHost: a.example\r\n\r\n");
    full.wait("until the backend is stopped by the client that does not read");
    let stopped = resident_bytes(&ringbolt);
    assert_eq!(client.read_head().unwrap().status(), 200);
    let most = check_all(&mut client, Some(&ringbolt));
    assert_bounded(before, most.max(stopped));
    assert_eq!(client.exchange("GET /last HTTP/1.1\r\nHost: a.example\r\n\r\n").status(), 200);
}

#[test]
fn a_100_mb_request_to_a_slow_backend_costs_no_memory() {
    let full = Gate::default();
    let opened = full.clone();
    let backend = Backend::start_at_head(move |request, wire| {
        if request.head().target() == "/body" {
            opened.wait("until the client is stopped by the backend that does not read");
            check_all(wire, None);
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.exchange("GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let before = resident_bytes(&ringbolt);
    client.send(format!("POST /body HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let most = thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(&client, &full));
        let mut most = 0;
        while !sending.is_finished() {
            most = most.max(resident_bytes(&ringbolt));
        }
        sending.join().expect("the whole body is taken");
        most
    });
    assert_eq!(client.read_response().status(), 200);
    assert_bounded(before, most);
}

#[test]
fn an_answer_reaches_the_client_while_its_body_is_still_coming() {
    let backend = Backend::start_at_head(|_, wire| {
        wire.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
        // Keeps the connection open until the proxy gives up on it.
        while wire.read("the end").is_ok() {}
        wire.close();
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nthe first of it");
    let answer = client.read_response();
    assert_eq!((answer.status(), &*answer.text()), (401, "no"));
}

#[test]
fn an_answer_survives_a_backend_that_closes_without_reading_the_body() {
    let backend = Backend::start_at_head(|_, wire| {
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        // With bytes unread this is a reset, so sending on fails while the answer waits to be read.
        wire.close();
    });
    let ringbolt = proxy(&backend);
    let request = [
        &b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 50000000\r\n\r\n"[..],
        &vec![b'x'; 200_000][..],
    ];
    for _ in 0..30 {
        let mut client = Wire::connect(ringbolt.address());
        // Refused half-way where the answer came sooner.
        let _ = client.try_send(request.concat());
        let answer = client.read_response();
        assert_eq!((answer.status(), &*answer.text()), (413, "big"));
        // A reset may overtake the answer on its way to the client (RFC 9112 section 9.6).
        assert_eq!(client.expect_end(), End::Fin);
    }
}

#[test]
fn both_directions_stream_at_once() {
    let backend = Backend::start_at_head(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..5 {
            let asked = wire.read_exactly(6, "a chunk of the request");
            wire.send(&asked);
        }
        assert_eq!(wire.read_exactly(5, "the last chunk of the request"), b"0\r\n\r\n");
        wire.send("0\r\n\r\n");
    });
    let ringbolt = proxy(&backend);
    let mut client = Wire::connect(ringbolt.address());
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    for letter in ["a", "b", "c", "d", "e"] {
        let chunk = format!("1\r\n{letter}\r\n");
        client.send(&chunk);
        assert_eq!(client.read_exactly(6, "the echo"), chunk.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_exactly(5, "the last chunk"), b"0\r\n\r\n");
}
