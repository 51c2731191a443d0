//! What is known of one request until its line is written.
//!
//! What the head tells is put into its final form when the head is there, because the head is let go before the
//! answer comes. The rest are a few numbers.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ringbolt_core::affinity::{Protocol, Query, Sid, SidKey, Transport};
use ringbolt_core::http::{ForwardContext, RequestHead, Version, believed_request_id};

use super::clock::Stamp;
use super::combined;
use super::fields;
use super::json::{Json, write_escaped};
use super::session::SessionRecord;
use super::termination::{Cause, Phase};
use crate::client::Client;
use crate::config::{self, AccessFormat};
use crate::metrics::label::SessionEnd;

/// A request that is logged when it ends. Reused for the next one.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) format: AccessFormat,
    /// What is known beforehand, as it stands in the line.
    pub(super) text: RefCell<Vec<u8>>,
    /// Length of that without what [`Self::note_backend`] adds.
    routed_from: Cell<usize>,
    /// What stands at the line's end in the combined form.
    pub(super) tail: Vec<u8>,
    /// Of what the head tells; 0: there is no head.
    head_length: usize,
    pub(super) client: Cell<IpAddr>,
    is_tls: bool,
    pub(super) began: Option<Instant>,
    status: Cell<u16>,
    reason: Cell<Option<&'static str>>,
    phase: Cell<Phase>,
    connected_at: Cell<Option<Instant>>,
    answered_at: Cell<Option<Instant>>,
    request_body_bytes: Cell<u64>,
    response_body_bytes: Cell<u64>,
    /// The session it belongs to.
    session: Cell<Belongs>,
    /// A session that it has ended, to be written behind it.
    ended: RefCell<Option<(Box<SessionRecord>, SessionEnd)>>,
}

/// What is known of a request's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Belongs {
    /// There is none.
    #[default]
    Nowhere,
    /// It begins with this request, or is unknown.
    Unknown { has_sid: bool },
    /// The sid table holds it.
    Table(SidKey),
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: AccessFormat::Json,
            text: RefCell::default(),
            routed_from: Cell::default(),
            tail: Vec::new(),
            head_length: 0,
            client: Cell::new(Ipv4Addr::UNSPECIFIED.into()),
            is_tls: false,
            began: None,
            status: Cell::default(),
            reason: Cell::default(),
            phase: Cell::new(Phase::Request),
            connected_at: Cell::default(),
            answered_at: Cell::default(),
            request_body_bytes: Cell::default(),
            response_body_bytes: Cell::default(),
            session: Cell::default(),
            ended: RefCell::default(),
        }
    }
}

impl Record {
    /// Forgets everything, and notes when a request of `client` began.
    pub(super) fn begin(&mut self, now: Instant, client: &Client) {
        let (mut text, mut tail) = (self.text.take(), std::mem::take(&mut self.tail));
        text.clear();
        tail.clear();
        *self = Self {
            text: RefCell::new(text),
            tail,
            client: Cell::new(client.address.ip().to_canonical()),
            is_tls: client.stream.tls.is_some(),
            began: Some(now),
            ..Self::default()
        };
    }

    /// Notes what the head tells.
    pub(super) fn note_head(&mut self, head: &RequestHead, settings: &config::AccessLog) {
        self.format = settings.format;
        let text = self.text.get_mut();
        match settings.format {
            AccessFormat::Json => write_head(head, self.is_tls, settings.query, text),
            AccessFormat::Combined => combined::write_head(head, settings.query, text, &mut self.tail),
        }
        self.head_length = text.len();
        self.routed_from.set(self.head_length);
    }

    /// Notes what the query says in Engine.IO's terms, in place of an earlier word.
    pub(crate) fn note_engine_io(&self, query: &Query) {
        self.text.borrow_mut().truncate(self.head_length);
        self.session.set(Belongs::Unknown { has_sid: query.sid.is_some() });
        self.note(|json| {
            match query.protocol {
                Protocol::V3 => json.number(&fields::PROTOCOL, 3),
                Protocol::V4 => json.number(&fields::PROTOCOL, 4),
                Protocol::Other => {}
            }
            let transport = match query.transport {
                Transport::Polling => "polling",
                Transport::WebSocket => "websocket",
                Transport::WebTransport => "webtransport",
                Transport::Other => "other",
            };
            json.word(&fields::TRANSPORT, transport);
            if let Some(Ok(sid)) = &query.sid {
                json.text(&fields::SID, masked(sid));
            }
        });
        self.routed_from.set(self.text.borrow().len());
    }

