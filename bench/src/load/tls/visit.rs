//! TLS handshakes: connect, TLS handshake, and close when the server's ticket is there.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use super::{Dialer, Session};
use crate::load::origin::Origin;
use crate::load::slots::Slots;
use crate::load::{Clients, Load, Net, Received, Tally, Token, WAIT_MAX};

/// Handshakes under way at once: as many as rustls keeps tickets of a server, so that each finds one.
const UNDER_WAY_MAX: u64 = 8;

struct Visitor {
    fd: OwnedFd,
    session: Session,
    began: Instant,
}

/// See the file's head.
pub(crate) struct Handshakes {
    to: SocketAddr,
    dialer: Dialer,
    visitors: Slots<Visitor>,
    under_way: u64,
    /// What every handshake must be. None while there are no tickets to resume with.
    pub(crate) expected: Option<HandshakeKind>,
    tally: Tally,
    stopping: bool,
}

impl Handshakes {
    pub(crate) fn new(to: SocketAddr, dialer: Dialer) -> Self {
        Self {
            to,
            dialer,
            visitors: Slots::new(),
            under_way: 0,
            expected: None,
            tally: Tally::default(),
            stopping: false,
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.tally.done
    }

    fn begin(&mut self, net: &mut Net) -> Result<(), String> {
        let fd = net
            .connect(self.to, Token::Client(self.visitors.next()))
            .map_err(|error| format!("cannot connect: {error}"))?;
        let mut session = self.dialer.session()?;
        session.flush(net, &fd);
        self.visitors.insert(Visitor { fd, session, began: Instant::now() });
        self.under_way += 1;
        Ok(())
    }

    /// Whether the visit is over.
    fn advance(&mut self, net: &mut Net, index: u32) -> Result<bool, String> {
        let Some(Visitor { fd, session, began }) = self.visitors.get(index) else { return Ok(false) };
        let length = match net.receive(fd.as_fd()) {
            Received::Bytes(length) => length,
            Received::Nothing => return Ok(false),
            Received::Closed => return Err("closed in the TLS handshake".to_owned()),
        };
        session.advance(&mut net.buffer[..length], |_| {})?;
        session.flush(net, fd);
        if !session.has_ticket() {
            return Ok(false);
        }
        let kind = session.kind();
        if self.expected.is_some() && kind != self.expected {
            return Err(format!("a TLS handshake that was {kind:?}"));
        }
        self.tally.add(*began);
        session.write_close_notify()?;
        session.flush(net, fd);
        Ok(true)
    }
}

impl Clients for Handshakes {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        match self.advance(net, index) {
            Ok(false) => return,
            Ok(true) => {}
            Err(text) => net.faults.add(|| text),
        }
        if self.visitors.remove(index).is_some() {
            self.under_way -= 1;
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        self.visitors.end_turn();
        while !self.stopping && self.under_way < UNDER_WAY_MAX {
            if let Err(text) = self.begin(net) {
                self.stopping = true;
                net.faults.add(|| text);
            }
        }
        WAIT_MAX
    }
}

impl Load for Handshakes {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.under_way == 0
    }
}
