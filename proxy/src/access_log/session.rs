//! What is known of one Engine.IO session until its line is written.
//!
//! Its requests come on any connection, so at any worker: what they add up to lies beside the sid table's entry, under
//! the same lock (`sids.rs`), and only where sessions are logged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ringbolt_core::affinity::{Gone, SessionState, Sid, SidKey};

use super::clock::Stamp;
use super::fields;
use super::json::Json;
use super::record::{Record, masked};
use super::termination;
use crate::metrics::cell::Label as _;
use crate::metrics::label::{Direction, SessionEnd, TunnelEnd};

/// The sessions of one shard, those included that have gone on as tunnels.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<SidKey, Box<SessionRecord>>);

impl Sessions {
    /// A session begins.
    pub(crate) fn begin(&mut self, key: SidKey, record: Box<SessionRecord>) {
        self.0.entry(key).or_insert(record);
    }

    /// Adds a request of a session. `is_held`: the sid table holds it; then it is begun here if it began elsewhere.
    pub(crate) fn add(&mut self, key: SidKey, request: &Record, is_held: bool) {
        if is_held && !self.0.contains_key(&key) {
            self.0.insert(key, Box::new(SessionRecord::taken_over(request)));
        }
        if let Some(record) = self.0.get_mut(&key) {
            record.add(request);
        }
    }

    /// Takes what is known of a session that a request has ended.
    pub(crate) fn end(&mut self, key: SidKey, request: &Record) -> Box<SessionRecord> {
        self.take(key).unwrap_or_else(|| Box::new(SessionRecord::taken_over(request)))
    }

    /// Takes what is known of a session that has ended with its entry.
    pub(crate) fn take(&mut self, key: SidKey) -> Option<Box<SessionRecord>> {
        self.0.remove(&key)
    }

    /// As [`Self::take`], of an entry that was forgotten: a session with an open tunnel ends with that.
    pub(crate) fn take_forgotten(&mut self, gone: &Gone) -> Option<Box<SessionRecord>> {
        let goes_on = gone.state == SessionState::Upgrading && self.0.get(&gone.key)?.tail.is_none();
        if goes_on { None } else { self.take(gone.key) }
    }

    /// Notes the end of a session's tunnel. Without an entry any more that is the session's end, and what is known of it
    /// is taken; with one the upgrade may have failed.
    pub(crate) fn tunnel_ended(
        &mut self,
        key: SidKey,
        tail: Tail,
        is_held: bool,
    ) -> Option<Box<SessionRecord>> {
        self.0.get_mut(&key)?.tail = Some(tail);
        if is_held { None } else { self.take(key) }
    }

    /// All of them, at the process' end.
    pub(crate) fn into_all(self) -> impl Iterator<Item = Box<SessionRecord>> {
        self.0.into_values()
    }
}

/// A session that is logged when it ends.
#[derive(Debug)]
pub(crate) struct SessionRecord {
    client: IpAddr,
    began: Instant,
    /// What its first request told, as it stands in the line.
    text: Box<[u8]>,
    /// It began with polling, and not as a tunnel.
    has_polled: bool,
    requests: u64,
    request_body_bytes: u64,
    response_body_bytes: u64,
    /// Of the tunnel it went on as, or tried to.
    tail: Option<Tail>,
}

/// The end of a session's tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    pub(super) end: TunnelEnd,
    pub(super) at: Instant,
    pub(super) bytes: [u64; Direction::VALUES.len()],
}

impl SessionRecord {
    /// Of the session that the answer to `handshake` opens.
    pub(crate) fn opened(handshake: &Record, sid: &Sid) -> Self {
        Self::with(handshake, |json| json.text(&fields::SID, masked(sid)))
    }

    /// Of a session that was opened elsewhere; this is the first of its requests that is seen to end.
    fn taken_over(request: &Record) -> Self {
        Self::with(request, |json| json.number(&fields::TAKEN_OVER, 1))
    }

    fn with(request: &Record, more: impl FnOnce(&mut Json<'_>)) -> Self {
        let mut text = request.text.borrow().clone();
        more(&mut Json(&mut text));
        Self {
            client: request.client.get(),
            began: request.began.unwrap_or_else(Instant::now),
            text: text.into(),
            has_polled: true,
            requests: 0,
            request_body_bytes: 0,
            response_body_bytes: 0,
            tail: None,
        }
    }

    /// Of a session that was a tunnel as far as is known.
    pub(super) fn of_tunnel(
        client: IpAddr,
        began: Instant,
        text: &[u8],
        has_polled: bool,
        tail: Tail,
    ) -> Self {
        Self {
            client,
            began,
            text: text.into(),
            has_polled,
            requests: 1,
            request_body_bytes: 0,
            response_body_bytes: 0,
            tail: Some(tail),
        }
    }

    /// Adds a request that has ended.
    pub(super) fn add(&mut self, request: &Record) {
        self.requests += 1;
        self.request_body_bytes += request.request_body_bytes();
        self.response_body_bytes += request.response_body_bytes();
    }

    /// Its tunnel has ended, and no request has come since then.
    pub(crate) fn ended_as_tunnel(&self) -> bool {
        self.tail.is_some()
    }

    /// Writes the line of a session that has ended. [`SessionEnd::Upgraded`]: with its tunnel.
    pub(super) fn write(&self, stamp: Stamp, now: Instant, end: SessionEnd, line: &mut Vec<u8>) {
        super::begin_json(stamp, "session", line);
        let mut json = Json(line);
        json.address(&fields::CLIENT, self.client);
        json.0.extend_from_slice(&self.text);
        let tail = self.tail.filter(|_| end == SessionEnd::Upgraded);
        let transports = match (self.has_polled, tail) {
            (true, None) => "polling",
            (true, Some(_)) => "polling>websocket",
            (false, _) => "websocket",
        };
        json.word(&fields::TRANSPORTS, transports);
        let ((cause, phase), reason) = match tail {
            Some(tail) => (termination::of_tunnel(tail.end), TunnelEnd::VALUES[tail.end.index()]),
            None => (termination::of_session(end), SessionEnd::VALUES[end.index()]),
        };
        json.code(cause, phase);
        json.word(&fields::REASON, reason);
        json.seconds(&fields::DURATION, self.lived_until(tail.map_or(now, |tail| tail.at)));
        json.number(&fields::REQUESTS, self.requests);
        json.number(&fields::REQUEST_BODY, self.request_body_bytes);
        json.number(&fields::RESPONSE_BODY, self.response_body_bytes);
        if let Some(Tail { bytes, .. }) = tail {
            json.number(&fields::CLIENT_BYTES, bytes[Direction::ClientToUpstream.index()]);
            json.number(&fields::BACKEND_BYTES, bytes[Direction::UpstreamToClient.index()]);
        }
        json.0.push(b'}');
    }

    fn lived_until(&self, end: Instant) -> Duration {
        end.saturating_duration_since(self.began)
    }
}
