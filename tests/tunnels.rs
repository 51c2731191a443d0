//! Every byte of every tunnel arrives once, in order, in both directions, whatever the sizes of the
//! pieces, whoever closes first, and whether or not bytes came along with the Upgrade or the 101; in bulk
//! they are spliced, while they chat the kernel receives by itself, and no change between these loses anything.
//! The same holds in TCP mode, where no Upgrade begins a tunnel.
//!
//! Fails with a wrong or missing byte if early bytes are dropped when the connection becomes a tunnel,
//! if a full socket or pipe loses the rest of a write, or if one FIN closes both directions.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringbolt_harness::raw::ACCEPTED;
use ringbolt_harness::tls::{Authority, Front};
use ringbolt_harness::{Engine, Metrics, Options, Ringbolt, fewer_if_emulated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

const TUNNELS: u64 = 1_000;
const AT_ONCE: usize = 200;
/// Seeds of tunnels that move much: enough to be spliced.
const BULK_SEED: u64 = 1 << 32;
const BULK_BYTES: usize = 48 << 20;
/// Seeds of tunnels that chat: small pieces, for which the kernel receives by itself, and long ones between.
const CHAT_SEED: u64 = 1 << 40;
const CHAT_BYTES: usize = 128 << 10;
const CHAT_PACE: Duration = Duration::from_millis(4);
const LIMIT: Duration = Duration::from_secs(120);

/// An emulated processor makes and checks fewer.
fn bulk_bytes() -> usize {
    usize::try_from(fewer_if_emulated(BULK_BYTES as u64)).expect("no more than there were")
}

/// A reproducible stream of bytes: xorshift64*.
struct Stream {
    state: u64,
    left: usize,
}

impl Stream {
    fn new(seed: u64, length: usize) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, left: length }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).expect("the limit is small")
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next `length` bytes, fewer at the end.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let length = length.min(self.left);
        self.left -= length;
        (0..length).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

/// How tunnels begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By an Upgrade and a 101.
    WebSocket,
    /// By their first bytes, which are no HTTP.
    Tcp,
    /// As `WebSocket`, with TLS at both ends of the proxy.
    Tls,
}

/// What one tunnel does, from its seed alone, so that both ends agree.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    up: usize,
    down: usize,
    early_up: usize,
    early_down: usize,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut dice = Stream::new(seed ^ 0xd1ce, 0);
        let (up, down) = match seed {
            CHAT_SEED.. => (CHAT_BYTES + dice.below(1_000), CHAT_BYTES + dice.below(1_000)),
            BULK_SEED.. => (bulk_bytes() + dice.below(1_000), bulk_bytes() + dice.below(1_000)),
            _ => (dice.below(200_000), dice.below(200_000)),
        };
        let early = |on: u64, length: usize| if seed & on != 0 { length.min(3_000) } else { 0 };
        Self { seed, up, down, early_up: early(1, up), early_down: early(2, down) }
    }

    fn up(self) -> Stream {
        Stream::new(self.seed, self.up)
    }

    fn down(self) -> Stream {
        Stream::new(!self.seed, self.down)
    }
}

/// Sends the rest of `stream` in pieces of random size, then FIN.
async fn send(mut socket: OwnedWriteHalf, mut stream: Stream, seed: u64) -> OwnedWriteHalf {
    let mut dice = Stream::new(seed ^ 0x517e, 0);
    while stream.left > 0 {
        let piece_bytes_max = match seed.min(!seed) {
            CHAT_SEED.. if dice.below(400) > 0 => 200,
            BULK_SEED.. => 400_000,
            _ => 20_000,
        };
        let piece = stream.take(dice.below(piece_bytes_max) + 1);
        socket.write_all(&piece).await.expect("the far end takes everything");
        match seed.min(!seed) {
            CHAT_SEED.. => tokio::time::sleep(CHAT_PACE).await,
            _ => tokio::task::yield_now().await,
        }
    }
    socket.shutdown().await.expect("FIN is sent");
    socket
}

/// Reads to the end and checks every byte against `stream`.
async fn check(mut socket: OwnedReadHalf, mut stream: Stream, already: Vec<u8>, whose: &str) {
    assert!(already == stream.take(already.len()), "{whose}: early bytes differ");
    let mut buffer = vec![0; 16_384];
    loop {
        let length = socket.read(&mut buffer).await.expect("the tunnel ends with FIN, not with a reset");
        if length == 0 {
            break;
        }
        assert!(buffer[..length] == stream.take(length)[..], "{whose}: bytes differ");
    }
    assert_eq!(stream.left, 0, "{whose}: bytes are missing");
}

