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
            memory::look(self);
            self.show_loop();
            self.flush_logs();
        }
    }

    /// Shows what is counted elsewhere.
    fn show_loop(&self) {
        let (stats, counters) = (self.reactor.stats(), self.counters());
        counters.pipes.set(self.pipes.count() as u64);
        counters.turns.raise(stats.turns);
        counters.events.raise(stats.events);
        counters.ring_enters.raise(stats.submissions);
        counters.ring_overflows.raise(stats.completion_overflows);
    }
}
