//! The origin: the backend behind every proxy.
//!
//! Answers polls and handshakes, upgrades what asks for it, and then echoes, swallows or floods, as
//! the measurement says. Its counters are what a measurement is counted by.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self as sys, SocketFlags};

use super::echo::Mailbox;
use super::http::{self, Asked};
use super::slots::Slots;
use super::{Net, Received, Token, Turn, WAIT_MAX};

/// Connections accepted before events have their turn.
const ACCEPTS_MAX: usize = 256;
/// Queue of the listener.
const BACKLOG: i32 = 4096;

/// What the origin does in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    /// Sends a message of this many bytes for each that arrives, and reads every so many of them.
    Echo { length: usize, read_every: usize },
    /// Reads and throws away.
    Swallow,
    /// Sends without end.
    Flood,
    /// Sends `with` bytes for every `after` bytes that arrive.
    Answer { after: u64, with: u64 },
    /// Sends back what arrives, whatever it is.
    Mirror,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    /// The start of a request that came in pieces. Empty is the rule.
    partial: Vec<u8>,
    tunnel: bool,
    mailbox: Mailbox,
    /// Of [`Play::Answer`]: bytes that arrived and are not answered, and bytes still to send.
    unanswered: u64,
    owed: u64,
}

#[derive(Debug)]
pub(crate) struct Origin {
    listener: OwnedFd,
    address: SocketAddr,
    slots: Slots<Connection>,
    /// Connections with more to do, of which no event will tell.
    again: Vec<u32>,
    accept_again: bool,
    poll_answer: String,
    sids: u64,
    /// What tunnels are for.
    pub(crate) play: Play,
    /// Tunnels open now.
    pub(crate) tunnels: u64,
    /// Tunnels that have been closed, ever.
    pub(crate) tunnels_closed: u64,
    /// Bytes read in tunnels, ever.
    pub(crate) bytes_in: u64,
}

