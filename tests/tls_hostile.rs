//! Whatever comes in place of a handshake ends its own connection and nobody else's, in bounded time.
//!
//! Fails if garbage, a cut or an endless ClientHello ends the process, holds a connection open, or lets one
//! through; or if a tunnel that was cut off without `close_notify` is taken for one that has ended in order.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{ACCEPTED, Backend, End, UPGRADE, WAIT, Wire};
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

const NAME: &str = "a.example";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn proxy(authority: &Authority, backend: &Backend, engine: Engine, timeouts: &str) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{}]\n\
         [upstream.a]\nbackends = [\"{}\"]\n[timeouts]\n{timeouts}\n",
        authority.issue("a", &[NAME]).entry(),
        backend.address()
    );
    let options = Options { engine, workers: 1, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) };
    Ringbolt::start(&Options { config: Some(config), ..options })
}

/// The first bytes of a client.
fn client_hello(authority: &Authority) -> Vec<u8> {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(authority.client(), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("written to memory");
    hello
}

#[test]
fn broken_handshakes_end_alone_while_others_are_served() {
    let authority = Authority::new();
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = Backend::named("ok");
        let ringbolt = proxy(&authority, &backend, engine, "");
        let (mut good, _) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
        let hello = client_hello(&authority);
        let mut broken: Vec<Vec<u8>> = (0..hello.len()).step_by(7).map(|cut| hello[..cut].to_vec()).collect();
        for at in 5..hello.len().min(120) {
            let mut bent = hello.clone();
            bent[at] ^= 0xff;
            broken.push(bent);
        }
        // Records of every type, empty ones without end, and a message longer than is kept.
        broken.extend((20..=25).map(|kind| [&[kind, 3, 1, 0, 4], &[0xff; 4][..]].concat()));
        broken.push([0x16, 3, 1, 0, 0].repeat(10_000));
        broken.push([&[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 16_380]].concat().repeat(3));
        broken.push([&hello[..], &[0x17, 3, 3, 0x40, 0], &[7; 16_384]].concat());
        for bytes in &broken {
            let mut wire = Wire::connect(ringbolt.address());
            // The far end may have had enough before all of it has gone.
            let _ = wire.try_send(bytes);
            wire.finish_if_open();
            let (answer, _) = wire.read_to_end();
            assert!(answer.is_empty() || matches!(answer[0], 0x15 | 0x16 | b'H'), "{answer:?}");
        }
        assert_eq!(good.exchange(GET).status(), 200);
        let metrics = ringbolt.metrics();
        let failures: f64 = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("ringbolt_tls_handshake_failures_total"))
            .map(|(_, count)| count)
            .sum();
        // The first bytes of the others were no TLS yet.
        assert!(failures > 100.0 && failures <= broken.len() as f64, "{metrics:?}");
        assert_eq!(metrics["ringbolt_tls_handshakes_total{version=\"1.3\"}"], 1.0);
        assert_eq!(backend.requests().len(), 1);
        ringbolt.wait_for_metric("ringbolt_connections_active", |open| open == 1.0);
    }
}

#[test]
fn a_slow_handshake_is_ended_by_its_timeout_and_holds_up_nobody() {
    let authority = Authority::new();
    let backend = Backend::named("ok");
    let timeouts = "tls_handshake = \"2s\"\nkeep_alive = \"2s\"";
    let ringbolt = proxy(&authority, &backend, Engine::Auto, timeouts);
    let hello = client_hello(&authority);
    let (silent, slow) = (Wire::connect(ringbolt.address()), Wire::connect(ringbolt.address()));
    let began = Instant::now();
    for byte in &hello {
        if slow.try_send([*byte]).is_err() || began.elapsed() > WAIT {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for mut wire in [silent, slow] {
        let (_, _) = wire.read_to_end();
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let reason = "ringbolt_tls_handshake_failures_total{reason=\"timeout\"}";
    // Who says nothing at all is no TLS client yet.
    assert_eq!(ringbolt.metrics()[reason], 1.0);
    // In pieces, but in time.
    let (mut wire, _) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
    assert_eq!(wire.exchange(GET).status(), 200);
}

/// A client that can end TCP without a word of TLS.
fn rude_client(authority: &Authority, ringbolt: &Ringbolt) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(NAME).expect("a name");
    let client = ClientConnection::new(authority.client(), name).expect("a client");
    let socket = TcpStream::connect_timeout(&ringbolt.address(), WAIT).expect("accepted");
    socket.set_read_timeout(Some(WAIT)).expect("an option of an open socket");
    StreamOwned::new(client, socket)
}

#[test]
fn a_tunnel_without_close_notify_was_cut_off() {
    let authority = Authority::new();
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = Backend::start(|_, wire| {
            wire.send(ACCEPTED);
            assert_eq!(wire.read_exactly(4, "a word"), b"ping");
            // The end of the stream, as the proxy passes an abort on: it closes.
            let (rest, _) = wire.read_to_end();
            assert!(rest.is_empty());
        });
        let ringbolt = proxy(&authority, &backend, engine, "");
        let mut client = rude_client(&authority, &ringbolt);
        client.write_all(UPGRADE.as_bytes()).expect("sent");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 101");
        client.write_all(b"ping").expect("sent");
        client.sock.shutdown(std::net::Shutdown::Both).expect("open");
        let reset = "ringbolt_tunnels_closed_total{reason=\"client_reset\"}";
        let deadline = Instant::now() + WAIT;
        while ringbolt.metrics()[reset] != 1.0 {
            assert!(Instant::now() < deadline, "no tunnel was cut off");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_change_of_keys_is_followed() {
    let authority = Authority::new();
    let backend = Backend::named("ok");
    let ringbolt = proxy(&authority, &backend, Engine::Auto, "");
    let mut client = rude_client(&authority, &ringbolt);
    client.write_all(GET.as_bytes()).expect("sent");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).expect("an answer");
    client.conn.refresh_traffic_keys().expect("TLS 1.3");
    client.write_all(GET.as_bytes()).expect("sent");
    let mut answers = Vec::new();
    while answers.windows(4).filter(|window| window == b"\r\nok").count() < 2 {
        let mut piece = [0; 256];
        let length = client.read(&mut piece).expect("the other answer");
        assert_ne!(length, 0, "{:?}", String::from_utf8_lossy(&answers));
        answers.extend_from_slice(&piece[..length]);
    }
    let (mut other, _) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
    assert_eq!(other.exchange(GET).status(), 200);
    other.finish();
    assert_eq!(other.expect_end(), End::Fin);
}
