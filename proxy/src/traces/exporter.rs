//! Sends spans to the collector: OTLP over HTTP, as JSON, a request for each batch.
//!
//! On the housekeeping thread. A collector that is down or slow costs spans, which are counted, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Batch;
use crate::limits::{TRACE_ANSWER_BYTES_MAX, TRACE_EXPORT_TIMEOUT, TRACE_FINISH_TIMEOUT};
use crate::metrics::HousekeepingCounters;

/// What stands around the spans of an export.
const BEFORE: &[u8] = br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"ringbolt"}}]},"scopeSpans":[{"scope":{"name":"ringbolt"},"spans":["#;
const BEHIND: &[u8] = b"]}]}]}";

/// The end of the queue that workers give spans to.
#[derive(Debug)]
pub(crate) struct Exporter {
    collector: SocketAddr,
    batches: mpsc::Receiver<Batch>,
    /// The batch under way: `attend` may be given up at any time, and `finish` then goes on with it.
    taken: Option<Batch>,
    counters: Arc<HousekeepingCounters>,
    /// The last export has failed, and that has been said.
    is_failing: bool,
}

impl Exporter {
    pub(super) fn new(
        collector: SocketAddr,
        batches: mpsc::Receiver<Batch>,
        counters: Arc<HousekeepingCounters>,
    ) -> Self {
        Self { collector, batches, taken: None, counters, is_failing: false }
    }

    /// Exports what workers give.
    pub(crate) async fn attend(&mut self) {
        while let Some(batch) = self.batches.recv().await {
            self.taken = Some(batch);
            self.export_taken().await;
        }
    }

    /// Exports what is left, but does not wait for a collector that hangs.
    pub(crate) async fn finish(&mut self) {
        let rest = async {
            self.export_taken().await;
            while let Ok(batch) = self.batches.try_recv() {
                self.taken = Some(batch);
                self.export_taken().await;
            }
        };
        let _ = timeout(TRACE_FINISH_TIMEOUT, rest).await;
    }

    async fn export_taken(&mut self) {
        let Some(Batch { text, spans }) = &self.taken else { return };
        let (body, spans) = (Bytes::from([BEFORE, text, BEHIND].concat()), *spans);
        let sent = timeout(TRACE_EXPORT_TIMEOUT, post(self.collector, body)).await;
        match sent.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                self.counters.trace_spans_lost.add(spans.into());
                // Once, until it works again.
                if !std::mem::replace(&mut self.is_failing, true) {
                    let collector = self.collector;
                    tracing::error!(%collector, error, "the collector of traces does not take spans");
                }
            }
        }
        self.taken = None;
    }
}

async fn post(collector: SocketAddr, body: Bytes) -> Result<(), String> {
    let stream = TcpStream::connect(collector).await.map_err(|error| format!("connecting: {error}"))?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| format!("HTTP: {error}"))?;
    let request = Request::post("/v1/traces")
        .header(HOST, collector.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| format!("HTTP: {error}"))?;
        let status = answer.status();
        // Read, so that the collector is not reset while it answers.
        let _ = Limited::new(answer.into_body(), TRACE_ANSWER_BYTES_MAX).collect().await;
        if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
    };
    tokio::select! {
        // The connection moves what is asked and answered; it ends first only where it fails.
        result = asked => result,
        Err(error) = connection => Err(format!("HTTP: {error}")),
    }
}
