//! The PROXY protocol at both ends: who a balancer in front has on its other side, and telling a backend.
//!
//! A header changes who the client is for everything that follows, so it is taken from trusted proxies
//! only, and where one is expected nothing else is served: a client that could leave it out would pass for
//! the balancer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use ringbolt_core::http::Source;
use ringbolt_core::network::any_contains;
use ringbolt_core::proxy_protocol::{Addresses, ProxyHeader, ProxyVersion};

use crate::client::Client;
use crate::metrics::label::RefusedConnection;
use crate::route::Route;
use crate::stream::{Consumed, Stream};
use crate::worker::Worker;

/// Reads the header of a new connection where its listener expects one; the client then has the address
/// it names. `false`: the connection is refused.
pub(crate) async fn receive(worker: &Worker, client: &mut Client) -> bool {
    match worker.snapshot().listener(client.listener) {
        None => return false,
        Some(listener) if !listener.proxy_protocol => return true,
        Some(_) => {}
    }
    let from = client.address;
    // In a box, because nearly no connection needs it, and only once.
    match Box::pin(read(worker, client)).await {
        Ok(ProxyHeader::Local) => true,
        Ok(ProxyHeader::Proxied(addresses)) => {
            client.address = addresses.source;
            true
        }
        Err(Fault { reason, words }) => {
            tracing::debug!(%from, reason = words, "connection refused");
            worker.counters().connections_refused.of(reason).add(1);
            false
        }
    }
}

/// Why a connection is refused, for the metrics and in words.
struct Fault {
    reason: RefusedConnection,
    words: &'static str,
}

impl Fault {
    const fn of(words: &'static str) -> Self {
        Self { reason: RefusedConnection::ProxyHeader, words }
    }
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::of("connection failed before its PROXY header was complete")
    }
}

async fn read(worker: &Worker, client: &mut Client) -> Result<ProxyHeader, Fault> {
    let snapshot = worker.snapshot();
    let trusted = snapshot.listener(client.listener).map_or(&[][..], |listener| &listener.trusted_proxies);
    if !any_contains(trusted, client.address.ip()) {
        let words = "the address is not one of trusted_proxies";
        return Err(Fault { reason: RefusedConnection::ProxyUntrusted, words });
    }
    let mut reader = client.stream.reader();
    let reading = reader.read(&worker.hot, |input| match ProxyHeader::parse(input) {
        Ok(Some((header, length))) => Ok(Consumed::Done(length, header)),
        Ok(None) => Ok(Consumed::More(0)),
        Err(bad) => Err(Fault::of(bad.reason)),
    });
    let deadline = worker.reactor.now() + snapshot.timeouts.request_head;
    match worker.reactor.timeout_at(Some(deadline), reading).await {
        Ok(read) => read?.ok_or(Fault::of("connection ended before its PROXY header")),
        Err(_) => Err(Fault::of("PROXY header did not arrive in time")),
    }
}

/// Sends the header on a new connection to a backend of the route, where its upstream wants one. Without a client the
/// connection is our own.
pub(crate) async fn send(client: Option<&Client>, route: &Route, stream: &Stream) -> io::Result<()> {
    let Some(version) = route.upstream().proxy_protocol else { return Ok(()) };
    let Some(client) = client else { return stream.socket.send_all(version.local_header()).await };
    let mut header = Vec::new();
    write(client, route.source(), version, &mut header);
    stream.socket.send_all(&header).await
}

/// Appends the header that tells a backend who a request comes from to `out`.
///
/// The port is 0 where the client is known by a field only. The destination is where the connection
/// arrived on this machine.
pub(crate) fn write(client: &Client, source: Source, version: ProxyVersion, out: &mut Vec<u8>) {
    let is_connection = source.client == client.address.ip().to_canonical();
    let port = if is_connection { client.address.port() } else { 0 };
    let local = rustix::net::getsockname(client.stream.socket.fd()).map(SocketAddr::try_from);
    let destination = match local {
        Ok(Ok(address)) => address,
        Ok(Err(_)) | Err(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    };
    Addresses { source: SocketAddr::new(source.client, port), destination }.write(version, out);
}
