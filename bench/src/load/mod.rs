//! The load: clients and origin on one thread and one epoll, on a core of their own.
//!
//! Both ends of every connection through the proxy live here, so one wake-up serves many of them and
//! the load costs less than what it measures. Every step is written for that: sockets are watched
//! edge-triggered, calls carry MSG_DONTWAIT instead of a non-blocking flag, one buffer serves all.
//! Knows nothing of which proxy is in between, nor of what is measured with it.

pub(crate) mod bulk;
pub(crate) mod burst;
pub(crate) mod connect;
pub(crate) mod echo;
pub(crate) mod exchange;
pub(crate) mod http;
pub(crate) mod origin;
pub(crate) mod paced;
pub(crate) mod slots;
pub(crate) mod storm;
pub(crate) mod tls;
pub(crate) mod visit;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use origin::Origin;

/// Bytes read at once, and the most of a message or an answer.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes of one send of bulk.
const FLOOD_BYTES: usize = 128 * 1024;
/// Sends or reads of one socket before others have their turn.
const CALLS_PER_TURN: usize = 16;
/// Events taken in one wake-up.
const EVENTS_MAX: usize = 1024;
/// Longest sleep, so that deadlines are noticed.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Events are reported once for each arrival.
const WATCHED: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);

const CLOSING: epoll::EventFlags =
    epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);

/// Who an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    /// A connection the proxy opened to the origin.
    Origin(u32),
    /// A connection a client opened to the proxy.
    Client(u32),
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Origin(index) => 1 << 32 | u64::from(index),
            Self::Client(index) => 2 << 32 | u64::from(index),
        }
    }

    fn unpack(packed: u64) -> Self {
        let [.., kind, a, b, c, d] = packed.to_be_bytes();
        let index = u32::from_be_bytes([a, b, c, d]);
        match kind {
            0 => Self::Listener,
            1 => Self::Origin(index),
            _ => Self::Client(index),
        }
    }
}

/// What went wrong while load was on. A measurement with any of it is not printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) count: u64,
    pub(crate) first: Option<String>,
}

impl Faults {
    pub(crate) fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(text);
    }
}

/// How a turn of one socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The next event goes on.
    Waiting,
    /// There is more, and no event will say so.
    Again,
    Closed,
}

/// What a read gave.
pub(crate) enum Received {
    Bytes(usize),
    Nothing,
    Closed,
}

/// Sockets, and the one buffer all are read into.
#[derive(Debug)]
pub(crate) struct Net {
    epoll: OwnedFd,
    /// What was read last.
    pub(crate) buffer: Box<[u8]>,
    /// What messages are cut from.
    payload: Box<[u8]>,
    pub(crate) faults: Faults,
}

