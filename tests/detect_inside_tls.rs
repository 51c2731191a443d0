//! Inside TLS, opened on a port that serves more than HTTP, each client gets what it speaks as it would outside.
//!
//! Fails with a client that waits for a timeout though it has spoken, with bytes lost between the handshake and what
//! serves the connection, with an end or a failure that is told wrong, or with a protocol served where it is not
//! allowed.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ringbolt_harness::raw::{Backend, Dead, End, TcpBackend, Wire};
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

const NAME: &str = "a.example";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POLICY_REQUEST: &[u8] = b"<policy-file-request/>\0";
const POLICY: &[u8] = b"<cross-domain-policy/>\0";
/// The first bytes of a ClientHello, and a fatal handshake_failure.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
const GREETING: &[u8] = b"220 a.example ESMTP\r\n";

const ALL: &str = "upstream = \"web\"\ndetect = [\"tls\", \"flash-policy\", \"tcp\"]\ntcp_upstream = \"raw\"";
/// A test that waits for this has missed that a client which speaks is not to wait.
const DETECT_LATE: &str = "[timeouts]\ndetect = \"1h\"";
const DETECT_SOON: &str = "[timeouts]\ndetect = \"2s\"";

/// The servers behind the proxy: `web` speaks HTTP, `raw` greets and echoes.
struct Behind {
    authority: Authority,
    web: Backend,
    raw: TcpBackend,
}

impl Behind {
    fn new(greeting: &[u8]) -> Self {
        Self { authority: Authority::new(), web: Backend::answering(OK), raw: TcpBackend::echoing(greeting) }
    }

    fn start(&self, engine: Engine, listener: &str, tls: &str, more: &str) -> Ringbolt {
        self.start_before(engine, listener, tls, &format!("backends = [\"{}\"]", self.raw.address()), more)
    }

    /// A proxy with one listener of these keys, an upstream of TCP with these, and `more` sections.
    fn start_before(&self, engine: Engine, listener: &str, tls: &str, raw: &str, more: &str) -> Ringbolt {
        let policy = self.authority.folder().join("policy.xml");
        std::fs::write(&policy, POLICY.strip_suffix(b"\0").expect("a NUL")).expect("a file");
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [listener.tls]\ncertificates = [{}]\n{tls}\n\
             [upstream.web]\nbackends = [\"{}\"]\n[upstream.raw]\n{raw}\n\
             [flash_policy]\nfile = {policy:?}\n{more}\n",
            self.authority.issue("a", &[NAME]).entry(),
            self.web.address(),
        );
        let options = Options { engine, workers: 1, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) };
        Ringbolt::start(&Options { config: Some(config), ..options })
    }

    /// A client that does not say beforehand what it will speak.
    fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut config = Arc::unwrap_or_clone(self.authority.client_with(&[version], None));
        config.alpn_protocols.clear();
        Arc::new(config)
    }

    fn session(&self, ringbolt: &Ringbolt) -> Wire {
        connect(ringbolt.address(), NAME, &self.client(&TLS13)).expect("a session").0
    }
}

fn detected(ringbolt: &Ringbolt, protocol: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_connections_detected_total{{protocol=\"{protocol}\"}}")]
}

#[test]
fn each_client_gets_what_it_speaks_inside_tls_however_it_is_cut() {
    let behind = Behind::new(b"");
    for engine in [Engine::Uring, Engine::Epoll] {
        let ringbolt = behind.start(engine, ALL, "", DETECT_LATE);
        for version in [&TLS12, &TLS13] {
            let client = behind.client(version);
            let session = || connect(ringbolt.address(), NAME, &client).expect("a session").0;
            for piece in [1, 7, 500] {
                let mut http = session();
                http.send_in_pieces(GET, piece);
                assert_eq!(http.read_response().text(), "ok", "in pieces of {piece}");
                assert_eq!(http.exchange(GET).text(), "ok", "the connection goes on");

                let mut flash = session();
                flash.send_in_pieces(POLICY_REQUEST, piece);
                assert_eq!(flash.read_to_end(), (POLICY.to_vec(), End::Fin), "close_notify is missing");

                for first in [&b"\0\x01\x02\xff"[..], b"EHLO a.example\r\n", b"<policy-file-?", CLIENT_HELLO]
                {
                    let mut raw = session();
                    raw.send_in_pieces(first, piece);
                    assert_eq!(raw.read_exactly(first.len(), "an echo"), first);
                    raw.send("more");
                    assert_eq!(raw.read_exactly(4, "another echo"), b"more");
                    raw.finish();
                    assert_eq!(raw.expect_end(), End::Fin, "an end in order goes through and comes back");
                }
            }
        }
        let all = ["tls", "http", "flash_policy", "tcp"].map(|protocol| detected(&ringbolt, protocol));
        assert_eq!(all, [36.0, 6.0, 6.0, 24.0]);
    }
}

