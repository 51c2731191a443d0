//! A session as its client and its backend see it: what the proxy owes it, in the simplest terms.

use std::net::IpAddr;
use std::time::Duration;

use ringbolt_core::affinity::{Protocol, Sid};
use ringbolt_core::limits::UPGRADE_TIMEOUT;

/// A session that a client has heard of.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) sid: Sid,
    /// Index of the backend that issued it.
    pub(crate) issuer: usize,
    pub(crate) protocol: Protocol,
    pub(crate) client: IpAddr,
    time_to_live: Duration,
    in_progress: usize,
    /// Until then it is known while nothing is in progress.
    known_until: Duration,
    upgraded: bool,
    closed: bool,
}

impl Session {
    pub(crate) fn new(
        sid: Sid,
        issuer: usize,
        protocol: Protocol,
        client: IpAddr,
        time_to_live: Duration,
        now: Duration,
    ) -> Self {
        let known_until = now + time_to_live;
        Self {
            sid,
            issuer,
            protocol,
            client,
            time_to_live,
            in_progress: 0,
            known_until,
            upgraded: false,
            closed: false,
        }
    }

    /// The proxy must know it: it was neither silent for its time to live, nor closed, nor upgraded away.
    pub(crate) fn must_be_known(&self, now: Duration) -> bool {
        !self.closed && (self.in_progress > 0 || now < self.known_until)
    }

    /// It is over for its client.
    pub(crate) fn is_over(&self) -> bool {
        self.closed || self.upgraded
    }

    pub(crate) fn begin(&mut self) {
        self.in_progress += 1;
    }

    pub(crate) fn end(&mut self, now: Duration) {
        self.in_progress -= 1;
        if !self.upgraded {
            self.known_until = now + self.time_to_live;
        }
    }

    pub(crate) fn upgrade(&mut self, now: Duration) {
        self.upgraded = true;
        self.known_until = now + UPGRADE_TIMEOUT;
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}
