//! Clients that keep the rules and know every byte they are to get.
//!
//! A wrong byte is a failure at any time. An error is one too, unless something was disturbed meanwhile that the
//! client depends on.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Field;
use crate::backend::KEY;
use crate::pattern::Pattern;

/// Longest wait for anything; the daemon's own timeouts are far shorter.
const LIMIT: Duration = Duration::from_secs(30);

/// Exchanges on one connection.
const PER_CONNECTION: u64 = 40;

/// What became of an exchange that was not wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Exact,
    /// The proxy said that it cannot, with this status.
    Refused(u16),
    /// The connection ended early and visibly so.
    Broken,
}

/// One connection to the proxy.
pub(crate) struct Connection {
    socket: TcpStream,
    unread: Vec<u8>,
    /// Who gave the last answer, or the words of the proxy's own.
    backend: String,
}

impl Connection {
    pub(crate) async fn open(field: &Field) -> io::Result<Self> {
        let socket = TcpStream::connect(field.proxy).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, unread: Vec::new(), backend: String::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.socket.write_all(bytes).await.ok()
    }

    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    async fn more(&mut self) -> Option<()> {
        let length = self.socket.read_buf(&mut self.unread).await.ok()?;
        (length > 0).then_some(())
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize, into: &mut Vec<u8>) -> Option<()> {
        let wanted = into.len() + length;
        loop {
            let taken = self.unread.len().min(wanted - into.len());
            into.extend(self.unread.drain(..taken));
            if into.len() == wanted {
                return Some(());
            }
            self.more().await?;
        }
    }

    /// Makes a tunnel of it.
    pub(crate) async fn upgrade(&mut self, host: &str, id: u64) -> Option<()> {
        let request = format!(
            "GET /tunnel?id={id} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        self.send(request.as_bytes()).await?;
        let head = self.until(b"\r\n\r\n").await?;
        head.starts_with(b"HTTP/1.1 101 ").then_some(())
    }

    /// Sends a request and takes its answer: what became of it, and the body as far as it came.
    pub(crate) async fn round(&mut self, request: &[u8], id: u64) -> (Outcome, Vec<u8>) {
        let mut body = Vec::new();
        // A refusal may come before all of it is sent.
        let _ = self.send(request).await;
        let outcome = self.answer(id, &mut body).await.unwrap_or(Outcome::Broken);
        (outcome, body)
    }

    async fn answer(&mut self, id: u64, body: &mut Vec<u8>) -> Option<Outcome> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).expect("a head is text");
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
        };
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        if status != 200 {
            assert!((400..600).contains(&status), "{head}");
            // The reason, for whoever has to find out why.
            self.more().await;
            self.backend = String::from_utf8_lossy(&self.unread).into_owned();
            return Some(Outcome::Refused(status));
        }
        assert_eq!(field("X-Id"), Some(id.to_string()), "an answer to another request");
        self.backend = field("X-Backend").expect("a name");
        if let Some(length) = field("Content-Length") {
            self.exactly(length.parse().expect("a number"), body).await?;
            return Some(Outcome::Exact);
        }
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).expect("a chunk line is text");
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk size");
            if size == 0 {
                return self.until(b"\r\n").await.map(|_| Outcome::Exact);
            }
            self.exactly(size, body).await?;
            self.until(b"\r\n").await?;
        }
    }
}

