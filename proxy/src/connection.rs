//! The life of one client connection, in the order it happens. Start reading here.
//!
//! listener -> PROXY header -> detect -> TLS -> detect -> request -> route -> affinity -> connect -> forward
//! -> upgrade -> tunnel
//!
//! A connection in TCP mode has no request: detect -> affinity -> connect -> tunnel.
//!
//! One file per step. What a step decides is in `ringbolt_core`, how bytes and events reach it in
//! `ringbolt_reactor`.

use ringbolt_core::detect::{Protocol, Protocols};
use ringbolt_core::frames::Frames;
use ringbolt_reactor::Elapsed;

use crate::accept::Admitted;
use crate::access_log::Cause;
use crate::affinity::Chosen;
use crate::answer::Asked;
use crate::client::Client;
use crate::detect::{self, First, Outcome};
use crate::error::Error;
use crate::forward::Next;
use crate::load::Counted;
use crate::metrics::label::TunnelKind;
use crate::request::Begun;
use crate::search::FoundOut;
use crate::stream::Stream;
use crate::tunnel::Told;
use crate::worker::Worker;
use crate::{
    admission, affinity, answer, connect, forward, proxy_header, request, route, search, tcp, tls, tunnel,
};

/// Serves one client until it closes, times out, is refused or becomes a tunnel.
///
/// Between two requests the connection is this future and nothing else, so it must stay small: what a
/// request needs is in a room that the next one gets, of whatever connection.
#[expect(clippy::manual_async_fn, reason = "an async fn would hold what it is given twice")]
pub(crate) fn serve(admitted: Admitted, mut client: Client) -> impl Future<Output = ()> {
    async move {
        let worker: &Worker = &admitted;
        if !proxy_header::receive(worker, &mut client).await || !admission::enter(worker, &mut client) {
            return;
        }
        let Some(mut protocols) = detect::protocols(worker, &client) else { return };
        // Twice at most: TLS is opened once.
        while !protocols.is_only(Protocol::Http) {
            let first = detect::first(worker, &mut client, protocols).await;
            match Box::pin(begin(worker, &mut client, &mut protocols, first)).await {
                After::Request => {}
                After::Close => return client.stream.close(),
                After::Tunnel(upstream, counted, told) => {
                    let Client { stream, entered, .. } = client;
                    return tunnel::open(worker, stream, (entered, told), upstream, Frames::LOST, counted);
                }
            }
        }
        while let Some(begun) = request::begun(worker, &mut client).await {
            match worker.rooms.place(serve_request(worker, &mut client, begun)).await {
                After::Request => {}
                After::Close => return client.stream.close(),
                After::Tunnel(upstream, counted, told) => {
                    worker.counters().tunnels_by_kind.of(TunnelKind::WebSocket).add(1);
                    let Client { stream, entered, .. } = client;
                    return tunnel::open(
                        worker,
                        stream,
                        (entered, told),
                        upstream,
                        Frames::BEGINNING,
                        counted,
                    );
                }
            }
        }
        worker.give_away(&client);
        client.stream.close();
    }
}

/// What becomes of a connection after its first bytes, or after a request.
enum After {
    /// It may send one, or another.
    Request,
    /// It is closed.
    Close,
    /// It becomes a tunnel, together with this one.
    Tunnel(Stream, Counted, Told),
}

/// A connection on a port that serves more than HTTP, up to its first request, its first bytes inside TLS, or the end
/// of its path. `protocols` becomes what it may speak from there on.
async fn begin(
    worker: &Worker,
    client: &mut Client,
    protocols: &mut Protocols,
    first: Result<First, Elapsed>,
) -> After {
    match detect::outcome(worker, client, *protocols, first).await {
        Outcome::Http => {
            *protocols = Protocols::of(Protocol::Http);
            After::Request
        }
        Outcome::Tls(terminator) => match tls::accept(worker, client, &terminator).await {
            Some(inside) => {
                *protocols = inside;
                After::Request
            }
            None => After::Close,
        },
        Outcome::End => After::Close,
        Outcome::Tunnel(kind, route) => match tcp::connect(worker, client, &route).await {
            Some((upstream, counted, told)) => {
                worker.counters().tunnels_by_kind.of(kind).add(1);
                After::Tunnel(upstream, counted, told)
            }
            None => After::Close,
        },
    }
}

/// One request, from its first byte to the last of its answer.
async fn serve_request(worker: &Worker, client: &mut Client, begun: Begun<'_>) -> After {
    let mut asked = Asked::default();
    let began = worker.reactor.now();
    worker.counters().requests_active.add(1);
    asked.record = worker.access_log.as_ref().map(|log| log.begin(worker, client));
    let mut cause = Cause::None;
    let after = match pass_on(worker, client, &mut asked, begun).await {
        Ok(Next::Request) => After::Request,
        Ok(Next::Close) => After::Close,
        Ok(Next::Linger) => {
            answer::linger(worker, client).await;
            After::Close
        }
        Ok(Next::Tunnel(upstream, counted)) => After::Tunnel(upstream, counted, asked.told_of_tunnel(worker)),
        Err(error) => {
            cause = Cause::of(&error);
            match answer::refuse(worker, client, &asked, error).await {
                true => After::Request,
                false => After::Close,
            }
        }
    };
    worker.counters().requests_active.sub(1);
    let duration = worker.reactor.now().saturating_duration_since(began);
    if asked.opens_session() && matches!(cause, Cause::None) {
        worker.counters().handshake_durations.add(duration);
    }
    match &after {
        After::Tunnel(..) => {}
        _ if asked.is_poll() => worker.counters().poll_durations.add(duration),
        _ => worker.counters().request_durations.add(duration),
    }
    if let Some(log) = &worker.access_log {
        log.request(worker, &mut asked, cause);
    }
    if let Some((traces, span)) = worker.traces.as_ref().zip(asked.span.as_deref()) {
        traces.request(worker, span, cause);
    }
    after
}

/// The path of one request.
async fn pass_on(
    worker: &Worker,
    client: &mut Client,
    asked: &mut Asked,
    begun: Begun<'_>,
) -> Result<Next, Error> {
    let mut request = request::read(worker, client, asked, begun).await?;
    let Some(first) = &request else { return Ok(Next::Close) };
    let route = route::find(worker, client, first)?;
    let mut choice = match affinity::choose(worker, &route, asked, first, FoundOut::default())? {
        Chosen::Backend(choice) => choice,
        Chosen::Unknown(unknown) => {
            Box::pin(search::choose(worker, client, &route, asked, first, unknown)).await?
        }
    };
    loop {
        if let Some(record) = &asked.record {
            record.note_client(route.source().client);
            record.note_connecting();
        }
        let client_end = Some(&client.stream.socket);
        let connection = match connect::open(worker, client, client_end, &route, &mut choice).await {
            Ok(connection) => connection,
            Err(error) => {
                asked.note_backend(worker, &route, &choice, None);
                choice.note_failure(&error);
                return Err(error);
            }
        };
        match forward::exchange(worker, client, asked, &route, &choice, connection, &mut request).await {
            Err(Error::Stale) if request.is_some() => choice.avoid_pool(),
            outcome => {
                if let Err(error) = &outcome {
                    choice.note_failure(error);
                }
                return outcome;
            }
        }
    }
}