impl Origin {
    pub(super) fn listen(net: &Net, address: Ipv4Addr) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        // Again, for the queue: the first call of the standard library asks for 128.
        sys::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        net.watch(listener.as_fd(), Token::Listener)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener: listener.into(),
            slots: Slots::new(),
            again: Vec::new(),
            accept_again: false,
            poll_answer: http::poll_answer(),
            sids: 0,
            play: Play::Swallow,
            tunnels: 0,
            tunnels_closed: 0,
            bytes_in: 0,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn accept(&mut self, net: &mut Net) {
        for _ in 0..ACCEPTS_MAX {
            let fd = match sys::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(fd) => fd,
                Err(Errno::AGAIN) => return,
                Err(error) => return net.faults.add(|| format!("the origin cannot accept: {error}")),
            };
            if let Err(error) = sys::sockopt::set_tcp_nodelay(&fd, true) {
                net.faults.add(|| format!("the origin cannot set nodelay: {error}"));
            }
            if let Err(error) = net.watch(fd.as_fd(), Token::Origin(self.slots.next())) {
                net.faults.add(|| format!("the origin cannot watch: {error}"));
            }
            self.slots.insert(Connection {
                fd,
                partial: Vec::new(),
                tunnel: false,
                mailbox: Mailbox::default(),
                unanswered: 0,
                owed: 0,
            });
        }
        self.accept_again = true;
    }

    pub(super) fn turn(&mut self, net: &mut Net) -> Duration {
        self.slots.end_turn();
        for index in std::mem::take(&mut self.again) {
            self.ready(net, index, false);
        }
        if std::mem::take(&mut self.accept_again) {
            self.accept(net);
        }
        if self.again.is_empty() && !self.accept_again { WAIT_MAX } else { Duration::ZERO }
    }

    pub(super) fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let Some(connection) = self.slots.get(index) else { return };
        match (connection.tunnel, self.play) {
            (false, _) => self.serve(net, index),
            (true, Play::Echo { length, read_every }) if !closing => {
                if connection.mailbox.arrived(net, connection.fd.as_fd(), length, read_every) {
                    net.send_message(connection.fd.as_fd(), length);
                }
            }
            (true, Play::Answer { after, with }) => self.answer(net, index, after, with),
            (true, Play::Mirror) => {
                let turn = net.mirror(connection.fd.as_fd());
                self.turned(index, turn);
            }
            (true, play) => self.stream(net, index, play == Play::Flood && !closing),
        }
    }

    fn serve(&mut self, net: &mut Net, index: u32) {
        let Some(connection) = self.slots.get(index) else { return };
        let length = match net.receive(connection.fd.as_fd()) {
            Received::Bytes(length) => length,
            Received::Nothing => return,
            Received::Closed => return self.close(index),
        };
        let pieces;
        let request = if connection.partial.is_empty() {
            &net.buffer[..length]
        } else {
            connection.partial.extend_from_slice(&net.buffer[..length]);
            pieces = std::mem::take(&mut connection.partial);
            &pieces
        };
        let asked = http::read_request(request);
        let switching = match asked {
            Some(Asked::Upgrade) => http::switching(request),
            Some(Asked::Poll | Asked::Handshake) => Cow::default(),
            None => {
                connection.partial = request.to_vec();
                return;
            }
        };
        match asked {
            None => {}
            Some(Asked::Poll) => net.send_all(connection.fd.as_fd(), self.poll_answer.as_bytes()),
            Some(Asked::Handshake) => {
                self.sids += 1;
                let sid = format!("{:0width$}", self.sids, width = http::SID_BYTES);
                net.send_all(connection.fd.as_fd(), http::handshake_answer(&sid).as_bytes());
            }
            Some(Asked::Upgrade) => {
                connection.tunnel = true;
                self.tunnels += 1;
                net.send_all(connection.fd.as_fd(), switching.as_bytes());
                if self.play == Play::Flood {
                    net.watch_sending(connection.fd.as_fd(), Token::Origin(index));
                }
            }
        }
    }

    fn stream(&mut self, net: &mut Net, index: u32, flood: bool) {
        let Some(connection) = self.slots.get(index) else { return };
        let (bytes, mut turn) = net.swallow(connection.fd.as_fd());
        self.bytes_in += bytes;
        if flood && turn == Turn::Waiting {
            turn = net.flood(connection.fd.as_fd());
        }
        self.turned(index, turn);
    }

    fn answer(&mut self, net: &mut Net, index: u32, after: u64, with: u64) {
        let Some(connection) = self.slots.get(index) else { return };
        let (bytes, mut turn) = net.swallow(connection.fd.as_fd());
        connection.unanswered += bytes;
        connection.owed += connection.unanswered / after * with;
        connection.unanswered %= after;
        if turn == Turn::Waiting && connection.owed > 0 {
            turn = net.send_part(connection.fd.as_fd(), &mut connection.owed);
            if turn == Turn::Waiting && connection.owed > 0 {
                net.watch_sending(connection.fd.as_fd(), Token::Origin(index));
            }
        }
        self.turned(index, turn);
    }

    fn turned(&mut self, index: u32, turn: Turn) {
        match turn {
            Turn::Waiting => {}
            Turn::Again => self.again.push(index),
            Turn::Closed => self.close(index),
        }
    }

    /// Closes the tunnels a proxy has left open. Returns how many.
    pub(crate) fn close_tunnels(&mut self) -> u64 {
        let left = self.tunnels;
        for index in 0..self.slots.end() {
            if self.slots.get(index).is_some_and(|connection| connection.tunnel) {
                self.close(index);
            }
        }
        left
    }

    fn close(&mut self, index: u32) {
        if let Some(connection) = self.slots.remove(index)
            && connection.tunnel
        {
            self.tunnels -= 1;
            self.tunnels_closed += 1;
        }
    }
}
