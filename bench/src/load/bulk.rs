//! Bulk through tunnels: as many bytes as the proxy moves, one way.
//!
//! The receiver throws bytes away inside the kernel, uncopied, so that the load is lighter than a
//! proxy that splices. Bytes are counted where they arrive.

use std::os::fd::AsFd;
use std::time::Duration;

use super::connect::Link;
use super::origin::Origin;
use super::{Clients, Load, Net, Tally, Token, Turn, WAIT_MAX};

/// The way of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From client to origin.
    Up,
    /// From origin to client.
    Down,
}

#[derive(Debug)]
pub(crate) struct Bulk {
    links: Vec<Link>,
    way: Way,
    again: Vec<u32>,
    /// Bytes the origin had read when last looked.
    origin_bytes: u64,
    tally: Tally,
    stopping: bool,
}

impl Bulk {
    /// Takes over tunnels. With [`Way::Down`] the origin sends already.
    pub(crate) fn new(net: &mut Net, origin: &Origin, links: Vec<Link>, way: Way) -> Self {
        let all = 0..u32::try_from(links.len()).unwrap_or(u32::MAX);
        if way == Way::Up {
            for (link, index) in links.iter().zip(all.clone()) {
                net.watch_sending(link.fd.as_fd(), Token::Client(index));
            }
        }
        // All are looked at once: what arrived earlier raises no event any more.
        Self {
            links,
            way,
            again: all.collect(),
            origin_bytes: origin.bytes_in,
            tally: Tally::default(),
            stopping: false,
        }
    }
}

impl Clients for Bulk {
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let Some(link) = self.links.get(index as usize) else { return };
        if self.stopping {
            return;
        }
        if closing {
            return net.faults.add(|| "the proxy closed a bulk tunnel".to_owned());
        }
        let turn = match self.way {
            Way::Up => net.flood(link.fd.as_fd()),
            Way::Down => {
                let (bytes, turn) = net.swallow(link.fd.as_fd());
                self.tally.done += bytes;
                turn
            }
        };
        match turn {
            Turn::Waiting => {}
            Turn::Again => self.again.push(index),
            Turn::Closed => net.faults.add(|| "a bulk tunnel was closed".to_owned()),
        }
    }

    fn turn(&mut self, net: &mut Net, origin: &mut Origin) -> Duration {
        for index in std::mem::take(&mut self.again) {
            self.ready(net, index, false);
        }
        if self.way == Way::Up {
            self.tally.done += origin.bytes_in - self.origin_bytes;
            self.origin_bytes = origin.bytes_in;
        }
        if self.again.is_empty() { WAIT_MAX } else { Duration::ZERO }
    }
}

impl Load for Bulk {
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
