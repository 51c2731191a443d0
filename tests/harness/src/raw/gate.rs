//! A gate a scripted backend waits at until the test opens it.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::WAIT;

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
    /// After [`WAIT`].
    pub fn wait(&self, what: &str) {
        let (open, changed) = &*self.0;
        let mut open = open.lock();
        let timed_out = changed.wait_while_for(&mut open, |open| !*open, WAIT).timed_out();
        assert!(!timed_out, "waited {WAIT:?} at a closed gate: {what}");
    }
}
