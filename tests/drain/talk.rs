//! A tunnel whose backend sends frames all the time, and a client that reads them as RFC 6455 section 5.2 says.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use ringbolt_harness::raw::Tunnel;

use crate::{ANSWER, RESTART};

/// What the backend sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A few bytes at a time, often: the kernel receives them by itself.
    Chat,
    /// Messages in fragments and pieces of any size, with control frames between.
    Pieces,
    /// Long frames as fast as they are taken: they are spliced, each up to its end.
    Long,
    /// Short ones as fast: they are spliced too, and the proxy loses track of them.
    Bulk,
}

/// So that the proxy keeps up: a backlog would be bulk whatever it consists of.
const PAUSE: Duration = Duration::from_millis(1);

/// How it ended for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Told,
    Cut,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a small limit")
    }
}

/// Frame number `number`: every byte of its payload is that number, cut to a byte.
fn frame(kind: Kind, number: usize, dice: &mut Dice) -> Vec<u8> {
    // Of a message in any number of fragments, with pings and pongs between them.
    let (opcode, control) =
        [(0x00, false), (0x80, false), (0x81, false), (0x02, false), (0x89, true), (0x8a, true)]
            [dice.below(6)];
    let length = match kind {
        _ if control => dice.below(126),
        Kind::Chat => dice.below(100),
        Kind::Pieces if dice.below(8) == 0 => 65_530 + dice.below(12),
        Kind::Pieces => [dice.below(4), 120 + dice.below(12)][dice.below(2)],
        Kind::Long => 200_000 + dice.below(2_000_000),
        Kind::Bulk => 4_000 + dice.below(4_000),
    };
    let mut bytes = vec![opcode];
    match length {
        ..126 => bytes.push(u8::try_from(length).expect("short")),
        126..65_536 => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).expect("medium").to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.resize(bytes.len() + length, number.to_le_bytes()[0]);
    bytes
}

/// The payload of the first frame in `bytes` and the length of all of it, once it is whole.
fn parse(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let [_, second, rest @ ..] = bytes else { return None };
    assert!(second & 0x80 == 0, "a server's frame is not masked: {second:#x}");
    let (length, header) = match second {
        126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 4),
        127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).expect("a length"), 10),
        short => ((*short).into(), 2),
    };
    Some((bytes.get(header..header + length)?, header + length))
}

/// Talks until the tunnel ends.
pub(crate) fn run(tunnel: &Tunnel, kind: Kind, seed: usize, busy: &AtomicUsize) -> Ending {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send_frames(&tunnel.upstream, kind, seed, &ended));
        scope.spawn(|| answer_close(&tunnel.upstream, &ended));
        let ending = read_frames(&tunnel.client, busy);
        ended.store(true, Relaxed);
        let _ = tunnel.client.shutdown(Shutdown::Both);
        ending
    })
}

/// The backend's sending half.
fn send_frames(mut upstream: &TcpStream, kind: Kind, seed: usize, ended: &AtomicBool) {
    let mut dice = Dice(seed as u64 * 0x9e37_79b9 + 1);
    for number in 0.. {
        let bytes = frame(kind, number, &mut dice);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = if kind == Kind::Pieces { rest.len().min(1 + dice.below(2_000)) } else { rest.len() };
            let (now, later) = rest.split_at(piece);
            if ended.load(Relaxed) || upstream.write_all(now).is_err() {
                return;
            }
            rest = later;
            if kind == Kind::Pieces {
                thread::sleep(PAUSE);
            }
        }
        if kind == Kind::Chat || kind == Kind::Long || number % 100 == 99 {
            thread::sleep(4 * PAUSE);
        }
    }
}

/// The backend's receiving half: closes as WebSocket servers do.
fn answer_close(mut upstream: &TcpStream, ended: &AtomicBool) {
    let mut received = Vec::new();
    let mut buffer = [0; 1000];
    while let Ok(length @ 1..) = upstream.read(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        if received.ends_with(&ANSWER) {
            break;
        }
    }
    ended.store(true, Relaxed);
    let _ = upstream.shutdown(Shutdown::Write);
}

/// The client: whole frames in their order, then the end.
fn read_frames(mut client: &TcpStream, busy: &AtomicUsize) -> Ending {
    let (mut bytes, mut number) = (Vec::new(), 0_usize);
    let mut buffer = vec![0; 100_000];
    loop {
        if bytes == RESTART {
            client.write_all(&ANSWER).expect("an answer goes out");
            let behind = client.read(&mut buffer).expect("FIN, and no reset");
            assert_eq!(behind, 0, "something came behind the close frame");
            return Ending::Told;
        }
        assert!(!bytes.starts_with(&RESTART), "something came with the close frame");
        while let Some((payload, length)) = parse(&bytes).filter(|(_, length)| bytes[..*length] != RESTART) {
            let expected = number.to_le_bytes()[0];
            assert!(payload.iter().all(|byte| *byte == expected), "frame {number} is not what was sent");
            number += 1;
            busy.fetch_add(usize::from(number == 30), Relaxed);
            bytes.drain(..length);
        }
        if bytes == RESTART {
            continue;
        }
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return Ending::Cut,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