/// Reads up to the empty line; returns the head and what came behind it.
async fn read_head(socket: &mut OwnedReadHalf) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).expect("a head is text"), rest);
        }
        let length = socket.read_buf(&mut bytes).await.expect("a head arrives");
        assert_ne!(length, 0, "closed before the end of the head: {:?}", String::from_utf8_lossy(&bytes));
    }
}

/// Serves the far ends; sends a unit for each tunnel that was exact.
async fn backend(listener: TcpListener, mode: Mode, exact: mpsc::UnboundedSender<()>) {
    loop {
        let (socket, _) = listener.accept().await.expect("backend accepts");
        let exact = exact.clone();
        tokio::spawn(async move {
            let (mut reader, mut writer) = socket.into_split();
            let (head, already) = read_head(&mut reader).await;
            let seed = head.split("seed=").nth(1).and_then(|rest| rest.split(' ').next()).expect("seed");
            let plan = Plan::new(seed.parse().expect("seed is a number"));
            let mut down = plan.down();
            let mut answer = match mode {
                Mode::WebSocket | Mode::Tls => ACCEPTED.as_bytes().to_vec(),
                Mode::Tcp => Vec::new(),
            };
            answer.extend(down.take(plan.early_down));
            writer.write_all(&answer).await.expect("101 is sent");
            let checking = check(reader, plan.up(), already, "backend");
            tokio::join!(send(writer, down, plan.seed), checking);
            exact.send(()).expect("the test waits");
        });
    }
}

async fn client(proxy: SocketAddr, mode: Mode, plan: Plan) {
    let (mut reader, mut writer) = TcpStream::connect(proxy).await.expect("proxy accepts").into_split();
    let mut up = plan.up();
    let mut first = match mode {
        Mode::WebSocket | Mode::Tls => format!(
            "GET /?seed={} HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            plan.seed
        ),
        Mode::Tcp => format!("seed={} \r\n\r\n", plan.seed),
    }
    .into_bytes();
    first.extend(up.take(plan.early_up));
    writer.write_all(&first).await.expect("the first bytes are sent");
    let already = match mode {
        Mode::WebSocket | Mode::Tls => {
            let (head, already) = read_head(&mut reader).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            already
        }
        Mode::Tcp => Vec::new(),
    };
    let checking = check(reader, plan.down(), already, "client");
    tokio::join!(send(writer, up, !plan.seed), checking);
}

/// Runs these tunnels through the proxy, fewer on an emulated processor, checks that no slot is left behind, and gives its metrics.
fn exact_through(engine: Engine, mode: Mode, seeds: std::ops::Range<u64>) -> Metrics {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let count = fewer_if_emulated(seeds.end - seeds.start);
    let seeds = seeds.start..seeds.start + count;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let (sender, mut exact) = mpsc::unbounded_channel();
        let authority = Authority::new();
        let mut backend = tokio::spawn(backend(listener, mode, sender));
        let config = match mode {
            Mode::Tcp => Some(format!(
                "[[listener]]\naddress = \"127.0.0.1:0\"\ndetect = [\"http\", \"tcp\"]\n\
                 [upstream.raw]\nbackends = [\"{address}\"]\n"
            )),
            Mode::Tls => Some(tls_config(&authority, address)),
            Mode::WebSocket => None,
        };
        let mut ringbolt = Ringbolt::start(&Options {
            engine,
            config,
            ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[address])
        });
        let client_side = |to| Front::originating(to, "a.example", authority.client()).address();
        let proxy = match mode {
            Mode::Tls => client_side(ringbolt.address()),
            Mode::Tcp | Mode::WebSocket => ringbolt.address(),
        };
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut clients = tokio::task::JoinSet::new();
        for seed in seeds {
            let places = Arc::clone(&places);
            clients.spawn(async move {
                let _place = places.acquire().await.expect("open");
                client(proxy, mode, Plan::new(seed)).await;
            });
        }
        let all = async {
            while let Some(client) = clients.join_next().await {
                client.expect("tunnel is exact");
            }
            for _ in 0..count {
                exact.recv().await.expect("backend runs");
            }
        };
        tokio::select! {
            done = tokio::time::timeout(LIMIT, all) => done.expect("all tunnels end in time"),
            ended = &mut backend => panic!("backend ended: {ended:?}"),
        }
        // What stands between the proxy and the ends of a TLS tunnel may close a moment later than they.
        let closed = async {
            while ringbolt.metrics()["ringbolt_tunnels_active"] > 0.0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, closed).await.expect("no slot is left behind");
        let metrics = ringbolt.metrics();
        assert_eq!(metrics["ringbolt_tunnels_total"], count as f64);
        assert_eq!(ringbolt.terminate().code(), Some(0));
        metrics
    })
}

