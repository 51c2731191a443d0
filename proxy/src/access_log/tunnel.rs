//! What is known of one tunnel until its line is written.

use std::net::IpAddr;
use std::time::Instant;

use super::clock::Stamp;
use super::fields;
use super::json::Json;
use super::record::{Belongs, Record};
use super::session::{SessionRecord, Tail};
use super::termination;
use crate::metrics::cell::Label as _;
use crate::metrics::label::{Direction, TunnelEnd};

/// A tunnel that is logged when it ends.
#[derive(Debug)]
pub(crate) struct TunnelRecord {
    client: IpAddr,
    began: Instant,
    /// What is known beforehand, as it stands in the line.
    text: Box<[u8]>,
    bytes: [u64; Direction::VALUES.len()],
    session: Belongs,
}

impl TunnelRecord {
    /// Of a tunnel that begins now with this request.
    pub(super) fn of_request(record: &Record, now: Instant) -> Self {
        Self {
            client: record.client.get(),
            began: now,
            text: record.text.borrow().as_slice().into(),
            bytes: Default::default(),
            session: record.session(),
        }
    }

    /// Of a tunnel without a request.
    pub(super) fn of_connection(now: Instant, client: IpAddr, backend: Option<(&str, &str)>) -> Self {
        let mut text = Vec::new();
        let mut json = Json(&mut text);
        match backend {
            Some((upstream, name)) => {
                json.word(&fields::UPSTREAM, upstream);
                json.word(&fields::BACKEND, name);
            }
            None => json.number(&fields::TAKEN_OVER, 1),
        }
        Self { client, began: now, text: text.into(), bytes: Default::default(), session: Belongs::Nowhere }
    }

    /// Counts bytes that were carried.
    pub(crate) fn add(&mut self, direction: Direction, bytes: u64) {
        self.bytes[direction.index()] += bytes;
    }

    /// The Engine.IO session that it carries.
    pub(super) fn session(&self) -> Belongs {
        self.session
    }

    /// How it has ended, for its session's line.
    pub(super) fn tail(&self, now: Instant, end: TunnelEnd) -> Tail {
        Tail { end, at: now, bytes: self.bytes }
    }

    /// Its session, of which nothing else is known.
    pub(super) fn whole_session(&self, has_polled: bool, tail: Tail) -> SessionRecord {
        SessionRecord::of_tunnel(self.client, self.began, &self.text, has_polled, tail)
    }

    /// Writes the line of a tunnel that ended at `now`.
    pub(super) fn write(&self, stamp: Stamp, now: Instant, end: TunnelEnd, line: &mut Vec<u8>) {
        super::begin_json(stamp, "tunnel", line);
        let mut json = Json(line);
        json.address(&fields::CLIENT, self.client);
        json.0.extend_from_slice(&self.text);
        let (cause, phase) = termination::of_tunnel(end);
        json.code(cause, phase);
        json.word(&fields::REASON, TunnelEnd::VALUES[end.index()]);
        json.seconds(&fields::DURATION, now.saturating_duration_since(self.began));
        json.number(&fields::CLIENT_BYTES, self.bytes[Direction::ClientToUpstream.index()]);
        json.number(&fields::BACKEND_BYTES, self.bytes[Direction::UpstreamToClient.index()]);
        json.0.push(b'}');
    }
}