impl Net {
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), WATCHED)?)
    }

    /// From now on the end is also told when it can send again.
    pub(crate) fn watch_sending(&mut self, fd: BorrowedFd<'_>, token: Token) {
        let flags = WATCHED.union(epoll::EventFlags::OUT);
        if let Err(error) = epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), flags) {
            self.faults.add(|| format!("epoll refuses a socket: {error}"));
        }
    }

    /// Opens a connection to the proxy. Loopback answers at once, so this does not wait.
    pub(crate) fn connect(&self, to: SocketAddr, token: Token) -> io::Result<OwnedFd> {
        let fd = net::socket_with(
            net::AddressFamily::INET,
            net::SocketType::STREAM,
            net::SocketFlags::CLOEXEC,
            None,
        )?;
        net::sockopt::set_tcp_nodelay(&fd, true)?;
        net::connect(&fd, &to)?;
        self.watch(fd.as_fd(), token)?;
        Ok(fd)
    }

    /// Reads into the buffer what is there.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> Received {
        self.receive_with(fd, RecvFlags::DONTWAIT)
    }

    fn receive_with(&mut self, fd: BorrowedFd<'_>, flags: RecvFlags) -> Received {
        match net::recv(fd, &mut self.buffer[..], flags) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Received::Closed,
            Ok((_, length)) => Received::Bytes(length),
            Err(Errno::AGAIN) => Received::Nothing,
            Err(error) => {
                self.faults.add(|| format!("cannot receive: {error}"));
                Received::Closed
            }
        }
    }

    /// Sends a text that always fits the socket's empty buffer.
    pub(crate) fn send_all(&mut self, fd: BorrowedFd<'_>, bytes: &[u8]) {
        match net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => {}
            Ok(sent) => self.faults.add(|| format!("sent {sent} of {} bytes", bytes.len())),
            Err(error) => self.faults.add(|| format!("cannot send: {error}")),
        }
    }

    /// Sends one message of this length.
    pub(crate) fn send_message(&mut self, fd: BorrowedFd<'_>, length: usize) {
        match net::send(fd, &self.payload[..length], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) if sent == length => {}
            Ok(sent) => self.faults.add(|| format!("sent {sent} of {length} bytes")),
            Err(error) => self.faults.add(|| format!("cannot send: {error}")),
        }
    }

    /// Whether what was read last are `length` bytes of messages.
    pub(crate) fn holds_messages(&self, length: usize) -> bool {
        self.buffer[..length] == self.payload[..length]
    }

    /// Sends bulk until the socket takes no more, or a turn's share was sent.
    pub(crate) fn flood(&mut self, fd: BorrowedFd<'_>) -> Turn {
        for _ in 0..CALLS_PER_TURN {
            match net::send(fd, &self.payload[..FLOOD_BYTES], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {}
                Err(Errno::AGAIN) => return Turn::Waiting,
                Err(error) => {
                    self.faults.add(|| format!("cannot send: {error}"));
                    return Turn::Closed;
                }
            }
        }
        Turn::Again
    }

    /// Sends of `owed` bytes what the socket takes, or a turn's share, and subtracts it.
    pub(crate) fn send_part(&mut self, fd: BorrowedFd<'_>, owed: &mut u64) -> Turn {
        for _ in 0..CALLS_PER_TURN {
            let length = usize::try_from(*owed).map_or(FLOOD_BYTES, |owed| owed.min(FLOOD_BYTES));
            if length == 0 {
                return Turn::Waiting;
            }
            match net::send(fd, &self.payload[..length], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => *owed -= sent as u64,
                Err(Errno::AGAIN) => return Turn::Waiting,
                Err(error) => {
                    self.faults.add(|| format!("cannot send: {error}"));
                    return Turn::Closed;
                }
            }
        }
        Turn::Again
    }

    /// Sends back what arrives until there is no more or a turn's share was sent. For messages only: what
    /// does not fit the socket's buffer is a fault.
    pub(crate) fn mirror(&mut self, fd: BorrowedFd<'_>) -> Turn {
        for _ in 0..CALLS_PER_TURN {
            let length = match self.receive(fd) {
                Received::Bytes(length) => length,
                Received::Nothing => return Turn::Waiting,
                Received::Closed => return Turn::Closed,
            };
            match net::send(fd, &self.buffer[..length], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) if sent == length => {}
                Ok(sent) => self.faults.add(|| format!("sent {sent} of {length} bytes")),
                // The client has closed in the middle of its messages.
                Err(Errno::PIPE | Errno::CONNRESET) => return Turn::Closed,
                Err(error) => self.faults.add(|| format!("cannot send: {error}")),
            }
        }
        Turn::Again
    }

    /// Throws away what arrives, uncopied, until there is no more or a turn's share was read. Returns
    /// how many bytes that were.
    pub(crate) fn swallow(&mut self, fd: BorrowedFd<'_>) -> (u64, Turn) {
        let mut bytes = 0;
        for _ in 0..CALLS_PER_TURN {
            match self.receive_with(fd, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Received::Bytes(length) => bytes += length as u64,
                Received::Nothing => return (bytes, Turn::Waiting),
                Received::Closed => return (bytes, Turn::Closed),
            }
        }
        (bytes, Turn::Again)
    }
}

