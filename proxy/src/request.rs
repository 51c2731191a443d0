//! Reading one request head from a client.

use std::future::poll_fn;
use std::task::Poll;

use ringbolt_core::http::{Answer, Framing, Method, RequestHead, Upgrade};

use crate::affinity::Choice;
use crate::answer::Asked;
use crate::client::Client;
use crate::error::Error;
use crate::metrics::label;
use crate::spare::Spare;
use crate::stream::Consumed;
use crate::worker::Worker;

/// One request, its head parsed and its body still to be read.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) head: Spare<'a, RequestHead>,
}

impl Request<'_> {
    /// Sending it a second time is harmless, if the first time nothing came back: it changes nothing
    /// (RFC 9110 section 9.2.2), carries no body and belongs to no session.
    pub(crate) fn may_be_sent_again(&self, choice: &Choice<'_>) -> bool {
        is_safe_without_body(&self.head) && !choice.has_sid()
    }
}

/// GET, HEAD or OPTIONS without a body.
fn is_safe_without_body(head: &RequestHead) -> bool {
    matches!(head.method(), Method::Get | Method::Head | Method::Options)
        && matches!(head.framing(), Framing::None | Framing::Length(0))
}

/// Reads the next request head. `None`: the client is done, or the worker drains and it is idle.
///
/// # Errors
/// The refusal of a head that breaks a rule or a limit; 408 if it does not arrive in time.
pub(crate) async fn read<'a>(worker: &'a Worker, client: &mut Client) -> Result<Option<Request<'a>>, Error> {
    client.asked = Asked::default();
    if !is_begun(worker, client).await {
        return Ok(None);
    }
    let snapshot = worker.snapshot();
    let mut head = worker.request_heads.take();
    let mut reader = client.stream.reader();
    let reading = reader.read(&worker.hot, |input| -> Result<_, Error> {
        Ok(match head.parse(input, &snapshot.head_limits)? {
            Some(length) => Consumed::Done(length, ()),
            None => Consumed::More(0),
        })
    });
    let deadline = worker.reactor.now() + snapshot.timeouts.request_head;
    match worker.reactor.timeout_at(Some(deadline), reading).await {
        Ok(Ok(Some(()))) => {}
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(Answer::REQUEST_TIMEOUT.into()),
    }
    client.requests = client.requests.saturating_add(1);
    client.asked = Asked::of(&head);
    worker.counters().requests.of(label::Method::of(head.method_bytes())).add(1);
    check(worker, &head)?;
    Ok(Some(Request { head }))
}

/// Waits for the first byte of a request; `false` if none comes in time or the worker drains.
///
/// The first request of a connection has to come as soon as its head would have to, later ones within
/// the keep-alive timeout.
async fn is_begun(worker: &Worker, client: &Client) -> bool {
    if !client.stream.unread.is_empty() {
        return true;
    }
    let begun = poll_fn(|context| match client.stream.socket.poll_readable(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if worker.is_draining() => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    });
    let timeouts = &worker.snapshot().timeouts;
    let timeout = if client.requests == 0 { timeouts.request_head } else { timeouts.keep_alive };
    let deadline = worker.reactor.now() + timeout;
    worker.reactor.timeout_at(Some(deadline), begun).await.unwrap_or(false)
}

/// Refuses what is legal and still cannot be served.
fn check(worker: &Worker, head: &RequestHead) -> Result<(), Error> {
    match head.upgrade() {
        Upgrade::RefusedHttp10 => {
            worker.counters().upgrades.of(label::Upgrade::Downgraded).add(1);
            Err(Answer::UPGRADE_DOWNGRADED.into())
        }
        Upgrade::WebSocket if worker.tunnels.is_full() => Err(Answer::TUNNELS_FULL.into()),
        Upgrade::Ignored => {
            worker.counters().upgrades.of(label::Upgrade::Ignored).add(1);
            Ok(())
        }
        Upgrade::WebSocket | Upgrade::None => Ok(()),
    }
}
