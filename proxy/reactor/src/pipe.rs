//! Pipes that carry bytes between two sockets inside the kernel, by splice(2) called directly: the ring's
//! splice operation always runs on an io-wq thread. Pooling is the caller's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use crate::limits::PIPE_BYTES;

/// A pipe and what it holds at most.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// A pipe as large as the kernel grants, up to [`PIPE_BYTES`].
    ///
    /// # Errors
    ///
    /// The process is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused to users who have many pipes; the size is then what pipe(2) gave, down to 8 KiB.
        let capacity = match fcntl_setpipe_size(&writer, PIPE_BYTES) {
            Ok(capacity) if capacity > 0 => capacity,
            _ => fcntl_getpipe_size(&writer)?,
        };
        Ok(Self { reader, writer, capacity })
    }

    /// Bytes it holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves up to `len` bytes from a socket into the pipe; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket is empty **or** the pipe is full: the caller knows what the pipe holds.
    pub fn fill(&self, socket: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        splice(socket, self.writer.as_fd(), len)
    }

    /// Moves up to `len` bytes from the pipe into a socket.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket's send buffer is full or the pipe is empty; else what splice(2) says.
    pub fn drain(&self, socket: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        splice(self.reader.as_fd(), socket, len)
    }

    /// The end to read from.
    #[must_use]
    pub fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The end to write to.
    #[must_use]
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}

/// Moves bytes between a non-blocking socket and a pipe without copying them to user memory.
///
/// # Errors
///
/// `WouldBlock`, or what splice(2) says.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(rustix::io::retry_on_intr(|| rustix::pipe::splice(from, None, to, None, len, flags))?)
}
