//! What a new connection speaks: waits for its first bytes, and takes away what is not served.
//!
//! What the bytes mean is decided in `ringbolt_core::detect`. They are not consumed: whoever serves the connection
//! finds them unread. A connection that is silent holds what one holds that waits for a request, and no more.
//! Where HTTP alone is served nothing here is waited for at all.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use ringbolt_core::detect::{Protocol, Protocols, Verdict};
use ringbolt_core::http::{Answer, TlsAlert};

use crate::answer::{self, Asked};
use crate::client::Client;
use crate::metrics::label::{Detected, RefusedConnection, TunnelKind};
use crate::snapshot::ListenerId;
use crate::sni::{self, Fault};
use crate::stream::{Consumed, Stream};
use crate::tls::Terminator;
use crate::worker::Worker;

/// What becomes of a connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Requests follow.
    Http,
    /// TLS is opened, requests follow inside.
    Tls(Arc<Terminator>),
    /// It becomes a tunnel to the upstream of this target.
    Tunnel(TunnelKind, usize),
    /// It has ended, or got its answer and is to be closed.
    End,
}

/// Waits for the first bytes of a new connection, which may speak these protocols.
pub(crate) async fn outcome(worker: &Worker, client: &mut Client, protocols: Protocols) -> Outcome {
    if protocols.is_only(Protocol::Http) {
        return Outcome::Http;
    }
    let protocol = match verdict(worker, client, protocols).await {
        Some(Verdict::Serve(protocol)) => protocol,
        Some(Verdict::Refuse(protocol)) => {
            Box::pin(refuse(worker, client, protocols, Some(protocol))).await;
            return Outcome::End;
        }
        Some(Verdict::Undecided) => {
            Box::pin(refuse(worker, client, protocols, None)).await;
            return Outcome::End;
        }
        None => return Outcome::End,
    };
    worker.counters().connections_detected.of(Detected::of(protocol)).add(1);
    match protocol {
        Protocol::Http => Outcome::Http,
        Protocol::Tcp => tcp(worker, client),
        Protocol::FlashPolicy => {
            Box::pin(tell_flash_policy(worker, client)).await;
            Outcome::End
        }
        Protocol::Tls => Box::pin(tls(worker, client, protocols)).await,
    }
}

/// Who opens TLS of the client's listener.
fn terminator(worker: &Worker, client: &Client) -> Option<Arc<Terminator>> {
    worker.snapshot().listener(client.listener)?.tls.clone()
}

fn tcp(worker: &Worker, client: &Client) -> Outcome {
    let target = worker.snapshot().listener(client.listener).and_then(|listener| listener.tcp);
    target.map_or(Outcome::End, |target| Outcome::Tunnel(TunnelKind::Tcp, target))
}

/// Who takes TLS: whom its server name leads to, else the listener's certificates, else whoever takes TCP.
async fn tls(worker: &Worker, client: &mut Client, protocols: Protocols) -> Outcome {
    let (reason, alert, words) = match sni::target(worker, client).await {
        Ok(Some(target)) => return Outcome::Tunnel(TunnelKind::TlsPassthrough, target),
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

/// Waits until it is clear what a connection speaks, and as long as that may take. `None`: it has ended, or
/// said nothing; [`Verdict::Undecided`]: it did not say enough.
async fn verdict(worker: &Worker, client: &mut Client, protocols: Protocols) -> Option<Verdict> {
    let (stream, listener) = (&mut client.stream, client.listener);
    let verdict = protocols.judge(&stream.unread);
    if verdict != Verdict::Undecided {
        return Some(verdict);
    }
    let now = worker.reactor.now();
    // A client that says nothing may wait for a server to speak first, or for its user.
    let (silence, head) = {
        let timeouts = &worker.snapshot().timeouts;
        let has_tcp = protocols.has(Protocol::Tcp);
        (if has_tcp { timeouts.detect } else { timeouts.keep_alive }, timeouts.request_head)
    };
    let mut deadline = now + silence;
    loop {
        let looking = poll_fn(|context| look(worker, listener, stream, protocols, context));
        match worker.reactor.timeout_at(Some(deadline), looking).await {
            Ok(Look::Decided(verdict)) => return Some(verdict),
            Ok(Look::Begun) => deadline = deadline.min(worker.reactor.now() + head),
            Ok(Look::Failed) => return None,
            Ok(Look::End) if stream.unread.is_empty() => return None,
            Ok(Look::End) | Err(_) if protocols.has(Protocol::Tcp) => {
                return Some(Verdict::Serve(Protocol::Tcp));
            }
            Ok(Look::End) | Err(_) => return (!stream.unread.is_empty()).then_some(Verdict::Undecided),
        }
    }
}

/// What came of a look at a connection.
enum Look {
    Decided(Verdict),
    /// It has said something, and not enough.
    Begun,
    /// It has said all it will say, or its listener closes and it has said nothing.
    End,
    Failed,
}

fn look(
    worker: &Worker,
    listener: ListenerId,
    stream: &mut Stream,
    protocols: Protocols,
    context: &mut Context<'_>,
) -> Poll<Look> {
    loop {
        if stream.socket.poll_readable(context).is_pending() {
            let is_over = worker.is_closing(listener) && stream.unread.is_empty();
            return if is_over { Poll::Ready(Look::Failed) } else { Poll::Pending };
        }
        let mut seen = false;
        let mut judge = |input: &mut [u8]| -> io::Result<_> {
            seen = true;
            Ok(match protocols.judge(input) {
                Verdict::Undecided => Consumed::More(0),
                verdict => Consumed::Done(0, verdict),
            })
        };
        match stream.reader().try_read(&worker.hot, &mut judge) {
            Ok(Some(Some(verdict))) => return Poll::Ready(Look::Decided(verdict)),
            Ok(Some(None)) => return Poll::Ready(Look::End),
            Ok(None) if seen => return Poll::Ready(Look::Begun),
            Ok(None) => {}
            Err(_) => return Poll::Ready(Look::Failed),
        }
    }
}

/// Tells a client that what it speaks is not served, in its own words as far as there are any. `None`: nobody
/// knows what that is.
async fn refuse(worker: &Worker, client: &mut Client, protocols: Protocols, spoken: Option<Protocol>) {
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
}

fn note_refused(worker: &Worker, client: &Client, reason: RefusedConnection, words: &str) {
    tracing::debug!(from = %client.address, reason = words, "connection refused");
    worker.counters().connections_refused.of(reason).add(1);
}

/// Sends the configured policy, behind which a Flash player expects the end of the connection.
async fn tell_flash_policy(worker: &Worker, client: &mut Client) {
    let snapshot = worker.snapshot();
    if let Some(policy) = &snapshot.flash_policy {
        answer::close_with(worker, client, policy.bytes()).await;
    }
}
