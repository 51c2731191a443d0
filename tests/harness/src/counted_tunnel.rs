//! Tunnels whose place is the next one's business.

use crate::Ringbolt;
use crate::raw::{Message, Wire};

impl Ringbolt {
    /// Opens a tunnel by `request`, and waits until it counts: that is a moment after its client has the answer, and whoever
    /// asks in between, at another worker, is placed without it. For tests that open them one after the other.
    ///
    /// # Panics
    /// As [`Wire::exchange`], and if it does not count in time.
    #[must_use]
    pub fn counted_tunnel(&self, request: &str) -> (Wire, Message) {
        let before = self.metrics()["ringbolt_tunnels_total"];
        let mut wire = Wire::connect(self.address());
        let answer = wire.exchange(request);
        self.wait_for_metric("ringbolt_tunnels_total", |tunnels| tunnels > before);
        (wire, answer)
    }
}
