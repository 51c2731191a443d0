//! TLS that is passed through unopened, to the upstream of the server name in its ClientHello.
//!
//! The name is what the client asks for in plain text, or the public name where it hides another. Nothing of the
//! handshake is answered or changed: the ClientHello goes on as the tunnel's first bytes. What a ClientHello is, is
//! decided in `ringbolt_core::client_hello`.

use std::io;

use ringbolt_core::client_hello::{BadClientHello, ClientHello, ClientHelloReader};
use ringbolt_core::route::TargetId;

use crate::client::Client;
use crate::route::Route;
use crate::stream::Consumed;
use crate::worker::Worker;

/// Why a connection whose first bytes were those of TLS cannot be passed on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It ended, failed, or took too long to say whom it wants.
    Incomplete,
    Malformed(BadClientHello),
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Incomplete
    }
}

/// The route that the connection's server name leads to, on a listener that passes names through. `None`: it
/// leads nowhere. The bytes stay unread.
///
/// # Errors
/// There is no whole, well-formed ClientHello in time.
pub(crate) async fn route(worker: &Worker, client: &mut Client) -> Result<Option<Route>, Fault> {
    let snapshot = worker.snapshot();
    let names = snapshot.listener(client.listener).and_then(|listener| listener.sni.as_ref());
    let Some(names) = names else { return Ok(None) };
    let hello = read(worker, client, worker.reactor.now() + snapshot.timeouts.request_head).await?;
    let name = hello.server_name.as_deref().unwrap_or_default();
    let target = names.find(name.as_bytes(), b"/").map(TargetId::index);
    tracing::debug!(from = %client.address, server_name = name, passed = target.is_some(), "ClientHello");
    Ok(target.and_then(|target| Route::of_connection(snapshot, client, target)))
}

async fn read(
    worker: &Worker,
    client: &mut Client,
    deadline: std::time::Instant,
) -> Result<ClientHello, Fault> {
    let mut hello = ClientHelloReader::default();
    let mut reader = client.stream.reader();
    let reading = reader.read(&worker.hot, |input| match hello.read(input) {
        Ok(Some(hello)) => Ok(Consumed::Done(0, hello)),
        Ok(None) => Ok(Consumed::More(0)),
        Err(bad) => Err(Fault::Malformed(bad)),
    });
    match worker.reactor.timeout_at(Some(deadline), reading).await {
        Ok(Ok(Some(hello))) => Ok(hello),
        Ok(Ok(None)) | Err(_) => Err(Fault::Incomplete),
        Ok(Err(fault)) => Err(fault),
    }
}
