//! Receives and sends that the ring makes by itself. Epoll refuses them, and the watch goes on.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{on_each_engine, pair, run_with, socket_pair};
use crate::limits::{BUFFER_BYTES, BUFFERS};
use crate::{Chunk, Engine, Reactor, Ready, Received, Sink, SinkToken, Socket, SourceId, recv};

/// Collects what it is told of its one source, and reads what the watch reports.
struct Collector {
    reactor: Reactor,
    fd: OwnedFd,
    source: SourceId,
    bytes: RefCell<Vec<u8>>,
    held: RefCell<Vec<Chunk>>,
    hold: bool,
    receiving: Cell<bool>,
    stops: Cell<u32>,
    closed: Cell<bool>,
    sent: RefCell<Vec<Result<usize, ErrorKind>>>,
}

impl Collector {
    /// Begins to receive; `None` with an engine that cannot.
    fn receiving(reactor: &Reactor, socket: Socket, hold: bool) -> Option<Self> {
        let (fd, source) = socket.into_parts();
        reactor.assign(source, SinkToken(1));
        let begun = reactor.receive(source);
        assert_eq!(begun, reactor.engine() == Engine::Uring);
        begun.then(|| Self {
            reactor: reactor.clone(),
            fd,
            source,
            bytes: RefCell::default(),
            held: RefCell::default(),
            hold,
            receiving: Cell::new(true),
            stops: Cell::new(0),
            closed: Cell::new(false),
            sent: RefCell::default(),
        })
    }

    fn until(&self, condition: impl Fn(&Self) -> bool) {
        run_with(&self.reactor, self, super::sink::until(|| condition(self), &self.reactor));
    }

    fn close(self) {
        self.reactor.close(self.fd, self.source);
    }
}

impl Sink for Collector {
    fn ready(&self, _token: SinkToken, _ready: Ready) {
        let mut buffer = [0; 1000];
        while !self.receiving.get() {
            match recv(self.fd.as_fd(), &mut buffer) {
                Ok(0) => return self.closed.set(true),
                Ok(length) => self.bytes.borrow_mut().extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn expired(&self, _token: SinkToken) {}

    fn received(&self, _token: SinkToken, received: Received) {
        match received {
            Received::Bytes(chunk) => {
                self.bytes.borrow_mut().extend_from_slice(chunk.bytes());
                if self.hold {
                    self.held.borrow_mut().push(chunk);
                }
            }
            Received::Stopped => {
                self.receiving.set(false);
                self.stops.set(self.stops.get() + 1);
            }
            Received::Failed(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    fn sent(&self, _token: SinkToken, _chunk: Chunk, result: io::Result<usize>) {
        self.sent.borrow_mut().push(result.map_err(|error| error.kind()));
    }
}

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn bytes_come_by_themselves_and_the_end_by_the_watch() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        other.write_all(b"early ").unwrap();
        let Some(sink) = Collector::receiving(reactor, socket, false) else { return };
        sink.until(|sink| sink.bytes.borrow().len() == 6);
        other.write_all(b"later").unwrap();
        sink.until(|sink| sink.bytes.borrow().len() == 11);
        assert_eq!(&*sink.bytes.borrow(), b"early later");
        assert!(sink.receiving.get());
        other.shutdown(Shutdown::Write).unwrap();
        sink.until(|sink| sink.closed.get());
        assert!(!sink.receiving.get());
        sink.close();
    });
}

#[test]
fn changing_to_and_fro_loses_and_reorders_nothing() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        let Some(sink) = Collector::receiving(reactor, socket, false) else { return };
        let all = numbers(500_000);
        let expected = all.clone();
        let writer = std::thread::spawn(move || {
            all.chunks(777).for_each(|piece| other.write_all(piece).unwrap());
            other
        });
        for _ in 0..50 {
            let before = sink.bytes.borrow().len();
            sink.until(|sink| sink.bytes.borrow().len() > before || before == expected.len());
            sink.reactor.stop_receiving(sink.source);
            sink.until(|sink| !sink.receiving.get());
            sink.receiving.set(sink.reactor.receive(sink.source));
            assert!(sink.receiving.get());
        }
        sink.until(|sink| sink.bytes.borrow().len() == expected.len());
        assert!(*sink.bytes.borrow() == expected);
        assert!(sink.stops.get() >= 50);
        drop(writer.join().unwrap());
        sink.close();
    });
}

