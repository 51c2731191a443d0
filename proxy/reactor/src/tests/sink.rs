//! Sources and timers that belong to the sink: how tunnels are served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{on_each_engine, pair, run_with, socket_pair};
use crate::{Reactor, Ready, Sink, SinkToken, Socket, SourceId, recv, send, yield_now};

/// Echoes on every source it owns and closes it at the end of the stream.
struct EchoSink {
    reactor: Reactor,
    open: RefCell<BTreeMap<u32, (OwnedFd, SourceId)>>,
    expired: RefCell<Vec<u32>>,
    expired_at: Cell<Instant>,
    events: Cell<u32>,
}

impl EchoSink {
    fn new(reactor: &Reactor) -> Self {
        Self {
            reactor: reactor.clone(),
            open: RefCell::default(),
            expired: RefCell::default(),
            expired_at: Cell::new(reactor.now()),
            events: Cell::new(0),
        }
    }

    fn take(&self, token: u32, socket: Socket) {
        let (fd, source) = socket.into_parts();
        self.reactor.assign(source, SinkToken(token));
        self.open.borrow_mut().insert(token, (fd, source));
    }
}

impl Sink for EchoSink {
    fn ready(&self, token: SinkToken, _ready: Ready) {
        self.events.set(self.events.get() + 1);
        let mut open = self.open.borrow_mut();
        let (fd, _) = open.get(&token.0).expect("no event for a closed source");
        let mut buffer = [0; 100];
        loop {
            match recv(fd.as_fd(), &mut buffer) {
                Ok(0) => break,
                Ok(count) => assert_eq!(send(fd.as_fd(), &buffer[..count]).unwrap(), count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
        let (fd, source) = open.remove(&token.0).unwrap();
        self.reactor.close(fd, source);
    }

    fn expired(&self, token: SinkToken) {
        self.expired.borrow_mut().push(token.0);
        self.expired_at.set(self.reactor.now());
    }
}

pub(super) async fn until(condition: impl Fn() -> bool, reactor: &Reactor) {
    while !condition() {
        reactor.sleep_until(reactor.now() + Duration::from_millis(1)).await;
    }
}

#[test]
fn the_sink_serves_bytes_that_came_before_the_assignment() {
    on_each_engine(|reactor| {
        let sink = EchoSink::new(reactor);
        let (socket, mut other) = socket_pair(reactor);
        other.write_all(b"early").unwrap();
        run_with(reactor, &sink, async {
            // The kernel's event is taken by the task's source, and no second one will come.
            reactor.sleep_until(reactor.now() + Duration::from_millis(5)).await;
            assert!(reactor.stats().events > 0);
            sink.take(3, socket);
            until(|| sink.events.get() > 0, reactor).await;
        });
        let mut buffer = [0; 5];
        other.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"early");
        other.write_all(b"later").unwrap();
        drop(other.shutdown(std::net::Shutdown::Write));
        run_with(reactor, &sink, until(|| sink.open.borrow().is_empty(), reactor));
        other.read_exact(&mut buffer).unwrap();
        assert_eq!(other.read(&mut buffer).unwrap(), 0, "closed at once");
        assert_eq!(reactor.stats().sources, 0);
    });
}

#[test]
fn a_source_can_go_back_to_a_task() {
    on_each_engine(|reactor| {
        let sink = EchoSink::new(reactor);
        let (socket, mut other) = socket_pair(reactor);
        run_with(reactor, &sink, async {
            sink.take(1, socket);
            until(|| sink.events.get() > 0, reactor).await;
            let (fd, source) = sink.open.borrow_mut().remove(&1).unwrap();
            let socket = Socket::from_parts(reactor, fd, source);
            let events = sink.events.get();
            let nothing = socket.try_recv(&mut [0; 8]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "so that the task has to be woken");
            let writer = std::thread::spawn(move || {
                other.write_all(b"task").unwrap();
                other
            });
            assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 4);
            assert_eq!(sink.events.get(), events);
            drop(writer.join().unwrap());
        });
    });
}

/// A completion for an old connection must never act on a new one in the same slot.
#[test]
fn events_of_closed_sources_reach_nobody() {
    on_each_engine(|reactor| {
        let sink = EchoSink::new(reactor);
        for round in 0..300 {
            let (old, mut other) = socket_pair(reactor);
            run_with(reactor, &sink, yield_now());
            // The event is on its way when its source is closed and slot and descriptor are used again.
            other.write_all(b"for the old one").unwrap();
            drop(old);
            let (new, mut new_other) = pair();
            let source = reactor.register(new.as_fd()).unwrap();
            run_with(reactor, &sink, yield_now());
            run_with(reactor, &sink, yield_now());
            let socket = Socket::from_parts(reactor, new, source);
            assert!(
                !socket.ready().readable() && !socket.is_read_closed(),
                "round {round}: {:?}",
                socket.ready()
            );
            new_other.write_all(b"x").unwrap();
            run_with(reactor, &sink, socket.readable());
        }
    });
}

#[test]
fn sink_timers_fire_once_and_stale_ids_are_harmless() {
    on_each_engine(|reactor| {
        let sink = EchoSink::new(reactor);
        let soon = reactor.now() + Duration::from_micros(3_700);
        let fired = reactor.set_timer(soon, SinkToken(1));
        let cancelled = reactor.set_timer(soon, SinkToken(2));
        reactor.cancel_timer(cancelled);
        run_with(reactor, &sink, until(|| !sink.expired.borrow().is_empty(), reactor));
        assert!(sink.expired_at.get() >= soon, "never early");
        reactor.set_timer(reactor.now(), SinkToken(3));
        reactor.cancel_timer(fired);
        reactor.cancel_timer(cancelled);
        run_with(reactor, &sink, until(|| sink.expired.borrow().len() == 2, reactor));
        assert_eq!(*sink.expired.borrow(), [1, 3]);
        assert_eq!(reactor.stats().timers, 0);
    });
}

/// Calls everything back from within its own events.
struct CallingSink {
    reactor: Reactor,
    held: RefCell<Vec<(OwnedFd, SourceId)>>,
    calls: Cell<u32>,
    spawned: std::rc::Rc<Cell<u32>>,
}

impl Sink for CallingSink {
    fn ready(&self, _token: SinkToken, _ready: Ready) {
        self.calls.set(self.calls.get() + 1);
        let spawned = std::rc::Rc::clone(&self.spawned);
        self.reactor.spawn(async move { spawned.set(spawned.get() + 1) });
        self.reactor.set_timer(self.reactor.now(), SinkToken(9));
        // The first event closes both sources, so the second's event of the same turn must not come.
        for (fd, source) in self.held.borrow_mut().drain(..) {
            self.reactor.assign(source, SinkToken(5));
            self.reactor.close(fd, source);
        }
    }

    fn expired(&self, _token: SinkToken) {
        self.calls.set(self.calls.get() + 100);
        self.reactor.cancel_timer(self.reactor.set_timer(self.reactor.now(), SinkToken(1)));
    }
}

#[test]
fn the_sink_may_call_back_and_closes_silence_pending_events() {
    on_each_engine(|reactor| {
        let sink = CallingSink {
            reactor: reactor.clone(),
            held: RefCell::default(),
            calls: Cell::new(0),
            spawned: std::rc::Rc::default(),
        };
        let mut others = Vec::new();
        for token in 0..2 {
            let (socket, mut other) = socket_pair(reactor);
            other.write_all(b"x").unwrap();
            let (fd, source) = socket.into_parts();
            reactor.assign(source, SinkToken(token));
            sink.held.borrow_mut().push((fd, source));
            others.push(other);
        }
        run_with(reactor, &sink, until(|| sink.calls.get() >= 101 && sink.spawned.get() == 1, reactor));
        assert_eq!((sink.calls.get(), reactor.stats().sources), (101, 0));
    });
}
