//! Reading one request head from a client.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
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
    let Some(head) = read_head(worker, client).await? else { return Ok(None) };
    client.asked = Asked::of(&head);
    worker.counters().requests.of(label::Method::of(head.method_bytes())).add(1);
    check(worker, &head)?;
    Ok(Some(Request { head }))
}

/// What came of waiting for the first byte of a head.
enum Beginning<T> {
    /// The whole head, or the end of the connection.
    Read(T),
    /// The first of it: the rest has to follow in time.
    Begun,
    /// Nothing, and the worker drains.
    Drained,
}

/// Waits for a head and reads it. A connection may be silent before a request for as long as between
/// two: browsers open connections in advance, and a busy client is slow to use one. Then the head has
/// its own time to arrive.
async fn read_head<'a>(
    worker: &'a Worker,
    client: &mut Client,
) -> Result<Option<Spare<'a, RequestHead>>, Error> {
    let snapshot = worker.snapshot();
    let timeouts = &snapshot.timeouts;
    // A socket may claim to be readable when it is not, and an empty line may follow an earlier request
    // (RFC 9112 section 2.2): only another byte begins one.
    let begun = Cell::new(false);
    let mut reader = client.stream.reader();
    let mut reading = pin!(reader.read(&worker.hot, |input| -> Result<_, Error> {
        begun.set(input.iter().any(|byte| !matches!(byte, b'\r' | b'\n')));
        // Taken only now: a request that is waited for holds no memory.
        let mut head = worker.request_heads.take();
        Ok(match head.parse(input, &snapshot.head_limits)? {
            Some(length) => Consumed::Done(length, head),
            None => Consumed::More(0),
        })
    }));
    let beginning = poll_fn(|context| match reading.as_mut().poll(context) {
        Poll::Ready(read) => Poll::Ready(Beginning::Read(read)),
        Poll::Pending if begun.get() => Poll::Ready(Beginning::Begun),
        Poll::Pending if worker.is_draining() => Poll::Ready(Beginning::Drained),
        Poll::Pending => Poll::Pending,
    });
    match worker.reactor.timeout_at(Some(worker.reactor.now() + timeouts.keep_alive), beginning).await {
        Ok(Beginning::Read(read)) => read,
        Ok(Beginning::Begun) => {
            let deadline = worker.reactor.now() + timeouts.request_head;
            let rest = worker.reactor.timeout_at(Some(deadline), reading).await;
            rest.unwrap_or(Err(Answer::REQUEST_TIMEOUT.into()))
        }
        Ok(Beginning::Drained) | Err(_) => Ok(None),
    }
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
