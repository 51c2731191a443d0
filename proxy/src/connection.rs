//! The life of one client connection, in the order it happens. Start reading here.
//!
//! listener -> PROXY header -> detect -> TLS -> request -> route -> affinity -> connect -> forward -> upgrade
//! -> tunnel
//!
//! A connection in TCP mode has no request: detect -> affinity -> connect -> tunnel.
//!
//! One file per step. What a step decides is in `ringbolt_core`, how bytes and events reach it in
//! `ringbolt_reactor`.

use crate::accept::Admitted;
use crate::answer::Asked;
use crate::client::Client;
use crate::detect::{self, Outcome};
use crate::error::Error;
use crate::forward::Next;
use crate::load::Counted;
use crate::metrics::label::TunnelKind;
use crate::request::Begun;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::{admission, affinity, answer, connect, forward, proxy_header, request, route, tcp, tls, tunnel};

/// Serves one client until it closes, times out, is refused or becomes a tunnel.
///
/// Between two requests the connection is this future and nothing else, so it must stay small: what a
/// request needs is in a box that goes with it.
#[expect(clippy::manual_async_fn, reason = "an async fn would hold what it is given twice")]
pub(crate) fn serve(admitted: Admitted, mut client: Client) -> impl Future<Output = ()> {
    async move {
        let worker: &Worker = &admitted;
        if !proxy_header::receive(worker, &mut client).await || !admission::enter(worker, &mut client) {
            return;
        }
        // It may have been removed while the PROXY header was awaited.
        let listener = client.listener;
        let Some(protocols) = worker.snapshot().listener(listener).map(|listener| listener.protocols) else {
            return;
        };
        match detect::outcome(worker, &mut client, protocols).await {
            Outcome::Http => {}
            Outcome::Tls(terminator) => {
                if !tls::accept(worker, &mut client, &terminator).await {
                    return;
                }
            }
            Outcome::Tunnel(kind, target) => {
                if let Some((upstream, counted)) = Box::pin(tcp::connect(worker, &client, target)).await {
                    worker.counters().tunnels_by_kind.of(kind).add(1);
                    tunnel::open(worker, client.stream, client.entered, upstream, counted);
                }
                return;
            }
            Outcome::End => return,
        }
        while let Some(begun) = request::begun(worker, &mut client).await {
            match Box::pin(serve_request(worker, &mut client, begun)).await {
                After::Request => {}
                After::Close => break,
                After::Tunnel(upstream, counted) => {
                    worker.counters().tunnels_by_kind.of(TunnelKind::WebSocket).add(1);
                    return tunnel::open(worker, client.stream, client.entered, upstream, counted);
                }
            }
        }
        client.stream.close();
    }
}

/// What becomes of a connection after a request.
enum After {
    /// It may send another one.
    Request,
    /// It is closed.
    Close,
    /// It becomes a tunnel, together with this one.
    Tunnel(Stream, Counted),
}

/// One request, from its first byte to the last of its answer.
async fn serve_request(worker: &Worker, client: &mut Client, begun: Begun<'_>) -> After {
    let mut asked = Asked::default();
    match pass_on(worker, client, &mut asked, begun).await {
        Ok(Next::Request) => After::Request,
        Ok(Next::Close) => After::Close,
        Ok(Next::Linger) => {
            answer::linger(worker, client).await;
            After::Close
        }
        Ok(Next::Tunnel(upstream, counted)) => After::Tunnel(upstream, counted),
        Err(error) => match answer::refuse(worker, client, &asked, error).await {
            true => After::Request,
            false => After::Close,
        },
    }
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
    let mut choice = affinity::choose(worker, &route, asked, first)?;
    loop {
        let connection = connect::open(worker, &route, &mut choice).await?;
        match forward::exchange(worker, client, asked, &route, &choice, connection, &mut request).await {
            Err(Error::Stale) if request.is_some() => choice.avoid_pool(),
            outcome => return outcome,
        }
    }
}
