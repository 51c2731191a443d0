//! What a worker does once a second: lets go of what has expired, and shows what it does not count as it happens.

use crate::limits::SWEEP_INTERVAL;
use crate::worker::Worker;
use crate::{memory, tunnel};

impl Worker {
    /// Keeps the worker's shard and pool free of what has expired. Never ends.
    pub(crate) async fn sweep(&self) {
        loop {
            self.reactor.sleep_until(self.reactor.now() + SWEEP_INTERVAL).await;
            self.pool.sweep(self.reactor.now());
            self.pipes.sweep();
            tunnel::quieten(self);
            self.shared.sids.sweep(self);
            self.show();
            self.flush_logs();
        }
    }

    /// Shows what is counted elsewhere.
    fn show(&self) {
        let (stats, counters) = (self.reactor.stats(), self.counters());
        memory::look(self, &stats);
        counters.tunnels_idle.set(self.tunnels.idle(self.uptime_seconds()).into());
        counters.tls_sessions.set(self.records.sessions() as u64);
        counters.pipes.set(self.pipes.count() as u64);
        counters.turns.raise(stats.turns);
        counters.turn_durations.raise(&stats.turn_times);
        counters.events.raise(stats.events);
        counters.ring_enters.raise(stats.submissions);
        counters.ring_operations.raise(stats.operations);
        counters.ring_overflows.raise(stats.completion_overflows);
    }
}
