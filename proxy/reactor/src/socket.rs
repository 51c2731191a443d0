//! A connected stream socket that tasks wait on, and its options. Decides when cached readiness is forgotten;
//! knows no protocol.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};

use crate::pipe::Pipe;
use crate::reactor::Reactor;
use crate::readiness::Ready;
use crate::source::{Direction, SourceId};

/// A registered stream socket. Dropping it closes it.
///
/// One task may wait to read and one to write at a time: a second waiter takes the first one's place.
#[derive(Debug)]
pub struct Socket {
    /// Absent only between `into_parts` and the drop that follows.
    fd: Option<OwnedFd>,
    source: SourceId,
    reactor: Reactor,
}

impl Socket {
    /// Watches a non-blocking socket. Reading and writing are tried before anything is known of them.
    ///
    /// # Errors
    ///
    /// The kernel is out of memory or watches.
    pub fn register(reactor: &Reactor, fd: OwnedFd) -> io::Result<Self> {
        Self::register_as(reactor, fd, Ready::READABLE.with(Ready::WRITABLE))
    }

    pub(crate) fn register_as(reactor: &Reactor, fd: OwnedFd, ready: Ready) -> io::Result<Self> {
        let source = reactor.register_as(fd.as_fd(), ready)?;
        Ok(Self { fd: Some(fd), source, reactor: reactor.clone() })
    }

    /// Takes over a descriptor and its source, as given by [`Self::into_parts`] or kept by a sink.
    #[must_use]
    pub fn from_parts(reactor: &Reactor, fd: OwnedFd, source: SourceId) -> Self {
        reactor.with_sources(|sources| sources.take_back(source));
        Self { fd: Some(fd), source, reactor: reactor.clone() }
    }

    /// Gives away the descriptor, still watched. Close it with [`Reactor::close`].
    #[must_use]
    pub fn into_parts(mut self) -> (OwnedFd, SourceId) {
        let fd = self.fd.take().expect("present until the drop");
        (fd, self.source)
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("present until the drop").as_fd()
    }

    /// What is known without asking the kernel.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.reactor.with_sources(|sources| sources.ready(self.source))
    }

    /// Ready when a read will not block; may be wrong, then the read says `WouldBlock`.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(Direction::Read, Ready::FOR_READER, cx)
    }

    /// Ready when a write will not block; may be wrong, then the write says `WouldBlock`.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(Direction::Write, Ready::FOR_WRITER, cx)
    }

    /// Ready when the other end has finished sending, closed, or failed. Shares the reader's place.
    pub fn poll_read_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(Direction::Read, Ready::FINAL, cx)
    }

    fn poll(&self, direction: Direction, wanted: Ready, cx: &Context<'_>) -> Poll<()> {
        let (poll, old) =
            self.reactor.with_sources(|sources| sources.poll(self.source, direction, wanted, cx));
        drop(old);
        poll
    }

    /// Waits until a read will not block. Dropping it loses nothing.
    pub async fn readable(&self) {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// Waits until a write will not block. Dropping it loses nothing.
    pub async fn writable(&self) {
        std::future::poll_fn(|cx| self.poll_writable(cx)).await;
    }

    /// Waits until the other end has finished sending, closed, or failed: the watch for a client that leaves
    /// while its answer is awaited. Unread bytes do not hide it.
    pub async fn read_closed(&self) {
        std::future::poll_fn(|cx| self.poll_read_closed(cx)).await;
    }

    /// Waits until the connection has failed or is closed in both directions. That the other end has finished
    /// sending is not enough. Shares the reader's place.
    pub async fn closed(&self) {
        std::future::poll_fn(|cx| self.poll(Direction::Read, Ready::GONE, cx)).await;
    }

    /// Whether the other end is known to have finished sending, closed, or failed.
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        self.ready().has_any(Ready::FINAL)
    }

    /// Forgets what a call has just disproved. "Would block" disproves even an end or error once reported:
    /// trusting the report over the call would wait in a circle without end.
    pub(crate) fn forget(&self, bits: Ready) {
        self.reactor.with_sources(|sources| sources.clear(self.source, bits));
    }

    /// Reads once; 0 is the end of the stream.
    ///
    /// A short read means the socket is empty, so the next wait sleeps at once. Not after the end was
    /// announced: a FIN that came with the last bytes raises no second event, so one must read on until 0.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or what recv(2) says.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = recv(self.fd(), buffer);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.forget(Ready::FOR_READER),
            Ok(count) if 0 < *count && *count < buffer.len() && !self.is_read_closed() => {
                self.forget(Ready::READABLE);
            }
            _ => {}
        }
        result
    }

    /// Looks whether there is a byte to read, without taking it: 1, or 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` on a healthy silent connection, or what recv(2) says.
    pub fn try_peek(&self) -> io::Result<usize> {
        let result = rustix::net::recv(self.fd(), &mut [0_u8], RecvFlags::PEEK);
        if let Err(rustix::io::Errno::AGAIN) = result {
            self.forget(Ready::FOR_READER);
        }
        Ok(result?.1)
    }

    /// Writes once, as much as the send buffer takes. A closed connection is an error, not a signal.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or what send(2) says.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        self.note_sent(send(self.fd(), data), data.len())
    }

    /// As [`Self::try_send`], from several slices in one call.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or what sendmsg(2) says.
    pub fn try_send_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.note_sent(send_vectored(self.fd(), data), data.iter().map(|slice| slice.len()).sum())
    }

    fn note_sent(&self, result: io::Result<usize>, asked: usize) -> io::Result<usize> {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.forget(Ready::FOR_WRITER),
            // The kernel raises an edge only for a writer it has turned away, which a short write is.
            Ok(count) if *count < asked => self.forget(Ready::WRITABLE),
            _ => {}
        }
        result
    }

    /// Moves up to `len` bytes into `pipe`, which must be empty; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing to read, or what splice(2) says.
    pub fn try_fill(&self, pipe: &Pipe, len: usize) -> io::Result<usize> {
        // A short piece proves nothing: pipes count in pages, and a segment may fill one with few bytes.
        self.unless_blocked(pipe.fill(self.fd(), len), Ready::FOR_READER)
    }

    /// Moves up to `len` bytes out of `pipe`, which must hold as many.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the send buffer is full, or what splice(2) says.
    pub fn try_drain(&self, pipe: &Pipe, len: usize) -> io::Result<usize> {
        // A short piece is no sign of a full buffer here, and no edge would follow it.
        self.unless_blocked(pipe.drain(self.fd(), len), Ready::FOR_WRITER)
    }

    fn unless_blocked(&self, result: io::Result<usize>, disproved: Ready) -> io::Result<usize> {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.forget(disproved);
        }
        result
    }

    /// Waits for bytes and reads once; 0 is the end of the stream. Dropping it loses nothing.
    ///
    /// # Errors
    ///
    /// What recv(2) says.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable().await;
            match self.try_recv(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Writes all of `data`. Dropped half-way, it does not tell how much was sent.
    ///
    /// # Errors
    ///
    /// What send(2) says.
    pub async fn send_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            self.writable().await;
            match self.try_send(data) {
                Ok(count) => data = data.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the end of the stream; reading goes on.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        shutdown_write(self.fd())
    }

    /// Fetches and clears the socket's pending error (`SO_ERROR`).
    #[must_use]
    pub fn take_error(&self) -> Option<io::Error> {
        match sockopt::socket_error(self.fd()) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    /// Makes the close send a reset instead of the end of the stream, dropping unsent bytes.
    pub fn set_linger_zero(&self) {
        // Fails only on a descriptor that is no socket, and then there is nothing to reset.
        let _ = sockopt::set_socket_linger(self.fd(), Some(Duration::ZERO));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.reactor.close(fd, self.source);
        }
    }
}

