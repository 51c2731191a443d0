//! Opens WebSocket tunnels over TLS, a few at a time.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::{Dialer, Session};
use crate::load::origin::Origin;
use crate::load::{Clients, Net, Received, Stage, Token, WAIT_MAX, http};

/// Tunnels being opened at once.
const UNDER_WAY_MAX: usize = 16;
/// Far more than thousands of TLS handshakes take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// An open tunnel. Its events come with its position as index.
pub(crate) struct TlsLink {
    pub(crate) fd: OwnedFd,
    pub(crate) session: Session,
}

/// What a tunnel waits for.
enum Step {
    TlsHandshake,
    /// With what came of it so far.
    Answer(Vec<u8>),
    Nothing,
}

struct Opening {
    to: SocketAddr,
    dialer: Dialer,
    count: usize,
    links: Vec<TlsLink>,
    steps: Vec<Step>,
    answered: usize,
}

/// Opens `count` tunnels.
pub(crate) fn open(
    stage: &mut Stage,
    to: SocketAddr,
    dialer: &Dialer,
    count: usize,
) -> Result<Vec<TlsLink>, String> {
    let mut opening = Opening {
        to,
        dialer: dialer.clone(),
        count,
        links: Vec::with_capacity(count),
        steps: Vec::with_capacity(count),
        answered: 0,
    };
    let in_time =
        stage.run(&mut opening, OPEN_TIMEOUT, |opening: &Opening, _: &Origin| opening.answered == count);
    let faults = stage.take_faults();
    match faults.first {
        Some(fault) => Err(format!("{} faults while opening {count} tunnels; first: {fault}", faults.count)),
        None if !in_time => Err(format!("opened {} of {count} tunnels in time", opening.answered)),
        None => Ok(opening.links),
    }
}

impl Opening {
    fn advance(&mut self, net: &mut Net, index: usize) -> Result<(), String> {
        let (Some(TlsLink { fd, session }), Some(step)) =
            (self.links.get_mut(index), self.steps.get_mut(index))
        else {
            return Ok(());
        };
        let length = match net.receive(fd.as_fd()) {
            Received::Bytes(length) => length,
            Received::Nothing => return Ok(()),
            Received::Closed => return Err("closed before the first answer".to_owned()),
        };
        // Bulk may already follow the 101: whoever takes the link reads on.
        session.advance(&mut net.buffer[..length], |bytes| {
            if let Step::Answer(answer) = step {
                answer.extend_from_slice(bytes);
            }
        })?;
        if let Step::TlsHandshake = step
            && session.is_established()
        {
            session.write(http::upgrade_request().as_bytes())?;
            *step = Step::Answer(Vec::new());
        }
        session.flush(net, fd);
        let Step::Answer(bytes) = step else { return Ok(()) };
        match http::read_answer(bytes)? {
            None => return Ok(()),
            Some(answer) if answer.status == 101 => {}
            Some(answer) => return Err(format!("status {} to the first request", answer.status)),
        }
        *step = Step::Nothing;
        self.answered += 1;
        Ok(())
    }
}

impl Clients for Opening {
    fn ready(&mut self, net: &mut Net, index: u32, _closing: bool) {
        if let Err(text) = self.advance(net, index as usize) {
            net.faults.add(|| text);
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        while self.links.len() < self.count && self.links.len() - self.answered < UNDER_WAY_MAX {
            let index = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
            let connected = net.connect(self.to, Token::Client(index)).map_err(|error| error.to_string());
            match connected.and_then(|fd| Ok((fd, self.dialer.session()?))) {
                Ok((fd, mut session)) => {
                    session.flush(net, &fd);
                    self.links.push(TlsLink { fd, session });
                    self.steps.push(Step::TlsHandshake);
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
