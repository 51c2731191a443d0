//! Messages or polls at a fixed rate: connections take turns, and none waits for another's answer.
//!
//! All contestants get the same load this way, so their latencies can be compared. Sending is spread
//! evenly. A connection that still waits for its answer is passed over, so a slow answer holds up nobody;
//! where all wait, the time counts from when the next was due, or a proxy that stalls would look quick.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::connect::Link;
use super::echo::Mailbox;
use super::exchange::Answers;
use super::origin::Origin;
use super::{Clients, Load, Net, Tally, WAIT_MAX, http};

/// Later than this after an interruption, what was missed is not made up for: it would be a burst.
const LATE_MAX: Duration = Duration::from_millis(1);
/// Step from one sender to the next: a prime, so that all have their turn and neighbours do not follow
/// each other.
const STRIDE: usize = 7919;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A message of this many bytes, which is echoed.
    Messages { length: usize },
    /// A poll of the connection's session.
    Polls,
}

#[derive(Debug)]
struct Sender<'a> {
    link: &'a Link,
    /// Empty for messages.
    request: String,
    answers: Answers,
    /// While the answer is awaited.
    sent_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Paced<'a> {
    senders: Vec<Sender<'a>>,
    wire: Wire,
    interval: Duration,
    next_at: Instant,
    /// When what waits for a connection was to be sent.
    due: VecDeque<Instant>,
    /// What is due in a second.
    due_max: usize,
    next: usize,
    under_way: usize,
    tally: Tally,
    stopping: bool,
}

impl<'a> Paced<'a> {
    /// Sends on connections which stay open afterwards. `rate` is that of all of them, in a second.
    pub(crate) fn new(links: &'a [Link], wire: Wire, rate: u32) -> Self {
        let sender = |link: &'a Link| Sender {
            link,
            request: if wire == Wire::Polls { http::poll_request(&link.sid) } else { String::new() },
            answers: Answers::default(),
            sent_at: None,
        };
        Self {
            senders: links.iter().map(sender).collect(),
            wire,
            interval: Duration::from_secs(1) / rate.max(1),
            next_at: Instant::now(),
            due: VecDeque::new(),
            due_max: rate as usize,
            next: 0,
            under_way: 0,
            tally: Tally::default(),
            stopping: false,
        }
    }

    /// Sends on the next connection that does not wait. There is one.
    fn send(&mut self, net: &mut Net, due: Instant) {
        while self.senders[self.next].sent_at.is_some() {
            self.advance();
        }
        let sender = &mut self.senders[self.next];
        sender.sent_at = Some(due);
        self.under_way += 1;
        let fd = sender.link.fd.as_fd();
        match self.wire {
            Wire::Messages { length } => net.send_message(fd, length),
            Wire::Polls => net.send_all(fd, sender.request.as_bytes()),
        }
        self.advance();
    }

    fn advance(&mut self) {
        self.next = (self.next + STRIDE) % self.senders.len();
    }
}

impl Clients for Paced<'_> {
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let Some(sender) = self.senders.get_mut(index as usize) else { return };
        if closing {
            return net.faults.add(|| "the proxy closed a connection".to_owned());
        }
        let fd = sender.link.fd.as_fd();
        let answered = match self.wire {
            Wire::Messages { length } => Mailbox::default().arrived(net, fd, length, 1),
            Wire::Polls => sender.answers.arrived(net, fd),
        };
        if answered && let Some(began) = sender.sent_at.take() {
            self.under_way -= 1;
            self.tally.add(began);
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        if self.stopping {
            return WAIT_MAX;
        }
        let now = Instant::now();
        if let Some(earliest) = now.checked_sub(LATE_MAX) {
            self.next_at = self.next_at.max(earliest);
        }
        while self.next_at <= now {
            self.next_at += self.interval;
            self.due.push_back(now);
        }
        if self.due.len() > self.due_max {
            self.due.clear();
            net.faults.add(|| "the proxy is a second behind the rate".to_owned());
        }
        while self.under_way < self.senders.len()
            && let Some(due) = self.due.pop_front()
        {
            self.send(net, due);
        }
        self.next_at - now
    }
}

impl Load for Paced<'_> {
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
