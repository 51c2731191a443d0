//! Keep-alive requests: every connection polls its session, and polls again when answered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::connect::Link;
use super::origin::Origin;
use super::{Clients, Load, Net, Received, Tally, WAIT_MAX, http};

#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    request: String,
    answers: Answers,
    sent_at: Instant,
}

/// Reads the answers to the polls of one connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// An answer that came in pieces. Empty is the rule.
    partial: Vec<u8>,
}

impl Answers {
    /// Something arrived. Returns whether an answer is whole; a wrong one is, and is a fault.
    pub(super) fn arrived(&mut self, net: &mut Net, fd: BorrowedFd<'_>) -> bool {
        let length = match net.receive(fd) {
            Received::Bytes(length) => length,
            Received::Nothing => return false,
            Received::Closed => {
                net.faults.add(|| "the proxy closed a keep-alive connection".to_owned());
                return false;
            }
        };
        let whole = if self.partial.is_empty() {
            &net.buffer[..length]
        } else {
            self.partial.extend_from_slice(&net.buffer[..length]);
            &self.partial
        };
        match http::read_answer(whole).and_then(|answer| answer.map(check_poll).transpose()) {
            Ok(Some(())) => {}
            Ok(None) if self.partial.is_empty() => {
                self.partial.extend_from_slice(&net.buffer[..length]);
                return false;
            }
            Ok(None) => return false,
            Err(text) => net.faults.add(|| text),
        }
        self.partial.clear();
        true
    }
}

#[derive(Debug)]
pub(crate) struct Exchange {
    clients: Vec<Client>,
    tally: Tally,
    under_way: usize,
    stopping: bool,
}

impl Exchange {
    /// Takes over sessions and sends the first poll of each.
    pub(crate) fn new(net: &mut Net, links: Vec<Link>) -> Self {
        let sent_at = Instant::now();
        let client = |Link { fd, sid }| Client {
            fd,
            request: http::poll_request(&sid),
            answers: Answers::default(),
            sent_at,
        };
        let clients: Vec<Client> = links.into_iter().map(client).collect();
        for client in &clients {
            net.send_all(client.fd.as_fd(), client.request.as_bytes());
        }
        Self { under_way: clients.len(), clients, tally: Tally::default(), stopping: false }
    }
}

/// What is wrong with an answer to a poll.
pub(super) fn check_poll(answer: http::Answer<'_>) -> Result<(), String> {
    match answer.status {
        200 if answer.body == http::POLL_BODY.as_bytes() => Ok(()),
        200 => Err(format!("another body: {:?}", String::from_utf8_lossy(answer.body))),
        status => Err(format!("status {status}")),
    }
}

impl Clients for Exchange {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        if !client.answers.arrived(net, client.fd.as_fd()) {
            return;
        }
        self.tally.add(client.sent_at);
        if self.stopping {
            self.under_way -= 1;
            return;
        }
        client.sent_at = Instant::now();
        net.send_all(client.fd.as_fd(), client.request.as_bytes());
    }

    fn turn(&mut self, _net: &mut Net, _origin: &mut Origin) -> Duration {
        WAIT_MAX
    }
}

impl Load for Exchange {
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
