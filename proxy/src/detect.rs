//! What a new connection speaks: waits for its first bytes, and takes away what is not served.
//!
//! What the bytes mean is decided in `ringbolt_core::detect`. They are not consumed: whoever serves the connection
//! finds them unread. Inside TLS that was opened here they are looked at again, by the same rules. A connection that is silent holds what one holds that waits for a request, and no more.
//! Where HTTP alone is served nothing here is waited for at all.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use ringbolt_core::detect::{Protocol, Protocols, Verdict};
use ringbolt_core::http::{Answer, TlsAlert};
use ringbolt_reactor::{Elapsed, Timeout};

use crate::answer::{self, Asked};
use crate::client::Client;
use crate::metrics::label::{Detected, RefusedConnection, TunnelKind};
use crate::route::Route;
use crate::sni::{self, Fault};
use crate::stream::Consumed;
use crate::tls::Terminator;
use crate::worker::Worker;

/// What becomes of a connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Requests follow.
    Http,
    /// TLS is opened.
    Tls(Arc<Terminator>),
    /// It becomes a tunnel of this route.
    Tunnel(TunnelKind, Route),
    /// It has ended, or got its answer and is to be closed.
    End,
}

/// What a new connection may speak. `None`: its listener has been removed while the PROXY header was awaited.
pub(crate) fn protocols(worker: &Worker, client: &Client) -> Option<Protocols> {
    Some(worker.snapshot().listener(client.listener)?.protocols)
}

/// How a connection has begun.
#[derive(Debug)]
pub(crate) enum First {
    /// With what leaves no doubt.
    Decided(Verdict),
    /// With too little.
    Part,
    /// It is over, or its listener closes.
    End,
}

/// Waits until a new connection that may speak these protocols has said something; fails when it is silent for
/// too long: it may wait for a server to speak first, or for its user.
///
/// Not an async fn, which would hold what it is given twice: silent connections are many.
pub(crate) fn first<'a>(
    worker: &'a Worker,
    client: &'a mut Client,
    protocols: Protocols,
) -> Timeout<impl Future<Output = First> + 'a> {
    let snapshot = worker.snapshot();
    let timeouts = &snapshot.timeouts;
    let silence = if protocols.has(Protocol::Tcp) { timeouts.detect } else { timeouts.keep_alive };
    let looking = poll_fn(move |context| look(worker, client, protocols, context));
    worker.reactor.timeout_at(Some(worker.reactor.now() + silence), looking)
}

fn look(
    worker: &Worker,
    client: &mut Client,
    protocols: Protocols,
    context: &mut Context<'_>,
) -> Poll<First> {
    let stream = &mut client.stream;
    let mut seen = !stream.unread.is_empty();
    match protocols.judge(&stream.unread) {
        Verdict::Undecided if seen => return Poll::Ready(First::Part),
        Verdict::Undecided => {}
        verdict => return Poll::Ready(First::Decided(verdict)),
    }
    loop {
        if stream.transport().poll_readable(context).is_pending() {
            return if worker.is_closing(client.listener) { Poll::Ready(First::End) } else { Poll::Pending };
        }
        let mut judge = |input: &mut [u8]| -> io::Result<_> {
            seen = true;
            Ok(judged(protocols, input))
        };
        match stream.reader().try_read(&worker.hot, &mut judge) {
            Ok(Some(Some(verdict))) => return Poll::Ready(First::Decided(verdict)),
            Ok(None) if seen => return Poll::Ready(First::Part),
            Ok(None) => {}
            Ok(Some(None)) | Err(_) => return Poll::Ready(First::End),
        }
    }
}

/// The verdict, with the bytes left where they are.
fn judged(protocols: Protocols, input: &[u8]) -> Consumed<Verdict> {
    match protocols.judge(input) {
        Verdict::Undecided => Consumed::More(0),
        verdict => Consumed::Done(0, verdict),
    }
}

/// What becomes of a connection that has begun like this, or has been silent.
pub(crate) async fn outcome(
    worker: &Worker,
    client: &mut Client,
    protocols: Protocols,
    first: Result<First, Elapsed>,
) -> Outcome {
    let verdict = match first {
        Ok(First::Decided(verdict)) => verdict,
        Ok(First::Part) => rest(worker, client, protocols).await,
        Err(_) if protocols.has(Protocol::Tcp) => Verdict::Serve(Protocol::Tcp),
        Ok(First::End) | Err(_) => return Outcome::End,
    };
    let protocol = match verdict {
        Verdict::Serve(protocol) => protocol,
        Verdict::Refuse(protocol) => return refuse(worker, client, protocols, Some(protocol)).await,
        Verdict::Undecided => return refuse(worker, client, protocols, None).await,
    };
    worker.counters().connections_detected.of(Detected::of(protocol)).add(1);
    match protocol {
        Protocol::Http => Outcome::Http,
        Protocol::Tcp => tcp(worker, client),
        Protocol::FlashPolicy => tell_flash_policy(worker, client).await,
        Protocol::Tls => tls(worker, client, protocols).await,
    }
}