    /// Notes the session it belongs to.
    pub(crate) fn note_session(&self, key: SidKey) {
        self.session.set(Belongs::Table(key));
    }

    /// Notes a session that it has ended.
    pub(crate) fn note_session_end(&self, session: Box<SessionRecord>, end: SessionEnd) {
        self.ended.replace(Some((session, end)));
    }

    pub(super) fn session(&self) -> Belongs {
        self.session.get()
    }

    /// The session that it has ended.
    pub(super) fn take_ended(&self) -> Option<(Box<SessionRecord>, SessionEnd)> {
        self.ended.take()
    }

    /// Notes the id that the request goes on with.
    pub(crate) fn note_request_id(&self, head: &RequestHead, context: &ForwardContext<'_>) {
        let given = match context.request_id {
            Some(_) => believed_request_id(head, context.source.trusted),
            None => head.field(b"x-request-id"),
        };
        self.note(|json| match (given, context.request_id) {
            (Some(given), _) => json.text(&fields::REQUEST_ID, given),
            (None, Some(fresh)) => json.request_id(&fields::REQUEST_ID, fresh),
            (None, None) => {}
        });
    }

    /// Notes who the request comes from.
    pub(crate) fn note_client(&self, client: IpAddr) {
        self.client.set(client);
    }

    /// Notes where the request goes, in place of an earlier word.
    pub(crate) fn note_backend(&self, now: Instant, backend: &Asking<'_>) {
        self.text.borrow_mut().truncate(self.routed_from.get());
        self.note(|json| {
            json.word(&fields::UPSTREAM, backend.upstream);
            json.word(&fields::BACKEND, backend.name);
            json.word(&fields::EVIDENCE, backend.evidence);
            if backend.reused == Some(true) {
                json.number(&fields::REUSED, 1);
            }
        });
        if backend.reused.is_some() {
            self.connected_at.set(Some(now));
            self.phase.set(Phase::Head);
        }
    }

    /// Notes that a connection to a backend is wanted.
    pub(crate) fn note_connecting(&self) {
        self.phase.set(Phase::Connect);
    }

    /// Notes the head of the answer.
    pub(crate) fn note_answer(&self, now: Instant, status: u16) {
        self.status.set(status);
        self.answered_at.set(Some(now));
        self.phase.set(Phase::Data);
    }

    /// Notes an answer of the proxy's own, and why it was given where it is a refusal.
    pub(crate) fn note_own_answer(&self, status: u16, reason: Option<&'static str>) {
        self.status.set(status);
        self.reason.set(reason);
    }

    pub(crate) fn note_request_body(&self, bytes: u64) {
        self.request_body_bytes.set(bytes);
    }

    pub(crate) fn note_response_body(&self, bytes: u64) {
        self.response_body_bytes.set(bytes);
    }

    pub(super) fn status(&self) -> u16 {
        self.status.get()
    }

    pub(super) fn request_body_bytes(&self) -> u64 {
        self.request_body_bytes.get()
    }

    pub(super) fn response_body_bytes(&self) -> u64 {
        self.response_body_bytes.get()
    }

