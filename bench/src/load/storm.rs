//! A reconnect storm: thousands of tunnels are lost at once, and every client comes back at once.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::connect::Link;
use super::origin::Origin;
use super::{Clients, Net, Received, Tally, Token, WAIT_MAX, http};

/// Clients coming back at once: as many as fit every listener's queue. The others queue here, as they
/// would in the kernel of a greater machine.
const UNDER_WAY_MAX: usize = 1024;

#[derive(Debug)]
enum Client {
    Open(OwnedFd),
    Lost { at: Instant },
    Opening { fd: OwnedFd, partial: Vec<u8>, lost_at: Instant },
}

#[derive(Debug)]
pub(crate) struct Storm {
    to: SocketAddr,
    request: String,
    clients: Vec<Client>,
    lost: Vec<u32>,
    under_way: usize,
    pub(crate) tally: Tally,
}

impl Storm {
    /// Takes over open tunnels.
    pub(crate) fn new(to: SocketAddr, links: Vec<Link>) -> Self {
        Self {
            to,
            request: http::upgrade_request(),
            clients: links.into_iter().map(|link| Client::Open(link.fd)).collect(),
            lost: Vec::new(),
            under_way: 0,
            tally: Tally::default(),
        }
    }

    /// Whether every client has lost its tunnel and has another, at the origin too.
    pub(crate) fn is_over(&self, origin: &Origin) -> bool {
        let all = self.clients.len() as u64;
        self.tally.done == all && origin.tunnels == all
    }

    /// Returns what becomes of the client, if anything does.
    fn event(&mut self, net: &mut Net, index: u32) -> Option<Client> {
        match self.clients.get_mut(index as usize)? {
            Client::Lost { .. } => None,
            Client::Open(fd) => match net.receive(fd.as_fd()) {
                Received::Closed => {
                    self.lost.push(index);
                    Some(Client::Lost { at: Instant::now() })
                }
                Received::Nothing => None,
                Received::Bytes(length) => {
                    net.faults.add(|| format!("{length} bytes in a silent tunnel"));
                    None
                }
            },
            Client::Opening { fd, partial, lost_at } => {
                match net.receive(fd.as_fd()) {
                    Received::Bytes(length) => partial.extend_from_slice(&net.buffer[..length]),
                    Received::Nothing => return None,
                    Received::Closed => {
                        net.faults.add(|| "closed before the answer".to_owned());
                        return None;
                    }
                }
                match http::read_answer(partial) {
                    Ok(None) => return None,
                    Ok(Some(answer)) if answer.status == 101 => {}
                    Ok(Some(answer)) => {
                        let status = answer.status;
                        net.faults.add(|| format!("status {status} to an upgrade"));
                    }
                    Err(text) => net.faults.add(|| text),
                }
                self.under_way -= 1;
                self.tally.add(*lost_at);
                let at = *lost_at;
                match std::mem::replace(&mut self.clients[index as usize], Client::Lost { at }) {
                    Client::Opening { fd, .. } => Some(Client::Open(fd)),
                    other => Some(other),
                }
            }
        }
    }
}

impl Clients for Storm {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        if let Some(next) = self.event(net, index) {
            self.clients[index as usize] = next;
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        while self.under_way < UNDER_WAY_MAX
            && let Some(index) = self.lost.pop()
        {
            let Client::Lost { at } = self.clients[index as usize] else { continue };
            match net.connect(self.to, Token::Client(index)) {
                Ok(fd) => {
                    net.send_all(fd.as_fd(), self.request.as_bytes());
                    self.under_way += 1;
                    self.clients[index as usize] = Client::Opening { fd, partial: Vec::new(), lost_at: at };
                }
                Err(error) => net.faults.add(|| format!("cannot connect: {error}")),
            }
        }
        WAIT_MAX
    }
}
