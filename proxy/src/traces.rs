//! Traces: a span for each sampled request and tunnel, exported to a collector (decision 19).
//!
//! What a caller says of its trace is passed on as it is. Where spans are exported and the caller records its trace, or
//! the request has none and is drawn, the proxy adds a span of its own, which the backend gets as its parent.
//!
//! A worker writes spans into a batch of its own and gives it to the exporter on the housekeeping thread, when it is full
//! or every second. It never waits: where the queue is full, the batch is dropped and counted.

mod exporter;
mod span;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ringbolt_core::http::{RequestHead, TraceContext};
use tokio::sync::mpsc;

use crate::access_log::Cause;
use crate::config;
use crate::limits::{TRACE_BATCH_BYTES, TRACE_QUEUE_BATCHES};
use crate::metrics::label::{TraceSpan, TunnelEnd};
use crate::metrics::{HousekeepingCounters, WorkerCounters};
use crate::worker::Worker;

pub(crate) use self::exporter::Exporter;
pub(crate) use self::span::{RequestSpan, TunnelSpan};

/// Spans as they stand in an export, with commas between them, and how many.
#[derive(Debug)]
struct Batch {
    text: Vec<u8>,
    spans: u32,
}

/// The way to the exporter, for each worker.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    settings: config::Traces,
    batches: mpsc::Sender<Batch>,
}

/// A queue, and the exporter at its end.
pub(crate) fn start(settings: config::Traces, counters: Arc<HousekeepingCounters>) -> (Queue, Exporter) {
    let (batches, received) = mpsc::channel(TRACE_QUEUE_BATCHES);
    (Queue { settings, batches }, Exporter::new(settings.collector, received, counters))
}

/// The spans of one worker.
#[derive(Debug)]
pub(crate) struct Traces {
    queue: Queue,
    batch: RefCell<Batch>,
    /// Random, so that nobody else has the same ids.
    keys: RandomState,
    ids: Cell<u64>,
    /// Requests without a trace, for taking one in so many.
    began: Cell<u32>,
}

impl Traces {
    pub(crate) fn new(queue: &Queue) -> Self {
        Self {
            queue: queue.clone(),
            batch: RefCell::new(Batch { text: Vec::new(), spans: 0 }),
            keys: RandomState::new(),
            ids: Cell::new(0),
            began: Cell::new(0),
        }
    }

    /// The span of a request that came at `now`; `None`: it is not recorded.
    pub(crate) fn begin(&self, head: &RequestHead, over_tls: bool, now: Instant) -> Option<Box<RequestSpan>> {
        let (trace, parent) = match head.field(b"traceparent").and_then(TraceContext::parse) {
            Some(TraceContext { sampled: false, .. }) => return None,
            Some(TraceContext { trace, parent, .. }) => (trace, Some(parent)),
            None if self.draws() => (u128::from(self.id()) << 64 | u128::from(self.id()), None),
            None => return None,
        };
        Some(Box::new(RequestSpan::new(trace, self.id(), parent, head, over_tls, now)))
    }

    /// The span of the tunnel that a request becomes.
    pub(crate) fn begin_tunnel(&self, request: &RequestSpan, now: Instant) -> Box<TunnelSpan> {
        Box::new(request.tunnel(self.id(), now))
    }

    /// Exports the span of a request that has ended.
    pub(crate) fn request(&self, worker: &Worker, span: &RequestSpan, cause: Cause) {
        let now = worker.reactor.now();
        self.add(worker.counters(), |text| span.write(cause, SystemTime::now(), now, text));
    }

    /// Exports the span of a tunnel that has ended.
    pub(crate) fn tunnel(&self, worker: &Worker, span: &TunnelSpan, end: TunnelEnd) {
        let now = worker.reactor.now();
        self.add(worker.counters(), |text| span.write(end, SystemTime::now(), now, text));
    }

    /// Gives what there is to the exporter.
    pub(crate) fn flush(&self, counters: &WorkerCounters) {
        let batch = self.batch.replace(Batch { text: Vec::new(), spans: 0 });
        let spans = batch.spans;
        if spans > 0 {
            let fits = self.queue.batches.try_send(batch).is_ok();
            let label = if fits { TraceSpan::Queued } else { TraceSpan::Dropped };
            counters.trace_spans.of(label).add(spans.into());
        }
    }

    fn add(&self, counters: &WorkerCounters, write: impl FnOnce(&mut Vec<u8>)) {
        let is_full = {
            let batch = &mut *self.batch.borrow_mut();
            if batch.spans > 0 {
                batch.text.push(b',');
            }
            write(&mut batch.text);
            batch.spans += 1;
            batch.text.len() >= TRACE_BATCH_BYTES
        };
        if is_full {
            self.flush(counters);
        }
    }

    fn draws(&self) -> bool {
        let began = self.began.get() + 1;
        let draws = began >= self.queue.settings.sample;
        self.began.set(if draws { 0 } else { began });
        draws
    }

    /// Never 0, which stands for no id.
    fn id(&self) -> u64 {
        let next = self.ids.get();
        self.ids.set(next.wrapping_add(1));
        self.keys.hash_one(next).max(1)
    }
}
