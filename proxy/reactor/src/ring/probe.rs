//! What the kernel offers of io_uring, found out by trying with a ring of our own that is closed again.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Ring;
use crate::readiness::{Event, Readiness as _, Received, Wait};
use crate::refusal::RingRefusal;

/// What there is of io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSupport {
    /// Set-up flags in use, and the kernel's version since which they are there.
    pub flags: &'static str,
    /// Whether the kernel receives by itself into buffers of a ring (multishot receive, Linux 6.0).
    pub receives: bool,
}

/// Sets a ring up as a worker does, and receives a byte with it.
///
/// # Errors
///
/// The kernel refuses io_uring, or it lacks what the reactor relies on.
pub fn probe_ring() -> Result<RingSupport, RingRefusal> {
    let mut ring = Ring::new().map_err(RingRefusal::new)?;
    let receives = receives(&mut ring).unwrap_or(false);
    Ok(RingSupport { flags: ring.flags, receives })
}

fn receives(ring: &mut Ring) -> std::io::Result<bool> {
    const KEY: u64 = 1;
    const LIMIT: Duration = Duration::from_secs(1);
    let (socket, mut other) = UnixStream::pair()?;
    if !ring.start_receive(socket.as_raw_fd(), KEY)? {
        return Ok(false);
    }
    other.write_all(b"x")?;
    drop(other);
    let mut events = Vec::new();
    let mut received = false;
    // The byte, then the end; a kernel that cannot ends it at once.
    for _ in 0..2 {
        ring.wait(Wait::For(LIMIT), &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Received { received: Received::Bytes(_), .. } => received = true,
                Event::Received { received: Received::Stopped, .. } => return Ok(received),
                _ => {}
            }
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, EngineChoice, Reactor};

    #[test]
    fn the_probe_agrees_with_the_engine_that_is_used() {
        let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
        match probe_ring() {
            Ok(support) => {
                assert_eq!(reactor.engine(), Engine::Uring);
                assert!(support.flags.contains('('), "the version is named: {support:?}");
                // Both came with or before Linux 6.1.
                assert!(support.receives || !support.flags.contains("DEFER_TASKRUN"), "{support:?}");
            }
            Err(refusal) => assert_eq!(reactor.engine(), Engine::Epoll, "{refusal}"),
        }
    }
}
