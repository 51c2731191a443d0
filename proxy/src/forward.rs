//! One exchange: the request to the upstream, its answer to the client, both streaming.
//!
//! The two directions run at once, so an early answer is passed on while the request body is still
//! coming. A client that closes or resets while the backend works ends the exchange at once: the
//! backend must hear of an abandoned long poll before the client's next poll overlaps it. Where clients close
//! their half and still want their answer, `abort_on_close` leaves that to resets alone.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use ringbolt_core::allowance::Allowance;
use ringbolt_core::http::{Answer, ForwardContext, Method, write_request};
use ringbolt_core::limits::SESSION_TIME_TO_LIVE_MARGIN;
use ringbolt_reactor::{Either, select};

use crate::affinity::Choice;
use crate::answer::Asked;
use crate::client::Client;
use crate::config::Timeouts;
use crate::connect::{self, Connection};
use crate::downgrades;
use crate::error::Error;
use crate::load::Counted;
use crate::metrics::label::SessionEnd;
use crate::proxy_header;
use crate::relay::{Patience, Relay, RelayError};
use crate::request::Request;
use crate::response::{self, Received};
use crate::route::Route;
use crate::sids::Session;
use crate::snapshot::Snapshot;
use crate::stream::{Reader, Stream};
use crate::transport::Transport;
use crate::worker::Worker;

/// What happens to the client's connection after an exchange.
#[derive(Debug)]
pub(crate) enum Next {
    /// It may send another request.
    Request,
    /// It is closed.
    Close,
    /// It is closed too, but was answered while it is still sending.
    Linger,
    /// Both connections become a tunnel.
    Tunnel(Stream, Counted),
}

/// What both directions of one exchange refer to.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) route: &'a Route,
    pub(crate) choice: &'a Choice<'a>,
    pub(crate) asked: &'a Asked,
    /// A byte of the answer has left: what goes wrong now can only break it.
    pub(crate) answered: Cell<bool>,
    /// The whole request has been sent.
    pub(crate) uploaded: Cell<bool>,
    /// The client's connection is TLS.
    over_tls: bool,
}

impl Exchange<'_> {
    /// Value of Strict-Transport-Security, where the listener sets it and the client used TLS.
    pub(crate) fn hsts(&self) -> Option<&str> {
        self.route.listener().hsts.as_deref().filter(|_| self.over_tls)
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.route.snapshot().timeouts
    }

    /// How long the backend may be silent. A server holds a poll until it pings, so a known session may take as long
    /// as it lives without a request, whatever is configured.
    pub(crate) fn response_timeout(&self) -> Duration {
        let configured = self.timeouts().response;
        self.choice.session().map_or(configured, |session| configured.max(session.time_to_live()))
    }
}

/// Forwards `request` over `connection` and its answer to `client`.
///
/// # Errors
/// [`Error::Answer`] while no byte of an answer has left, [`Error::Broken`] after that; [`Error::Stale`]
/// when a reused connection turned out closed before anything of an answer came.
pub(crate) async fn exchange(
    worker: &Worker,
    client: &mut Client,
    asked: &Asked,
    route: &Route,
    choice: &Choice<'_>,
    connection: Connection<'_>,
    request: &mut Option<Request<'_>>,
) -> Result<Next, Error> {
    let source = client.address.ip();
    if asked.websocket_key.is_some()
        && choice.is_guess()
        && let Some(request) = request
    {
        downgrades::strange_upgrade(worker, source, &request.head);
    }
    let began_ms = worker.uptime_ms();
    let Connection { mut stream, backend, reused, in_flight, pass } = connection;
    asked.note_backend(worker, route, choice, Some(reused));
    let mut upload = upload_of(worker, client, asked, route, choice, request);
    let (answered, uploaded) = (Cell::new(false), Cell::new(false));
    let over_tls = client.stream.tls.is_some();
    let exchange = Exchange { worker, route, choice, asked, answered, uploaded, over_tls };
    let (mut from_client, to_client) = client.stream.split();
    let (mut from_upstream, to_upstream) = stream.split();
    let received = {
        let sending = pin!(send_request(&mut upload, &mut from_client, to_upstream, to_client, &exchange));
        let receiving = pin!(response::receive(&mut from_upstream, to_client, &exchange));
        match select(receiving, sending).await {
            Either::Left(received) => received,
            Either::Right(error) => Err(error),
        }
    };
    drop(in_flight);
    if let Some(record) = &asked.record {
        record.note_request_body(upload.payload_bytes(route.snapshot().body_bytes_max));
    }
    match &received {
        Ok(_) => backend.identity.succeeded(),
        Err(Error::Stale) if !reused => connect::failed(worker, route.upstream(), backend),
        Err(_) => {}
    }
    watch(&exchange, source, began_ms, &received);
    match received {
        Ok(Received::Switching) => Ok(Next::Tunnel(stream, worker.shared.loads.count(backend.id, pass))),
        Ok(Received::Final { upstream_keep_alive, client_keep_alive }) => {
            let uploaded = exchange.uploaded.get();
            if upstream_keep_alive && uploaded && route.upstream().proxy_protocol.is_none() {
                worker.pool.give_back(backend, stream, worker.reactor.now());
            }
            Ok(match (uploaded, client_keep_alive) {
                (true, true) => Next::Request,
                (true, false) => Next::Close,
                (false, _) => Next::Linger,
            })
        }
        Err(Error::Stale) if !reused => Err(Answer::BACKEND_CLOSED.into()),
        Err(error) => Err(error),
    }
}

