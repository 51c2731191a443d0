//! The answer of a backend: its head, the session it may open, its body.

use std::cell::Cell;
use std::io;
use std::pin::pin;

use ringbolt_core::affinity::{HandshakeReading, TAG_BYTES, read_handshake};
use ringbolt_core::allowance::Allowance;
use ringbolt_core::http::{
    self, Answer, ReplyContext, ResponseHead, ResponseKind, Version, write_longer_response, write_response,
};
use ringbolt_core::limits::HANDSHAKE_BODY_BYTES_MAX;

use crate::access_log::Record;
use crate::binding::Binding;
use crate::downgrades;
use crate::drain;
use crate::error::Error;
use crate::forward::Exchange;
use crate::metrics::label::{self, SessionEnd};
use crate::relay::{Patience, Relay, RelayError};
use crate::spare::Spare;
use crate::stream::{Consumed, Reader};
use crate::transport::Transport;

/// How an answer ended.
#[derive(Debug)]
pub(crate) enum Received {
    /// An asked-for 101 has been forwarded.
    Switching,
    /// An answer has been forwarded to its last byte.
    Final { upstream_keep_alive: bool, client_keep_alive: bool },
}

/// What the head that was just read begins.
enum Head<'a> {
    Informational(Spare<'a, ResponseHead>),
    Switching(Spare<'a, ResponseHead>),
    /// In a box, so that the exchange has no room for it while it waits.
    Final(Spare<'a, Final>),
}

/// A final head, serialised for the client, and the body behind it.
#[derive(Debug)]
pub(crate) struct Final {
    relay: Relay,
    /// The head for a body with a tag in it; empty where there cannot be one.
    longer: Vec<u8>,
    /// The payload is kept back until the session it opens is known.
    holds: bool,
    upstream_keep_alive: bool,
    client_keep_alive: bool,
}

/// An answer whose length is noted however it ends, also by a client that goes away meanwhile.
struct Noted<'a> {
    last: Spare<'a, Final>,
    record: Option<&'a Record>,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record {
            record.note_response_body(self.last.relay.payload_bytes(None));
        }
    }
}

/// Why no head could be read.
enum HeadError {
    /// The connection failed before the head was complete.
    Upstream,
    /// The head breaks a rule.
    Bad(http::BadResponse),
    /// The body behind it, in the same arrival, could not be relayed.
    Body(RelayError),
}

impl From<io::Error> for HeadError {
    fn from(_: io::Error) -> Self {
        Self::Upstream
    }
}

/// Receives an answer from `upstream` and forwards it to `client`.
///
/// # Errors
/// [`Error::Stale`] if the connection ended before the first byte of an answer, [`Error::Answer`] for
/// what else goes wrong before the first byte has left, [`Error::Broken`] after it.
pub(crate) async fn receive(
    upstream: &mut Reader<'_>,
    client: Transport<'_>,
    exchange: &Exchange<'_>,
) -> Result<Received, Error> {
    let last = loop {
        match read_head(upstream, client, exchange).await? {
            Head::Informational(head) => pass_on(&head, client, exchange).await?,
            Head::Switching(head) => {
                exchange.worker.counters().upgrades.of(label::Upgrade::Accepted).add(1);
                exchange.choice.upgraded();
                exchange.asked.note_answer(exchange.worker, 101);
                pass_on(&head, client, exchange).await?;
                return Ok(Received::Switching);
            }
            Head::Final(last) => break last,
        }
    };
    let mut last = Noted { last, record: exchange.asked.record.as_deref() };
    let last = &mut last.last;
    if last.holds {
        learn(upstream, client, last, exchange).await?;
    }
    last.relay.run(exchange.worker, upstream, client).await.map_err(|error| body_error(&error))?;
    let payload = last.relay.short_payload();
    exchange.choice.see_payload(payload, SessionEnd::ServerClosed, exchange.asked.record.as_deref());
    last.relay.give_back(exchange.worker);
    let Final { upstream_keep_alive, client_keep_alive, .. } = **last;
    Ok(Received::Final { upstream_keep_alive, client_keep_alive })
}

