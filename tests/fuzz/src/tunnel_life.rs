//! Whatever its two ends do, a tunnel carries every byte once and in order, passes each end on behind them, and is
//! gone when both are.
//!
//! The first byte of an input chooses the engine, each further one is a step of an end or of the event loop. The sockets
//! are real, so that this is the daemon's own way from event to system call; they are Unix sockets, which have no
//! ports that could run out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use ringbolt_core::affinity::BackendId;
use ringbolt_core::frames::Frames;
use ringbolt_reactor::{EngineChoice, Socket};

use crate::stream::Stream;
use crate::tunnel::{self, Told};
use crate::worker::Worker;

/// More steps teach nothing new.
const STEPS_MAX: usize = 64;
/// Turns in which all that a tunnel of so many steps holds has moved.
const TURNS_MAX: usize = 4000;
const LARGE_BYTES: usize = 300_000;
const SMALL_BYTES: usize = 20;
/// Messages at once: enough to make a direction chat.
const BURST: usize = 24;

thread_local! {
    static WORKERS: [Worker; 2] = [EngineChoice::Auto, EngineChoice::Epoll].map(Worker::new);
}

/// One far end: what it has sent, and what it has got from the other.
struct Far {
    /// `None` once it has left.
    socket: Option<UnixStream>,
    /// Where it is in the stream of bytes it sends, which all differ from their neighbours.
    sent: usize,
    got: usize,
    finished: bool,
    seen_end: bool,
    /// It has left with bytes unread, or the tunnel has failed: the other end may lose bytes.
    torn: bool,
}

/// The byte at this place of an end's stream.
fn byte(place: usize) -> u8 {
    (place ^ (place >> 8) ^ (place >> 16)).to_le_bytes()[0]
}

impl Far {
    fn new(socket: UnixStream) -> Self {
        socket.set_nonblocking(true).expect("an option of an open socket");
        Self { socket: Some(socket), sent: 0, got: 0, finished: false, seen_end: false, torn: false }
    }

    /// Sends as much of `length` bytes as is taken.
    fn send(&mut self, length: usize) {
        let (Some(socket), false) = (&mut self.socket, self.finished) else { return };
        let bytes: Vec<u8> = (self.sent..self.sent + length).map(byte).collect();
        match socket.write(&bytes) {
            Ok(sent) => self.sent += sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The other end has left.
            Err(_) => self.torn = true,
        }
    }

    /// Takes up to `length` bytes and holds them against what the other end has sent.
    fn receive(&mut self, length: usize, sent_by_other: usize) {
        let Some(socket) = &mut self.socket else { return };
        let mut buffer = vec![0; length];
        match socket.read(&mut buffer) {
            Ok(0) => self.seen_end = true,
            Ok(length) => {
                assert!(!self.seen_end, "bytes behind the end");
                for (offset, found) in buffer[..length].iter().enumerate() {
                    assert_eq!(*found, byte(self.got + offset), "a wrong byte at {}", self.got + offset);
                }
                self.got += length;
                assert!(self.got <= sent_by_other, "more came than was sent");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => (self.seen_end, self.torn) = (true, true),
        }
    }

    fn finish(&mut self) {
        if let Some(socket) = &self.socket {
            // Fails where the tunnel is gone.
            let _ = socket.shutdown(Shutdown::Write);
            self.finished = true;
        }
    }

    fn leave(&mut self) {
        self.socket = None;
        self.finished = true;
        self.torn = true;
    }
}

pub(crate) fn run(input: &[u8]) {
    let Some((engine, steps)) = input.split_first() else { return };
    WORKERS.with(|workers| live(&workers[usize::from(engine & 1)], &steps[..steps.len().min(STEPS_MAX)]));
}

fn live(worker: &Worker, steps: &[u8]) {
    let before = worker.reactor.stats();
    let [mut client, mut upstream] = open(worker);
    for step in steps {
        let (one, other) =
            if step & 1 == 0 { (&mut client, &mut upstream) } else { (&mut upstream, &mut client) };
        match step >> 1 & 7 {
            0 => one.send(SMALL_BYTES),
            1 => one.send(LARGE_BYTES),
            2 => one.receive(SMALL_BYTES, other.sent),
            3 => one.receive(LARGE_BYTES, other.sent),
            4 => (0..BURST).for_each(|_| {
                one.send(SMALL_BYTES);
                worker.turn();
                other.receive(SMALL_BYTES, one.sent);
            }),
            5 => one.finish(),
            6 if step >> 4 == 0 => one.leave(),
            6 => tunnel::quieten(worker),
            _ => (0..=step >> 4).for_each(|_| worker.turn()),
        }
    }
    end(worker, &mut client, &mut upstream);
    let torn = client.torn || upstream.torn;
    assert!(torn || (upstream.got, client.got) == (client.sent, upstream.sent), "bytes were lost");
    assert!(torn || client.seen_end && upstream.seen_end, "an end was not passed on");
    assert_eq!((worker.tunnels.len(), worker.connections()), (0, 0), "a tunnel is left behind");
    let after = worker.reactor.stats();
    assert_eq!((after.sources, after.timers), (before.sources, before.timers), "a source or timer is left");
}

/// A tunnel and its two far ends.
fn open(worker: &Worker) -> [Far; 2] {
    let [(client, near_client), (upstream, near_upstream)] =
        [(); 2].map(|()| UnixStream::pair().expect("descriptors"));
    let [near_client, near_upstream] = [near_client, near_upstream].map(|socket| {
        socket.set_nonblocking(true).expect("an option of an open socket");
        Stream::new(Socket::register(&worker.reactor, socket.into()).expect("a socket can be watched"))
    });
    let counted = worker.shared.loads.count(BackendId(0), None);
    worker.connection_began();
    tunnel::open(
        worker,
        near_client,
        (None, Told::new(None, None)),
        near_upstream,
        Frames::BEGINNING,
        counted,
    );
    // That of the request, which becomes the tunnel's.
    worker.connection_ended();
    [client, upstream].map(Far::new)
}

/// Lets both ends finish, and takes what is still to come.
fn end(worker: &Worker, client: &mut Far, upstream: &mut Far) {
    client.finish();
    upstream.finish();
    for _ in 0..TURNS_MAX {
        worker.turn();
        client.receive(LARGE_BYTES, upstream.sent);
        upstream.receive(LARGE_BYTES, client.sent);
        let seen = |far: &Far| far.seen_end || far.socket.is_none();
        if worker.tunnels.len() == 0 && seen(client) && seen(upstream) {
            return;
        }
    }
    panic!("a tunnel whose ends have both finished lives on");
}
