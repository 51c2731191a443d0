//! What is to be told of a tunnel when it has ended, and to whom.

use crate::access_log::TunnelRecord;
use crate::metrics::label::TunnelEnd;
use crate::traces::TunnelSpan;
use crate::worker::Worker;

/// What is told.
#[derive(Debug)]
pub(crate) struct Told {
    /// In the access log.
    pub(super) record: Option<Box<TunnelRecord>>,
    /// To the collector of traces.
    span: Option<Box<TunnelSpan>>,
}

impl Told {
    pub(crate) fn new(record: Option<Box<TunnelRecord>>, span: Option<Box<TunnelSpan>>) -> Self {
        Self { record, span }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.record.is_none() && self.span.is_none()
    }

    /// Tells that it has ended.
    pub(super) fn tell(&self, worker: &Worker, end: TunnelEnd) {
        if let Some((log, record)) = worker.access_log.as_ref().zip(self.record.as_deref()) {
            log.tunnel(worker, record, end);
        }
        if let Some((traces, span)) = worker.traces.as_ref().zip(self.span.as_deref()) {
            traces.tunnel(worker, span, end);
        }
    }
}
