//! TCP mode: a connection's tunnel to a backend of its upstream, begun with no request to go by.
//!
//! The client's address is all there is to choose by: with every affinity but `none` it decides, with a bound
//! on load unless it is `client-ip`. A tunnel counts as a session does, so it is placed as one.

use crate::affinity;
use crate::client::Client;
use crate::connect;
use crate::error::Error;
use crate::load::Counted;
use crate::metrics::label::RefusedConnection;
use crate::proxy_header;
use crate::route::Route;
use crate::stream::Stream;
use crate::tunnel::Told;
use crate::worker::Worker;

/// The connection to a backend, and what is to be told of the tunnel.
type Opened = (Stream, Counted, Told);

/// Connects to a backend of the route's upstream. `None`: there is none, and the client is reset.
pub(crate) async fn connect(worker: &Worker, client: &Client, route: &Route) -> Option<Opened> {
    if worker.tunnels.is_full() {
        worker.counters().connections_refused.of(RefusedConnection::Limit).add(1);
        return None;
    }
    match open(worker, client, route).await {
        Ok(opened) => Some(opened),
        Err(error) => {
            let words = if let Error::Answer(answer) = &error { answer.reason } else { "backend failed" };
            tracing::debug!(from = %client.address, reason = words, "connection refused");
            worker.counters().connections_refused.of(RefusedConnection::NoBackend).add(1);
            // Closed in order it would look like the whole answer of a server that had nothing to say.
            client.stream.transport().abort();
            None
        }
    }
}

async fn open(worker: &Worker, client: &Client, route: &Route) -> Result<Opened, Error> {
    let mut choice = affinity::choose_for_connection(worker, route)?;
    let connection = connect::open(worker, client, None, route, &mut choice).await?;
    // A backend with TLS was told already.
    if connection.stream.tls.is_none() {
        proxy_header::send(Some(client), route, &connection.stream).await?;
    }
    connection.backend.identity.succeeded();
    let record = worker.access_log.as_ref().and_then(|log| {
        let backend = (&*route.upstream().name, &*connection.backend.name);
        log.begin_connection(worker, route.source().client, Some(backend))
    });
    let counted = worker.shared.loads.count(connection.backend.id, connection.pass);
    Ok((connection.stream, counted, Told::new(record, None)))
}