/// Reads the next head of the answer. What follows a final one in the same arrival is sent along with
/// it, unless the answer is held back to learn a session from it.
async fn read_head<'a>(
    upstream: &mut Reader<'_>,
    client: Transport<'_>,
    exchange: &Exchange<'a>,
) -> Result<Head<'a>, Error> {
    let worker = exchange.worker;
    let limits = &exchange.route.snapshot().head_limits;
    let asked = http::Asked {
        method: exchange.asked.method,
        upgrade: exchange.asked.websocket_key,
        verify_accept: exchange.route.upstream().verify_accept,
    };
    let silent = Cell::new(true);
    let reading = pin!(upstream.read(&worker.hot, |input| {
        silent.set(false);
        // Taken only now: an answer that is waited for holds no memory.
        let mut head = worker.response_heads.take();
        let Some(length) = head.parse(input, &asked, limits).map_err(HeadError::Bad)? else {
            return Ok(Consumed::More(0));
        };
        match head.kind() {
            ResponseKind::Informational => Ok(Consumed::Done(length, Head::Informational(head))),
            ResponseKind::Switching => Ok(Consumed::Done(length, Head::Switching(head))),
            ResponseKind::Final => {
                let mut last = begin(&head, exchange);
                let mut used = length;
                if !last.holds {
                    used += last.relay.step(&mut input[length..], client).map_err(HeadError::Body)?;
                    exchange.answered.set(true);
                }
                Ok(Consumed::Done(used, Head::Final(worker.answers.hold(last))))
            }
        }
    }));
    match drain::await_answer(exchange, &silent, reading).await? {
        Ok(Some(found)) => Ok(found),
        Ok(None) | Err(HeadError::Upstream) if silent.get() => Err(Error::Stale),
        Ok(None) | Err(HeadError::Upstream) => Err(Answer::BACKEND_CLOSED.into()),
        Err(HeadError::Bad(bad)) => Err(Answer::from(bad).into()),
        Err(HeadError::Body(error)) => Err(unsent_error(&error)),
    }
}

/// Forwards a head without a body. One that HTTP/1.0 does not know is dropped for its clients.
async fn pass_on(head: &ResponseHead, client: Transport<'_>, exchange: &Exchange<'_>) -> Result<(), Error> {
    if exchange.asked.version == Version::Http10 {
        return Ok(());
    }
    let context = ReplyContext {
        client_version: exchange.asked.version,
        close: false,
        hsts: None,
        set_cookie: None,
        date: &exchange.worker.date(),
        rules: exchange.route.target().response.as_ref(),
    };
    let mut bytes = Vec::new();
    write_response(head, &context, &mut bytes);
    client.send_all(&bytes).await?;
    Ok(())
}

/// The final answer in the form the client gets it, and what follows it.
fn begin(head: &ResponseHead, exchange: &Exchange<'_>) -> Final {
    let counters = exchange.worker.counters();
    counters.responses.of(label::StatusClass::of(head.status())).add(1);
    exchange.asked.note_answer(exchange.worker, head.status());
    if matches!(head.status(), 400..500) {
        exchange.choice.note_refusal();
    }
    if exchange.asked.websocket_key.is_some() {
        counters.upgrades.of(label::Upgrade::Declined).add(1);
        // Of an unknown session the answer was to be expected.
        if !exchange.choice.is_guess() {
            downgrades::answered(exchange.worker, &exchange.choice.backend().name, head);
        }
    }
    // Whoever is answered while still sending cannot be heard any further.
    let closing = exchange.worker.is_closing(exchange.route.listener_id());
    let keep_alive = exchange.asked.keep_alive && exchange.uploaded.get() && !closing;
    let (bytes, framing) = write_final(head, exchange, keep_alive, 0);
    let holds = exchange.choice.learns() && head.status() == 200;
    let longer = match holds && exchange.choice.tags() {
        true => write_final(head, exchange, keep_alive, TAG_BYTES).0,
        false => Vec::new(),
    };
    let (timeout, min_rate) = (exchange.timeouts().response, exchange.route.snapshot().response_min_rate);
    let patience = Patience {
        source: Allowance::new(exchange.response_timeout(), None),
        target: Allowance::new(timeout, min_rate),
    };
    Final {
        relay: Relay::new(head.framing(), framing, bytes, None, patience),
        longer,
        holds,
        upstream_keep_alive: head.keep_alive(),
        client_keep_alive: keep_alive && framing != http::Framing::UntilClose,
    }
}

