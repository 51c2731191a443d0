//! A socket and, where there is one, the TLS session on it, behind the calls a socket has.
//!
//! The calls mean the same on both: what was not taken is offered again, 0 is an end in order, and
//! `WouldBlock` is followed by an event. Plain connections pay one comparison for it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use ringbolt_reactor::Socket;

use crate::tls::Session;

/// Where bytes of one connection come from and go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport<'a> {
    pub(crate) socket: &'a Socket,
    pub(crate) tls: Option<&'a RefCell<Session>>,
}

impl<'a> Transport<'a> {
    /// The socket, if its bytes are the connection's own: what may be spliced.
    pub(crate) fn plain(self) -> Option<&'a Socket> {
        self.tls.is_none().then_some(self.socket)
    }

    /// Reads once into a hot buffer; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock`, or what recv(2) says; `UnexpectedEof` and `InvalidData` of a TLS connection that was cut
    /// off or is not to be trusted any more.
    pub(crate) fn try_recv(self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = self.tls else { return self.socket.try_recv(buffer) };
        let mut session = session.borrow_mut();
        let received = session.receive(buffer, |records| self.socket.try_recv(records));
        if session.has_unsent() {
            // An alert, or the answer to a change of keys. What is not taken goes with the next bytes.
            let _ = session.flush(&mut |records| self.socket.try_send(records));
        }
        received
    }

    /// Writes once, as much as is taken.
    ///
    /// # Errors
    /// `WouldBlock`, or what send(2) says.
    pub(crate) fn try_send(self, data: &[u8]) -> io::Result<usize> {
        match self.tls {
            None => self.socket.try_send(data),
            Some(session) => session.borrow_mut().send([data], |records| self.socket.try_send(records)),
        }
    }

    /// As [`Self::try_send`], from several slices.
    ///
    /// # Errors
    /// `WouldBlock`, or what sendmsg(2) says.
    pub(crate) fn try_send_parts(self, parts: &[&[u8]; 5]) -> io::Result<usize> {
        match self.tls {
            None => self.socket.try_send_vectored(&parts.map(IoSlice::new)),
            Some(session) => {
                session.borrow_mut().send(parts.iter().copied(), |records| self.socket.try_send(records))
            }
        }
    }

    /// Writes all of `data`.
    ///
    /// # Errors
    /// What send(2) says.
    pub(crate) async fn send_all(self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            self.socket.writable().await;
            match self.try_send(data) {
                Ok(count) => data = data.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ready when a read will not block; may be wrong.
    pub(crate) fn poll_readable(self, context: &mut Context<'_>) -> Poll<()> {
        match self.tls {
            // The end may have come together with what was read before it.
            Some(session) if session.borrow().is_over() => Poll::Ready(()),
            _ => self.socket.poll_readable(context),
        }
    }

    /// Waits until a read will not block.
    pub(crate) async fn readable(self) {
        std::future::poll_fn(|context| self.poll_readable(context)).await;
    }

    /// Waits until a write will not block.
    pub(crate) async fn writable(self) {
        self.socket.writable().await;
    }

    /// Waits until the other end has finished sending, closed, or failed.
    pub(crate) async fn read_closed(self) {
        self.socket.read_closed().await;
    }

    /// Whether the other end is known to have finished sending, closed, or failed.
    pub(crate) fn is_read_closed(self) -> bool {
        self.socket.is_read_closed() || self.tls.is_some_and(|session| session.borrow().is_over())
    }

    /// Sends the end of the stream; reading goes on.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn shutdown_write(self) -> io::Result<()> {
        self.say_goodbye()?;
        self.socket.shutdown_write()
    }

    /// Makes the close a reset, so that what was sent does not look complete; nor does TLS say that it is.
    pub(crate) fn abort(self) {
        if let Some(session) = self.tls {
            session.borrow_mut().abandon();
        }
        self.socket.set_linger_zero();
    }

    /// Sends `close_notify` on a TLS connection, if the socket takes it at once.
    pub(crate) fn say_goodbye(self) -> io::Result<()> {
        match self.tls {
            None => Ok(()),
            Some(session) => {
                session.borrow_mut().say_goodbye(|records| self.socket.try_send(records)).map(drop)
            }
        }
    }
}
