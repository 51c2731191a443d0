//! Answers the proxy gives by itself, and the end of a connection that got one.

use std::io;

use ringbolt_core::affinity::{ClosePacket, Query, Role, Transport};
use ringbolt_core::http::{
    Answer, AnswerContext, Framing, Method, OwnReply, RequestHead, Upgrade, Version, WebSocketKey,
    write_answer, write_engine_io_answer, write_engine_io_payload,
};

use crate::access_log::Record;
use crate::affinity::Choice;
use crate::client::Client;
use crate::error::Error;
use crate::limits::{LINGER, LINGER_BYTES_MAX};
use crate::metrics::label;
use crate::route::Route;
use crate::traces::RequestSpan;
use crate::tunnel::Told;
use crate::worker::Worker;

/// What is known of a request after its head is gone: how its answer must look.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// What is to be logged of it.
    pub(crate) record: Option<Box<Record>>,
    /// What is to be exported of it.
    pub(crate) span: Option<Box<RequestSpan>>,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    /// Nothing of the request follows its head, neither a body nor what an upgrade was asked for.
    is_whole: bool,
    /// Of a WebSocket upgrade.
    pub(crate) websocket_key: Option<WebSocketKey>,
    engine_io: Option<EngineIo>,
    /// Its backend holds it until there is something to say.
    is_poll: bool,
    /// It is to open an Engine.IO session.
    opens_session: bool,
}

/// What an Engine.IO client's answers depend on.
#[derive(Clone, Debug)]
struct EngineIo {
    /// Of the page its script belongs to.
    origin: Option<Box<[u8]>>,
    /// What ends its session, where it comes back after that.
    close: Option<ClosePacket>,
}

impl Asked {
    fn of(head: &RequestHead) -> Self {
        Self {
            record: None,
            span: None,
            method: head.method(),
            version: head.version(),
            keep_alive: head.keep_alive(),
            is_whole: matches!(head.framing(), Framing::None | Framing::Length(0))
                && matches!(head.upgrade(), Upgrade::None | Upgrade::Ignored),
            websocket_key: head.websocket_key(),
            engine_io: None,
            is_poll: false,
            opens_session: false,
        }
    }

    /// Notes the head of the request.
    pub(crate) fn note(&mut self, worker: &Worker, client: &Client, head: &RequestHead) {
        let record = self.record.take();
        *self = Self::of(head);
        let now = worker.reactor.now();
        self.span =
            worker.traces.as_ref().and_then(|traces| traces.begin(head, client.stream.tls.is_some(), now));
        if let Some((log, record)) = worker.access_log.as_ref().zip(record) {
            self.record = log.note_head(record, head);
        }
    }

    /// Notes where the request goes, and whether there is a connection, pooled or new.
    pub(crate) fn note_backend(
        &self,
        worker: &Worker,
        route: &Route,
        choice: &Choice<'_>,
        reused: Option<bool>,
    ) {
        if let Some(record) = &self.record {
            record.note_backend(worker.reactor.now(), &route.asking(choice, reused));
        }
        if let Some(span) = &self.span {
            span.note_backend(&route.asking(choice, reused));
        }
    }

    /// Notes the head of the answer.
    pub(crate) fn note_answer(&self, worker: &Worker, status: u16) {
        if let Some(record) = &self.record {
            record.note_answer(worker.reactor.now(), status);
        }
        if let Some(span) = &self.span {
            span.note_status(status);
        }
    }

    /// What is to be told of the tunnel that the request becomes.
    pub(crate) fn told_of_tunnel(&self, worker: &Worker) -> Told {
        let span = worker.traces.as_ref().zip(self.span.as_deref());
        Told::new(
            worker.access_log.as_ref().and_then(|log| log.begin_tunnel(worker, self)),
            span.map(|(traces, span)| traces.begin_tunnel(span, worker.reactor.now())),
        )
    }

    /// Its duration says nothing about anybody's health.
    pub(crate) fn is_poll(&self) -> bool {
        self.is_poll
    }

    /// Its duration is that of an Engine.IO handshake.
    pub(crate) fn opens_session(&self) -> bool {
        self.opens_session
    }

    /// Notes that the client speaks Engine.IO, and expects errors in its form.
    pub(crate) fn by_engine_io(&mut self, head: &RequestHead, query: &Query) {
        self.is_poll =
            head.method() == Method::Get && query.transport == Transport::Polling && query.sid.is_some();
        let role = query.role(head.method_bytes());
        self.opens_session = matches!(role, Role::Handshake | Role::WebSocketHandshake);
        let close = if self.is_poll { ClosePacket::to(query, head.field(b"user-agent")) } else { None };
        self.engine_io = Some(EngineIo { origin: head.field(b"origin").map(Box::from), close });
    }
}

/// What the client is told.
enum Reply {
    Answer(Answer),
    Own(Box<OwnReply>),
    /// That its session is closed.
    Close(ClosePacket),
}

