//! Directions that chat: small messages, several a second (`ringbolt_core::chatter`), between ends that are
//! plain or whose TLS is the kernel's.
//!
//! The kernel receives their bytes by itself, and what they send is queued and made together at the end of the
//! turn, so that a message takes no system call of its own (decision 7). It is the fast way for the ordinary
//! case and no more: whatever else happens (a full send buffer, a long message, the end of the stream, no
//! buffers left) stops it, and the way of `tunnel/end.rs` goes on where it ended.
//!
//! One chunk of a direction is sent at a time, because the rest of a short send must not be overtaken.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use ringbolt_reactor::{Chunk, Received, SinkToken, SourceId};

use super::end::{End, Held, Reading, unless_blocked};
use super::farewell::Farewell;
use super::{Side, Tunnel, close, drive, place};
use crate::limits::CHAT_CHUNKS_HELD_MAX;
use crate::metrics::label::TunnelEnd;
use crate::worker::Worker;

/// A direction that chats: its tunnel's slot, and the source that tells whether the slot is still that tunnel's.
pub(super) type Chat = (u32, Side, SourceId);

/// Begins the chat of a direction that has just been served, or ends one that stands in its way.
pub(super) fn consider(tunnel: &mut Tunnel, worker: &Worker, index: u32, from: Side) {
    if tunnel.has_user_space_tls() || tunnel.farewell != Farewell::Open {
        return;
    }
    let (source, target) = tunnel.ends(from);
    if source.is_blocked() {
        // Only a watched target says when it takes bytes again.
        return target.stop_chat(worker);
    }
    let begins = source.chatter.chats()
        && source.reading == Reading::Watched
        && !(source.closing || source.finished || source.pace.is_bulk() || target.is_blocked());
    if begins && worker.reactor.receive(source.source) {
        source.reading = Reading::Receiving;
        worker.counters().tunnel_chats.add(1);
        worker.counters().tunnel_chats_active.add(1);
        worker.tunnels.chats.borrow_mut().push((index, from, source.source));
    }
}

/// The kernel has received for an end, or has stopped to.
pub(crate) fn received(worker: &Worker, token: SinkToken, received: Received) {
    let (index, side) = place(token);
    let verdict = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.at(index) else { return };
        let active = tunnel.note_active(worker);
        if let (Received::Bytes(chunk), Side::Upstream) = (&received, side) {
            tunnel.frames.follow(chunk.bytes());
        }
        let (source, target) = tunnel.ends(side);
        let verdict = match received {
            Received::Bytes(chunk) => source.pass_on(chunk, target, side, worker).map(|()| false),
            Received::Failed(_) => Err(side.reset()),
            Received::Stopped => {
                source.reading = Reading::Watched;
                worker.counters().tunnel_chats_active.sub(1);
                Ok(true)
            }
        };
        active.and(verdict)
    };
    go_on(worker, index, side, verdict);
}

/// A chunk from an end has been sent to the other.
pub(crate) fn sent(worker: &Worker, token: SinkToken, chunk: &Chunk, result: io::Result<usize>) {
    let (index, side) = place(token);
    let verdict = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.at(index) else { return };
        if let Some(record) = tunnel.record() {
            record.add(side.direction(), result.as_ref().map_or(0, |sent| *sent as u64));
        }
        let (source, target) = tunnel.ends(side);
        source.settle_sent(chunk, result, target, side, worker)
    };
    go_on(worker, index, side, verdict);
}

/// `true`: the direction is ours to read again, so what is there is moved.
fn go_on(worker: &Worker, index: u32, side: Side, verdict: Result<bool, TunnelEnd>) {
    match verdict {
        Ok(true) => drive(worker, index, &[side]),
        Ok(false) => {}
        Err(reason) => close(worker, index, reason),
    }
}

