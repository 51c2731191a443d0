//! How a worker ends what it has, once it drains: idle connections get a last answer, tunnels and polling sessions
//! are closed one by one.
//!
//! Where another process serves, connections and tunnels go there instead, as far as they can, and sessions go on there.
//!
//! A polling session ends by its poll, in its own moment within the time of the drain: the client is told, and the backend sees
//! the poll break off, which is the end of the session there. One that is between two polls ends by the next.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringbolt_core::http::Answer;
use ringbolt_reactor::Elapsed;

use crate::error::Error;
use crate::forward::Exchange;
use crate::limits::{FAREWELL_TIMEOUT, POLL_SENT};
use crate::metrics::label::SessionEnd;
use crate::tunnel::farewell::{self, Shed};
use crate::worker::Worker;

/// A drain that ends polling sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) began: Instant,
    pub(crate) over: Duration,
}

/// Begins it. The worker takes nothing new already.
pub(crate) fn begin(worker: &Rc<Worker>, deadline: Instant) {
    if !worker.is_leaving() {
        await_last_requests(worker, deadline);
    }
    let over = time_to_close(worker, deadline);
    if !worker.is_leaving() {
        worker.ending.set(Some(Ending { began: worker.reactor.now(), over }));
    }
    // Held polls, idle connections and listeners look whether the worker drains when they are polled again.
    worker.reactor.wake_all();
    shed_tunnels(worker, over);
}

/// The time up to `deadline` over which tunnels and sessions are closed: the last ones early enough to be answered.
fn time_to_close(worker: &Worker, deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(worker.reactor.now());
    left - FAREWELL_TIMEOUT.min(left / 2)
}

/// Leaves idle connections some time for a request, whose answer says that it is the last.
fn await_last_requests(worker: &Rc<Worker>, deadline: Instant) {
    let until = deadline.min(worker.reactor.now() + worker.snapshot().timeouts.drain_idle);
    worker.last_requests_until.set(Some(until));
    let of_task = Rc::clone(worker);
    worker.reactor.spawn(async move {
        of_task.reactor.sleep_until(until).await;
        of_task.reactor.wake_all();
    });
}

/// Closes the tunnels that end here over this time.
fn shed_tunnels(worker: &Rc<Worker>, over: Duration) {
    let which = if worker.is_leaving() { Shed::Unmovable } else { Shed::All };
    let of_task = Rc::clone(worker);
    worker.reactor.spawn(async move {
        farewell::shed(&of_task, which, over, || of_task.random(), || true).await;
    });
}

/// Waits until an answer is read, no longer than the backend may take, and for a poll no longer than its session lives. `silent`:
/// nothing of the answer is there.
///
/// # Errors
/// [`Error::SessionEnded`], 504 of a silent backend.
pub(crate) async fn await_answer<T>(
    exchange: &Exchange<'_>,
    silent: &Cell<bool>,
    mut reading: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Error> {
    let Exchange { worker, choice, asked, .. } = exchange;
    let reactor = &worker.reactor;
    let deadline = reactor.now() + exchange.response_timeout();
    // The poll must have left, or its backend would not see it break off.
    let first = reactor.now() + POLL_SENT;
    let session = choice.session().filter(|_| asked.is_poll());
    let end = || {
        let session = session.filter(|_| silent.get())?;
        let drains = [choice.backend().identity.ending(), worker.ending.get()];
        let moment = |Ending { began, over }| began + session.key().moment(over);
        drains.into_iter().flatten().map(moment).min().map(|moment| moment.max(first))
    };
    loop {
        let ends = end();
        let until = ends.map_or(deadline, |ends| ends.min(deadline));
        let read = poll_fn(|context| match reading.as_mut().poll(context) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            // A drain has begun or was called off, or the answer begins.
            Poll::Pending if end() != ends => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match reactor.timeout_at(Some(until), read).await {
            Ok(Some(read)) => return Ok(read),
            Ok(None) => {}
            Err(Elapsed) if ends.is_some_and(|ends| ends < deadline) => {
                session.inspect(|session| session.closed(SessionEnd::Drained, asked.record.as_deref()));
                return Err(Error::SessionEnded);
            }
            Err(Elapsed) => return Err(Answer::BACKEND_SILENT.into()),
        }
    }
}
