//! Idle upstream connections of one worker, ready for the next request.
//!
//! A connection enters only when its last answer ended cleanly and nothing is unread, and is looked
//! at again when taken out: a backend that closed it meanwhile, or sent a byte nobody asked for, has
//! made it unusable (RFC 9112 section 9.3). Node closes idle connections after 5 s, so ours leave
//! before that.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use ringbolt_core::affinity::BackendId;

use crate::hot_buffer::HotBuffer;
use crate::limits::POOL_PER_BACKEND_MAX;
use crate::stream::Stream;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    until: Instant,
}

/// Idle connections by backend, the most recently used last.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<Vec<VecDeque<Idle>>>,
    timeout: Duration,
}

impl Pool {
    /// A pool whose connections are closed after `timeout` without use.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { idle: RefCell::new(Vec::new()), timeout }
    }

    /// The connection to `backend` used last that is still good.
    pub(crate) fn take(&self, backend: BackendId, now: Instant, hot: &HotBuffer) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(backend.index())?;
        loop {
            let candidate = connections.pop_back()?;
            if candidate.until > now && is_silent(&candidate.stream, hot) {
                return Some(candidate.stream);
            }
        }
    }

    /// Keeps `stream` for a later request; drops the oldest where there are too many.
    pub(crate) fn give_back(&self, backend: BackendId, stream: Stream, now: Instant) {
        if !stream.unread.is_empty() || stream.transport().is_read_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() <= backend.index() {
            idle.resize_with(backend.index() + 1, VecDeque::new);
        }
        let connections = &mut idle[backend.index()];
        if connections.len() == POOL_PER_BACKEND_MAX {
            connections.pop_front();
        }
        connections.push_back(Idle { stream, until: now + self.timeout });
    }

    /// Closes what has been idle for too long or was closed by its backend.
    pub(crate) fn sweep(&self, now: Instant) {
        for connections in self.idle.borrow_mut().iter_mut() {
            connections.retain(|idle| idle.until > now && !idle.stream.transport().is_read_closed());
            if connections.is_empty() {
                connections.shrink_to_fit();
            }
        }
    }

    /// Closes all: the worker is about to end.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}

/// Nothing has arrived on `stream`, neither bytes nor its end.
///
/// The reactor has been told of all that came before the request that needs it, so the kernel is asked
/// only where the last read did not show that it was the last. What comes in this very moment would be
/// missed by a look at the socket too, a moment later.
fn is_silent(stream: &Stream, hot: &HotBuffer) -> bool {
    if stream.transport().is_read_closed() {
        return false;
    }
    let blocks =
        |looked: io::Result<usize>| matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    !stream.socket.ready().readable()
        || match stream.tls {
            None => blocks(stream.socket.try_peek()),
            // What has come may be a ticket for a later session, which is no byte of the stream.
            Some(_) => hot.with(|buffer| blocks(stream.transport().try_recv(buffer))),
        }
}
