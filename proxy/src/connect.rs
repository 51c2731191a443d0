//! An upstream connection for a request: a pooled one, else a new one, else the next backend's.

use std::io;
use std::time::Instant;

use ringbolt_core::http::Answer;
use ringbolt_reactor::{Socket, connect};

use crate::affinity::Choice;
use crate::client::Client;
use crate::error::Error;
use crate::identity::uptime_ms;
use crate::limits::{CONNECT_ATTEMPTS_MAX, SOCKET_OPTIONS};
use crate::load::InFlightGuard;
use crate::metrics::label;
use crate::queue::{self, Pass};
use crate::route::Route;
use crate::snapshot::{Backend, Upstream};
use crate::stream::Stream;
use crate::worker::Worker;
use crate::{proxy_header, tls};

/// A connection to the backend a request was bound to.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) stream: Stream,
    pub(crate) backend: &'a Backend,
    /// It has carried a request before, so it may turn out to be closed.
    pub(crate) reused: bool,
    pub(crate) in_flight: InFlightGuard<'a>,
    /// Where connections to the backend are bounded.
    pub(crate) pass: Option<Pass>,
}

/// Why one backend could not be connected to.
pub(crate) enum Failure {
    Refused,
    TimedOut,
    /// No TLS session came of it.
    Tls,
}

/// Connects to the chosen backend; where that fails and no session binds the request to it, to the next.
///
/// All attempts together take at most twice the connect timeout, beside the time in a backend's queue. `client_end`: of
/// the client it is for, if that is to be heeded there.
///
/// # Errors
/// 502 when the last attempt was refused or TLS failed, 504 when it timed out, 503 of a queue.
pub(crate) async fn open<'a>(
    worker: &'a Worker,
    client: &Client,
    client_end: Option<&Socket>,
    route: &'a Route,
    choice: &mut Choice<'_>,
) -> Result<Connection<'a>, Error> {
    let timeout = route.snapshot().timeouts.connect;
    let mut last_deadline = None;
    let mut attempts = 1;
    loop {
        let backend = &route.upstream().backends[choice.index()];
        let pass = queue::enter(worker, client_end, route.upstream(), backend).await?;
        let last_deadline = *last_deadline.get_or_insert(worker.reactor.now() + timeout * 2);
        let deadline = (worker.reactor.now() + timeout).min(last_deadline);
        let failure =
            match attempt(worker, Some(client), route, backend, choice.may_use_pool(), deadline).await {
                Ok(connection) => return Ok(Connection { pass, ..connection }),
                Err(failure) => failure,
            };
        failed(worker, route.upstream(), backend);
        let may_go_on = attempts < CONNECT_ATTEMPTS_MAX && worker.reactor.now() < last_deadline;
        if !(may_go_on && choice.move_on()) {
            return Err(failure.into());
        }
        attempts += 1;
    }
}

/// Notes that a backend could not be connected to, or closed without an answer.
pub(crate) fn failed(worker: &Worker, upstream: &Upstream, backend: &Backend) {
    backend.identity.counters.failed();
    let Some(most) = upstream.failures else { return };
    if backend.identity.failed(most, upstream.failure_pause, uptime_ms(worker.reactor.now())) {
        worker.counters().backends_suspected.add(1);
        let pause_seconds = upstream.failure_pause.as_secs_f64();
        tracing::warn!(backend = %backend.name, address = %backend.address, failures = most, pause_seconds,
            "requests to the backend fail, it gets no new ones for a while");
    }
}

/// Takes a pooled connection to a backend, if that may be, or makes a new one.
pub(crate) async fn attempt<'a>(
    worker: &'a Worker,
    client: Option<&Client>,
    route: &Route,
    backend: &'a Backend,
    pooled: bool,
    deadline: Instant,
) -> Result<Connection<'a>, Failure> {
    let in_flight = worker.in_flight.begin(backend.id);
    if pooled && let Some(stream) = worker.pool.take(backend, worker.reactor.now(), &worker.hot) {
        worker.counters().upstream_reuses.add(1);
        return Ok(Connection { stream, backend, reused: true, in_flight, pass: None });
    }
    let began = worker.reactor.now();
    let connecting = connect(&worker.reactor, backend.address, &SOCKET_OPTIONS);
    let (label, outcome) = match worker.reactor.timeout_at(Some(deadline), connecting).await {
        Ok(Ok(socket)) => {
            match begin_tls(worker, client, route, backend, Stream::new(socket), deadline).await {
                Ok(stream) => {
                    let duration = worker.reactor.now().saturating_duration_since(began);
                    worker.counters().upstream_connect_durations.add(duration);
                    backend.identity.counters.connected();
                    let connection = Connection { stream, backend, reused: false, in_flight, pass: None };
                    (label::Connect::Ok, Ok(connection))
                }
                Err(failure) => (label::Connect::Tls, Err(failure)),
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(backend = %backend.name, address = %backend.address, %error, "connecting failed");
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            (if refused { label::Connect::Refused } else { label::Connect::Error }, Err(Failure::Refused))
        }
        Err(_) => {
            tracing::debug!(backend = %backend.name, address = %backend.address, "connecting timed out");
            (label::Connect::Timeout, Err(Failure::TimedOut))
        }
    };
    worker.counters().upstream_connects.of(label).add(1);
    outcome
}

/// Begins TLS on a new connection, where the backend speaks it, behind its PROXY header.
async fn begin_tls(
    worker: &Worker,
    client: Option<&Client>,
    route: &Route,
    backend: &Backend,
    mut stream: Stream,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let Some(originator) = route.upstream().tls.as_deref().filter(|_| backend.tls) else { return Ok(stream) };
    // In a box, because few backends need it, and only once.
    let handshake = Box::pin(async {
        proxy_header::send(client, route, &stream).await.map_err(|error| error.to_string())?;
        tls::connect(worker, &mut stream, originator, backend.address).await
    });
    match worker.reactor.timeout_at(Some(deadline), handshake).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(reason)) => {
            tracing::warn!(backend = %backend.name, address = %backend.address, reason, "TLS to the backend failed");
            Err(Failure::Tls)
        }
        Err(_) => Err(Failure::TimedOut),
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Answer(match failure {
            Failure::Refused => Answer::BACKEND_REFUSED,
            Failure::TimedOut => Answer::BACKEND_TIMEOUT,
            Failure::Tls => Answer::BACKEND_TLS,
        })
    }
}
