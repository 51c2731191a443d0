//! One connection, plain or TLS, and the bytes read from it that nobody has consumed yet.
//!
//! Reading goes through the worker's hot buffer: the consumer sees the bytes there, takes what it
//! understands, and only what is left over is copied into memory of the connection's own. An idle
//! connection therefore owns no buffer. Knows nothing of HTTP.

use std::cell::RefCell;
use std::io;

use ringbolt_reactor::Socket;

use crate::hot_buffer::HotBuffer;
use crate::tls::Session;
use crate::transport::Transport;

/// A connection, plain or TLS, with its unread bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) socket: Socket,
    /// The session of a TLS connection.
    pub(crate) tls: Option<Box<RefCell<Session>>>,
    /// Received and not consumed; empty, and without memory, nearly always.
    pub(crate) unread: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, tls: None, unread: Vec::new() }
    }

    /// The connection below the unread bytes.
    pub(crate) fn transport(&self) -> Transport<'_> {
        Transport { socket: &self.socket, tls: self.tls.as_deref() }
    }

    /// The reading half and the transport to write to, for two directions at work at once.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Transport<'_>) {
        let transport = Transport { socket: &self.socket, tls: self.tls.as_deref() };
        (Reader { transport, unread: &mut self.unread }, transport)
    }

    pub(crate) fn reader(&mut self) -> Reader<'_> {
        self.split().0
    }

    /// What is written and read from here on goes through `session`.
    pub(crate) fn begin_tls(&mut self, session: Session) {
        self.tls = Some(Box::new(RefCell::new(session)));
    }

    /// Closes the connection in order: over TLS with a word that nothing is missing.
    pub(crate) fn close(self) {
        let _ = self.transport().say_goodbye();
    }
}

/// What a consumer made of the bytes it was shown.
pub(crate) enum Consumed<T> {
    /// Used this many bytes and is done.
    Done(usize, T),
    /// Used this many bytes and needs more than there are.
    More(usize),
}

/// The reading half of a [`Stream`].
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    transport: Transport<'a>,
    unread: &'a mut Vec<u8>,
}

impl<'a> Reader<'a> {
    /// What is read from, for whoever takes bytes from it by other ways while nothing is unread.
    pub(crate) fn transport(&self) -> Transport<'a> {
        self.transport
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Shows the bytes at hand, then every further arrival, to `consume` until it is done.
    ///
    /// `Ok(None)` is the end of the stream. Cancel-safe: dropping the future loses no byte, for bytes
    /// leave the socket only on the way into `consume` or `unread`. Unread bytes are bounded by what
    /// `consume` lets pile up with [`Consumed::More`] plus one hot buffer.
    pub(crate) async fn read<T, E: From<io::Error>>(
        &mut self,
        hot: &HotBuffer,
        mut consume: impl FnMut(&mut [u8]) -> Result<Consumed<T>, E>,
    ) -> Result<Option<T>, E> {
        if self.has_unread()
            && let Some(value) = self.consume_unread(&mut consume)?
        {
            return Ok(Some(value));
        }
        loop {
            self.transport.readable().await;
            if let Some(end) = self.try_read(hot, &mut consume)? {
                return Ok(end);
            }
        }
    }

    /// Receives once and shows what there is to `consume`. `Ok(None)`: it needs more, or nothing has come;
    /// `Ok(Some(None))`: the end of the stream.
    pub(crate) fn try_read<T, E: From<io::Error>>(
        &mut self,
        hot: &HotBuffer,
        consume: &mut impl FnMut(&mut [u8]) -> Result<Consumed<T>, E>,
    ) -> Result<Option<Option<T>>, E> {
        hot.with(|buffer| match self.transport.try_recv(buffer) {
            Ok(0) => Ok(Some(None)),
            Ok(length) => self.consume_fresh(&mut buffer[..length], consume).map(|value| value.map(Some)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Shows bytes fresh from the socket to `consume`, behind any it has refused so far.
    fn consume_fresh<T, E>(
        &mut self,
        fresh: &mut [u8],
        consume: &mut impl FnMut(&mut [u8]) -> Result<Consumed<T>, E>,
    ) -> Result<Option<T>, E> {
        if self.has_unread() {
            self.unread.extend_from_slice(fresh);
            return self.consume_unread(consume);
        }
        let (used, value) = match consume(fresh)? {
            Consumed::Done(used, value) => (used, Some(value)),
            Consumed::More(used) => (used, None),
        };
        self.unread.extend_from_slice(&fresh[used..]);
        Ok(value)
    }

    /// Shows the bytes at hand to `consume`. `Ok(None)`: it needs more.
    pub(crate) fn consume_unread<T, E>(
        &mut self,
        consume: &mut impl FnMut(&mut [u8]) -> Result<Consumed<T>, E>,
    ) -> Result<Option<T>, E> {
        let (used, value) = match consume(self.unread)? {
            Consumed::Done(used, value) => (used, Some(value)),
            Consumed::More(used) => (used, None),
        };
        if used == self.unread.len() {
            *self.unread = Vec::new();
        } else {
            self.unread.drain(..used);
        }
        Ok(value)
    }
}
