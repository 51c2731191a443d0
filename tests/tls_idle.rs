//! An idle TLS tunnel, and a TLS connection between two requests, cost no more of the proxy's own memory than
//! their budgets (`bench/budgets.toml`).
//!
//! Fails if a session keeps a record buffer while nothing moves: one would be 16 KiB.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use ringbolt_harness::raw::{ACCEPTED, UPGRADE};
use ringbolt_harness::tls::Authority;
use ringbolt_harness::{Engine, Options, Ringbolt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

const CONNECTIONS: usize = 2_000;
/// Opened first, so that what the process sets up once is not counted.
const FIRST: usize = 100;
const BUDGETS: &str = include_str!("../bench/budgets.toml");
const NAME: &str = "a.example";

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Answers the head of `count` connections and hands those back, open and silent.
fn answer_all(listener: &TcpListener, answer: &str, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let (mut socket, _) = listener.accept().expect("the proxy connects");
            read_head(&mut socket);
            socket.write_all(answer.as_bytes()).expect("the answer is sent");
            socket
        })
        .collect()
}

fn read_head(from: &mut impl Read) {
    let (mut head, mut piece) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        let length = from.read(&mut piece).expect("a head arrives");
        assert_ne!(length, 0, "closed early: {:?}", String::from_utf8_lossy(&head));
        head.extend_from_slice(&piece[..length]);
    }
}

fn open(proxy: SocketAddr, config: &Arc<ClientConfig>, request: &str, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let name = ServerName::try_from(NAME).expect("a name");
            let client = ClientConnection::new(Arc::clone(config), name).expect("a client");
            let mut client = StreamOwned::new(client, TcpStream::connect(proxy).expect("accepted"));
            client.write_all(request.as_bytes()).expect("the request is sent");
            read_head(&mut client);
            client
        })
        .collect()
}

fn budget(key: &str) -> u64 {
    let budgets: toml::Table = BUDGETS.parse().expect("a TOML file");
    let bytes = budgets["bytes"][key].as_integer().expect("a number");
    bytes.try_into().expect("a number of bytes")
}

fn bytes_each(engine: Engine, request: &str, answer: &'static str) -> u64 {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{}]\n\
         [upstream.a]\nbackends = [\"{}\"]\n[timeouts]\nkeep_alive = \"10m\"\n",
        authority.issue("a", &[NAME]).entry(),
        listener.local_addr().expect("address")
    );
    let ringbolt = Ringbolt::start(&Options {
        engine,
        workers: 1,
        config: Some(config),
        // Huge pages would hide two megabytes of growth in the first page.
        environment: vec![("MIMALLOC_ALLOW_THP".to_owned(), "0".to_owned())],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    let backend = thread::spawn(move || answer_all(&listener, answer, CONNECTIONS + FIRST));
    let client = authority.client();
    let first = open(ringbolt.address(), &client, request, FIRST);
    let before = ringbolt.memory_bytes();
    let others = open(ringbolt.address(), &client, request, CONNECTIONS);
    let after = ringbolt.memory_bytes();
    let far_ends = backend.join().expect("the backend answers all");
    let active = ringbolt.metrics()["ringbolt_connections_active"];
    assert!(active >= (FIRST + CONNECTIONS) as f64, "{active}");
    drop((first, others, far_ends));
    after.saturating_sub(before) / CONNECTIONS as u64
}

// One test, because two at once would need more descriptors than this process may have.
#[test]
fn idle_tls_costs_no_more_than_its_budget() {
    for engine in [Engine::Uring, Engine::Epoll] {
        let cases = [("idle-tls-tunnel", UPGRADE, ACCEPTED), ("idle-tls-connection", GET, OK)];
        for (key, request, answer) in cases {
            let each = bytes_each(engine, request, answer);
            println!("{engine:?}: {each} bytes per {key}");
            assert!(each <= budget(key), "{each} bytes per {key} on {engine:?}");
        }
    }
}
