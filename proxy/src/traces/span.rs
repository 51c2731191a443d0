//! Spans, and their form in OTLP's JSON (opentelemetry-proto 1.x, "JSON Protobuf Encoding").
//!
//! Names of attributes are those of OpenTelemetry's semantic conventions for HTTP; queries are left out, for the sids in
//! them.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use ringbolt_core::http::{RequestHead, TraceContext, Traceparent, write_hex};

use crate::access_log::{Asking, Cause, write_escaped};
use crate::metrics::cell::Label as _;
use crate::metrics::label::TunnelEnd;

/// Who a span belongs to, and when it began.
#[derive(Clone, Copy, Debug)]
struct Place {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    began: Instant,
}

/// A request that is recorded.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    place: Place,
    /// Of the method.
    name: Vec<u8>,
    /// What the head tells, each with a comma behind it, and what [`Self::note_backend`] adds.
    attributes: RefCell<Vec<u8>>,
    head_length: usize,
    status: Cell<u16>,
}

/// A tunnel that is recorded, below the request that began it.
#[derive(Debug)]
pub(crate) struct TunnelSpan {
    place: Place,
    attributes: Box<[u8]>,
}

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;

impl RequestSpan {
    pub(super) fn new(
        trace: u128,
        id: u64,
        parent: Option<u64>,
        head: &RequestHead,
        over_tls: bool,
        began: Instant,
    ) -> Self {
        let mut attributes = Vec::new();
        let scheme: &[u8] = if over_tls { b"https" } else { b"http" };
        for (key, value) in [
            ("http.request.method", head.method_bytes()),
            ("url.scheme", scheme),
            ("url.path", head.path()),
            ("server.address", head.authority()),
        ] {
            write_text(key, value, &mut attributes);
        }
        let mut name = Vec::new();
        write_escaped(head.method_bytes(), &mut name);
        Self {
            place: Place { trace, id, parent, began },
            name,
            head_length: attributes.len(),
            attributes: RefCell::new(attributes),
            status: Cell::new(0),
        }
    }

    /// The field by which the backend learns of the span.
    pub(crate) fn traceparent(&self) -> Traceparent {
        let Place { trace, id, parent, .. } = self.place;
        let context = TraceContext { trace, parent: id, sampled: true };
        Traceparent { value: context.to_field(), begins: parent.is_none() }
    }

    /// Notes where the request goes, in place of an earlier word.
    pub(crate) fn note_backend(&self, backend: &Asking<'_>) {
        let attributes = &mut *self.attributes.borrow_mut();
        attributes.truncate(self.head_length);
        write_text("ringbolt.upstream", backend.upstream.as_bytes(), attributes);
        write_text("ringbolt.backend", backend.name.as_bytes(), attributes);
    }

    pub(crate) fn note_status(&self, status: u16) {
        self.status.set(status);
    }

    pub(super) fn tunnel(&self, id: u64, began: Instant) -> TunnelSpan {
        let Place { trace, id: parent, .. } = self.place;
        TunnelSpan {
            place: Place { trace, id, parent: Some(parent), began },
            attributes: self.attributes.borrow().as_slice().into(),
        }
    }

    /// Writes the span of a request that ended at `now`.
    pub(super) fn write(&self, cause: Cause, clock: SystemTime, now: Instant, out: &mut Vec<u8>) {
        self.place.write(&self.name, SERVER, clock, now, out);
        out.extend_from_slice(&self.attributes.borrow());
        let status = self.status.get();
        // Writing to memory does not fail.
        if status != 0 {
            let _ =
                write!(out, r#"{{"key":"http.response.status_code","value":{{"intValue":"{status}"}}}},"#);
        }
        write_text("ringbolt.cause", &[cause.letter()], out);
        end(status >= 500 || status == 0, out);
    }
}

impl TunnelSpan {
    /// Writes the span of a tunnel that ended at `now`.
    pub(super) fn write(&self, reason: TunnelEnd, clock: SystemTime, now: Instant, out: &mut Vec<u8>) {
        self.place.write(b"tunnel", INTERNAL, clock, now, out);
        out.extend_from_slice(&self.attributes);
        write_text("ringbolt.tunnel.end", TunnelEnd::VALUES[reason.index()].as_bytes(), out);
        end(false, out);
    }
}

impl Place {
    /// Begins a span that ended at `now`, which is `clock`.
    fn write(&self, name: &[u8], kind: u8, clock: SystemTime, now: Instant, out: &mut Vec<u8>) {
        let (mut trace, mut id) = ([0; 32], [0; 16]);
        write_hex(self.trace, &mut trace);
        write_hex(self.id.into(), &mut id);
        write_member(b"{\"traceId\":\"", &trace, out);
        write_member(b",\"spanId\":\"", &id, out);
        if let Some(parent) = self.parent {
            write_hex(parent.into(), &mut id);
            write_member(b",\"parentSpanId\":\"", &id, out);
        }
        write_member(b",\"name\":\"", name, out);
        let ended = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let began = ended.saturating_sub(now.saturating_duration_since(self.began));
        let (began, ended) = (began.as_nanos(), ended.as_nanos());
        // Writing to memory does not fail.
        let _ = write!(
            out,
            r#","kind":{kind},"startTimeUnixNano":"{began}","endTimeUnixNano":"{ended}","attributes":["#
        );
    }
}

fn write_member(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out.push(b'"');
}

/// Writes an attribute and a comma.
fn write_text(key: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\",\"value\":{\"stringValue\":\"");
    write_escaped(value, out);
    out.extend_from_slice(b"\"}},");
}

/// Ends the attributes, of which there is one at least, and the span.
fn end(has_failed: bool, out: &mut Vec<u8>) {
    out.pop();
    // `STATUS_CODE_ERROR`; else it is left unset.
    out.extend_from_slice(if has_failed { b"],\"status\":{\"code\":2}}" } else { b"],\"status\":{}}" });
}
