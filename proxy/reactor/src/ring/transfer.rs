//! Receives and sends of the ring: the kernel receives a busy source's bytes into lent buffers and goes on by
//! itself, and sends are queued and made together at the next wait. It saves the system calls of a message.
//!
//! Two rules make it safe to use. A buffer is never touched while the kernel may use it, see `buffer_ring`. And
//! no operation that names a descriptor is still queued when a descriptor is closed (`Readiness::settle`): it would
//! act on whatever connection gets the number next.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::types::Fd;
use io_uring::{Submitter, cqueue, opcode};

use super::Ring;
use crate::buffer_ring::{BufferRing, Chunk, GROUP};
use crate::limits::RECEIVING_MAX;
use crate::readiness::{Event, Received, Wait};

/// What an operation's user data says. Bits 30 and 31 are free in a source's key, whose low half is an index.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Poll,
    /// With the key of the source.
    Receive(u64),
    /// With the buffer that is sent.
    Send(u16),
}

const RECEIVE: u64 = 0b01 << 30;
const SEND: u64 = 0b10 << 30;
const KIND: u64 = 0b11 << 30;

impl Kind {
    #[expect(clippy::cast_possible_truncation, reason = "the id was put there by `user_data`")]
    pub(super) fn of(user_data: u64) -> Self {
        match user_data & KIND {
            RECEIVE => Self::Receive(user_data & !KIND),
            SEND => Self::Send((user_data >> 32) as u16),
            _ => Self::Poll,
        }
    }

    pub(super) fn user_data(self) -> u64 {
        match self {
            Self::Poll => 0,
            Self::Receive(key) => key | RECEIVE,
            Self::Send(id) => u64::from(id) << 32 | SEND,
        }
    }
}

/// The receives and sends under way.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    buffers: Option<BufferRing>,
    /// The kernel refused buffers or the receive: not tried again.
    unsupported: bool,
    /// A receive has given bytes: a later refusal is one connection's, as kTLS has for a record of another version.
    proven: bool,
    receiving: usize,
    /// By buffer: what is being sent and who is told.
    sending: Vec<Option<(Chunk, u64)>>,
    /// Something that names a descriptor may not have been submitted.
    unsettled: bool,
}

impl Transfers {
    /// Before each entry into the kernel.
    pub(super) fn lend(&self) {
        if let Some(buffers) = &self.buffers {
            buffers.lend();
        }
    }

    /// A completion of a receive: up to two events, the bytes and the end.
    pub(super) fn received(&mut self, key: u64, entry: &cqueue::Entry, events: &mut Vec<Event>) {
        let mut tell = |received| events.push(Event::Received { key, received });
        let buffer = cqueue::buffer_select(entry.flags());
        let buffers = self.buffers.as_ref();
        if let Some(id) = buffer {
            let length = entry.result().max(0).cast_unsigned();
            let chunk = buffers.and_then(|buffers| buffers.take(id, length));
            // Some kernels hand a buffer out for the end of the stream as well.
            let chunk = chunk.filter(|chunk| !chunk.bytes().is_empty());
            self.proven |= chunk.is_some();
            chunk.into_iter().for_each(|chunk| tell(Received::Bytes(chunk)));
        }
        match -entry.result() {
            // 0 is the end of the stream, and EIO a record of kTLS that is not data: the watch finds both.
            ..=0 | libc::ECANCELED | libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::EIO => {}
            libc::ENOBUFS => buffers.into_iter().for_each(BufferRing::widen),
            libc::EINVAL | libc::EOPNOTSUPP if !self.proven => self.unsupported = true,
            error => tell(Received::Failed(io::Error::from_raw_os_error(error))),
        }
        if !cqueue::more(entry.flags()) {
            self.receiving = self.receiving.saturating_sub(1);
            tell(Received::Stopped);
        }
    }

    /// A completion of a send.
    pub(super) fn sent(&mut self, id: u16, result: i32) -> Option<Event> {
        let (chunk, key) = self.sending.get_mut(usize::from(id))?.take()?;
        let result = match usize::try_from(result) {
            Ok(length) => Ok(length),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        Some(Event::Sent { key, chunk, result })
    }

    /// Unmaps the buffers when nothing is received or held any more.
    pub(super) fn trim(&mut self, submitter: &Submitter<'_>) {
        if self.is_under_way() {
            return;
        }
        self.sending = Vec::new();
        if let Some(buffers) = self.buffers.take()
            && buffers.release(submitter).is_err()
        {
            self.unsupported = true;
        }
    }

    /// Memory mapped for them.
    pub(super) fn bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, BufferRing::bytes)
    }

    fn is_under_way(&self) -> bool {
        self.receiving > 0 || self.buffers.as_ref().is_some_and(|buffers| !buffers.is_unused())
    }
}

impl Ring {
    pub(super) fn start_receive(&mut self, fd: RawFd, key: u64) -> io::Result<bool> {
        debug_assert!(key & KIND == 0);
        let transfers = &mut self.transfers;
        if transfers.unsupported || transfers.receiving >= RECEIVING_MAX {
            return Ok(false);
        }
        if transfers.buffers.is_none() {
            match BufferRing::register(&self.ring.submitter()) {
                Ok(buffers) => transfers.buffers = Some(buffers),
                Err(_) => {
                    transfers.unsupported = true;
                    return Ok(false);
                }
            }
        }
        transfers.unsettled = true;
        self.push(&opcode::RecvMulti::new(Fd(fd), GROUP).build().user_data(Kind::Receive(key).user_data()))?;
        self.transfers.receiving += 1;
        // A watch that stays only reports what is received anyway.
        let _ = self.cancel(key);
        Ok(true)
    }

    /// `MSG_DONTWAIT`, so that the send is made while it is submitted, and in the order of submission.
    pub(super) fn queue_send(&mut self, fd: BorrowedFd<'_>, key: u64, chunk: Chunk) -> io::Result<()> {
        let id = chunk.id();
        let (start, length) = (chunk.bytes().as_ptr(), chunk.bytes().len());
        let entry = opcode::Send::new(Fd(fd.as_raw_fd()), start, u32::try_from(length).unwrap_or(u32::MAX))
            .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
            .build()
            .user_data(Kind::Send(id).user_data());
        let sending = &mut self.transfers.sending;
        if sending.len() <= usize::from(id) {
            sending.resize_with(usize::from(id) + 1, || None);
        }
        sending[usize::from(id)] = Some((chunk, key));
        self.transfers.unsettled = true;
        let pushed = self.push(&entry);
        if pushed.is_err() {
            self.transfers.sending[usize::from(id)] = None;
        }
        pushed
    }

    /// Submits the queued transfers, so that a descriptor they name may be closed.
    pub(super) fn submit_transfers(&mut self) -> io::Result<()> {
        /// Each attempt makes room for more completions than the submission queue has entries.
        const ATTEMPTS: usize = 4;
        for _ in 0..ATTEMPTS {
            if !self.transfers.unsettled || self.ring.submission().is_empty() {
                self.transfers.unsettled = false;
                return Ok(());
            }
            self.reap();
            self.enter(Wait::No)?;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

impl Drop for Ring {
    /// A closed ring's operations are ended by the kernel later, and may use their buffers until then.
    fn drop(&mut self) {
        if self.transfers.is_under_way() {
            std::mem::forget(std::mem::take(&mut self.transfers));
        }
    }
}
