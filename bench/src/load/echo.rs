//! Messages through tunnels: each tunnel has one under way, and sends the next when it is echoed.
//!
//! To cost less than the proxy, both ends leave messages unread and read several at once: with
//! edge-triggered events and one message under way, an event is a message. A read that then finds
//! more or fewer bytes, or other bytes, is a fault.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::connect::Link;
use super::origin::Origin;
use super::{Clients, Load, Net, Received, Tally, WAIT_MAX};

/// Messages of one read, where tunnels are saturated.
pub(crate) const READ_EVERY: usize = 8;

/// Messages that arrived and were not read yet.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    unread: usize,
}

impl Mailbox {
    /// A message arrived. Returns whether it is to be answered.
    pub(super) fn arrived(
        &mut self,
        net: &mut Net,
        fd: BorrowedFd<'_>,
        length: usize,
        read_every: usize,
    ) -> bool {
        self.unread += 1;
        if self.unread < read_every {
            return true;
        }
        let expected = std::mem::take(&mut self.unread) * length;
        match net.receive(fd) {
            Received::Bytes(got) if got == expected && net.holds_messages(got) => true,
            Received::Bytes(got) => {
                net.faults
                    .add(|| format!("{got} bytes or other bytes where messages of {expected} were due"));
                false
            }
            Received::Nothing => {
                net.faults.add(|| "an event without a message".to_owned());
                false
            }
            Received::Closed => {
                net.faults.add(|| "a tunnel was closed".to_owned());
                false
            }
        }
    }
}

#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    mailbox: Mailbox,
    sent_at: Instant,
}

#[derive(Debug)]
pub(crate) struct Echo {
    clients: Vec<Client>,
    length: usize,
    tally: Tally,
    under_way: usize,
    stopping: bool,
}

impl Echo {
    /// Takes over tunnels and sends the first message of each.
    pub(crate) fn new(net: &mut Net, links: Vec<Link>, length: usize) -> Self {
        let client = |Link { fd, .. }| Client { fd, mailbox: Mailbox::default(), sent_at: Instant::now() };
        let clients: Vec<Client> = links.into_iter().map(client).collect();
        for client in &clients {
            net.send_message(client.fd.as_fd(), length);
        }
        Self { under_way: clients.len(), clients, length, tally: Tally::default(), stopping: false }
    }
}

impl Clients for Echo {
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        if closing {
            return net.faults.add(|| "the proxy closed a tunnel".to_owned());
        }
        let whole = client.mailbox.arrived(net, client.fd.as_fd(), self.length, READ_EVERY);
        self.tally.add(client.sent_at);
        if self.stopping || !whole {
            self.under_way -= 1;
            return;
        }
        client.sent_at = Instant::now();
        net.send_message(client.fd.as_fd(), self.length);
    }

    fn turn(&mut self, _net: &mut Net, _origin: &mut Origin) -> Duration {
        WAIT_MAX
    }
}

impl Load for Echo {
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
