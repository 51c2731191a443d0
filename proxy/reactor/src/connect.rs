//! Opens a connection without blocking the thread.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;

use crate::listener::stream_socket;
use crate::reactor::Reactor;
use crate::readiness::Ready;
use crate::socket::{Socket, SocketOptions};

/// Connects to `address`. Dropping the future closes the half-open connection.
///
/// # Errors
///
/// What socket(2) or connect(2) say, as `ConnectionRefused`, or the kernel refuses an option.
pub async fn connect(reactor: &Reactor, address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let fd = stream_socket(address)?;
    options.apply(std::os::fd::AsFd::as_fd(&fd))?;
    // Before the watch: an unconnected socket would be reported as closed.
    match rustix::net::connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = Socket::register_as(reactor, fd, Ready::NONE)?;
    socket.writable().await;
    // A connection that failed is reported with its error, so only then is the kernel asked which.
    if socket.ready().error()
        && let Some(error) = socket.take_error()
    {
        return Err(error);
    }
    Ok(socket)
}
