//! The backend of the soak, a process of its own so that it can be stopped by a signal.
//!
//! What it sends is made of the request's id, so that a client knows every byte beforehand.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use ringbolt_harness::Process;
use ringbolt_harness::raw::ACCEPTED;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::pattern::Pattern;

/// Set in the backend's process: its name.
pub(crate) const NAME: &str = "RINGBOLT_SOAK_BACKEND";

const START_LIMIT: Duration = Duration::from_secs(30);
const PIECE_BYTES: usize = 32 * 1024;

/// What makes a proxy switch, and its answer (RFC 6455 section 1.3).
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Starts one, and gives its address.
pub(crate) fn start(name: &str) -> (Process, SocketAddr) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "backend_of_the_soak", "--nocapture"]).env(NAME, name);
    let process = Process::spawn(name, &mut command);
    let address = process.line("address", START_LIMIT, |line| line.split("listens on ").nth(1)?.parse().ok());
    (process, address)
}

/// Serves until killed.
pub(crate) async fn serve(name: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("\nlistens on {}", listener.local_addr().expect("an address"));
    std::io::stdout().flush().expect("somebody reads it");
    let name = name.to_owned();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let name = name.clone();
        // What goes wrong on a connection is what the soak is about: it ends.
        tokio::spawn(async move { connection(socket, &name).await });
    }
}

/// A request as far as this backend cares.
struct Request {
    path: String,
    length: usize,
    chunked: bool,
    upgrade: bool,
}

impl Request {
    fn number(&self, key: &str) -> u64 {
        let query = self.path.split(['?', '&']).find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        query.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

async fn connection(mut socket: TcpStream, name: &str) -> Option<()> {
    let mut unread = Vec::new();
    loop {
        let request = head(&mut socket, &mut unread).await?;
        if request.upgrade {
            socket.write_all(ACCEPTED.as_bytes()).await.ok()?;
            socket.write_all(&unread).await.ok()?;
            return echo(socket).await;
        }
        while unread.len() < request.length {
            read(&mut socket, &mut unread).await?;
        }
        if request.chunked {
            // A few bytes, framed by the proxy: the empty line is the end.
            while !unread.ends_with(b"0\r\n\r\n") {
                read(&mut socket, &mut unread).await?;
            }
            unread.clear();
        }
        let body: Vec<u8> = unread.drain(..request.length).collect();
        answer(&mut socket, &request, &body, name).await?;
    }
}

async fn read(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let length = socket.read_buf(unread).await.ok()?;
    (length > 0).then_some(())
}

async fn head(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read(socket, unread).await?;
    };
    let head = String::from_utf8_lossy(&unread.drain(..end).collect::<Vec<u8>>()).into_owned();
    let field = |name: &str| {
        head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
    };
    Some(Request {
        path: head.split(' ').nth(1)?.to_owned(),
        length: field("content-length").and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0),
        chunked: field("transfer-encoding").is_some(),
        upgrade: field("upgrade").is_some(),
    })
}

async fn echo(mut socket: TcpStream) -> Option<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match socket.read(&mut buffer).await.ok()? {
            0 => return socket.shutdown().await.ok(),
            length => socket.write_all(&buffer[..length]).await.ok()?,
        }
    }
}

async fn answer(socket: &mut TcpStream, request: &Request, body: &[u8], name: &str) -> Option<()> {
    let id = request.number("id");
    let size = usize::try_from(request.number("size")).ok()?;
    let start = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\nX-Backend: {name}\r\n");
    let sized = |length: usize| format!("{start}Content-Length: {length}\r\n\r\n");
    match request.path.split(['/', '?']).nth(1)? {
        "sized" => {
            socket.write_all(sized(size).as_bytes()).await.ok()?;
            send(socket, Pattern::new(id), size, false).await
        }
        "chunked" => {
            let head = format!("{start}Transfer-Encoding: chunked\r\n\r\n");
            socket.write_all(head.as_bytes()).await.ok()?;
            send(socket, Pattern::new(id), size, true).await?;
            socket.write_all(b"0\r\n\r\n").await.ok()
        }
        "post" => {
            socket.write_all(sized(body.len()).as_bytes()).await.ok()?;
            socket.write_all(body).await.ok()
        }
        // Announces more than it sends, and resets.
        "die" => {
            socket.write_all(sized(size).as_bytes()).await.ok()?;
            send(socket, Pattern::new(id), size / 2, false).await?;
            set_socket_linger(&*socket, Some(Duration::ZERO)).ok()?;
            None
        }
        // Answers nobody.
        "hold" => {
            let _ = socket.read(&mut [0]).await;
            None
        }
        // Engine.IO: a session, its polls and its end.
        _ if request.path.contains("sid=") => {
            socket.write_all(format!("{}2", sized(1)).as_bytes()).await.ok()
        }
        _ => {
            let packet = format!(r#"0{{"sid":"{name}-{id:016}","pingInterval":1000,"pingTimeout":1000}}"#);
            socket.write_all(format!("{}{packet}", sized(packet.len())).as_bytes()).await.ok()
        }
    }
}

async fn send(socket: &mut TcpStream, mut pattern: Pattern, size: usize, chunked: bool) -> Option<()> {
    let mut left = size;
    while left > 0 {
        let piece = pattern.take(left.min(PIECE_BYTES));
        left -= piece.len();
        if chunked {
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            socket.write_all(&framed).await.ok()?;
        } else {
            socket.write_all(&piece).await.ok()?;
        }
    }
    Some(())
}