/// Does exchanges and tunnels until the end. `steady`: through backends that nobody disturbs.
pub(crate) async fn run(field: &Field, seed: u64, steady: bool) {
    let host = if steady { "steady" } else { "shaky" };
    let mut dice = Pattern::new(seed);
    while !field.is_over() {
        let Ok(mut connection) = Connection::open(field).await else { continue };
        for _ in 0..PER_CONNECTION {
            if field.is_over() {
                return;
            }
            let calm = field.calm();
            let began = Instant::now();
            let (what, outcome) = match dice.below(10) {
                0 => ("session", session(&mut connection, host, &mut dice).await),
                1 => ("tunnel", tunnel(field, host, &mut dice).await),
                _ => ("exchange", exchange(&mut connection, host, &mut dice).await),
            };
            field.tally(outcome);
            if outcome != Outcome::Exact {
                let blame = steady && calm.is_some_and(|since| field.calm() == Some(since));
                let (after, said) = (began.elapsed(), &connection.backend);
                assert!(!blame, "{what}: {outcome:?} after {after:?} though nothing was disturbed: {said}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
        }
    }
}

async fn exchange(connection: &mut Connection, host: &str, dice: &mut Pattern) -> Outcome {
    let id = dice.next();
    let size = match dice.below(20) {
        0 => dice.below(3_000_000),
        _ => dice.below(20_000),
    };
    let length = usize::try_from(size).expect("small");
    let (request, path) = match dice.below(3) {
        0 => ("GET", "sized"),
        1 => ("GET", "chunked"),
        _ => ("POST", "post"),
    };
    let body = if request == "POST" { Pattern::new(id).take(length) } else { Vec::new() };
    let head = format!(
        "{request} /{path}?id={id}&size={size} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let result = timeout(LIMIT, connection.round(&[head.as_bytes(), &body].concat(), id)).await;
    let (outcome, got) = result.expect("an answer or an end");
    Pattern::new(id).expect(&got, path);
    match outcome {
        Outcome::Exact if got.len() != length => panic!("{} of {length} bytes look complete", got.len()),
        outcome => outcome,
    }
}

/// A session's handshake, two polls and its close reach the same backend.
async fn session(connection: &mut Connection, host: &str, dice: &mut Pattern) -> Outcome {
    let id = dice.next() >> 12;
    let open = format!("GET /socket.io/?EIO=4&transport=polling&id={id} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let (outcome, packet) = timeout(LIMIT, connection.round(open.as_bytes(), id)).await.expect("an end");
    if outcome != Outcome::Exact {
        return outcome;
    }
    let text = String::from_utf8(packet).expect("text");
    let sid = text.split('"').nth(3).expect("a sid").to_owned();
    let issuer = connection.backend.clone();
    for (method, body) in [("GET", ""), ("GET", ""), ("POST", "1")] {
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling&sid={sid}&id={id} HTTP/1.1\r\nHost: {host}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let round = connection.round(request.as_bytes(), id);
        let (outcome, _) = timeout(LIMIT, round).await.expect("an end");
        if outcome != Outcome::Exact {
            return outcome;
        }
        assert_eq!(connection.backend, issuer, "a session went astray");
    }
    Outcome::Exact
}

/// Sends and gets back what one tunnel is to carry: much at once, or many small messages.
async fn tunnel(field: &Field, host: &str, dice: &mut Pattern) -> Outcome {
    let id = dice.next();
    let (pieces, bytes) = if dice.below(3) == 0 { (60, 64 * 1024) } else { (100, 100) };
    let at = Cell::new("connecting");
    let (sent, got) = (Cell::new(0), Cell::new(0));
    let tunnel = async {
        let mut connection = Connection::open(field).await.ok()?;
        at.set("waiting for its 101");
        connection.upgrade(host, id).await?;
        at.set("open");
        let Connection { socket, unread, .. } = connection;
        let (mut reader, mut writer) = socket.into_split();
        let sending = async {
            let mut pattern = Pattern::new(id);
            for _ in 0..pieces {
                writer.write_all(&pattern.take(bytes)).await.ok()?;
                sent.set(sent.get() + bytes);
                if bytes < 1000 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            writer.shutdown().await.ok()
        };
        let receiving = async {
            let mut expected = Pattern::new(id);
            expected.expect(&unread, "tunnel");
            let (mut buffer, mut received) = (vec![0; 65_536], unread.len());
            loop {
                match reader.read(&mut buffer).await.ok()? {
                    0 => return (received == pieces * bytes).then_some(()),
                    length => {
                        expected.expect(&buffer[..length], "tunnel");
                        received += length;
                        got.set(received);
                    }
                }
            }
        };
        tokio::join!(sending, receiving).1
    };
    match timeout(LIMIT, tunnel).await {
        Ok(Some(())) => Outcome::Exact,
        Ok(None) => Outcome::Broken,
        Err(_) => panic!("a tunnel hangs, {}: {} bytes sent, {} came back", at.get(), sent.get(), got.get()),
    }
}
