//! Opens many connections through the proxy, a few at a time, each with its first request answered.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::http::{self, Answer};
use super::origin::Origin;
use super::{Clients, Net, Received, Stage, Token, WAIT_MAX};

/// Connections being opened at once: fewer than any listener's queue.
const UNDER_WAY_MAX: usize = 64;
/// Far more than thousands of connections take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// What the connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A tunnel from the first request on.
    Tunnel,
    /// An Engine.IO session whose polls follow on the same connection.
    Session,
}

/// An open connection. Its events come with its position as index.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) fd: OwnedFd,
    /// Of a session; empty for a tunnel.
    pub(crate) sid: String,
}

struct Opening {
    to: SocketAddr,
    purpose: Purpose,
    request: String,
    count: usize,
    links: Vec<Link>,
    /// What came of each answer so far; none once it was whole.
    partial: Vec<Option<Vec<u8>>>,
    answered: usize,
}

/// Opens `count` connections.
pub(crate) fn open(
    stage: &mut Stage,
    to: SocketAddr,
    purpose: Purpose,
    count: usize,
) -> Result<Vec<Link>, String> {
    open_within(stage, to, purpose, count, OPEN_TIMEOUT)
}

/// Opens `count` connections on a machine that may need another time for it.
pub(crate) fn open_within(
    stage: &mut Stage,
    to: SocketAddr,
    purpose: Purpose,
    count: usize,
    timeout: Duration,
) -> Result<Vec<Link>, String> {
    let request = match purpose {
        Purpose::Tunnel => http::upgrade_request(),
        Purpose::Session => http::handshake_request(),
    };
    let mut opening = Opening {
        to,
        purpose,
        request,
        count,
        links: Vec::with_capacity(count),
        partial: vec![Some(Vec::new()); count],
        answered: 0,
    };
    let done = |opening: &Opening, _: &Origin| opening.answered == count;
    let in_time = stage.run(&mut opening, timeout, done);
    let faults = stage.take_faults();
    match faults.first {
        Some(fault) => {
            Err(format!("{} faults while opening {count} connections; first: {fault}", faults.count))
        }
        None if !in_time => Err(format!("opened {} of {count} connections in time", opening.answered)),
        None => Ok(opening.links),
    }
}

/// The sid, or what is wrong with the answer.
fn accept(purpose: Purpose, answer: Answer<'_>) -> Result<String, String> {
    match (purpose, answer.status) {
        (Purpose::Tunnel, 101) => Ok(String::new()),
        (Purpose::Session, 200) => http::sid_of(answer.body).ok_or("a handshake without a sid".to_owned()),
        (_, status) => Err(format!("status {status} to the first request")),
    }
}

impl Clients for Opening {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        let index = index as usize;
        // Bulk may already follow the 101: whoever takes the link reads on.
        let (Some(Some(partial)), Some(link)) = (self.partial.get_mut(index), self.links.get(index)) else {
            return;
        };
        let length = match net.receive(link.fd.as_fd()) {
            Received::Bytes(length) => length,
            Received::Nothing => return,
            Received::Closed => return net.faults.add(|| "closed before the first answer".to_owned()),
        };
        partial.extend_from_slice(&net.buffer[..length]);
        let sid = match http::read_answer(partial) {
            Ok(None) => return,
            Ok(Some(answer)) => accept(self.purpose, answer),
            Err(text) => Err(text),
        };
        self.partial[index] = None;
        self.answered += 1;
        match sid {
            Ok(sid) => self.links[index].sid = sid,
            Err(text) => net.faults.add(|| text),
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        while self.links.len() < self.count && self.links.len() - self.answered < UNDER_WAY_MAX {
            let index = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
            match net.connect(self.to, Token::Client(index)) {
                Ok(fd) => {
                    net.send_all(fd.as_fd(), self.request.as_bytes());
                    self.links.push(Link { fd, sid: String::new() });
                }
                Err(error) => {
                    net.faults.add(|| format!("cannot connect: {error}"));
                    self.count = self.links.len();
                }
            }
        }
        WAIT_MAX
    }
}
