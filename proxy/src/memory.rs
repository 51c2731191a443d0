//! The bound on the workers' memory: beyond it nothing new begins, and what lives goes on.
//!
//! All that workers allocate counts: connections, requests, unread bytes, tunnels, tables. Each worker may have
//! its share of what is left of the bound, and looks once a second how much that is: so no worker has to ask
//! the others for each request, and together they stay below it.

use std::cell::Cell;

use ringbolt_reactor::{Stats, allocations, bytes_held};

use crate::metrics::label::{self, MemoryKind};
use crate::worker::Worker;

/// What one worker may hold.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Until the next look.
    most: Cell<i64>,
}

impl Memory {
    /// For one of `workers`, none of which holds anything yet.
    pub(crate) fn new(limit: Option<u64>, workers: usize) -> Self {
        Self { most: Cell::new(share(limit, 0, 0, workers)) }
    }
}

/// What a worker that holds `own` bytes, of `all` that are held, may hold.
fn share(limit: Option<u64>, own: i64, all: i64, workers: usize) -> i64 {
    let Some(limit) = limit else { return i64::MAX };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let workers = i64::try_from(workers).unwrap_or(i64::MAX).max(1);
    own.saturating_add(limit.saturating_sub(all) / workers)
}

/// Says what this worker holds, and what for, and looks what all do. Once a second.
pub(crate) fn look(worker: &Worker, stats: &Stats) {
    let own = bytes_held();
    show_kinds(worker, own, stats);
    worker.counters().memory.set(own.cast_unsigned());
    worker.counters().allocations.set(allocations());
    let all = worker.all_counters().memory_bytes();
    let limit = worker.snapshot().memory_bytes_max;
    worker.memory.most.set(share(limit, own, all, worker.all_counters().workers()));
}

/// Says what the `own` bytes are for, and what memory there is that no allocator counts.
fn show_kinds(worker: &Worker, own: i64, stats: &Stats) {
    let set = |kind, bytes: usize| worker.counters().memory_by_kind.set(kind, bytes as u64);
    let known = [
        (MemoryKind::Tunnels, worker.tunnels.bytes()),
        (MemoryKind::Sids, worker.shared.sids.bytes(worker)),
        (MemoryKind::EventLoop, stats.table_bytes),
        (MemoryKind::Buffers, worker.hot.bytes() + worker.records.bytes() + worker.buffers.bytes()),
    ];
    known.iter().for_each(|(kind, bytes)| set(*kind, *bytes));
    // Negative where another worker has allocated what is here, as a share of a gauge may be.
    let known = known.iter().map(|(_, bytes)| *bytes as u64).sum();
    let rest = own.cast_unsigned().wrapping_sub(known);
    worker.counters().memory_by_kind.set(MemoryKind::Connections, rest);
    set(MemoryKind::ReceiveBuffers, stats.receive_bytes);
    set(MemoryKind::Pipes, worker.pipes.bytes());
}

/// Whether something new must not begin for want of memory.
pub(crate) fn refuses(worker: &Worker) -> bool {
    if bytes_held() <= worker.memory.most.get() {
        return false;
    }
    worker.counters().limited.of(label::Limit::Memory).add(1);
    !worker.snapshot().dry_run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_what_is_left() {
        assert_eq!(share(None, 7, 100, 4), i64::MAX);
        assert_eq!(share(Some(1000), 0, 0, 4), 250);
        assert_eq!(share(Some(1000), 300, 600, 4), 400);
        // One that has freed what another had allocated.
        assert_eq!(share(Some(1000), -50, 600, 4), 50);
    }

    #[test]
    fn above_the_bound_nobody_may_have_more() {
        assert_eq!(share(Some(1000), 600, 1000, 4), 600);
        assert!(share(Some(1000), 600, 1400, 4) < 600);
    }
}
