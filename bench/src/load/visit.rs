//! Short visits: a new connection for one poll, or for one upgrade that is closed at once.
//!
//! The client closes first, as browsers do.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::exchange::check_poll;
use super::origin::Origin;
use super::slots::Slots;
use super::{Clients, Load, Net, Received, Tally, Token, WAIT_MAX, http};

/// Visits under way at once.
const UNDER_WAY_MAX: u64 = 64;

#[derive(Debug)]
struct Visitor {
    fd: OwnedFd,
    partial: Vec<u8>,
    began: Instant,
}

#[derive(Debug)]
pub(crate) struct Visits {
    to: SocketAddr,
    visitors: Slots<Visitor>,
    /// Requests, used in turn. Of upgrades there is one.
    requests: Vec<String>,
    upgrades: bool,
    tally: Tally,
    begun: u64,
    answered: u64,
    /// Upgrades are under way until the origin has seen the end of the tunnel.
    closed_before: u64,
    closed: u64,
    stopping: bool,
}

impl Visits {
    /// Polls of these sessions.
    pub(crate) fn polls(to: SocketAddr, sids: &[String]) -> Self {
        let requests = sids.iter().map(|sid| http::poll_request(sid)).collect();
        Self::new(to, requests, false, 0)
    }

    /// Upgrades.
    pub(crate) fn upgrades(to: SocketAddr, origin: &Origin) -> Self {
        Self::new(to, vec![http::upgrade_request()], true, origin.tunnels_closed)
    }

    fn new(to: SocketAddr, requests: Vec<String>, upgrades: bool, closed_before: u64) -> Self {
        Self {
            to,
            visitors: Slots::new(),
            requests,
            upgrades,
            tally: Tally::default(),
            begun: 0,
            answered: 0,
            closed_before,
            closed: 0,
            stopping: false,
        }
    }

    fn under_way(&self) -> u64 {
        self.begun - if self.upgrades { self.closed } else { self.answered }
    }

    fn begin(&mut self, net: &mut Net) {
        let began = Instant::now();
        let turn = usize::try_from(self.begun).unwrap_or(0) % self.requests.len();
        self.begun += 1;
        match net.connect(self.to, Token::Client(self.visitors.next())) {
            Ok(fd) => {
                net.send_all(fd.as_fd(), self.requests[turn].as_bytes());
                self.visitors.insert(Visitor { fd, partial: Vec::new(), began });
            }
            Err(error) => {
                net.faults.add(|| format!("cannot connect: {error}"));
                self.stopping = true;
            }
        }
    }

    fn check(&self, answer: http::Answer<'_>) -> Result<(), String> {
        match (self.upgrades, answer.status) {
            (true, 101) => Ok(()),
            (true, status) => Err(format!("status {status} to an upgrade")),
            (false, _) => check_poll(answer),
        }
    }
}

impl Clients for Visits {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        let Some(visitor) = self.visitors.get(index) else { return };
        match net.receive(visitor.fd.as_fd()) {
            Received::Bytes(length) => visitor.partial.extend_from_slice(&net.buffer[..length]),
            Received::Nothing => return,
            Received::Closed => {
                net.faults.add(|| "closed before the answer".to_owned());
                visitor.partial.clear();
                self.visitors.remove(index);
                return;
            }
        }
        let whole = std::mem::take(&mut visitor.partial);
        match http::read_answer(&whole).and_then(|answer| answer.map(|answer| self.check(answer)).transpose())
        {
            Ok(Some(())) => {}
            Ok(None) => {
                if let Some(visitor) = self.visitors.get(index) {
                    visitor.partial = whole;
                }
                return;
            }
            Err(text) => net.faults.add(|| text),
        }
        self.answered += 1;
        // Dropping the visitor closes its connection.
        if let Some(visitor) = self.visitors.remove(index) {
            self.tally.add(visitor.began);
        }
    }

    fn turn(&mut self, net: &mut Net, origin: &mut Origin) -> Duration {
        self.visitors.end_turn();
        self.closed = origin.tunnels_closed - self.closed_before;
        while !self.stopping && self.under_way() < UNDER_WAY_MAX {
            self.begin(net);
        }
        WAIT_MAX
    }
}

impl Load for Visits {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.under_way() == 0
    }
}
