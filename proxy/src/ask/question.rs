//! One question to one backend: a short request and its short answer.

use std::io;
use std::time::Instant;

use ringbolt_core::affinity::{Reply, read_reply};
use ringbolt_core::http::{Asked, BadBody, BadResponse, BodyReader, Method, ResponseKind};

use crate::limits::ASK_ANSWER_BYTES_MAX;
use crate::route::Route;
use crate::snapshot::Backend;
use crate::stream::{Consumed, Reader};
use crate::worker::Worker;
use crate::{connect, proxy_header};

/// There is no answer that could be read.
struct NoAnswer;

impl From<io::Error> for NoAnswer {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<BadResponse> for NoAnswer {
    fn from(_: BadResponse) -> Self {
        Self
    }
}

impl From<BadBody> for NoAnswer {
    fn from(_: BadBody) -> Self {
        Self
    }
}

/// Puts the question, over a pooled connection if there is one. The backend's `maxconn` is not for this: who waits for
/// a connection there waits for work to be done, and this is none.
pub(super) async fn put(
    worker: &Worker,
    route: &Route,
    backend: &Backend,
    text: &[u8],
    deadline: Instant,
) -> Reply {
    let may_use_pool = route.upstream().proxy_protocol.is_none();
    for pooled in [true, false] {
        let asking = exchange(worker, route, backend, text, deadline, pooled && may_use_pool);
        match worker.reactor.timeout_at(Some(deadline), asking).await {
            Ok(Ok(reply)) => return reply,
            // A pooled connection may turn out to be closed, and to ask again does no harm.
            Ok(Err(reused)) if reused => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Reply::Unclear
}

/// # Errors
/// Nothing can be read; `true`: on a connection that had been used before.
async fn exchange(
    worker: &Worker,
    route: &Route,
    backend: &Backend,
    text: &[u8],
    deadline: Instant,
    pooled: bool,
) -> Result<Reply, bool> {
    // A failure makes nobody suspect: strangers decide how many questions there are, and when.
    let connecting = connect::attempt(worker, None, route, backend, pooled, deadline);
    let connection = connecting.await.map_err(|_| false)?;
    let connect::Connection { mut stream, reused, in_flight: _in_flight, .. } = connection;
    // A backend with TLS was told already.
    if stream.tls.is_none() {
        proxy_header::send(None, route, &stream).await.map_err(|_| reused)?;
    }
    stream.transport().send_all(text).await.map_err(|_| reused)?;
    let (reply, keep_alive) =
        receive(worker, route, &mut stream.reader()).await.map_err(|NoAnswer| reused)?;
    if keep_alive && route.upstream().proxy_protocol.is_none() {
        worker.pool.give_back(backend, stream, worker.reactor.now());
    }
    Ok(reply)
}

/// The answer, and whether its connection can carry another request.
async fn receive(
    worker: &Worker,
    route: &Route,
    upstream: &mut Reader<'_>,
) -> Result<(Reply, bool), NoAnswer> {
    let asked = Asked { method: Method::Get, upgrade: None, verify_accept: false };
    let limits = &route.snapshot().head_limits;
    let head = loop {
        let read = upstream.read(&worker.hot, |input| -> Result<_, NoAnswer> {
            let mut head = worker.response_heads.take();
            let length = head.parse(input, &asked, limits)?;
            Ok(length.map_or(Consumed::More(0), |length| Consumed::Done(length, head)))
        });
        let head = read.await?.ok_or(NoAnswer)?;
        if head.kind() == ResponseKind::Final {
            break head;
        }
    };
    let (mut reader, mut body) = (BodyReader::new(head.framing()), Vec::new());
    while !reader.is_done() {
        let read = upstream.read(&worker.hot, |input| -> Result<_, NoAnswer> {
            let decoded = reader.decode(input)?;
            body.extend_from_slice(&input[..decoded.payload]);
            Ok(Consumed::Done(decoded.consumed, ()))
        });
        if read.await?.is_none() {
            reader.finish_at_eof()?;
        }
        if body.len() > ASK_ANSWER_BYTES_MAX {
            return Err(NoAnswer);
        }
    }
    Ok((read_reply(head.status(), &body), head.keep_alive()))
}
