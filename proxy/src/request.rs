//! Reading one request head from a client.

use std::future::poll_fn;
use std::task::Poll;

use ringbolt_core::detect::may_be_tls;
use ringbolt_core::http::{Answer, Framing, Method, RequestHead, TlsAlert, Upgrade};

use crate::affinity::Choice;
use crate::answer::Asked;
use crate::client::Client;
use crate::downgrades;
use crate::error::Error;
use crate::metrics::label;
use crate::snapshot::Snapshot;
use crate::spare::Spare;
use crate::stream::{Consumed, Stream};
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

/// How a request has begun.
pub(crate) enum Begun<'a> {
    /// With its whole head, as nearly all do.
    Head(Spare<'a, RequestHead>),
    /// With a part of it, which is unread: the rest has to follow in time.
    Part,
    /// With what breaks a rule.
    Refused(Error),
}

/// Waits for the next request. `None`: the client is done or silent for too long, or its listener closes.
///
/// A connection may be silent before its first request for as long as between two: browsers open
/// connections in advance, and a busy client is slow to use one.
pub(crate) async fn begun<'a>(worker: &'a Worker, client: &mut Client) -> Option<Begun<'a>> {
    let deadline = worker.reactor.now() + worker.snapshot().timeouts.keep_alive;
    let listener = client.listener;
    let stream = &mut client.stream;
    let mut pipelined = !stream.unread.is_empty();
    let waiting = poll_fn(|context| {
        loop {
            let fresh = !std::mem::take(&mut pipelined);
            if fresh && stream.transport().poll_readable(context).is_pending() {
                let ends = worker.ends_idle(listener);
                return if ends { Poll::Ready(None) } else { Poll::Pending };
            }
            match begin(worker, stream, fresh) {
                Beginning::Nothing => {}
                Beginning::Begun(begun) => return Poll::Ready(Some(begun)),
                Beginning::End => return Poll::Ready(None),
            }
        }
    });
    worker.reactor.timeout_at(Some(deadline), waiting).await.unwrap_or(None)
}

/// What came of a look for the first byte of a request.
enum Beginning<'a> {
    Nothing,
    Begun(Begun<'a>),
    /// The client has finished.
    End,
}

/// Looks at the bytes at hand, or where `fresh` is said at what has arrived. Only another byte than that
/// of an empty line, which may follow an earlier request (RFC 9112 section 2.2), begins one.
fn begin<'a>(worker: &'a Worker, stream: &mut Stream, fresh: bool) -> Beginning<'a> {
    let snapshot = worker.snapshot();
    let mut begun = false;
    let mut parse = |input: &mut [u8]| -> Result<_, Error> {
        begun = input.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        parse_head(worker, &snapshot, input)
    };
    let mut reader = stream.reader();
    let read = if fresh {
        reader.try_read(&worker.hot, &mut parse)
    } else {
        reader.consume_unread(&mut parse).map(|head| head.map(Some))
    };
    match read {
        Ok(Some(Some(head))) => Beginning::Begun(Begun::Head(head)),
        Ok(Some(None)) => Beginning::End,
        Ok(None) if begun => Beginning::Begun(Begun::Part),
        Ok(None) => Beginning::Nothing,
        Err(error) => Beginning::Begun(Begun::Refused(error)),
    }
}

fn parse_head<'a>(
    worker: &'a Worker,
    snapshot: &Snapshot,
    input: &[u8],
) -> Result<Consumed<Spare<'a, RequestHead>>, Error> {
    // Taken only now: a request that is waited for holds no memory.
    let mut head = worker.request_heads.take();
    match head.parse(input, &snapshot.head_limits) {
        Ok(Some(length)) => Ok(Consumed::Done(length, head)),
        Ok(None) => Ok(Consumed::More(0)),
        Err(_) if may_be_tls(input) => Err(Error::Alert(TlsAlert::NOT_SERVED)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The request that has begun, its head complete. `None`: the client gave up before that.
///
/// # Errors
/// The refusal of a head that breaks a rule or a limit; 408 if the rest of it does not arrive in time.
pub(crate) async fn read<'a>(
    worker: &'a Worker,
    client: &mut Client,
    asked: &mut Asked,
    begun: Begun<'a>,
) -> Result<Option<Request<'a>>, Error> {
    let head = match begun {
        Begun::Head(head) => head,
        Begun::Part => match read_rest(worker, client).await? {
            Some(head) => head,
            None => return Ok(None),
        },
        Begun::Refused(error) => return Err(error),
    };
    asked.note(worker, client, &head);
    worker.counters().requests.of(label::Method::of(head.method_bytes())).add(1);
    check(worker, client, &head)?;
    Ok(Some(Request { head }))
}

/// Reads a head of which a part is there.
async fn read_rest<'a>(
    worker: &'a Worker,
    client: &mut Client,
) -> Result<Option<Spare<'a, RequestHead>>, Error> {
    let snapshot = worker.snapshot();
    let mut reader = client.stream.reader();
    let reading = reader.read(&worker.hot, |input| parse_head(worker, &snapshot, input));
    let deadline = worker.reactor.now() + snapshot.timeouts.request_head;
    worker.reactor.timeout_at(Some(deadline), reading).await.unwrap_or(Err(Answer::REQUEST_TIMEOUT.into()))
}

/// Refuses what is legal and still cannot be served.
fn check(worker: &Worker, client: &Client, head: &RequestHead) -> Result<(), Error> {
    if let Some(downgrade) = head.downgrade() {
        downgrades::torn(worker, downgrade, client.address.ip(), head);
    }
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
