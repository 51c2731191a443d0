//! Who may connect to a backend with `maxconn`, and who waits for it: first come, first served, over all workers.
//!
//! A lock is taken for it twice a request, only where it is configured, and never across I/O.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use ringbolt_core::http::Answer;
use ringbolt_reactor::{Either, Socket, select};

use crate::error::Error;
use crate::identity::Identity;
use crate::metrics::label;
use crate::snapshot::{Backend, Upstream};
use crate::worker::Worker;

/// The way to one backend.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    inside: u32,
    /// How many may be, as whoever asked last has it in its configuration.
    most: u32,
    waiting: VecDeque<Arc<Ticket>>,
}

/// A place in the queue.
#[derive(Debug, Default)]
struct Ticket(Mutex<Turn>);

#[derive(Debug, Default)]
enum Turn {
    #[default]
    New,
    Waiting(Waker),
    Come,
}

/// Leave to have one connection to a backend, until this is dropped.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Identity>);

/// What came of asking.
enum Asked {
    In,
    Wait(Arc<Ticket>),
    Full,
}

/// Waits for leave to connect to `backend`. `None`: it has no bound. `client`: whoever that is for, if its end is
/// to be heeded.
///
/// # Errors
/// 503 if too many wait already or it takes too long.
pub(crate) async fn enter(
    worker: &Worker,
    client: Option<&Socket>,
    upstream: &Upstream,
    backend: &Backend,
) -> Result<Option<Pass>, Error> {
    let Some(most) = backend.maxconn else { return Ok(None) };
    let identity = &backend.identity;
    match identity.gate.ask(most, upstream.queue) {
        Asked::In => Ok(Some(Pass(Arc::clone(identity)))),
        Asked::Full => {
            worker.counters().queued.of(label::Queued::Full).add(1);
            Err(Answer::QUEUE_FULL.into())
        }
        Asked::Wait(ticket) => Box::pin(wait(worker, client, upstream, identity, ticket)).await.map(Some),
    }
}

/// Leave for a connection that another process has, whatever the bound is.
pub(crate) fn enter_again(identity: &Arc<Identity>) -> Pass {
    identity.gate.0.lock().inside += 1;
    Pass(Arc::clone(identity))
}

async fn wait(
    worker: &Worker,
    client: Option<&Socket>,
    upstream: &Upstream,
    identity: &Arc<Identity>,
    ticket: Arc<Ticket>,
) -> Result<Pass, Error> {
    let place = Place { worker, identity, ticket };
    worker.counters().queue_waiting.add(1);
    let began = worker.reactor.now();
    let deadline = began + upstream.queue_timeout;
    let come = pin!(worker.reactor.timeout_at(Some(deadline), place.come()));
    let gone = pin!(async {
        match client.filter(|_| upstream.abort_on_close) {
            Some(client) => client.read_closed().await,
            None => std::future::pending().await,
        }
    });
    let (label, outcome) = match select(come, gone).await {
        Either::Left(Ok(pass)) => (label::Queued::Served, Ok(pass)),
        Either::Left(Err(_)) => {
            identity.counters.queue_timed_out();
            (label::Queued::Timeout, Err(Answer::QUEUE_TIMEOUT.into()))
        }
        Either::Right(()) => (label::Queued::Gone, Err(Error::ClientGone)),
    };
    worker.counters().queued.of(label).add(1);
    worker.counters().queue_durations.add(worker.reactor.now().saturating_duration_since(began));
    outcome
}

/// A place in the queue, given up when this is dropped.
struct Place<'a> {
    worker: &'a Worker,
    identity: &'a Arc<Identity>,
    ticket: Arc<Ticket>,
}

impl Place<'_> {
    /// Resolves when it is this one's turn.
    async fn come(&self) -> Pass {
        poll_fn(|context| {
            let mut turn = self.ticket.0.lock();
            if matches!(*turn, Turn::Come) {
                // What is taken is not given back by the place.
                *turn = Turn::New;
                return Poll::Ready(Pass(Arc::clone(self.identity)));
            }
            *turn = Turn::Waiting(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.worker.counters().queue_waiting.sub(1);
        self.identity.gate.give_up(&self.ticket);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

impl Gate {
    /// One more connection would have to wait.
    pub(crate) fn is_full(&self, most: u32) -> bool {
        self.0.lock().inside >= most
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    fn ask(&self, most: u32, queue_max: usize) -> Asked {
        let mut state = self.0.lock();
        state.most = most;
        state.let_in();
        if state.waiting.is_empty() && state.inside < most {
            state.inside += 1;
            return Asked::In;
        }
        if state.waiting.len() >= queue_max {
            return Asked::Full;
        }
        let ticket = Arc::new(Ticket::default());
        state.waiting.push_back(Arc::clone(&ticket));
        Asked::Wait(ticket)
    }

    fn leave(&self) {
        let mut state = self.0.lock();
        state.inside -= 1;
        state.let_in();
    }

    fn give_up(&self, ticket: &Arc<Ticket>) {
        let mut state = self.0.lock();
        state.waiting.retain(|waiting| !Arc::ptr_eq(waiting, ticket));
        if matches!(std::mem::take(&mut *ticket.0.lock()), Turn::Come) {
            state.inside -= 1;
            state.let_in();
        }
    }
}

impl State {
    /// Lets in as many of those who wait as there is room for.
    fn let_in(&mut self) {
        while self.inside < self.most
            && let Some(ticket) = self.waiting.pop_front()
        {
            self.inside += 1;
            if let Turn::Waiting(waker) = std::mem::replace(&mut *ticket.0.lock(), Turn::Come) {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(asked: Asked) -> Arc<Ticket> {
        match asked {
            Asked::Wait(ticket) => ticket,
            Asked::In | Asked::Full => panic!("must wait"),
        }
    }

    fn has_come(ticket: &Ticket) -> bool {
        matches!(*ticket.0.lock(), Turn::Come)
    }

    #[test]
    fn who_came_first_is_let_in_first_and_nobody_passes_by() {
        let gate = Gate::default();
        assert!(matches!(gate.ask(1, 2), Asked::In));
        let (first, second) = (ticket(gate.ask(1, 2)), ticket(gate.ask(1, 2)));
        assert!(matches!(gate.ask(1, 2), Asked::Full));
        assert!(gate.is_full(1) && !gate.is_full(2));
        gate.leave();
        assert_eq!([has_come(&first), has_come(&second)], [true, false]);
        gate.leave();
        assert!(has_come(&second));
        gate.leave();
        assert!(matches!(gate.ask(1, 2), Asked::In), "all have left");
    }

    #[test]
    fn a_place_given_up_leaves_no_hole() {
        let gate = Gate::default();
        assert!(matches!(gate.ask(1, 9), Asked::In));
        let [first, second, third] = [(); 3].map(|()| ticket(gate.ask(1, 9)));
        gate.give_up(&first);
        gate.leave();
        assert!(has_come(&second), "the first has gone");
        // Its turn came and it went at the same moment.
        gate.give_up(&second);
        assert!(has_come(&third));
        gate.leave();
        assert_eq!(gate.0.lock().inside, 0);
    }

    #[test]
    fn a_raised_bound_lets_those_in_who_wait() {
        let gate = Gate::default();
        assert!(matches!(gate.ask(1, 9), Asked::In));
        let (first, second) = (ticket(gate.ask(1, 9)), ticket(gate.ask(1, 9)));
        assert!(matches!(gate.ask(4, 9), Asked::In));
        assert!(has_come(&first) && has_come(&second));
    }
}