/// The final head in the form the client gets it, and how the body behind it is framed, which becomes longer by
/// `added` bytes.
fn write_final(
    head: &ResponseHead,
    exchange: &Exchange<'_>,
    keep_alive: bool,
    added: usize,
) -> (Vec<u8>, http::Framing) {
    let cookie = exchange.choice.cookie();
    let context = ReplyContext {
        client_version: exchange.asked.version,
        close: !keep_alive,
        hsts: exchange.hsts(),
        set_cookie: cookie.as_deref(),
        date: &exchange.worker.date(),
        rules: exchange.route.target().response.as_ref(),
    };
    let mut bytes = exchange.worker.buffers.take(head.bytes_len() + ADDED_BYTES_USUAL);
    let framing = write_longer_response(head, &context, added, &mut bytes);
    (bytes, framing)
}

/// What forwarding usually adds to a head; more costs one reallocation.
const ADDED_BYTES_USUAL: usize = 64;

/// What the payload that is kept back shows.
enum Learned {
    /// A session, which is stored here; to be waited for until it is wherever it is to be.
    Session(Option<Box<Binding>>),
    Nothing,
    /// More has to be read.
    TooLittle,
}

/// Looks for a session in the payload that is kept back, stores it, and tags its sid where that is configured.
fn look(last: &mut Final, exchange: &Exchange<'_>) -> Result<Learned, Error> {
    let Final { relay, longer, .. } = last;
    let handshake = match read_handshake(relay.held(), exchange.choice.protocol()) {
        HandshakeReading::Found(handshake) => handshake,
        HandshakeReading::Incomplete if !relay.is_done() && relay.held().len() < HANDSHAKE_BODY_BYTES_MAX => {
            return Ok(Learned::TooLittle);
        }
        HandshakeReading::Incomplete | HandshakeReading::NotAHandshake => return Ok(Learned::Nothing),
    };
    let tagged = exchange.choice.tag(&handshake);
    let sid = tagged.as_ref().map_or(&handshake.sid, |(_, sid)| sid);
    let binding = exchange.choice.bind(&handshake, sid, exchange.asked.record.as_deref())?;
    if let Some((tag, _)) = &tagged {
        relay.insert(handshake.sid_range.end, tag, std::mem::take(longer));
    }
    Ok(Learned::Session(binding))
}

/// Holds the answer to an Engine.IO handshake back until its sid is stored: the client's next request
/// follows its first byte at once, on any connection, so at any worker.
///
/// # Errors
/// 503 if the sid table has no room, because a session that cannot be found again must not begin.
async fn learn(
    upstream: &mut Reader<'_>,
    client: Transport<'_>,
    last: &mut Final,
    exchange: &Exchange<'_>,
) -> Result<(), Error> {
    let worker = exchange.worker;
    let deadline = worker.reactor.now() + exchange.timeouts().response;
    loop {
        match look(last, exchange)? {
            Learned::Session(binding) => {
                if let Some(binding) = binding {
                    Box::pin(binding.settled(worker, deadline)).await;
                }
                break;
            }
            Learned::Nothing => break,
            Learned::TooLittle => {}
        }
        let relay = &mut last.relay;
        let reading = upstream.read(&worker.hot, |input| -> Result<_, RelayError> {
            Ok(Consumed::Done(relay.hold(input)?, ()))
        });
        match worker.reactor.timeout_at(Some(deadline), reading).await {
            Ok(Ok(Some(()))) => {}
            Ok(Ok(None)) => relay.end_of_source().map_err(|error| unsent_error(&error))?,
            Ok(Err(error)) => return Err(unsent_error(&error)),
            Err(_) => return Err(Answer::BACKEND_SILENT.into()),
        }
    }
    exchange.answered.set(true);
    last.relay.release(client).map_err(|error| body_error(&error))
}

/// What a body that could not be relayed means for a client that has nothing of the answer yet.
fn unsent_error(error: &RelayError) -> Error {
    match error {
        RelayError::Malformed(_) => Answer::BACKEND_BODY.into(),
        RelayError::Source => Answer::BACKEND_CLOSED.into(),
        RelayError::Target | RelayError::TooLarge | RelayError::Timeout => body_error(error),
    }
}

/// What a body that could not be relayed means for a client that has its head.
fn body_error(error: &RelayError) -> Error {
    match error {
        RelayError::Target => Error::ClientGone,
        RelayError::Source | RelayError::Malformed(_) | RelayError::TooLarge | RelayError::Timeout => {
            Error::Broken
        }
    }
}
