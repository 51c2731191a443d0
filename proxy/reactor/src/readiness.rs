//! What the reactor asks of the kernel: tell me when a descriptor becomes ready. Two engines answer, the ring
//! and epoll. Nothing here knows tasks, sinks or sockets.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::str::FromStr;
use std::time::Duration;

use crate::buffer_ring::Chunk;

/// Which engine the operator asked for.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum EngineChoice {
    /// The ring, and epoll where the ring is refused.
    #[default]
    Auto,
    /// The ring or nothing.
    Uring,
    /// Epoll.
    Epoll,
}

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(UnknownEngine),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

/// The text is none of the engine names.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct UnknownEngine;

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown engine, use \"auto\", \"uring\" or \"epoll\"")
    }
}

impl std::error::Error for UnknownEngine {}

/// The engine in use.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Engine {
    /// `io_uring` multishot poll.
    Uring,
    /// Edge-triggered epoll.
    Epoll,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

/// What is known about a descriptor: a set of bits.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Ready(u8);

impl Ready {
    pub(crate) const READABLE: Self = Self(1);
    pub(crate) const WRITABLE: Self = Self(1 << 1);
    pub(crate) const READ_CLOSED: Self = Self(1 << 2);
    pub(crate) const CLOSED: Self = Self(1 << 3);
    pub(crate) const ERROR: Self = Self(1 << 4);
    pub(crate) const NONE: Self = Self(0);

    /// Once true these stay true until the descriptor is closed.
    pub(crate) const FINAL: Self = Self(Self::READ_CLOSED.0 | Self::CLOSED.0 | Self::ERROR.0);
    /// Nothing can be exchanged any more.
    pub(crate) const GONE: Self = Self(Self::CLOSED.0 | Self::ERROR.0);
    /// A read will not block: there are bytes, or the end, or an error to fetch.
    pub(crate) const FOR_READER: Self = Self(Self::READABLE.0 | Self::FINAL.0);
    /// A write will not block. The client's half-close is not in it: writing may go on and may have to wait.
    pub(crate) const FOR_WRITER: Self = Self(Self::WRITABLE.0 | Self::CLOSED.0 | Self::ERROR.0);

    /// Translates poll bits; epoll uses the same values.
    pub(crate) fn from_poll(bits: u32) -> Self {
        let map = [
            (libc::POLLIN, Self::READABLE),
            (libc::POLLOUT, Self::WRITABLE),
            (libc::POLLRDHUP, Self::READ_CLOSED),
            (libc::POLLHUP, Self::CLOSED),
            (libc::POLLERR, Self::ERROR),
        ];
        map.into_iter()
            .filter(|(poll, _)| bits & u32::from(poll.cast_unsigned()) != 0)
            .fold(Self::NONE, |all, (_, ready)| all.with(ready))
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Bytes or a connection are waiting.
    #[must_use]
    pub const fn readable(self) -> bool {
        self.has_any(Self::READABLE)
    }

    /// The send buffer has room.
    #[must_use]
    pub const fn writable(self) -> bool {
        self.has_any(Self::WRITABLE)
    }

    /// The other end finished sending (`POLLRDHUP`). Unread bytes may remain: read until 0.
    #[must_use]
    pub const fn read_closed(self) -> bool {
        self.has_any(Self::READ_CLOSED)
    }

    /// Both directions are closed (`POLLHUP`).
    #[must_use]
    pub const fn closed(self) -> bool {
        self.has_any(Self::CLOSED)
    }

    /// The socket has an error to fetch (`POLLERR`).
    #[must_use]
    pub const fn error(self) -> bool {
        self.has_any(Self::ERROR)
    }
}

/// One report of the kernel. `key` is the one given to [`Readiness::add`].
#[derive(Debug)]
pub(crate) enum Event {
    /// A watched descriptor. `ended`: the kernel ended the watch; [`Readiness::renew`] it if it is still wanted.
    Ready { key: u64, ready: Ready, ended: bool },
    /// The kernel has received by itself.
    Received { key: u64, received: Received },
    /// A send has ended; with how many bytes.
    Sent { key: u64, chunk: Chunk, result: io::Result<usize> },
}

/// What became of a receive that the kernel goes on with by itself.
#[derive(Debug)]
pub enum Received {
    /// Bytes, in the order of the stream.
    Bytes(Chunk),
    /// It has ended, for whatever reason but a failure; the source is watched again, and what is unread, or
    /// the end of the stream, is reported by that watch.
    Stopped,
    /// The connection has failed, and this was the error's only report.
    Failed(io::Error),
}

/// How long a turn may sleep.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// There is work: fetch what is there.
    No,
    /// Until an event or this time has passed.
    For(Duration),
    /// Until an event.
    Forever,
}

/// What the engine did since its start.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct EngineStats {
    /// System calls made to submit or wait.
    pub(crate) submissions: u64,
    /// Operations they submitted to a ring.
    pub(crate) operations: u64,
    /// Turns that found the completion queue overflown.
    pub(crate) overflows: u64,
    /// Mapped for what the kernel receives by itself.
    pub(crate) receive_bytes: usize,
}

/// An engine: edge-triggered watches on descriptors.
pub(crate) trait Readiness: fmt::Debug {
    fn engine(&self) -> Engine;
    /// Watches reading, writing and closing of `fd`; its events carry `key`.
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()>;
    /// Starts a watch again that the kernel ended.
    fn renew(&mut self, fd: RawFd, key: u64) -> io::Result<()>;
    /// Ends the watch. In force with the next [`Self::wait`]; events already on their way may still come.
    fn remove(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()>;
    /// Submits, sleeps as told, and appends what happened. A signal or an elapsed time is no error.
    fn wait(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;
    /// Receives from `fd` into buffers of the kernel's choice from now on, until told to stop, in place of the
    /// watch. False when this engine or kernel cannot; then the watch stays.
    fn receive(&mut self, _fd: RawFd, _key: u64) -> io::Result<bool> {
        Ok(false)
    }
    /// Ends the receiving; what has been received still comes, and then [`Received::Stopped`].
    fn stop_receiving(&mut self, _key: u64) -> io::Result<()> {
        Ok(())
    }
    /// Sends with the next [`Self::wait`], as much as the send buffer takes. The report carries `key`.
    fn send(&mut self, fd: BorrowedFd<'_>, key: u64, chunk: Chunk) -> io::Result<()> {
        let _ = (fd, key, chunk);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Called before a descriptor is closed: leaves nothing queued that would act on the number's next owner.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Gives memory back that nothing uses now.
    fn trim(&mut self) {}
    fn stats(&self) -> EngineStats;
}