/// The verdict when more has come, or nothing has in time: what says too little is TCP, if that is served.
async fn rest(worker: &Worker, client: &mut Client, protocols: Protocols) -> Verdict {
    let has_tcp = protocols.has(Protocol::Tcp);
    let timeout = {
        let timeouts = &worker.snapshot().timeouts;
        if has_tcp { timeouts.detect } else { timeouts.request_head }
    };
    let mut reader = client.stream.reader();
    let reading = reader.read(&worker.hot, |input| io::Result::Ok(judged(protocols, input)));
    match worker.reactor.timeout_at(Some(worker.reactor.now() + timeout), reading).await {
        Ok(Ok(Some(verdict))) => verdict,
        Ok(Err(_)) => Verdict::Undecided,
        _ if has_tcp => Verdict::Serve(Protocol::Tcp),
        _ => Verdict::Undecided,
    }
}

/// Who opens TLS of the client's listener.
fn terminator(worker: &Worker, client: &Client) -> Option<Arc<Terminator>> {
    worker.snapshot().listener(client.listener)?.tls.clone()
}

fn tcp(worker: &Worker, client: &Client) -> Outcome {
    let snapshot = worker.snapshot();
    let target = snapshot.listener(client.listener).and_then(|listener| listener.tcp);
    let route = target.and_then(|target| Route::of_connection(snapshot, client, target));
    // Without one the listener, or TCP on it, has been removed meanwhile.
    route.map_or(Outcome::End, |route| Outcome::Tunnel(TunnelKind::Tcp, route))
}

/// Who takes TLS: whom its server name leads to, else the listener's certificates, else whoever takes TCP.
async fn tls(worker: &Worker, client: &mut Client, protocols: Protocols) -> Outcome {
    let (reason, alert, words) = match sni::route(worker, client).await {
        Ok(Some(route)) => return Outcome::Tunnel(TunnelKind::TlsPassthrough, route),
        Ok(None) if let Some(terminator) = terminator(worker, client) => return Outcome::Tls(terminator),
        Ok(None) if protocols.has(Protocol::Tcp) => return tcp(worker, client),
        Ok(None) => (RefusedConnection::ServerName, TlsAlert::SERVER_NAME, TlsAlert::SERVER_NAME.reason),
        Err(Fault::Malformed(bad)) => (RefusedConnection::ClientHello, TlsAlert::CLIENT_HELLO, bad.reason),
        Err(Fault::Incomplete) => {
            (RefusedConnection::ClientHello, TlsAlert::CLIENT_HELLO, TlsAlert::CLIENT_HELLO.reason)
        }
    };
    note_refused(worker, client, reason, words);
    answer::close_with(worker, client, &alert.record()).await;
    Outcome::End
}

/// Tells a client that what it speaks is not served, in its own words as far as there are any. `None`: nobody
/// knows what that is.
async fn refuse(
    worker: &Worker,
    client: &mut Client,
    protocols: Protocols,
    spoken: Option<Protocol>,
) -> Outcome {
    let (reason, words) = match spoken {
        Some(Protocol::Tls) => (RefusedConnection::Tls, TlsAlert::NOT_SERVED.reason),
        Some(Protocol::Http) => (RefusedConnection::Http, Answer::HTTP_NOT_SERVED.reason),
        Some(Protocol::FlashPolicy) => {
            (RefusedConnection::FlashPolicy, "no Flash policy is served on this port")
        }
        Some(Protocol::Tcp) => (RefusedConnection::Unknown, "it speaks nothing that is known"),
        None => (RefusedConnection::Unknown, "what it speaks was not clear in time"),
    };
    note_refused(worker, client, reason, words);
    match reason {
        RefusedConnection::Tls => answer::close_with(worker, client, &TlsAlert::NOT_SERVED.record()).await,
        RefusedConnection::Http => {
            let has_tls = protocols.has(Protocol::Tls);
            let answer = if has_tls { Answer::HTTP_ON_TLS } else { Answer::HTTP_NOT_SERVED };
            answer::refuse(worker, client, &Asked::default(), answer.into()).await;
        }
        _ => {}
    }
    Outcome::End
}

fn note_refused(worker: &Worker, client: &Client, reason: RefusedConnection, words: &str) {
    tracing::debug!(from = %client.address, reason = words, "connection refused");
    worker.counters().connections_refused.of(reason).add(1);
}

/// Sends the configured policy, behind which a Flash player expects the end of the connection.
async fn tell_flash_policy(worker: &Worker, client: &mut Client) -> Outcome {
    let snapshot = worker.snapshot();
    if let Some(policy) = &snapshot.flash_policy {
        answer::close_with(worker, client, policy.bytes()).await;
    }
    Outcome::End
}