#[test]
fn a_server_speaks_first_to_a_tls_client_that_waits_for_it() {
    let behind = Behind::new(GREETING);
    let ringbolt = behind.start(Engine::Auto, ALL, "", DETECT_SOON);
    let mut client = behind.session(&ringbolt);
    assert_eq!(client.read_exactly(GREETING.len(), "the greeting"), GREETING);
    client.send("QUIT\r\n");
    assert_eq!(client.read_exactly(6, "an echo"), b"QUIT\r\n");
    // What is not clear in time is TCP too, and nothing of it is lost.
    let mut slow = behind.session(&ringbolt);
    slow.send("GET ");
    assert_eq!(slow.read_exactly(GREETING.len() + 4, "greeting and echo"), [GREETING, b"GET "].concat());
    assert_eq!([detected(&ringbolt, "tls"), detected(&ringbolt, "tcp")], [2.0, 2.0]);
}

#[test]
fn a_client_that_agreed_on_http_is_waited_for_as_one() {
    let behind = Behind::new(GREETING);
    let ringbolt = behind.start(Engine::Auto, ALL, "", DETECT_SOON);
    // As a browser does that opens a connection in advance; another client shows when it would have been taken for TCP.
    let (mut early, agreed) =
        connect(ringbolt.address(), NAME, &behind.authority.client()).expect("a session");
    assert_eq!(agreed.alpn.as_deref(), Some("http/1.1"));
    let mut silent = behind.session(&ringbolt);
    assert_eq!(silent.read_exactly(GREETING.len(), "the greeting"), GREETING);
    assert_eq!(early.exchange(GET).text(), "ok");
    assert_eq!(behind.raw.connections(), 1);
}

#[test]
fn where_tcp_is_all_there_is_inside_nothing_is_waited_for() {
    let behind = Behind::new(GREETING);
    let listener = "tcp_upstream = \"raw\"\ndetect = [\"tls\"]";
    let ringbolt = behind.start(Engine::Auto, listener, "detect = [\"tcp\"]", DETECT_LATE);
    let mut client = behind.session(&ringbolt);
    assert_eq!(client.read_exactly(GREETING.len(), "the greeting"), GREETING);
    client.send(GET);
    assert_eq!(client.read_exactly(GET.len(), "an echo"), GET.as_bytes());
    // A protocol that only the backend knows is not refused here.
    let mut config = Arc::unwrap_or_clone(behind.client(&TLS13));
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    let (mut other, agreed) = connect(ringbolt.address(), NAME, &Arc::new(config)).expect("a session");
    assert_eq!(agreed.alpn, None);
    assert_eq!(other.read_exactly(GREETING.len(), "the greeting"), GREETING);
    assert_eq!(behind.web.connections(), 0);
    // Outside TLS nothing is served.
    let answer = Wire::connect(ringbolt.address()).exchange(GET);
    assert_eq!(answer.status(), 400, "{answer:?}");
}

#[test]
fn what_is_not_served_inside_is_refused_there() {
    let behind = Behind::new(b"");
    // TCP and Flash policy outside, inside HTTP alone.
    let ringbolt = behind.start(Engine::Auto, ALL, "detect = [\"http\"]", DETECT_LATE);
    for first in [&b"\0\x01\x02"[..], b"<policy-file-request/>\0"] {
        let mut client = behind.session(&ringbolt);
        client.send(first);
        assert_eq!(client.read_response().status(), 400, "{}", first.escape_ascii());
    }
    let mut raw = Wire::connect(ringbolt.address());
    raw.send(b"\0\x01\x02");
    assert_eq!(raw.read_exactly(3, "an echo"), b"\0\x01\x02");
    // TLS inside TLS.
    let mut twice = behind.session(&ringbolt);
    twice.send(CLIENT_HELLO);
    assert_eq!(twice.read_to_end(), (ALERT.to_vec(), End::Fin));

    let ringbolt = behind.start(Engine::Auto, "upstream = \"web\"", "detect = [\"flash-policy\"]", "");
    let mut client = behind.session(&ringbolt);
    let answer = client.exchange(GET);
    assert_eq!(answer.status(), 400, "{answer:?}");
    assert!(answer.text().contains("does not serve HTTP"), "{answer:?}");
    let mut other = behind.session(&ringbolt);
    other.send(b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(other.expect_end(), End::Fin);
    assert_eq!(behind.web.connections(), 0);
}

#[test]
fn a_silent_client_is_closed_in_order_and_in_time() {
    let behind = Behind::new(b"");
    let timeouts = "[timeouts]\nkeep_alive = \"2s\"\nrequest_head = \"2s\"";
    let ringbolt =
        behind.start(Engine::Auto, "upstream = \"web\"", "detect = [\"http\", \"flash-policy\"]", timeouts);
    let mut silent = behind.session(&ringbolt);
    assert_eq!(silent.expect_end(), End::Fin, "close_notify is missing");
    let mut slow = behind.session(&ringbolt);
    slow.send("<policy-file-");
    assert_eq!(slow.expect_end(), End::Fin, "close_notify is missing");
}

#[test]
fn a_backend_that_is_not_there_is_a_reset_not_an_end() {
    let behind = Behind::new(b"");
    let dead = Dead::refusing();
    let raw = format!("backends = [\"{}\"]", dead.address());
    let ringbolt = behind.start_before(Engine::Auto, ALL, "", &raw, DETECT_LATE);
    let mut client = behind.session(&ringbolt);
    client.send(b"\0\x01\x02");
    assert_eq!(client.expect_end(), End::Reset);
    let refused = "ringbolt_connections_refused_total{reason=\"no_backend\"}";
    assert_eq!(ringbolt.metrics()[refused], 1.0);
}
