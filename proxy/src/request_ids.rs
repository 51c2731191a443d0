//! Ids for requests that have none: unique over processes and workers, and in order within one worker.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use ringbolt_core::http::RequestId;

/// The ids of one worker.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Random, so that no other worker has the same.
    first_half: u64,
    next: Cell<u64>,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { first_half: RandomState::new().hash_one(0), next: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        RequestId(u128::from(self.first_half) << 64 | u128::from(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_within_a_worker_and_between_workers() {
        let (a, b) = (RequestIds::new(), RequestIds::new());
        let mut ids = [a.next().0, a.next().0, b.next().0, b.next().0];
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:x?}");
    }
}
