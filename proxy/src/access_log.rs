//! The access log: a line for each request, for the end of each tunnel and for that of each Engine.IO session.
//!
//! A worker writes lines into a batch of its own, and gives a full batch, or every second what there is, to the thread
//! that writes them out (`access_log/writer.rs`). It never waits for that thread: where the queue to it is full, the
//! batch is dropped and counted. Without an access log a request pays one comparison for it.
//!
//! No line holds a whole sid: whoever reads logs could take a session over.

mod clock;
mod combined;
mod fields;
mod json;
mod record;
mod session;
mod termination;
mod tunnel;
mod writer;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringbolt_core::affinity::Sid;
use ringbolt_core::http::RequestHead;

use crate::answer::Asked;
use crate::client::Client;
use crate::config;
use crate::limits::{ACCESS_BATCH_BYTES, ACCESS_RECORDS_SPARE_MAX};
use crate::metrics::WorkerCounters;
use crate::metrics::label::{AccessLine, SessionEnd, TunnelEnd};
use crate::worker::Worker;

use self::clock::{Clock, Stamp};
use self::json::Json;
use self::record::Belongs;

pub(crate) use self::json::write_escaped;
pub(crate) use self::record::{Asking, Record};
pub(crate) use self::session::{SessionRecord, Sessions, Tail};
pub(crate) use self::termination::Cause;
pub(crate) use self::tunnel::TunnelRecord;
pub(crate) use self::writer::{Queue, Writer};

/// The access log of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {
    settings: Arc<config::AccessLog>,
    queue: Queue,
    batch: RefCell<Vec<u8>>,
    /// Lines of the batch.
    lines: Cell<u32>,
    #[expect(clippy::vec_box, reason = "whoever has one has a pointer, and gives it back")]
    spares: RefCell<Vec<Box<Record>>>,
    clock: Clock,
    /// Requests that went well, for taking one in so many.
    well: Cell<u32>,
}

impl AccessLog {
    /// A worker's part of the log that `queue` leads to.
    pub(crate) fn new(queue: &Queue) -> Self {
        Self {
            settings: Arc::clone(queue.settings()),
            queue: queue.clone(),
            batch: RefCell::default(),
            lines: Cell::new(0),
            spares: RefCell::default(),
            clock: Clock::new(),
            well: Cell::new(0),
        }
    }

    /// A record for a request of `client`, of which nothing is known yet.
    pub(crate) fn begin(&self, worker: &Worker, client: &Client) -> Box<Record> {
        let mut record = self.spares.borrow_mut().pop().unwrap_or_default();
        record.begin(worker.reactor.now(), client);
        record
    }

    /// Notes the head of a request. `None`: its path is one of which nothing is written.
    pub(crate) fn note_head(&self, mut record: Box<Record>, head: &RequestHead) -> Option<Box<Record>> {
        let paths = &self.settings.paths;
        if !paths.is_empty() && !paths.iter().any(|prefix| head.path().starts_with(prefix.as_bytes())) {
            self.give_back(record);
            return None;
        }
        record.note_head(head, &self.settings);
        Some(record)
    }

    /// Writes the line of a request that has ended, if it is one to be written.
    pub(crate) fn request(&self, worker: &Worker, asked: &mut Asked, cause: Cause) {
        let Some(record) = asked.record.take() else { return };
        let now = worker.reactor.now();
        if record.is_worth_a_line() && self.passes(&record, cause, record.duration(now)) {
            self.line(worker, |line| match self.settings.format {
                config::AccessFormat::Json => {
                    record.write_json(self.clock.stamp(now), now, cause, self.settings.sample, line);
                }
                config::AccessFormat::Combined => record.write_combined(self.clock.stamp(now), line),
            });
        }
        if self.settings.events.sessions {
            self.note_in_session(worker, &record, cause);
        }
        self.give_back(record);
    }

    /// Adds a request that has ended to its session, or writes the line of the session that it has ended.
    fn note_in_session(&self, worker: &Worker, record: &Record, cause: Cause) {
        if let Some((mut session, end)) = record.take_ended() {
            session.add(record);
            return self.session(worker, &session, end);
        }
        let Belongs::Table(key) = record.session() else { return };
        worker.shared.sids.note_request(key, record);
        // An upgrade that was accepted and became no tunnel.
        if record.status() == 101 && cause != Cause::None {
            let tunnel = TunnelRecord::of_request(record, worker.reactor.now());
            self.tunnel_session(worker, &tunnel, TunnelEnd::ClientReset);
        }
    }

