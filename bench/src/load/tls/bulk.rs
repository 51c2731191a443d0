//! Bulk from the origin to clients over TLS. Every record is decrypted, so that none is counted that a client
//! could not read.

use std::os::fd::AsFd;
use std::time::Duration;

use super::connect::TlsLink;
use crate::load::origin::Origin;
use crate::load::{CALLS_PER_TURN, Clients, Load, Net, Received, Tally, WAIT_MAX};

/// See the file's head.
pub(crate) struct TlsBulk {
    links: Vec<TlsLink>,
    again: Vec<u32>,
    tally: Tally,
    stopping: bool,
}

impl TlsBulk {
    /// Takes over tunnels in which the origin sends already.
    pub(crate) fn new(links: Vec<TlsLink>) -> Self {
        // All are looked at once: what arrived earlier raises no event any more.
        let again = (0..u32::try_from(links.len()).unwrap_or(u32::MAX)).collect();
        Self { links, again, tally: Tally::default(), stopping: false }
    }

    /// Reads a turn's share. Returns whether there is more.
    fn read(&mut self, net: &mut Net, index: usize) -> Result<bool, String> {
        let Some(TlsLink { fd, session }) = self.links.get_mut(index) else { return Ok(false) };
        for _ in 0..CALLS_PER_TURN {
            match net.receive(fd.as_fd()) {
                Received::Bytes(length) => {
                    let done = &mut self.tally.done;
                    session.advance(&mut net.buffer[..length], |bytes| *done += bytes.len() as u64)?;
                }
                Received::Nothing => return Ok(false),
                Received::Closed => return Err("the proxy closed a bulk tunnel".to_owned()),
            }
        }
        Ok(true)
    }
}

impl Clients for TlsBulk {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        if self.stopping {
            return;
        }
        match self.read(net, index as usize) {
            Ok(true) => self.again.push(index),
            Ok(false) => {}
            Err(text) => net.faults.add(|| text),
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        for index in std::mem::take(&mut self.again) {
            self.ready(net, index, false);
        }
        if self.again.is_empty() { WAIT_MAX } else { Duration::ZERO }
    }
}

impl Load for TlsBulk {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        true
    }
}
