//! Where the process stands between its start and its end.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A stretch of the process' life. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Not every worker serves yet.
    Starting,
    /// Every worker accepts connections.
    Ready,
    /// No new connections; what is under way finishes.
    Draining,
}

impl Phase {
    /// Its name for operators.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The phase, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// Moves on to `phase`; a later phase stays.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Relaxed);
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_during_the_start_stays_a_drain() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.phase(), Phase::Starting);
        lifecycle.enter(Phase::Draining);
        lifecycle.enter(Phase::Ready);
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }
}