    /// The record of a tunnel that begins with a request, if it or its session is logged.
    pub(crate) fn begin_tunnel(&self, worker: &Worker, asked: &Asked) -> Option<Box<TunnelRecord>> {
        let record = asked.record.as_deref()?;
        let events = self.settings.events;
        let is_logged = events.tunnels || events.sessions && record.session() != Belongs::Nowhere;
        is_logged.then(|| Box::new(TunnelRecord::of_request(record, worker.reactor.now())))
    }

    /// The record of a tunnel without a request, if such are logged.
    pub(crate) fn begin_connection(
        &self,
        worker: &Worker,
        client: IpAddr,
        backend: Option<(&str, &str)>,
    ) -> Option<Box<TunnelRecord>> {
        let logged = self.settings.events.tunnels && self.settings.paths.is_empty();
        logged.then(|| Box::new(TunnelRecord::of_connection(worker.reactor.now(), client, backend)))
    }

    /// Writes the line of a tunnel that has ended, and that of its session if that has ended with it.
    pub(crate) fn tunnel(&self, worker: &Worker, record: &TunnelRecord, end: TunnelEnd) {
        if self.settings.events.tunnels {
            let now = worker.reactor.now();
            self.line(worker, |line| record.write(self.clock.stamp(now), now, end, line));
        }
        if self.settings.events.sessions {
            self.tunnel_session(worker, record, end);
        }
    }

    fn tunnel_session(&self, worker: &Worker, record: &TunnelRecord, end: TunnelEnd) {
        let tail = record.tail(worker.reactor.now(), end);
        let session = match record.session() {
            Belongs::Nowhere => None,
            Belongs::Unknown { has_sid } => Some(Box::new(record.whole_session(has_sid, tail))),
            Belongs::Table(key) => worker.shared.sids.tunnel_ended(key, tail),
        };
        if let Some(session) = session {
            self.session(worker, &session, SessionEnd::Upgraded);
        }
    }

    /// The record of a session that the answer to `handshake` opens, if sessions are logged.
    pub(crate) fn begin_session(&self, handshake: &Record, sid: &Sid) -> Option<Box<SessionRecord>> {
        self.settings.events.sessions.then(|| Box::new(SessionRecord::opened(handshake, sid)))
    }

    /// Writes the line of a session that has ended.
    pub(crate) fn session(&self, worker: &Worker, record: &SessionRecord, end: SessionEnd) {
        let now = worker.reactor.now();
        self.line(worker, |line| record.write(self.clock.stamp(now), now, end, line));
    }

    /// Gives what there is to the writer.
    pub(crate) fn flush(&self, counters: &WorkerCounters) {
        let lines = self.lines.take();
        if lines == 0 {
            return;
        }
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        let label = if self.queue.push(batch, lines) { AccessLine::Queued } else { AccessLine::Dropped };
        counters.access_lines.of(label).add(lines.into());
    }

    fn line(&self, worker: &Worker, write: impl FnOnce(&mut Vec<u8>)) {
        let is_full = {
            let mut batch = self.batch.borrow_mut();
            if batch.capacity() == 0 {
                batch.reserve(ACCESS_BATCH_BYTES);
            }
            write(&mut batch);
            batch.push(b'\n');
            // So that hardly a line makes it grow.
            batch.len() > ACCESS_BATCH_BYTES / 8 * 7
        };
        self.lines.set(self.lines.get() + 1);
        if is_full {
            self.flush(worker.counters());
        }
    }

    /// What went wrong passes any sampling.
    fn passes(&self, record: &Record, cause: Cause, duration: Duration) -> bool {
        let settings = &self.settings;
        let asked_for = settings.events.requests
            && settings.statuses.has(record.status())
            && settings.min_duration.is_none_or(|least| duration >= least);
        if !asked_for || settings.sample == 1 || cause != Cause::None || record.status() >= 400 {
            return asked_for;
        }
        let well = self.well.get() + 1;
        let passes = well >= settings.sample;
        self.well.set(if passes { 0 } else { well });
        passes
    }

    fn give_back(&self, record: Box<Record>) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < ACCESS_RECORDS_SPARE_MAX {
            spares.push(record);
        }
    }
}

/// Begins a JSON line.
fn begin_json(stamp: Stamp, event: &str, line: &mut Vec<u8>) {
    line.push(b'{');
    line.extend_from_slice(fields::TIME.text_key.trim_start_matches(',').as_bytes());
    line.extend_from_slice(&stamp);
    line.push(b'"');
    Json(line).word(&fields::EVENT, event);
}
