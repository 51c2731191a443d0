//! A few talk among many that are silent: messages at a fixed rate, each from the next tunnel in turn.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::load::connect::Link;
use crate::load::origin::Origin;
use crate::load::{Clients, Net, Received};

/// Bytes of a message.
pub(super) const MESSAGE_BYTES: usize = 64;

/// The talking tunnels. Each message is echoed before its tunnel sends the next, or it is a fault.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    links: &'a [Link],
    /// By tunnel: whether the echo is still to come.
    waiting: Vec<bool>,
    interval: Duration,
    next_at: Instant,
    next: usize,
    /// Messages echoed.
    pub(super) echoed: u64,
    pub(super) under_way: usize,
    pub(super) stopping: bool,
}

impl<'a> Talk<'a> {
    /// `rate` is that of all of them, in a second.
    pub(super) fn new(links: &'a [Link], rate: u32) -> Self {
        Self {
            links,
            waiting: vec![false; links.len()],
            interval: Duration::from_secs(1) / rate.max(1),
            next_at: Instant::now(),
            next: 0,
            echoed: 0,
            under_way: 0,
            stopping: false,
        }
    }
}

impl Clients for Talk<'_> {
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let index = index as usize;
        let Some(link) = self.links.get(index) else { return };
        if closing {
            return net.faults.add(|| "the proxy closed a tunnel".to_owned());
        }
        match net.receive(link.fd.as_fd()) {
            Received::Bytes(MESSAGE_BYTES) if net.holds_messages(MESSAGE_BYTES) && self.waiting[index] => {
                self.waiting[index] = false;
                self.under_way -= 1;
                self.echoed += 1;
            }
            Received::Bytes(length) => net.faults.add(|| format!("{length} bytes are not the message sent")),
            Received::Nothing => {}
            Received::Closed => net.faults.add(|| "a tunnel was closed".to_owned()),
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        let now = Instant::now();
        if self.stopping {
            return self.interval;
        }
        if now >= self.next_at {
            // Late after an interruption: the missed messages are not made up for, they would be a burst.
            self.next_at = (self.next_at + self.interval).max(now);
            let index = self.next;
            self.next = (self.next + 1) % self.links.len();
            if std::mem::replace(&mut self.waiting[index], true) {
                net.faults.add(|| "a message was not echoed before the next".to_owned());
            } else {
                self.under_way += 1;
            }
            net.send_message(self.links[index].fd.as_fd(), MESSAGE_BYTES);
        }
        self.next_at.saturating_duration_since(now)
    }
}
