//! How much each backend carries, over all workers.
//!
//! Sessions and tunnels change a shared counter when they begin and end, a few times in minutes, so
//! that placement sees the whole process. Requests in flight are counted by each worker for itself:
//! a shared counter would cost every request a cache line travelling between cores.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ringbolt_core::affinity::BackendId;

use crate::limits::BACKEND_IDS_MAX;
use crate::queue::Pass;

/// Sessions and tunnels by backend, shared by all workers.
#[derive(Debug)]
pub(crate) struct Loads(Box<[Load]>);

#[derive(Debug, Default)]
struct Load {
    /// All of them.
    all: AtomicU32,
    /// The part that are tunnels.
    tunnels: AtomicU32,
}

impl Loads {
    pub(crate) fn new() -> Self {
        Self((0..BACKEND_IDS_MAX).map(|_| Load::default()).collect())
    }

    pub(crate) fn add(&self, backend: BackendId) {
        self.0[backend.index()].all.fetch_add(1, Relaxed);
    }

    pub(crate) fn sub(&self, backend: BackendId) {
        self.0[backend.index()].all.fetch_sub(1, Relaxed);
    }

    pub(crate) fn get(&self, backend: BackendId) -> u32 {
        self.0[backend.index()].all.load(Relaxed)
    }

    /// The part of them that are tunnels.
    pub(crate) fn tunnels(&self, backend: BackendId) -> u32 {
        self.0[backend.index()].tunnels.load(Relaxed)
    }

    /// Counts a tunnel in, which is to be given to [`Self::release`] when it has ended.
    pub(crate) fn count(&self, backend: BackendId, pass: Option<Pass>) -> Counted {
        self.add(backend);
        self.0[backend.index()].tunnels.fetch_add(1, Relaxed);
        Counted { backend, _pass: pass }
    }

    pub(crate) fn release(&self, counted: Counted) {
        self.0[counted.backend.index()].tunnels.fetch_sub(1, Relaxed);
        self.sub(counted.backend);
    }
}

/// A tunnel that counts on its backend. As long as it does, the backend's number is given to no other: so it
/// is counted while the snapshot that has the backend is at hand, and not later.
#[must_use]
#[derive(Debug)]
pub(crate) struct Counted {
    backend: BackendId,
    /// Where connections to the backend are bounded.
    _pass: Option<Pass>,
}

impl Counted {
    pub(crate) fn backend(&self) -> BackendId {
        self.backend
    }
}

/// A session that is being placed: it weighs on its backend, for all workers to see, until it is counted
/// itself or has failed. Without it a backend that is slow to answer handshakes would draw all the others.
#[derive(Debug)]
pub(crate) struct Placing<'a> {
    loads: &'a Loads,
    backend: BackendId,
}

impl<'a> Placing<'a> {
    pub(crate) fn begin(loads: &'a Loads, backend: BackendId) -> Self {
        loads.add(backend);
        Self { loads, backend }
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        self.loads.sub(self.backend);
    }
}

/// Requests this worker has in flight, by backend.
#[derive(Debug, Default)]
pub(crate) struct InFlight(RefCell<Vec<u32>>);

impl InFlight {
    /// Counts a request until the guard is dropped.
    pub(crate) fn begin(&self, backend: BackendId) -> InFlightGuard<'_> {
        let mut counts = self.0.borrow_mut();
        if counts.len() <= backend.index() {
            counts.resize(backend.index() + 1, 0);
        }
        counts[backend.index()] += 1;
        InFlightGuard { counts: self, backend }
    }

    pub(crate) fn get(&self, backend: BackendId) -> u32 {
        self.0.borrow().get(backend.index()).copied().unwrap_or(0)
    }
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct InFlightGuard<'a> {
    counts: &'a InFlight,
    backend: BackendId,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.counts.0.borrow_mut()[self.backend.index()] -= 1;
    }
}
