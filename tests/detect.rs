//! One port serves HTTP, Flash policy requests and TCP: each client gets what it speaks, at its first bytes.
//!
//! Fails with a client that waits for a timeout though it has spoken, with bytes lost that were read to look at
//! them, or with a protocol served where it is not allowed.
#![forbid(unsafe_code)]

use std::thread;

use ringbolt_harness::raw::{ACCEPTED, Backend, End, TcpBackend, UPGRADE, Wire};
use ringbolt_harness::{Options, Ringbolt};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POLICY_REQUEST: &[u8] = b"<policy-file-request/>\0";
const POLICY: &str = "<?xml version=\"1.0\"?>\n<cross-domain-policy>\n\
    <site-control permitted-cross-domain-policies=\"master-only\"/>\n\
    <allow-access-from domain=\"*.example.com\" to-ports=\"443,8000-8100\"/>\n</cross-domain-policy>\n\0";
/// The first bytes of a ClientHello.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
/// A fatal handshake_failure.
const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";

/// The servers behind the proxy: `web` speaks HTTP, `raw` greets and echoes.
struct Behind {
    web: Backend,
    raw: TcpBackend,
}

impl Behind {
    fn new(banner: &str) -> Self {
        Self { web: Backend::answering(OK), raw: TcpBackend::echoing(banner) }
    }

    /// A proxy with one listener of these keys, and `more` sections.
    fn start(&self, listener: &str, more: &str) -> Ringbolt {
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [upstream.web]\nbackends = [\"{}\"]\n[upstream.raw]\nbackends = [\"{}\"]\n{more}\n",
            self.web.address(),
            self.raw.address()
        );
        Ringbolt::start(&Options {
            workers: 1,
            config: Some(config),
            ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
        })
    }
}

const ONE_PORT: &str =
    "upstream = \"web\"\ndetect = [\"http\", \"flash-policy\", \"tcp\"]\ntcp_upstream = \"raw\"";
const FLASH: &str = "[flash_policy]\ndomains = [\"*.example.com\"]\nports = [\"443\", \"8000-8100\"]";
/// A test that waits for this has missed that a client which speaks is not to wait.
const DETECT_LATE: &str = "[timeouts]\ndetect = \"1h\"";

fn count(ringbolt: &Ringbolt, name: &str) -> f64 {
    ringbolt.metrics()[name]
}

fn detected(ringbolt: &Ringbolt, protocol: &str) -> f64 {
    count(ringbolt, &format!("ringbolt_connections_detected_total{{protocol=\"{protocol}\"}}"))
}

fn refused(ringbolt: &Ringbolt, reason: &str) -> f64 {
    count(ringbolt, &format!("ringbolt_connections_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn each_client_gets_what_it_speaks_however_its_first_bytes_are_cut() {
    let behind = Behind::new("");
    let ringbolt = behind.start(ONE_PORT, &format!("{FLASH}\n{DETECT_LATE}"));
    for piece in [1, 2, 7, 500] {
        let mut http = Wire::connect(ringbolt.address());
        http.send_in_pieces(GET, piece);
        assert_eq!(http.read_response().text(), "ok", "in pieces of {piece}");
        assert_eq!(http.exchange(GET).text(), "ok", "the connection goes on");

        let mut flash = Wire::connect(ringbolt.address());
        flash.send_in_pieces(POLICY_REQUEST, piece);
        let (policy, end) = flash.read_to_end();
        assert_eq!((String::from_utf8(policy).unwrap().as_str(), end), (POLICY, End::Fin));

        for first in
            [&b"\0\x01\x02\xff"[..], b"EHLO a.example\r\n", b"GEThering", b"<policy-file-?", CLIENT_HELLO]
        {
            let mut raw = Wire::connect(ringbolt.address());
            raw.send_in_pieces(first, piece);
            assert_eq!(raw.read_exactly(first.len(), "an echo"), first);
            raw.send("more");
            assert_eq!(raw.read_exactly(4, "another echo"), b"more");
        }
    }
    assert_eq!(behind.raw.connections(), 20);
    assert_eq!(
        ["http", "flash_policy", "tcp"].map(|protocol| detected(&ringbolt, protocol)),
        [4.0, 4.0, 20.0]
    );
}

#[test]
fn a_websocket_upgrade_on_the_same_port_is_a_tunnel() {
    let web = Backend::start(|_, wire| {
        wire.send(ACCEPTED);
        while let Ok(bytes) = wire.read_ever() {
            wire.send(bytes);
        }
        wire.close();
    });
    let behind = Behind { web, ..Behind::new("") };
    let ringbolt = behind.start(ONE_PORT, FLASH);
    let mut client = Wire::connect(ringbolt.address());
    client.send_in_pieces(UPGRADE, 3);
    assert_eq!(client.read_head().map(|head| head.status()), Some(101));
    client.send("through");
    assert_eq!(client.read_exactly(7, "an echo"), b"through");
    assert_eq!(behind.raw.connections(), 0);
}

#[test]
fn a_server_speaks_first_to_a_client_that_waits_for_it() {
    let behind = Behind::new("220 a.example ESMTP\r\n");
    let ringbolt = behind.start(ONE_PORT, &format!("{FLASH}\n[timeouts]\ndetect = \"100ms\""));
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.read_exactly(21, "the greeting"), b"220 a.example ESMTP\r\n");
    client.send("QUIT\r\n");
    assert_eq!(client.read_exactly(6, "an echo"), b"QUIT\r\n");
    // What is not clear in time is TCP too, and nothing of it is lost.
    let mut slow = Wire::connect(ringbolt.address());
    slow.send("GET ");
    assert_eq!(slow.read_exactly(25, "greeting and echo"), b"220 a.example ESMTP\r\nGET ");
    assert_eq!(detected(&ringbolt, "tcp"), 2.0);
}

#[test]
fn where_tcp_is_all_there_is_nothing_is_waited_for() {
    let behind = Behind::new("220 a.example ESMTP\r\n");
    let ringbolt = behind.start("detect = [\"tcp\"]\ntcp_upstream = \"raw\"", DETECT_LATE);
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.read_exactly(21, "the greeting"), b"220 a.example ESMTP\r\n");
    client.send(GET);
    assert_eq!(client.read_exactly(GET.len(), "an echo"), GET.as_bytes());
    assert_eq!(behind.web.connections(), 0);
}

