//! Addresses behind which nobody serves, without the race of a port that another test may take.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// After this long without an answer a connection attempt on loopback counts as unanswered.
const UNANSWERED: Duration = Duration::from_millis(100);
/// More connections than any queue of one place holds.
const QUEUED_MAX: usize = 16;

/// An address whose port stays taken as long as this lives.
#[derive(Debug)]
pub struct Dead {
    address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<TcpStream>,
}

impl Dead {
    /// Refuses every connection: bound, and not listening.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn refusing() -> Self {
        let (socket, address) = bound();
        Self { address, _socket: socket, _queued: Vec::new() }
    }

    /// Answers no connection attempt: its queue is full and nobody accepts.
    ///
    /// # Panics
    /// If no port is free, or the queue does not fill.
    #[must_use]
    pub fn silent() -> Self {
        let (socket, address) = bound();
        listen(&socket, 0).expect("a bound socket");
        Self { address, _socket: socket, _queued: fill(address) }
    }

    /// Where nobody serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Connections that fill a queue of one place, from which nobody takes one.
///
/// # Panics
/// If it does not fill.
pub(super) fn fill(address: SocketAddr) -> Vec<TcpStream> {
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, UNANSWERED) {
        queued.push(stream);
        assert!(queued.len() < QUEUED_MAX, "a queue of one place holds more and more");
    }
    queued
}

fn bound() -> (OwnedFd, SocketAddr) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    let address = getsockname(&socket).expect("a bound socket").try_into().expect("an IPv4 address");
    (socket, address)
}