/// The clients of one measurement: what they do when a socket has something for them.
pub(crate) trait Clients {
    /// Something arrived, or can be sent again; or, with `closing`, the proxy has closed.
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool);

    /// Once a turn of the loop, after its events. Returns how long the loop may sleep.
    fn turn(&mut self, net: &mut Net, origin: &mut Origin) -> Duration;
}

/// Nobody: only the origin goes on.
#[derive(Debug)]
pub(crate) struct NoClients;

impl Clients for NoClients {
    fn ready(&mut self, _net: &mut Net, _index: u32, _closing: bool) {}

    fn turn(&mut self, _net: &mut Net, _origin: &mut Origin) -> Duration {
        WAIT_MAX
    }
}

/// Clients whose work is measured.
pub(crate) trait Load: Clients {
    fn tally(&mut self) -> &mut Tally;

    /// Begins nothing new from now on.
    fn stop(&mut self);

    /// Whether nothing is under way any more.
    fn is_quiet(&self) -> bool;
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Units of work: requests, messages, upgrades, or bytes of bulk.
    pub(crate) done: u64,
    /// Of each unit, in nanoseconds; more than 4.2 s counts as 4.2 s.
    pub(crate) latencies: Vec<u32>,
}

impl Tally {
    pub(crate) fn add(&mut self, began: Instant) {
        self.done += 1;
        self.latencies.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
}

/// The loop, and the origin which outlives every measurement.
pub(crate) struct Stage {
    pub(crate) net: Net,
    pub(crate) origin: Origin,
    events: Vec<epoll::Event>,
}

impl Stage {
    /// Opens the origin on a free port of loopback.
    pub(crate) fn new() -> io::Result<Self> {
        Self::on(Ipv4Addr::LOCALHOST)
    }

    /// Opens the origin on a free port of an address.
    pub(crate) fn on(address: Ipv4Addr) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let net = Net {
            epoll,
            buffer: vec![0; BUFFER_BYTES].into(),
            payload: vec![b'x'; BUFFER_BYTES].into(),
            faults: Faults::default(),
        };
        let origin = Origin::listen(&net, address)?;
        Ok(Self { net, origin, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Runs until `done` or until `limit` has passed. Returns whether it was done in time.
    pub(crate) fn run<C: Clients>(
        &mut self,
        clients: &mut C,
        limit: Duration,
        done: impl Fn(&C, &Origin) -> bool,
    ) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let sleep = clients
                .turn(&mut self.net, &mut self.origin)
                .min(self.origin.turn(&mut self.net))
                .min(WAIT_MAX);
            if done(clients, &self.origin) {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            self.wait(sleep.min(deadline - now));
            for event in &self.events {
                let (data, flags) = (event.data, event.flags);
                let closing = flags.intersects(CLOSING);
                match Token::unpack(data.u64()) {
                    Token::Listener => self.origin.accept(&mut self.net),
                    Token::Origin(index) => self.origin.ready(&mut self.net, index, closing),
                    Token::Client(index) => clients.ready(&mut self.net, index, closing),
                }
            }
        }
    }

    /// Runs for a time.
    pub(crate) fn run_for<C: Clients>(&mut self, clients: &mut C, time: Duration) {
        self.run(clients, time, |_, _| false);
    }

    /// Takes the faults of what ran since the last call.
    pub(crate) fn take_faults(&mut self) -> Faults {
        std::mem::take(&mut self.net.faults)
    }

    fn wait(&mut self, sleep: Duration) {
        self.events.clear();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(sleep.subsec_nanos()) };
        match epoll::wait(&self.net.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => self.net.faults.add(|| format!("cannot wait for events: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_packing() {
        for token in
            [Token::Listener, Token::Origin(0), Token::Origin(u32::MAX), Token::Client(0), Token::Client(7)]
        {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }

    #[test]
    fn the_first_fault_is_remembered() {
        let mut faults = Faults::default();
        faults.add(|| "one".to_owned());
        faults.add(|| "two".to_owned());
        assert_eq!((faults.count, faults.first.as_deref()), (2, Some("one")));
    }
}
