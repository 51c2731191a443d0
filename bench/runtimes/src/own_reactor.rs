//! The relay on Ringbolt's reactor, on either of its engines: a task accepts and connects, then a tunnel
//! is a slot in a table and no task, as in the daemon. It copies through one buffer of the thread's; the
//! daemon's splicing of bulk is no matter of the runtime and is left out.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ringbolt_reactor::{
    EngineChoice, Listener, Reactor, Ready, Sink, SinkToken, Slab, Socket, SocketOptions, SourceId, connect,
    recv, send, shutdown_write,
};

use crate::BUFFER_BYTES;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Bytes of one direction before others have their turn, as in the daemon.
const BYTES_PER_TURN: usize = 4 * BUFFER_BYTES;
const OPTIONS: SocketOptions = SocketOptions { nodelay: true, keepalive: None, user_timeout: None };

pub(crate) fn run(engine: EngineChoice, listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let (reactor, _) = Reactor::new(engine)?;
    let listener = Listener::register(&reactor, Listener::bind(listen, BACKLOG, false)?)?;
    let table = Rc::new(Table {
        reactor: reactor.clone(),
        tunnels: RefCell::new(Slab::new(u32::MAX)),
        buffer: RefCell::new(vec![0; BUFFER_BYTES].into()),
    });
    let accepting = accept(listener, Rc::clone(&table), origin);
    reactor.run(accepting, &*table)?
}

async fn accept(listener: Listener, table: Rc<Table>, origin: SocketAddr) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let table = Rc::clone(&table);
        table.reactor.clone().spawn(async move {
            // Where the origin refuses, dropping the client's connection says so.
            let _ = relay(&table, client, origin).await;
        });
    }
}

async fn relay(table: &Table, client: OwnedFd, origin: SocketAddr) -> io::Result<()> {
    OPTIONS.apply(client.as_fd())?;
    let client = Socket::register(&table.reactor, client)?;
    let upstream = connect(&table.reactor, origin, &OPTIONS).await?;
    table.open([client, upstream]);
    Ok(())
}

/// One connection of a tunnel.
#[derive(Debug)]
struct End {
    fd: OwnedFd,
    source: SourceId,
    /// Bytes read from here that the other end has not taken. An idle end holds none.
    held: Option<Box<Held>>,
    /// No further event announces the end of the stream: read until it is found.
    closing: bool,
    finished: bool,
}

#[derive(Debug)]
struct Held {
    bytes: Box<[u8]>,
    sent: usize,
}

/// What became of a direction that was asked to move bytes.
enum Flow {
    /// The next event goes on.
    Waiting,
    /// It had its share of this turn.
    Again,
    /// The sender has finished, and all it sent has been passed on.
    Finished,
}

struct Table {
    reactor: Reactor,
    tunnels: RefCell<Slab<[End; 2]>>,
    buffer: RefCell<Box<[u8]>>,
}

impl Table {
    fn open(&self, sockets: [Socket; 2]) {
        let ends = sockets.map(|socket| {
            let closing = socket.is_read_closed();
            let (fd, source) = socket.into_parts();
            End { fd, source, held: None, closing, finished: false }
        });
        let sources = ends.each_ref().map(|end| end.source);
        let index = self.tunnels.borrow_mut().insert(ends).index;
        for (side, source) in (0..).zip(sources) {
            self.reactor.assign(source, SinkToken(index << 1 | side));
        }
    }

    /// Moves what `from` has sent; closes the tunnel when both ends have finished or one has failed.
    fn drive(&self, index: u32, from: usize) {
        let mut tunnels = self.tunnels.borrow_mut();
        let Some(ends) = tunnels.at(index) else { return };
        let ended = match self.pump(ends, from) {
            Ok(Flow::Waiting) => false,
            Ok(Flow::Again) => {
                self.reactor.again(ends[from].source);
                false
            }
            Ok(Flow::Finished) => {
                // Fails only when the far end is gone already, which its own event tells.
                let _ = shutdown_write(ends[1 - from].fd.as_fd());
                ends[1 - from].finished
            }
            Err(_) => true,
        };
        if ended && let Some(ends) = tunnels.key_at(index).and_then(|key| tunnels.remove(key)) {
            for end in ends {
                self.reactor.close(end.fd, end.source);
            }
        }
    }

    fn pump(&self, ends: &mut [End; 2], from: usize) -> io::Result<Flow> {
        let [client, upstream] = ends;
        let (source, target) = if from == 0 { (client, upstream) } else { (upstream, client) };
        if source.finished || !flush(source, target)? {
            return Ok(Flow::Waiting);
        }
        let mut buffer = self.buffer.borrow_mut();
        let mut moved = 0;
        while moved < BYTES_PER_TURN {
            let Some(length) = unless_blocked(recv(source.fd.as_fd(), &mut buffer))? else {
                return Ok(Flow::Waiting);
            };
            if length == 0 {
                source.finished = true;
                return Ok(Flow::Finished);
            }
            let sent = unless_blocked(send(target.fd.as_fd(), &buffer[..length]))?.unwrap_or(0);
            if sent < length {
                source.held = Some(Box::new(Held { bytes: buffer[sent..length].into(), sent: 0 }));
            }
            // A short read emptied the socket, and the next byte raises an event of its own.
            if sent < length || (length < BUFFER_BYTES && !source.closing) {
                return Ok(Flow::Waiting);
            }
            moved += length;
        }
        Ok(Flow::Again)
    }
}

impl Sink for Table {
    fn ready(&self, token: SinkToken, ready: Ready) {
        let (index, side) = (token.0 >> 1, usize::from(token.0 & 1 == 1));
        let ends = ready.read_closed() || ready.closed() || ready.error();
        let unblocks = {
            let mut tunnels = self.tunnels.borrow_mut();
            let Some(tunnel) = tunnels.at(index) else { return };
            tunnel[side].closing |= ends;
            ready.writable() && tunnel[1 - side].held.is_some()
        };
        if unblocks {
            self.drive(index, 1 - side);
        }
        if ready.readable() || ends {
            self.drive(index, side);
        }
    }

    fn expired(&self, _token: SinkToken) {}
}

/// Sends what is held. `false` when the target still does not take all of it.
fn flush(source: &mut End, target: &End) -> io::Result<bool> {
    let Some(held) = &mut source.held else { return Ok(true) };
    held.sent += unless_blocked(send(target.fd.as_fd(), &held.bytes[held.sent..]))?.unwrap_or(0);
    let empty = held.sent == held.bytes.len();
    if empty {
        source.held = None;
    }
    Ok(empty)
}

/// `None` if the call would have blocked.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