/// Notes what became of a session, for what it shows of the hops in front.
fn watch(exchange: &Exchange<'_>, source: IpAddr, began_ms: u32, received: &Result<Received, Error>) {
    let Exchange { worker, choice, asked, .. } = exchange;
    match received {
        Ok(Received::Switching) => downgrades::upgraded(worker, source),
        Ok(Received::Final { .. }) if choice.has_offered_websocket() => downgrades::offered(worker, source),
        Err(Error::ClientGone) if asked.method == Method::Get && !exchange.answered.get() => {
            let held = Duration::from_millis(worker.uptime_ms().wrapping_sub(began_ms).into());
            // A client itself gives up when the session's time is over.
            let gives_up =
                |session: &Session<'_>| held + SESSION_TIME_TO_LIVE_MARGIN >= session.time_to_live();
            if choice.session().is_some_and(|session| !gives_up(session)) {
                downgrades::poll_cut(worker, source, held);
            }
        }
        _ => {}
    }
}

/// The request in the form it is sent: head serialised, body about to stream.
///
/// The parsed head is let go, unless the request may have to be sent a second time: a held poll must
/// not keep it.
fn upload_of(
    worker: &Worker,
    client: &Client,
    asked: &Asked,
    route: &Route,
    choice: &Choice<'_>,
    request: &mut Option<Request<'_>>,
) -> Relay {
    let Some(sent) = request else { unreachable!("a request is kept as long as it may be sent again") };
    let session = client.stream.tls.as_ref().map(|session| session.borrow());
    let target = choice.target(&sent.head);
    let context = ForwardContext {
        connection: client.address.ip(),
        source: route.source(),
        scheme: if session.is_some() { "https" } else { "http" },
        client_certificate: session.as_ref().and_then(|session| session.client_fields()),
        request_id: route.listener().request_id.then(|| worker.request_ids.next()),
        trace: asked.span.as_ref().map(|span| span.traceparent()),
        drop_accept_encoding: choice.learns(),
        target: target.as_deref(),
        rules: route.target().request.as_ref(),
        rewrite: route.target().rewrite.as_ref(),
    };
    if let Some(record) = &asked.record {
        record.note_request_id(&sent.head, &context);
    }
    let mut head = worker.buffers.take(sent.head.bytes_len() + ADDED_BYTES_USUAL);
    // A backend with TLS was told before its handshake.
    if let Some(version) = route.upstream().proxy_protocol
        && !route.upstream().backends[choice.index()].tls
    {
        proxy_header::write(client, context.source, version, &mut head);
    }
    write_request(&sent.head, &context, &mut head);
    let framing = sent.head.framing();
    if !sent.may_be_sent_again(choice) {
        *request = None;
    }
    let Snapshot { timeouts, body_bytes_max, body_min_rate, .. } = route.snapshot();
    let patience = Patience {
        source: Allowance::new(timeouts.request_body_idle, *body_min_rate),
        target: Allowance::new(timeouts.request_body_idle, None),
    };
    Relay::new(framing, framing, head, *body_bytes_max, patience)
}

/// What forwarding usually adds to a head; more costs one reallocation.
const ADDED_BYTES_USUAL: usize = 192;

/// Sends the request, then watches for the client to go away. Ends only with an error.
async fn send_request(
    upload: &mut Relay,
    client: &mut Reader<'_>,
    upstream: Transport<'_>,
    client_end: Transport<'_>,
    exchange: &Exchange<'_>,
) -> Error {
    match upload.run(exchange.worker, client, upstream).await {
        Ok(()) => {
            exchange.uploaded.set(true);
            let record = exchange.asked.record.as_deref();
            exchange.choice.see_payload(upload.short_payload(), SessionEnd::ClientClosed, record);
        }
        // The backend may have answered and closed without reading the body: its answer decides.
        Err(RelayError::Target) => {}
        Err(error) => return upload_error(error, exchange),
    }
    if exchange.route.upstream().abort_on_close {
        client_end.read_closed().await;
    } else {
        client_end.socket.closed().await;
    }
    Error::ClientGone
}

/// What a request body that could not be relayed means for the client.
fn upload_error(error: RelayError, exchange: &Exchange<'_>) -> Error {
    match error {
        RelayError::Source | RelayError::Target => Error::ClientGone,
        _ if exchange.answered.get() => Error::Broken,
        RelayError::Malformed(bad) => Answer::from(bad).into(),
        RelayError::TooLarge => Answer::BODY_TOO_LARGE.into(),
        RelayError::Timeout => Answer::REQUEST_TIMEOUT.into(),
    }
}