/// Ends the chats that have fallen silent. Called every second.
pub(crate) fn quieten(worker: &Worker) {
    let now = worker.uptime_seconds_wrapping();
    let mut slots = worker.tunnels.slots.borrow_mut();
    let mut chats = worker.tunnels.chats.borrow_mut();
    chats.retain(|&(index, side, source)| {
        let end = slots.at(index).map(|tunnel| tunnel.end(side)).filter(|end| end.source == source);
        let Some(end) = end else { return false };
        if end.chatter.is_quiet(now) {
            end.stop_chat(worker);
        }
        end.reading == Reading::Receiving
    });
    if chats.is_empty() {
        *chats = Vec::new();
        worker.reactor.trim();
    }
}

impl End {
    /// Sends a chunk, or holds it behind the one that is being sent.
    fn pass_on(&mut self, chunk: Chunk, target: &Self, side: Side, worker: &Worker) -> Result<(), TunnelEnd> {
        self.note_moved(chunk.bytes().len(), worker);
        if !self.chatter.chats() || self.pace.is_bulk() {
            self.stop_chat(worker);
        }
        match self.held.as_deref_mut() {
            None if self.sending => self.held = Some(Box::new(Held::Queue(VecDeque::from([chunk])))),
            None => self.send_chunk(chunk, target, side, worker)?,
            Some(Held::Queue(queue)) if queue.len() < CHAT_CHUNKS_HELD_MAX => queue.push_back(chunk),
            Some(_) => {
                self.chatter.pause(worker.uptime_seconds_wrapping());
                self.stop_chat(worker);
                let held = self.take_held();
                self.hold(held, chunk.bytes());
            }
        }
        Ok(())
    }

    fn send_chunk(
        &mut self,
        chunk: Chunk,
        target: &Self,
        side: Side,
        worker: &Worker,
    ) -> Result<(), TunnelEnd> {
        let queued = worker.reactor.send(target.fd.as_fd(), self.source, chunk);
        self.sending = queued.is_ok();
        queued.map_err(|_| side.other().reset())
    }

    /// A chunk has been sent: goes on with the next, or holds what is left. `true` if this end is ours to read.
    fn settle_sent(
        &mut self,
        chunk: &Chunk,
        result: io::Result<usize>,
        target: &mut Self,
        side: Side,
        worker: &Worker,
    ) -> Result<bool, TunnelEnd> {
        self.sending = false;
        let sent = unless_blocked(result, side.other())?.unwrap_or(0);
        worker.counters().tunnel_bytes.of(side.direction()).add(sent as u64);
        let rest = chunk.bytes().get(sent..).unwrap_or_default();
        if !rest.is_empty() {
            let behind = self.take_held();
            self.hold(rest.to_vec(), &behind);
            self.stop_chat(worker);
            target.stop_chat(worker);
        } else if let Some(Held::Queue(queue)) = self.held.as_deref_mut() {
            let next = queue.pop_front();
            if queue.is_empty() {
                self.held = None;
            }
            next.map_or(Ok(()), |chunk| self.send_chunk(chunk, target, side, worker))?;
        }
        Ok(self.reading == Reading::Watched)
    }

    /// Asks the kernel to stop receiving; it confirms with `Received::Stopped`.
    pub(super) fn stop_chat(&mut self, worker: &Worker) {
        if self.reading == Reading::Receiving {
            self.reading = Reading::Stopping;
            worker.reactor.stop_receiving(self.source);
        }
    }

    pub(super) fn hold(&mut self, mut bytes: Vec<u8>, behind: &[u8]) {
        bytes.extend_from_slice(behind);
        self.held = Some(Box::new(Held::Spill { bytes, sent: 0 }));
    }

    /// The bytes held in memory, in order. (A direction that holds a pipe is bulk and does not chat.)
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        match self.held.take().map(|held| *held) {
            Some(Held::Queue(queue)) => queue.iter().flat_map(Chunk::bytes).copied().collect(),
            Some(Held::Spill { mut bytes, sent }) => bytes.split_off(sent),
            Some(Held::Pipe { .. }) | None => Vec::new(),
        }
    }
}
