//! A gate a scripted backend waits at until the test opens it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::WAIT;

/// More than what others may wait for, since who opens the gate may wait for several things before.
const LIMIT: Duration = WAIT.saturating_mul(4);

/// Closed at first; once open it stays open. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everyone through, now and later.
    pub fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open.
    ///
    /// # Panics
    /// After [`LIMIT`].
    pub fn wait(&self, what: &str) {
        let (open, changed) = &*self.0;
        let mut open = open.lock();
        let timed_out = changed.wait_while_for(&mut open, |open| !*open, LIMIT).timed_out();
        assert!(!timed_out, "waited {LIMIT:?} at a closed gate: {what}");
    }
}
