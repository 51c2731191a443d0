//! TLS that is passed through unopened, to the upstream of the server name in its ClientHello.
//!
//! The name is what the client asks for in plain text, or the public name where it hides another. Nothing of the
//! handshake is answered or changed: the ClientHello goes on as the tunnel's first bytes. What a ClientHello is, is
//! decided in `ringbolt_core::client_hello`.

use std::io;

use ringbolt_core::client_hello::{BadClientHello, ClientHello, ClientHelloReader};
use ringbolt_core::route::TargetId;

use crate::client::Client;
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

/// Index of the target that the connection's server name leads to, on a listener that passes names through.
/// `None`: none does. The bytes stay unread.
///
/// # Errors
/// There is no whole, well-formed ClientHello in time.
pub(crate) async fn target(worker: &Worker, client: &mut Client) -> Result<Option<usize>, Fault> {
    let deadline = {
        let snapshot = worker.snapshot();
        let passes = snapshot.listener(client.listener).is_some_and(|listener| listener.sni.is_some());
        if !passes {
            return Ok(None);
        }
        worker.reactor.now() + snapshot.timeouts.request_head
    };
    let hello = read(worker, client, deadline).await?;
    let name = hello.server_name.as_deref().unwrap_or_default();
    // Looked up now, for targets are numbered by the snapshot of the moment.
    let snapshot = worker.snapshot();
    let names = snapshot.listener(client.listener).and_then(|listener| listener.sni.as_ref());
    let target = names.and_then(|names| names.find(name.as_bytes(), b"/")).map(TargetId::index);
    tracing::debug!(from = %client.address, server_name = name, passed = target.is_some(), "ClientHello");
    Ok(target)
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