impl Reply {
    /// Of a polling session that a drain has ended.
    fn to_ended(worker: &Worker, asked: &Asked) -> Self {
        let (reply, by) = match asked.engine_io.as_ref().and_then(|client| client.close) {
            Some(packet) => (Self::Close(packet), label::SessionDrainedBy::ClosePacket),
            None => (Self::Answer(Answer::UNKNOWN_SID), label::SessionDrainedBy::UnknownSid),
        };
        worker.counters().sessions_drained.of(by).add(1);
        reply
    }

    fn status(&self) -> u16 {
        match self {
            Self::Answer(answer) => answer.status,
            Self::Close(_) => 200,
            Self::Own(reply) => reply.status,
        }
    }

    /// Why it is given, where it is a refusal.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Answer(answer) => Some(answer.reason),
            Self::Own(_) | Self::Close(_) => None,
        }
    }
}

/// Tells the client why its request failed, if it can still be told. `true`: its connection goes on.
///
/// It ends when the rest of the request is still to come or cannot be told from the next one.
pub(crate) async fn refuse(worker: &Worker, client: &mut Client, asked: &Asked, error: Error) -> bool {
    let reply = match error {
        Error::Answer(answer) => Reply::Answer(answer),
        Error::Own(reply) => Reply::Own(reply),
        Error::SessionEnded => Reply::to_ended(worker, asked),
        Error::Alert(alert) => {
            worker.counters().connections_refused.of(label::RefusedConnection::Tls).add(1);
            close_with(worker, client, &alert.record()).await;
            return false;
        }
        Error::Stale => Reply::Answer(Answer::BACKEND_CLOSED),
        Error::Broken => {
            // Without the reset a close-delimited answer would look complete.
            client.stream.transport().abort();
            return false;
        }
        Error::ClientGone => return false,
    };
    let counters = worker.counters();
    counters.responses.of(label::StatusClass::of(reply.status())).add(1);
    counters.answers.of(label::AnswerStatus::of(reply.status())).add(1);
    if let Some(record) = &asked.record {
        record.note_own_answer(reply.status(), reply.reason());
    }
    if let Some(span) = &asked.span {
        span.note_status(reply.status());
    }
    let close = !(asked.keep_alive && asked.is_whole) || worker.is_closing(client.listener);
    let mut bytes = Vec::new();
    let head_only = asked.method == Method::Head;
    let retry_after_seconds = match &reply {
        Reply::Answer(answer) => answer.retry_after_seconds(worker.random()),
        Reply::Own(_) | Reply::Close(_) => 1,
    };
    let context =
        AnswerContext { version: asked.version, head_only, close, date: &worker.date(), retry_after_seconds };
    match (&reply, &asked.engine_io) {
        (Reply::Own(reply), _) => reply.write(&context, &mut bytes),
        (Reply::Close(packet), client) => {
            let origin = client.as_ref().and_then(|client| client.origin.as_deref());
            write_engine_io_payload(packet.content_type(), &packet.body(), &context, origin, &mut bytes);
        }
        (Reply::Answer(answer), Some(EngineIo { origin, .. })) => {
            write_engine_io_answer(answer, &context, origin.as_deref(), &mut bytes);
        }
        (Reply::Answer(answer), None) => write_answer(answer, &context, &mut bytes),
    }
    if close {
        close_with(worker, client, &bytes).await;
        return false;
    }
    let deadline = worker.reactor.now() + LINGER;
    let told = worker.reactor.timeout_at(Some(deadline), client.stream.transport().send_all(&bytes)).await;
    matches!(told, Ok(Ok(())))
}

/// Sends the last bytes a client gets, and ends the connection so that it can read them.
pub(crate) async fn close_with(worker: &Worker, client: &mut Client, bytes: &[u8]) {
    let deadline = worker.reactor.now() + LINGER;
    let telling = async {
        client.stream.transport().send_all(bytes).await?;
        client.stream.transport().shutdown_write()?;
        read_away(worker, client).await
    };
    // Whether the client read them or not, this is the end.
    let _ = worker.reactor.timeout_at(Some(deadline), telling).await;
}

/// Ends a connection whose client is still sending, so that it can read the answer it got.
pub(crate) async fn linger(worker: &Worker, client: &mut Client) {
    let deadline = worker.reactor.now() + LINGER;
    let lingering = async {
        client.stream.transport().shutdown_write()?;
        read_away(worker, client).await
    };
    // Whether the client read its answer or not, this is the end.
    let _ = worker.reactor.timeout_at(Some(deadline), lingering).await;
}

/// Throws away what the client still sends: closing on unread bytes would reset the connection, and
/// the client might lose the answer (RFC 9112 section 9.6).
async fn read_away(worker: &Worker, client: &mut Client) -> io::Result<()> {
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        client.stream.transport().readable().await;
        match worker.hot.with(|buffer| client.stream.transport().try_recv(buffer)) {
            Ok(0) => break,
            Ok(length) => left = left.saturating_sub(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
