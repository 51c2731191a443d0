//! What the sink may ask for its busiest sources: that the kernel receives by itself, and that sends are queued
//! and made together. Both save system calls, cost kernel memory, and exist with the ring only.

use std::io;
use std::os::fd::BorrowedFd;

use crate::buffer_ring::Chunk;
use crate::reactor::{Occurrence, Reactor};
use crate::readiness::Received;
use crate::source::SourceId;

impl Reactor {
    /// Replaces the watch on a source of the sink's by a receive that goes on by itself: its bytes come to
    /// `Sink::received`. False, and nothing changes, where the engine cannot or too many receive already.
    ///
    /// Nothing else may read from the source until [`Received::Stopped`]. Nor is it told when the source becomes
    /// writable: stop receiving to wait for that.
    pub fn receive(&self, source: SourceId) -> bool {
        let Some((fd, false)) = self.with_sources(|sources| sources.receiving(source)) else { return false };
        let started = self.with_readiness(|readiness| readiness.receive(fd, source.key()));
        if !matches!(started, Ok(true)) {
            return false;
        }
        self.with_sources(|sources| sources.set_receiving(source, true));
        true
    }

    /// Ends the receive. What was received already still comes, then [`Received::Stopped`], and from then on
    /// the source is watched as before.
    pub fn stop_receiving(&self, source: SourceId) {
        if let Some((_, true)) = self.with_sources(|sources| sources.receiving(source)) {
            // Fails only for a ring that ends the loop at the next wait.
            let _ = self.with_readiness(|readiness| readiness.stop_receiving(source.key()));
        }
    }

    /// Queues a send to `fd`, made in this turn's order when the turn ends. `Sink::sent` is called for the owner
    /// of `on_behalf_of`.
    ///
    /// One at a time for each connection: the rest of a short send must not be overtaken.
    ///
    /// # Errors
    ///
    /// The ring takes no more; the chunk is lost.
    pub fn send(&self, fd: BorrowedFd<'_>, on_behalf_of: SourceId, chunk: Chunk) -> io::Result<()> {
        self.with_readiness(|readiness| readiness.send(fd, on_behalf_of.key(), chunk))
    }

    /// Gives back the memory of receives when none is under way.
    pub fn trim(&self) {
        self.with_readiness(|readiness| readiness.trim());
    }

    pub(crate) fn note_received(&self, key: u64, received: Received) -> io::Result<()> {
        let id = SourceId::from_key(key);
        if matches!(received, Received::Stopped) {
            let Some(fd) = self.with_sources(|sources| sources.set_receiving(id, false)) else {
                return Ok(());
            };
            self.with_readiness(|readiness| readiness.renew(fd, key))?;
        }
        self.tell_sink(id, Occurrence::Received(received));
        Ok(())
    }
}
