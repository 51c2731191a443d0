//! Clients that tear, stall, flood and send nonsense, and what disturbs the daemon from outside.
//!
//! They expect little: an answer is an HTTP answer, and a body that was cut short does not look whole.

use std::time::Duration;

use ringbolt_harness::{Process, limit_descriptors};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::honest::{Connection, Outcome};
use crate::pattern::Pattern;
use crate::{Field, descriptors};

/// How a connection is left.
fn leave(socket: TcpStream, dice: &mut Pattern) {
    if dice.below(2) == 0 {
        // With a reset, whatever is unread or unsent.
        set_socket_linger(&socket, Some(Duration::ZERO)).expect("an open socket");
    }
    drop(socket);
}

/// Connections of this kind, one after the other, until the end.
pub(crate) async fn run(field: &Field, seed: u64, kind: Kind) {
    let mut dice = Pattern::new(seed);
    while !field.is_over() {
        let Ok(connection) = Connection::open(field).await else { continue };
        match kind {
            Kind::TornTunnel => torn_tunnel(connection, &mut dice).await,
            Kind::TornRequest => torn_request(connection, &mut dice).await,
            Kind::DyingBackend => dying_backend(connection, &mut dice).await,
            Kind::SlowReader => slow_reader(connection, &mut dice).await,
            Kind::HalfOpen => half_open(connection, &mut dice).await,
            Kind::Abandoned => abandoned(connection, &mut dice).await,
            Kind::Nonsense => nonsense(connection, &mut dice).await,
        }
        field.torn();
        sleep(Duration::from_millis(dice.below(30))).await;
    }
}

/// What a hostile client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    TornTunnel,
    TornRequest,
    DyingBackend,
    SlowReader,
    HalfOpen,
    Abandoned,
    Nonsense,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::TornTunnel,
        Self::TornRequest,
        Self::DyingBackend,
        Self::SlowReader,
        Self::HalfOpen,
        Self::Abandoned,
        Self::Nonsense,
    ];
}

fn host(dice: &mut Pattern) -> &'static str {
    if dice.below(2) == 0 { "steady" } else { "shaky" }
}

/// Sends, perhaps without reading so that everything in between fills up, and leaves in the middle.
async fn torn_tunnel(mut connection: Connection, dice: &mut Pattern) {
    let host = host(dice);
    if connection.upgrade(host, 1).await.is_none() {
        return;
    }
    let mut socket = connection.into_socket();
    let piece = vec![b'x'; 64 * 1024];
    let reads = dice.below(2) == 0;
    let sending = async {
        let mut buffer = vec![0; 65_536];
        for _ in 0..dice.below(200) {
            if socket.write_all(&piece).await.is_err() || (reads && socket.read(&mut buffer).await.is_err()) {
                return;
            }
        }
    };
    let _ = timeout(Duration::from_millis(500), sending).await;
    leave(socket, dice);
}

async fn torn_request(mut connection: Connection, dice: &mut Pattern) {
    let (host, size) = (host(dice), dice.below(2_000_000));
    if dice.below(2) == 0 {
        let head = format!("POST /post?id=1 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n");
        let _ = connection.send(head.as_bytes()).await;
        let half = vec![b'x'; usize::try_from(size / 2).expect("small")];
        let _ = timeout(Duration::from_millis(300), connection.send(&half)).await;
    } else {
        let head = format!("GET /sized?id=1&size={size} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let _ = connection.send(head.as_bytes()).await;
    }
    let mut socket = connection.into_socket();
    let _ = timeout(Duration::from_millis(dice.below(100)), socket.read(&mut vec![0; 4096])).await;
    leave(socket, dice);
}

/// A backend that dies within its answer: that must not look whole.
async fn dying_backend(mut connection: Connection, dice: &mut Pattern) {
    let (id, host, size) = (dice.next(), host(dice), 2 + dice.below(300_000));
    let request = format!("GET /die?id={id}&size={size} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let (outcome, body) = connection.round(request.as_bytes(), id).await;
    assert_ne!(outcome, Outcome::Exact, "a broken answer looks whole");
    Pattern::new(id).expect(&body, "the part that came");
}

async fn slow_reader(mut connection: Connection, dice: &mut Pattern) {
    let request = format!("GET /sized?id=1&size=8000000 HTTP/1.1\r\nHost: {}\r\n\r\n", host(dice));
    let _ = connection.send(request.as_bytes()).await;
    let mut socket = connection.into_socket();
    for _ in 0..dice.below(12) {
        let _ = timeout(Duration::from_millis(200), socket.read(&mut vec![0; 16_384])).await;
        sleep(Duration::from_millis(100)).await;
    }
    leave(socket, dice);
}

/// Part of a head, and then nothing until the proxy has had enough.
async fn half_open(mut connection: Connection, dice: &mut Pattern) {
    let head =
        "GET / HTTP/1.1\r\nHost: steady\r\nX-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let length = usize::try_from(dice.below(head.len() as u64)).expect("small");
    let _ = connection.send(&head.as_bytes()[..length]).await;
    let mut socket = connection.into_socket();
    let _ = timeout(Duration::from_millis(dice.below(7000)), socket.read(&mut vec![0; 4096])).await;
    leave(socket, dice);
}

async fn abandoned(mut connection: Connection, dice: &mut Pattern) {
    let request = format!("GET /hold HTTP/1.1\r\nHost: {}\r\n\r\n", host(dice));
    let _ = connection.send(request.as_bytes()).await;
    sleep(Duration::from_millis(dice.below(300))).await;
    leave(connection.into_socket(), dice);
}

/// Random bytes, or a request of which a few bytes are others. What comes back is an answer, or nothing.
async fn nonsense(mut connection: Connection, dice: &mut Pattern) {
    let mut bytes = if dice.below(2) == 0 {
        let length = usize::try_from(dice.below(4000)).expect("small");
        dice.take(length)
    } else {
        b"POST /post?id=1 HTTP/1.1\r\nHost: steady\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            .to_vec()
    };
    for _ in 0..dice.below(4) {
        let at = usize::try_from(dice.below(bytes.len().max(1) as u64)).expect("small");
        if let Some(byte) = bytes.get_mut(at) {
            *byte = dice.next().to_be_bytes()[0];
        }
    }
    let _ = connection.send(&bytes).await;
    let mut socket = connection.into_socket();
    let mut answer = [0; 9];
    if let Ok(Ok(_)) = timeout(Duration::from_millis(500), socket.read_exact(&mut answer)).await {
        assert_eq!(answer, *b"HTTP/1.1 ", "no answer: {}", answer.escape_ascii());
    }
    leave(socket, dice);
}

/// Stops backends for a while, and takes the daemon's descriptors away.
pub(crate) async fn disturb(field: &Field, shaky: &[Process], daemon: u32) {
    let mut dice = Pattern::new(0xd157);
    while !field.is_over() {
        let stopped = &shaky[usize::try_from(dice.below(shaky.len() as u64)).expect("small")];
        stopped.signal(Signal::STOP);
        sleep(Duration::from_millis(300 + dice.below(2000))).await;
        stopped.signal(Signal::CONT);

        field.disturbance(true);
        limit_descriptors(daemon, descriptors(daemon).len() as u64 + dice.below(20));
        sleep(Duration::from_millis(200 + dice.below(800))).await;
        limit_descriptors(daemon, 4096);
        // What was refused meanwhile ends, too.
        sleep(Duration::from_secs(1)).await;
        field.disturbance(false);
        sleep(Duration::from_secs(2)).await;
    }
}
