//! What hops around the proxy break: noted where it shows, counted, said once in a while, listed for operators.
//!
//! Called where a request is an upgrade or refused, where a session begins, upgrades or loses a poll, and nowhere
//! else. What is judged and how is in `ringbolt_core::downgrade`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringbolt_core::downgrade::{
    Downgrade, Finding, Findings, Place, Sighting, Sources, hop_behind, hop_in_front,
};
use ringbolt_core::http::{RequestHead, ResponseHead};
use ringbolt_core::limits::SOURCES_MAX;
use serde::{Deserialize, Serialize};

use crate::identity::uptime_ms;
use crate::limits::SOURCE_SHARDS;
use crate::metrics::label;
use crate::status::Words;
use crate::worker::Worker;

/// What all workers have noted.
#[derive(Debug)]
pub(crate) struct Downgrades {
    sources: Box<[Mutex<Sources>]>,
    findings: Mutex<Findings>,
}

/// A finding, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// [`Downgrade::name`].
    pub(crate) reason: Words,
    /// The address in front of the proxy, or the backend behind it.
    pub(crate) source: String,
    /// What the hop calls itself.
    pub(crate) hop: Option<String>,
    pub(crate) seen: String,
    pub(crate) cure: Words,
    pub(crate) count: u64,
    /// How long ago it was seen first and last, in seconds.
    pub(crate) first_seconds_ago: u64,
    pub(crate) last_seconds_ago: u64,
}

impl Downgrades {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Sources::new(SOURCES_MAX / SOURCE_SHARDS));
        Self { sources: (0..SOURCE_SHARDS).map(|_| shard()).collect(), findings: Mutex::default() }
    }

    /// What was seen lately, the latest first.
    pub(crate) fn shown(&self, now: Instant) -> Vec<Shown> {
        let now = since_start(now);
        let findings = self.findings.lock().shown(now);
        let ago = |then: Duration| now.saturating_sub(then).as_secs();
        let show = |Finding { sighting, count, first, last, .. }: Finding| Shown {
            reason: sighting.downgrade.name().into(),
            source: sighting.place.to_string(),
            seen: said(&sighting),
            hop: sighting.hop.map(String::from),
            cure: sighting.downgrade.cure().into(),
            count,
            first_seconds_ago: ago(first),
            last_seconds_ago: ago(last),
        };
        findings.into_iter().map(show).collect()
    }

    fn sources(&self, address: IpAddr) -> &Mutex<Sources> {
        // The last byte, which differs most; within a shard the whole address is hashed.
        let last = match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        &self.sources[usize::from(last) % self.sources.len()]
    }
}

/// A WebSocket handshake that a hop has torn.
pub(crate) fn torn(worker: &Worker, downgrade: Downgrade, source: IpAddr, head: &RequestHead) {
    note(worker, in_front(downgrade, source, hop_in_front(head)));
}

/// An upgrade of a session that is unknown.
pub(crate) fn strange_upgrade(worker: &Worker, source: IpAddr, head: &RequestHead) {
    let now = since_start(worker.reactor.now());
    let is_usual = worker.shared.downgrades.sources(source).lock().of(source).strange(now);
    if is_usual {
        note(worker, in_front(Downgrade::OtherProxy, source, hop_in_front(head)));
    }
}

/// A backend has answered an upgrade with something else than 101.
pub(crate) fn answered(worker: &Worker, backend: &str, head: &ResponseHead) {
    if let Some(downgrade) = Downgrade::of_answer(head.status()) {
        let place = Place::Behind(backend.into());
        note(worker, Sighting { downgrade, place, hop: hop_behind(head), seconds: None });
    }
}

/// A session has begun that was offered websocket.
pub(crate) fn offered(worker: &Worker, source: IpAddr) {
    let now = since_start(worker.reactor.now());
    let never_upgrades = worker.shared.downgrades.sources(source).lock().of(source).offered(now);
    if never_upgrades {
        note(worker, in_front(Downgrade::NeverUpgraded, source, None));
    }
}

/// A session has upgraded.
pub(crate) fn upgraded(worker: &Worker, source: IpAddr) {
    worker.shared.downgrades.sources(source).lock().of(source).upgraded();
}

/// The client's side has closed on a poll that was held for so long.
pub(crate) fn poll_cut(worker: &Worker, source: IpAddr, held: Duration) {
    let seconds = worker.shared.downgrades.sources(source).lock().of(source).cut(held);
    if seconds.is_some() {
        note(worker, Sighting { seconds, ..in_front(Downgrade::PollsCut, source, None) });
    }
}

fn in_front(downgrade: Downgrade, source: IpAddr, hop: Option<Box<str>>) -> Sighting {
    Sighting { downgrade, place: Place::Front(source.to_canonical()), hop, seconds: None }
}

fn note(worker: &Worker, sighting: Sighting) {
    let downgrade = sighting.downgrade;
    worker.counters().downgrades.of(label::Downgraded::of(downgrade)).add(1);
    let (source, said) = (sighting.place.to_string(), said(&sighting));
    let hop = sighting.hop.clone();
    let due = worker.shared.downgrades.findings.lock().note(sighting, since_start(worker.reactor.now()));
    if let Some(due) = due {
        let (reason, hop) = (downgrade.name(), hop.as_deref().unwrap_or("unknown"));
        tracing::warn!(reason, source, hop, count = due.count, "downgrade: {said}");
    }
}

fn said(sighting: &Sighting) -> String {
    let seen = sighting.downgrade.seen();
    sighting.seconds.map_or_else(|| seen.to_owned(), |seconds| format!("{seen}: {seconds} s"))
}

fn since_start(now: Instant) -> Duration {
    Duration::from_millis(uptime_ms(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn the_document_has_every_reason() {
        let document = std::fs::read_to_string(golden::path("../docs/doctor.md")).unwrap();
        for downgrade in Downgrade::ALL {
            assert!(document.contains(&format!("`{}`", downgrade.name())), "{}", downgrade.name());
        }
    }
}