#[test]
fn tls_where_http_is_all_there_is_gets_an_alert() {
    let behind = Behind::new("");
    let ringbolt = behind.start("upstream = \"web\"", "");
    for piece in [1, 500] {
        let mut client = Wire::connect(ringbolt.address());
        // The alert may come before the last piece has gone.
        for part in CLIENT_HELLO.chunks(piece) {
            let _ = client.try_send(part);
        }
        assert_eq!(client.read_to_end(), (ALERT.to_vec(), End::Fin), "in pieces of {piece}");
    }
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(GET).text(), "ok");
    assert_eq!((refused(&ringbolt, "tls"), behind.web.connections()), (2.0, 1));
}

#[test]
fn what_is_not_served_is_refused_and_told_so() {
    let behind = Behind::new("");
    let ringbolt = behind.start("detect = [\"flash-policy\"]", FLASH);
    let end_of = |first: &[u8]| {
        let mut client = Wire::connect(ringbolt.address());
        client.send(first);
        client.read_to_end()
    };
    assert_eq!(end_of(CLIENT_HELLO), (ALERT.to_vec(), End::Fin));
    let (answer, end) = end_of(GET.as_bytes());
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("this port does not serve HTTP\n"),
        "{answer}"
    );
    assert_eq!(end, End::Fin);
    assert_eq!(end_of(b"SSH-2.0-OpenSSH_9.2\r\n").0, b"");
    assert_eq!(end_of(POLICY_REQUEST).0, POLICY.as_bytes());
    assert_eq!(["tls", "http", "unknown_protocol"].map(|reason| refused(&ringbolt, reason)), [1.0, 1.0, 1.0]);
    assert_eq!(behind.web.connections() + behind.raw.connections(), 0);
}

#[test]
fn garbage_where_http_is_served_is_answered_as_http() {
    let behind = Behind::new("");
    let ringbolt = behind.start("upstream = \"web\"\ndetect = [\"http\", \"flash-policy\"]", FLASH);
    for garbage in [&b"\0\0\0\0"[..], b"<html>", b"\x16\x02\x01", b"lower case\r\n\r\n"] {
        let mut client = Wire::connect(ringbolt.address());
        client.send(garbage);
        assert_eq!(client.read_response().status(), 400, "{}", garbage.escape_ascii());
    }
    let mut client = Wire::connect(ringbolt.address());
    client.send(CLIENT_HELLO);
    assert_eq!(client.read_to_end(), (ALERT.to_vec(), End::Fin));
    assert_eq!(behind.web.connections(), 0);
}

#[test]
fn a_client_that_says_nothing_or_too_little_is_closed_in_time() {
    let behind = Behind::new("");
    let timeouts = "[timeouts]\nkeep_alive = \"2s\"\nrequest_head = \"2s\"";
    let ringbolt = behind.start("detect = [\"flash-policy\"]", &format!("{FLASH}\n{timeouts}"));
    for first in ["", "<", "<policy-file-request"] {
        let mut client = Wire::connect(ringbolt.address());
        client.send(first);
        assert_eq!(client.expect_end(), End::Fin, "{first:?}");
    }
    assert_eq!(refused(&ringbolt, "unknown_protocol"), 2.0);
    let mut early = Wire::connect(ringbolt.address());
    early.finish();
    assert_eq!(early.expect_end(), End::Fin);
    // It is counted out a moment after it was closed.
    while count(&ringbolt, "ringbolt_connections_active") > 0.0 {
        thread::yield_now();
    }
}

#[test]
fn a_silent_client_holds_up_no_drain_and_no_backend() {
    let behind = Behind::new("");
    let mut ringbolt = behind.start(ONE_PORT, &format!("{FLASH}\n{DETECT_LATE}\ndrain = \"1h\""));
    let mut silent: Vec<Wire> = (0..50).map(|_| Wire::connect(ringbolt.address())).collect();
    let mut client = Wire::connect(ringbolt.address());
    assert_eq!(client.exchange(GET).text(), "ok", "all others have been accepted");
    assert_eq!(behind.raw.connections(), 0);
    assert_eq!(ringbolt.terminate().code(), Some(0));
    for client in &mut silent {
        assert_eq!(client.expect_end(), End::Fin);
    }
}