/// TLS for clients, and towards a backend that hands on to `address`. Hundreds of TLS handshakes begin at once, which
/// a slow or busy machine does not end in the default's time.
fn tls_config(authority: &Authority, address: SocketAddr) -> String {
    let front = Front::terminating(address, authority.issue("backend", &["127.0.0.1"]).server(None));
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{}]\n\
         [timeouts]\nconnect = \"60s\"\ntls_handshake = \"60s\"\n\
         [upstream.a]\nbackends = [\"https://{}\"]\ntls = {{ ca = {:?} }}\n",
        authority.issue("a", &["a.example"]).entry(),
        front.address(),
        authority.file()
    )
}

/// Random, chatting and bulk ones.
fn tls_is_exact_through(engine: Engine) {
    for seeds in [1..201, CHAT_SEED..CHAT_SEED + 10, BULK_SEED..BULK_SEED + 2] {
        let metrics = exact_through(engine, Mode::Tls, seeds);
        assert_eq!(total(&metrics, "ringbolt_tunnel_spliced_bytes_total"), 0.0);
        assert_eq!(metrics["ringbolt_tunnel_chats_total"], 0.0);
    }
}

#[test]
fn tls_tunnels_are_exact_on_the_ring() {
    tls_is_exact_through(Engine::Uring);
}

#[test]
fn tls_tunnels_are_exact_on_epoll() {
    tls_is_exact_through(Engine::Epoll);
}

fn total(metrics: &Metrics, name: &str) -> f64 {
    let directions = ["client_to_upstream", "upstream_to_client"];
    directions.iter().map(|direction| metrics[&format!("{name}{{direction=\"{direction}\"}}")]).sum()
}

fn a_thousand_are_exact_through(engine: Engine, mode: Mode) {
    let metrics = exact_through(engine, mode, 1..TUNNELS + 1);
    assert!(total(&metrics, "ringbolt_tunnel_bytes_total") > 0.0);
}

fn bulk_is_exact_through(engine: Engine, mode: Mode) {
    let metrics = exact_through(engine, mode, BULK_SEED..BULK_SEED + 4);
    let (all, spliced) = (
        total(&metrics, "ringbolt_tunnel_bytes_total"),
        total(&metrics, "ringbolt_tunnel_spliced_bytes_total"),
    );
    assert!(all >= 2.0 * metrics["ringbolt_tunnels_total"] * bulk_bytes() as f64, "{all} bytes");
    // How much depends on how fast this process fills and empties them.
    assert!(spliced > 0.0, "{spliced} of {all} bytes were spliced");
}

fn chat_is_exact_through(engine: Engine, mode: Mode) -> Metrics {
    let metrics = exact_through(engine, mode, CHAT_SEED..CHAT_SEED + 40);
    assert_eq!(metrics["ringbolt_tunnel_chats_active"], 0.0, "a chat outlived its tunnel");
    metrics
}

fn assert_all_chatted(metrics: &Metrics) {
    let (chats, tunnels) = (metrics["ringbolt_tunnel_chats_total"], metrics["ringbolt_tunnels_total"]);
    // One that was held up for long by a busy machine came in large pieces, and is no chat for a while.
    assert!(chats >= tunnels / 4.0, "{chats} of {tunnels}");
}

#[test]
fn chat_is_received_by_the_kernel_and_exact_on_the_ring() {
    let metrics = chat_is_exact_through(Engine::Uring, Mode::WebSocket);
    assert_all_chatted(&metrics);
}

#[test]
fn chat_is_exact_on_epoll() {
    assert_eq!(chat_is_exact_through(Engine::Epoll, Mode::WebSocket)["ringbolt_tunnel_chats_total"], 0.0);
}

#[test]
fn a_thousand_tunnels_are_exact_on_the_ring() {
    a_thousand_are_exact_through(Engine::Uring, Mode::WebSocket);
}

#[test]
fn a_thousand_tunnels_are_exact_on_epoll() {
    a_thousand_are_exact_through(Engine::Epoll, Mode::WebSocket);
}

#[test]
fn bulk_is_spliced_and_exact_on_the_ring() {
    bulk_is_exact_through(Engine::Uring, Mode::WebSocket);
}

#[test]
fn bulk_is_spliced_and_exact_on_epoll() {
    bulk_is_exact_through(Engine::Epoll, Mode::WebSocket);
}

#[test]
fn a_thousand_tcp_tunnels_are_exact_on_the_ring() {
    a_thousand_are_exact_through(Engine::Uring, Mode::Tcp);
}

#[test]
fn tcp_tunnels_chat_on_the_ring_and_are_spliced_on_epoll() {
    let metrics = chat_is_exact_through(Engine::Uring, Mode::Tcp);
    assert_all_chatted(&metrics);
    bulk_is_exact_through(Engine::Epoll, Mode::Tcp);
}