#[test]
fn a_receive_that_finds_no_buffer_stops_and_loses_nothing() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        let Some(sink) = Collector::receiving(reactor, socket, true) else { return };
        let all = numbers(u32::from(BUFFERS) * 2 * BUFFER_BYTES / 4);
        let expected = all.clone();
        let writer = std::thread::spawn(move || {
            other.write_all(&all).unwrap();
            other
        });
        sink.until(|sink| sink.bytes.borrow().len() == expected.len());
        assert!(*sink.bytes.borrow() == expected);
        assert!(sink.stops.get() > 0, "the test has met its case");
        sink.held.borrow_mut().clear();
        drop(writer.join().unwrap());
        sink.close();
    });
}

/// Hands the sink one chunk that holds `bytes`.
fn chunk(sink: &Collector, other: &mut TcpStream, bytes: &[u8]) -> Chunk {
    other.write_all(bytes).unwrap();
    sink.until(|sink| !sink.held.borrow().is_empty());
    let chunk = sink.held.borrow_mut().pop().unwrap();
    assert_eq!(chunk.bytes(), bytes);
    chunk
}

#[test]
fn a_queued_send_tells_how_much_was_sent() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        let Some(sink) = Collector::receiving(reactor, socket, true) else { return };
        let (target, mut far) = pair();
        let hello = chunk(&sink, &mut other, b"hello");
        reactor.send(target.as_fd(), sink.source, hello).unwrap();
        sink.until(|sink| sink.sent.borrow().len() == 1);
        assert_eq!(sink.sent.take(), [Ok(5)]);
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        // Full, nobody reads.
        while crate::send(target.as_fd(), &[0; 65_536]).is_ok() {}
        let more = chunk(&sink, &mut other, b"more");
        reactor.send(target.as_fd(), sink.source, more).unwrap();
        sink.until(|sink| sink.sent.borrow().len() == 1);
        assert_eq!(sink.sent.take(), [Err(ErrorKind::WouldBlock)]);
        drop((far, target));
        sink.close();
    });
}

/// A descriptor's number is free as soon as it is closed, and the next connection gets it.
#[test]
fn a_queued_send_never_reaches_the_next_owner_of_the_number() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        let Some(sink) = Collector::receiving(reactor, socket, true) else { return };
        let secret = chunk(&sink, &mut other, b"secret");
        let ((target, mut far), (next, mut stranger)) = (pair(), pair());
        // So high that no other test of this process, which get the lowest ones, takes it when it is free.
        let target = rustix::io::fcntl_dupfd_cloexec(&target, 5000).unwrap();
        let number = target.as_raw_fd();
        let target = Socket::register(reactor, target).unwrap();
        reactor.send(target.fd(), sink.source, secret).unwrap();
        drop(target);
        // Takes the number, as the next accept would.
        let reused = rustix::io::fcntl_dupfd_cloexec(&next, number).unwrap();
        assert_eq!(reused.as_raw_fd(), number);
        sink.until(|sink| sink.sent.borrow().len() == 1);
        assert_eq!(sink.sent.take(), [Ok(6)]);
        let mut buffer = [0; 6];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"secret");
        stranger.set_nonblocking(true).unwrap();
        assert_eq!(stranger.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        sink.close();
    });
}

#[test]
fn a_reset_is_told_once_and_a_closed_source_tells_nothing() {
    on_each_engine(|reactor| {
        let (socket, other) = socket_pair(reactor);
        let Some(sink) = Collector::receiving(reactor, socket, false) else { return };
        sink.until(|_| true);
        rustix::net::sockopt::set_socket_linger(&other, Some(std::time::Duration::ZERO)).unwrap();
        drop(other);
        sink.until(|sink| !sink.receiving.get());
        sink.close();
        let (socket, mut other) = socket_pair(reactor);
        let sink = Collector::receiving(reactor, socket, false).unwrap();
        sink.until(|_| true);
        other.write_all(b"unread").unwrap();
        reactor.close(sink.fd, sink.source);
        crate::tests::run(reactor, crate::yield_now());
        assert_eq!(other.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        reactor.trim();
        assert_eq!(reactor.stats().sources, 0);
    });
}

#[test]
fn a_receive_that_ends_at_once_leaves_no_watch_behind() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        // All there is and the end: the receive is over before the watch that it replaces is.
        other.write_all(b"all").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        let Some(sink) = Collector::receiving(reactor, socket, false) else { return };
        sink.until(|sink| sink.closed.get());
        assert_eq!(&*sink.bytes.borrow(), b"all");
        sink.close();
        // The end of the stream is only sent when nothing in the ring holds the socket any more.
        let closed = Cell::new(false);
        other.set_nonblocking(true).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        super::run(
            reactor,
            super::sink::until(
                || {
                    closed.set(matches!((&other).read(&mut [0; 8]), Ok(0)));
                    closed.get() || std::time::Instant::now() > deadline
                },
                reactor,
            ),
        );
        assert!(closed.get(), "a closed socket is held open");
    });
}