    pub(super) fn duration(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// There was a request: a head, or bytes that were refused.
    pub(super) fn is_worth_a_line(&self) -> bool {
        self.head_length != 0 || self.status.get() != 0
    }

    /// Writes the line of a request that ended at `now`.
    pub(super) fn write_json(
        &self,
        stamp: Stamp,
        now: Instant,
        cause: Cause,
        sample: u32,
        line: &mut Vec<u8>,
    ) {
        super::begin_json(stamp, "request", line);
        let mut json = Json(line);
        json.address(&fields::CLIENT, self.client.get());
        json.0.extend_from_slice(&self.text.borrow());
        json.number(&fields::STATUS, self.status.get().into());
        let phase = if cause == Cause::None { Phase::None } else { self.phase.get() };
        json.code(cause, phase);
        if let Some(reason) = self.reason.get() {
            json.text(&fields::REASON, reason.as_bytes());
        }
        json.seconds(&fields::DURATION, self.duration(now));
        for (field, at) in
            [(&fields::CONNECT, &self.connected_at), (&fields::RESPONSE_HEAD, &self.answered_at)]
        {
            if let Some(at) = at.get() {
                json.seconds(field, self.duration(at));
            }
        }
        json.number(&fields::REQUEST_BODY, self.request_body_bytes.get());
        json.number(&fields::RESPONSE_BODY, self.response_body_bytes.get());
        if sample > 1 && cause == Cause::None && self.status.get() < 400 {
            json.number(&fields::SAMPLE, sample.into());
        }
        json.0.push(b'}');
    }

    /// Adds to the text of a JSON line.
    fn note(&self, write: impl FnOnce(&mut Json<'_>)) {
        if self.format == AccessFormat::Json {
            let mut text = self.text.borrow_mut();
            write(&mut Json(&mut text));
        }
    }
}

/// The backend that is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) upstream: &'a str,
    pub(crate) name: &'a str,
    pub(crate) evidence: &'static str,
    /// There is a connection to it, pooled or new.
    pub(crate) reused: Option<bool>,
}

fn write_head(head: &RequestHead, is_tls: bool, with_query: bool, text: &mut Vec<u8>) {
    let mut json = Json(text);
    json.word(&fields::SCHEME, if is_tls { "https" } else { "http" });
    json.text(&fields::METHOD, head.method_bytes());
    json.text(&fields::HOST, head.authority());
    json.text(&fields::PATH, head.path());
    if let Some(query) = head.query().filter(|_| with_query) {
        json.masked_query(&fields::QUERY, query);
    }
    json.word(&fields::HTTP_VERSION, version(head));
    // One pass over all fields costs less than a search for each of these.
    for (name, value) in head.fields() {
        let field = match name.len() {
            7 if name.eq_ignore_ascii_case(b"referer") => &fields::REFERER,
            10 if name.eq_ignore_ascii_case(b"user-agent") => &fields::USER_AGENT,
            11 if name.eq_ignore_ascii_case(b"traceparent") => &fields::TRACEPARENT,
            17 if name.eq_ignore_ascii_case(b"sec-websocket-key") => &fields::WEBSOCKET_KEY,
            _ => continue,
        };
        json.text(field, value);
    }
}

pub(super) fn version(head: &RequestHead) -> &'static str {
    match head.version() {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    }
}

/// What is shown of a sid: enough to find it again, too little to use it.
pub(super) fn masked(sid: &Sid) -> &[u8] {
    &sid.as_bytes()[..shown(sid.as_bytes().len())]
}

const fn shown(length: usize) -> usize {
    if length / 3 < 6 { length / 3 } else { 6 }
}

/// Writes a query with its sids masked, escaped as [`write_escaped`] does.
pub(super) fn write_query(query: &[u8], line: &mut Vec<u8>) {
    for (number, pair) in query.split(|&byte| byte == b'&').enumerate() {
        if number > 0 {
            line.push(b'&');
        }
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(pair.len().min(equals + 1));
        // A key in which anything is escaped may say sid.
        if key == b"sid=" || key.contains(&b'%') {
            write_escaped(key, line);
            write_escaped(&value[..shown(value.len())], line);
            line.push(b'*');
        } else {
            write_escaped(pair, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_shows_no_sid() {
        for (query, expected) in [
            (
                "EIO=4&transport=polling&sid=abcdefghijklmnopqrst&t=1",
                "EIO=4&transport=polling&sid=abcdef*&t=1",
            ),
            ("s%69d=abcdefghi&a", "s%69d=abc*&a"),
            ("sid=1", "sid=*"),
            ("sid", "sid"),
            ("", ""),
        ] {
            let mut line = Vec::new();
            write_query(query.as_bytes(), &mut line);
            assert_eq!(line.escape_ascii().to_string(), expected, "{query}");
        }
    }
}
