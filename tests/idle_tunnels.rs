//! An idle tunnel costs no more of the proxy's own memory than its budget (`bench/budgets.toml`), and the
//! kernel starts no worker thread of its own for it.
//!
//! Fails if a tunnel keeps a buffer, a future or a pipe while nothing moves, or if an operation is
//! submitted to the ring that the kernel hands to an io-wq thread.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use ringbolt_harness::{Engine, Options, Ringbolt};

/// As many as a process may have on machines with a limit of 20,000 descriptors: two each.
const TUNNELS: usize = 9_000;
const BUDGETS: &str = include_str!("../bench/budgets.toml");

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts and upgrades `count` connections and hands them back, open and silent.
fn upgrade_all(listener: TcpListener, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let (mut socket, _) = listener.accept().expect("proxy connects");
            read_head(&mut socket);
            socket.write_all(ACCEPTED).expect("101 is sent");
            socket
        })
        .collect()
}

fn read_head(socket: &mut TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        let length = socket.read(&mut byte).expect("a head arrives");
        assert_ne!(length, 0, "closed early: {:?}", String::from_utf8_lossy(&head));
        head.extend_from_slice(&byte[..length]);
    }
}

fn open(proxy: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let mut socket = TcpStream::connect(proxy).expect("proxy accepts");
            socket.write_all(REQUEST).expect("request is sent");
            read_head(&mut socket);
            socket
        })
        .collect()
}

fn budget() -> u64 {
    let budgets: toml::Table = BUDGETS.parse().expect("a TOML file");
    let bytes = budgets["bytes"]["idle-tunnel"].as_integer().expect("a number");
    bytes.try_into().expect("a number of bytes")
}

fn costs_little_on(engine: Engine) {
    // One tunnel first, so that what the process sets up once is not counted.
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = listener.local_addr().expect("address");
    let options = Options {
        engine,
        workers: 1,
        // Huge pages would hide two megabytes of growth in the first page.
        environment: vec![("MIMALLOC_ALLOW_THP".to_owned(), "0".to_owned())],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[address])
    };
    let ringbolt = Ringbolt::start(&options);
    let backend = thread::spawn(move || upgrade_all(listener, TUNNELS + 100));
    let first = open(ringbolt.address(), 100);
    let before = ringbolt.memory_bytes();
    let tunnels = open(ringbolt.address(), TUNNELS);
    let after = ringbolt.memory_bytes();
    let far_ends = backend.join().expect("backend upgrades all");
    // The last one's client has its 101 a moment before it is a tunnel.
    ringbolt.wait_for_metric("ringbolt_tunnels_active", |open| open == (TUNNELS + 100) as f64);
    let each = after.saturating_sub(before) / TUNNELS as u64;
    println!("{engine:?}: {each} bytes per idle tunnel ({before} before, {after} with {TUNNELS})");
    assert!(each <= budget(), "{each} bytes per idle tunnel");
    let io_wq: Vec<String> =
        ringbolt.thread_names().into_iter().filter(|name| name.starts_with("iou-wrk")).collect();
    assert!(io_wq.is_empty(), "{io_wq:?}");
    drop((first, tunnels, far_ends));
}

// One test, because two at once would need more descriptors than this process may have.
#[test]
fn an_idle_tunnel_costs_no_more_than_its_budget() {
    costs_little_on(Engine::Uring);
    costs_little_on(Engine::Epoll);
}
