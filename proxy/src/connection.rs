//! The life of one client connection, in the order it happens. Start reading here.
//!
//! listener -> PROXY header -> TLS -> request -> route -> affinity -> connect -> forward -> upgrade -> tunnel
//!
//! One file per step. What a step decides is in `ringbolt_core`, how bytes and events reach it in
//! `ringbolt_reactor`.

use ringbolt_core::affinity::BackendId;

use crate::accept::Admitted;
use crate::answer::Asked;
use crate::client::Client;
use crate::error::Error;
use crate::forward::Next;
use crate::request::Begun;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::{admission, affinity, answer, connect, forward, proxy_header, request, route, tls, tunnel};

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
        if !tls::accept(worker, &mut client).await {
            return;
        }
        while let Some(begun) = request::begun(worker, &mut client).await {
            match Box::pin(serve_request(worker, &mut client, begun)).await {
                After::Request => {}
                After::Close => break,
                After::Tunnel(upstream, backend) => {
                    return tunnel::open(worker, client.stream, client.entered, upstream, backend);
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
    Tunnel(Stream, BackendId),
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
        Ok(Next::Tunnel(upstream, backend)) => After::Tunnel(upstream, backend),
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
