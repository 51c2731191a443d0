//! What is to be told of a tunnel when it has ended, and to whom.

use crate::access_log::TunnelRecord;
use crate::answer::Asked;
use crate::metrics::label::TunnelEnd;
use crate::traces::TunnelSpan;
use crate::worker::Worker;

/// What is to be told of a tunnel at its end.
#[derive(Debug)]
pub(crate) struct Told {
    /// In the access log.
    pub(super) record: Option<Box<TunnelRecord>>,
    /// To the collector of traces.
    span: Option<Box<TunnelSpan>>,
}

impl Told {
    /// Of a tunnel that begins with a request.
    pub(crate) fn of_request(worker: &Worker, asked: &Asked) -> Self {
        let span = worker.traces.as_ref().zip(asked.span.as_deref());
        Self {
            record: worker.access_log.as_ref().and_then(|log| log.begin_tunnel(worker, asked)),
            span: span.map(|(traces, span)| traces.begin_tunnel(span, worker.reactor.now())),
        }
    }

    /// Of a tunnel without a request.
    pub(crate) fn of_connection(record: Option<Box<TunnelRecord>>) -> Self {
        Self { record, span: None }
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
            traces.tunnel(span, end, worker.reactor.now(), worker.counters());
        }
    }
}