/// Reads once from a non-blocking socket; 0 is the end of the stream.
///
/// # Errors
///
/// `WouldBlock`, or what recv(2) says.
pub fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::net::recv(fd, &mut *buffer, RecvFlags::empty()))?.0)
}

/// Writes once to a non-blocking socket. A closed connection is an error, not a signal.
///
/// # Errors
///
/// `WouldBlock`, or what send(2) says.
pub fn send(fd: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::net::send(fd, data, SendFlags::NOSIGNAL))?)
}

/// As [`send`], from several slices in one call.
///
/// # Errors
///
/// `WouldBlock`, or what sendmsg(2) says.
pub fn send_vectored(fd: BorrowedFd<'_>, data: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(fd, data, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
    })?)
}

/// Whether a third of the send buffer is free, asked of the kernel. If not, an event tells when it is.
///
/// # Errors
///
/// The kernel is out of memory.
pub fn is_writable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| rustix::event::poll(&mut asked, Some(&now)))? > 0)
}

/// Sends the end of the stream; reading goes on. Called directly: as a ring operation it runs on an io-wq thread.
///
/// # Errors
///
/// The connection is gone.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, Shutdown::Write)?)
}

/// Asks the kernel to prefer this listener, of those of one port, for connections whose packets this core receives
/// (`SO_INCOMING_CPU`; heeded since Linux 6.2); `None`: not any more.
///
/// # Errors
///
/// The descriptor is no socket.
pub fn set_incoming_cpu(fd: BorrowedFd<'_>, core: Option<u32>) -> io::Result<()> {
    // The kernel reads a signed number, and -1 as no core.
    Ok(sockopt::set_socket_incoming_cpu(fd, core.unwrap_or(u32::MAX))?)
}

/// When the kernel asks whether a silent connection is alive.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// Silence before the first probe. Whole seconds.
    pub idle: Duration,
    /// Time between probes. Whole seconds.
    pub interval: Duration,
}

/// TCP options of a connection. Set on a listening socket, its connections inherit them.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct SocketOptions {
    /// Send small segments at once.
    pub nodelay: bool,
    /// Find dead silent connections.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged (RFC 5482), and for how long nothing at all may have come
    /// when a keepalive probe is unanswered: the kernel does not count probes then, so a value below
    /// the idle time and a few intervals lets a single lost probe end a live connection.
    pub user_timeout: Option<Duration>,
}

impl SocketOptions {
    /// Sets the options; those not asked for stay as they are.
    ///
    /// # Errors
    ///
    /// The kernel refuses a value.
    pub fn apply(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.nodelay {
            sockopt::set_tcp_nodelay(fd, true)?;
        }
        if let Some(keepalive) = self.keepalive {
            sockopt::set_socket_keepalive(fd, true)?;
            sockopt::set_tcp_keepidle(fd, keepalive.idle)?;
            sockopt::set_tcp_keepintvl(fd, keepalive.interval)?;
        }
        if let Some(timeout) = self.user_timeout {
            let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(fd, milliseconds)?;
        }
        Ok(())
    }
}
