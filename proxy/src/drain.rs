//! How a worker ends what it has, once it drains: idle connections get a last answer, tunnels are closed one by one.
//!
//! Where another process serves, both go there instead, as far as they can.

use std::rc::Rc;
use std::time::Instant;

use crate::limits::FAREWELL_TIMEOUT;
use crate::tunnel::farewell::{self, Shed};
use crate::worker::Worker;

/// Begins it. The worker takes nothing new already.
pub(crate) fn begin(worker: &Rc<Worker>, deadline: Instant) {
    if !worker.is_leaving() {
        await_last_requests(worker, deadline);
    }
    // Idle connections and listeners look whether the worker drains when they are polled again.
    worker.reactor.wake_all();
    shed_tunnels(worker, deadline);
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

/// Closes the tunnels that end here over the time up to `deadline`, the last ones early enough to be answered.
fn shed_tunnels(worker: &Rc<Worker>, deadline: Instant) {
    let left = deadline.saturating_duration_since(worker.reactor.now());
    let over = left - FAREWELL_TIMEOUT.min(left / 2);
    let which = if worker.is_leaving() { Shed::Unmovable } else { Shed::All };
    let of_task = Rc::clone(worker);
    worker.reactor.spawn(async move {
        farewell::shed(&of_task, which, over, || of_task.random(), || true).await;
    });
}
