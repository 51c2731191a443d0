//! Listening sockets. They are bound before the workers start, so that a taken port is found at once and no
//! early connection is refused; then each is given to its worker. Knows nothing of what is accepted.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::limits::ACCEPTS_PER_BURST_MAX;
use crate::reactor::Reactor;
use crate::readiness::Ready;
use crate::select::yield_now;
use crate::socket::Socket;

/// A listening socket that belongs to no reactor yet, so it can be sent to the thread that will use it.
#[derive(Debug)]
pub struct BoundListener {
    fd: OwnedFd,
    address: SocketAddr,
}

impl BoundListener {
    /// A listening socket that another process has bound.
    ///
    /// # Errors
    ///
    /// It is none, or of no internet address.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if !sockopt::socket_acceptconn(&fd)? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let address = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
        // A mark of the socket, not of the descriptor, and whoever bound it may not have set it.
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, address })
    }

    /// A second descriptor of the same socket.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, address: self.address })
    }

    /// The address it listens on, with the port the kernel chose when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The descriptor. Options set on it are inherited by its connections.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A listening socket whose connections are awaited. Dropping it closes it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: SocketAddr,
    burst: Cell<u32>,
}

impl Listener {
    /// Binds and listens. An IPv6 socket takes IPv6 only, so that `0.0.0.0` and `[::]` can both be listened on.
    ///
    /// With `reuse_port` several sockets may listen on one address, one for each worker.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) or listen(2) say: `AddrInUse` for a taken port, `PermissionDenied` for a low one.
    pub fn bind(address: SocketAddr, backlog: u32, reuse_port: bool) -> io::Result<BoundListener> {
        let fd = stream_socket(address)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        rustix::net::bind(&fd, &address)?;
        rustix::net::listen(&fd, i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
        Ok(BoundListener { fd, address })
    }

    /// Starts to watch for connections.
    ///
    /// # Errors
    ///
    /// The kernel is out of memory or watches.
    pub fn register(reactor: &Reactor, bound: BoundListener) -> io::Result<Self> {
        let BoundListener { fd, address } = bound;
        Ok(Self { socket: Socket::register(reactor, fd)?, address, burst: Cell::new(0) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    /// The next connection, non-blocking and closed on exec, and the client's address.
    ///
    /// Other tasks get their turn after a bounded burst. Dropping the future loses no connection.
    ///
    /// # Errors
    ///
    /// What accept4(2) says when it is the machine's fault: out of descriptors or memory. The connection stays
    /// queued and the next call fails at once, so wait a little first. A connection that the client gave up
    /// is no error; the next one is taken.
    pub async fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        loop {
            if self.burst.get() >= ACCEPTS_PER_BURST_MAX {
                self.burst.set(0);
                yield_now().await;
            }
            self.socket.readable().await;
            self.burst.set(self.burst.get() + 1);
            if let Some(accepted) = self.try_accept()? {
                return Ok(accepted);
            }
        }
    }

    /// The next connection, if one is there. `None`: there is none, or it was given up by its client.
    ///
    /// # Errors
    ///
    /// As [`Self::accept`].
    pub fn try_accept(&self) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
        match rustix::net::acceptfrom_with(self.fd(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, Some(address))) => Ok(Some((fd, SocketAddr::try_from(address)?))),
            Err(Errno::AGAIN) => {
                self.burst.set(0);
                self.socket.forget(Ready::READABLE);
                Ok(None)
            }
            Err(error) if is_machines_fault(error) => Err(error.into()),
            // Gone before it was taken: accept(2) hands out the connection's own error.
            Ok((_, None)) | Err(_) => Ok(None),
        }
    }
}

/// Errors that the next connection would meet too.
fn is_machines_fault(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::BADF | Errno::INVAL)
}

pub(crate) fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?)
}
