//! Messages after silence: in every tenth of a second another 1 % of the tunnels sends one message.
//!
//! With 9,000 tunnels each is silent for ten seconds, and a proxy finds nothing of it in a cache.
//! Messages are spread evenly, so each wakes a proxy that sleeps.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::connect::Link;
use super::echo::Mailbox;
use super::origin::Origin;
use super::{Clients, Load, Net, Tally};

/// Bytes of a message.
pub(crate) const MESSAGE_BYTES: usize = 64;
/// In this time 1 % of the tunnels send.
const PERIOD: Duration = Duration::from_millis(100);
/// Step from one sender to the next: a prime, so that all have their turn and neighbours do not follow
/// each other.
const STRIDE: usize = 7919;

#[derive(Debug)]
pub(crate) struct Silence<'a> {
    links: &'a [Link],
    sent_at: Vec<Option<Instant>>,
    interval: Duration,
    next_at: Instant,
    next: usize,
    under_way: usize,
    tally: Tally,
    stopping: bool,
}

impl<'a> Silence<'a> {
    /// Lets tunnels send which stay open afterwards.
    pub(crate) fn new(links: &'a [Link]) -> Self {
        let talkers = u32::try_from(links.len() / 100).unwrap_or(u32::MAX).max(1);
        Self {
            links,
            sent_at: vec![None; links.len()],
            interval: PERIOD / talkers,
            next_at: Instant::now(),
            next: 0,
            under_way: 0,
            tally: Tally::default(),
            stopping: false,
        }
    }
}

impl Clients for Silence<'_> {
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let index = index as usize;
        let Some(link) = self.links.get(index) else { return };
        if closing {
            return net.faults.add(|| "the proxy closed a silent tunnel".to_owned());
        }
        Mailbox::default().arrived(net, link.fd.as_fd(), MESSAGE_BYTES, 1);
        if let Some(began) = self.sent_at[index].take() {
            self.under_way -= 1;
            self.tally.add(began);
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
            self.next = (self.next + STRIDE) % self.links.len();
            if self.sent_at[index].replace(now).is_some() {
                net.faults.add(|| "a message was not echoed before the next".to_owned());
            } else {
                self.under_way += 1;
            }
            net.send_message(self.links[index].fd.as_fd(), MESSAGE_BYTES);
        }
        self.next_at.saturating_duration_since(now)
    }
}

impl Load for Silence<'_> {
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
