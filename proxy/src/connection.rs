//! The life of one client connection, in the order it happens. Start reading here.
//!
//! listener -> request -> route -> affinity -> connect -> forward -> upgrade -> tunnel
//!
//! One file per step. What a step decides is in `ringbolt_core`, how bytes and events reach it in
//! `ringbolt_reactor`.

use crate::client::Client;
use crate::error::Error;
use crate::forward::Next;
use crate::worker::Worker;
use crate::{admission, affinity, answer, connect, forward, proxy_header, request, route, tunnel};

/// Serves one client until it closes, times out, is refused or becomes a tunnel.
pub(crate) async fn serve(worker: &Worker, mut client: Box<Client>) {
    if !proxy_header::receive(worker, &mut client).await || !admission::enter(worker, &mut client) {
        return;
    }
    loop {
        match serve_request(worker, &mut client).await {
            Ok(Next::Request) => {}
            Ok(Next::Close) => return,
            Ok(Next::Linger) => return answer::linger(worker, &mut client).await,
            Ok(Next::Tunnel(upstream, backend)) => {
                return tunnel::open(worker, client.stream, client.entered, upstream, backend);
            }
            Err(error) => {
                if !answer::refuse(worker, &mut client, error).await {
                    return;
                }
            }
        }
    }
}

/// The path of one request.
async fn serve_request(worker: &Worker, client: &mut Client) -> Result<Next, Error> {
    let mut request = request::read(worker, client).await?;
    let Some(first) = &request else { return Ok(Next::Close) };
    let route = route::find(worker, client, first)?;
    let mut choice = affinity::choose(worker, &route, client, first)?;
    loop {
        let connection = connect::open(worker, &route, &mut choice).await?;
        match forward::exchange(worker, client, &route, &choice, connection, &mut request).await {
            Err(Error::Stale) if request.is_some() => choice.avoid_pool(),
            outcome => return outcome,
        }
    }
}
