//! The pipes of one worker, lent to tunnel directions while they move bytes in bulk.
//!
//! Only an empty pipe comes back: one that still holds bytes of a tunnel would hand them to the next.

use std::cell::{Cell, RefCell};

use ringbolt_reactor::Pipe;

use crate::limits::{PIPES_IDLE_MAX, PIPES_MAX};

/// Empty pipes, and how many there are in all.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    existing: Cell<usize>,
}

impl Pipes {
    /// An empty pipe; `None` where there are too many or the kernel refuses one: then bytes are copied.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.existing.get() >= PIPES_MAX {
            return None;
        }
        let pipe = Pipe::new().ok()?;
        self.existing.set(self.existing.get() + 1);
        Some(pipe)
    }

    /// Takes an empty pipe back.
    pub(crate) fn give_back(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < PIPES_IDLE_MAX {
            idle.push(pipe);
        } else {
            self.discard(pipe);
        }
    }

    /// Closes a pipe, whatever it holds.
    pub(crate) fn discard(&self, pipe: Pipe) {
        drop(pipe);
        self.existing.set(self.existing.get() - 1);
    }

    /// Closes the pipes nobody has used since the last call but a few: bulk transfers come in bursts.
    pub(crate) fn sweep(&self) {
        let half = self.idle.borrow().len() / 2;
        let unused = self.idle.borrow_mut().split_off(half);
        unused.into_iter().for_each(|pipe| self.discard(pipe));
    }
}
