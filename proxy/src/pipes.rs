//! The pipes of one worker, lent to tunnel directions and bodies while they move bytes in bulk.
//!
//! Only an empty pipe comes back: one that still holds bytes of one transfer would hand them to the next.

use std::cell::{Cell, RefCell};
use std::io;

use ringbolt_reactor::{Pipe, Socket};

use crate::limits::{PIPES_IDLE_MAX, PIPES_MAX};

/// Empty pipes, and how many there are in all.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    existing: Cell<usize>,
    /// What they may hold together.
    bytes: Cell<usize>,
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
        self.bytes.set(self.bytes.get() + pipe.capacity());
        Some(pipe)
    }

    /// An empty pipe that comes back by itself, as [`Self::take`].
    pub(crate) fn lend(&self) -> Option<Lent<'_>> {
        Some(Lent { pipe: Some(self.take()?), held: 0, home: self })
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
        self.bytes.set(self.bytes.get() - pipe.capacity());
        drop(pipe);
        self.existing.set(self.existing.get() - 1);
    }

    /// How many there are, idle or in use.
    pub(crate) fn count(&self) -> usize {
        self.existing.get()
    }

    /// What they may hold together, in the kernel's memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Closes the pipes nobody has used since the last call but a few: bulk transfers come in bursts.
    pub(crate) fn sweep(&self) {
        let half = self.idle.borrow().len() / 2;
        let unused = self.idle.borrow_mut().split_off(half);
        unused.into_iter().for_each(|pipe| self.discard(pipe));
    }
}

/// A pipe on loan, and what it holds. Dropped empty it is kept for the next, else it is closed.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    /// Absent only in the drop.
    pipe: Option<Pipe>,
    held: usize,
    home: &'a Pipes,
}

impl Lent<'_> {
    /// Bytes on their way.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes up to `left` bytes from `source`, once, while nothing is held; 0 is the end of the stream.
    pub(crate) fn fill(&mut self, source: &Socket, left: u64) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let room = usize::try_from(left).map_or(pipe.capacity(), |left| left.min(pipe.capacity()));
        self.held = source.try_fill(pipe, room)?;
        Ok(self.held)
    }

    /// Gives what is held to `target`, as much as that takes.
    pub(crate) fn drain(&mut self, target: &Socket) -> io::Result<()> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        self.held -= target.try_drain(pipe, self.held)?;
        Ok(())
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        match self.pipe.take() {
            Some(pipe) if self.held == 0 => self.home.give_back(pipe),
            Some(pipe) => self.home.discard(pipe),
            None => {}
        }
    }
}
