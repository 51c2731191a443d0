//! Idle upstream connections of one worker, ready for the next request.
//!
//! A connection enters only when its last answer ended cleanly and nothing is unread, and is looked
//! at again when taken out: a backend that closed it meanwhile, or sent a byte nobody asked for, has
//! made it unusable (RFC 9112 section 9.3). Node closes idle connections after 5 s, so ours leave
//! before that.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::hot_buffer::HotBuffer;
use crate::limits::POOL_PER_BACKEND_MAX;
use crate::snapshot::{Backend, Snapshot};
use crate::stream::Stream;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    until: Instant,
}

/// Idle connections by backend, the most recently used last.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Connections>>,
    timeout: Cell<Duration>,
}

/// Idle connections of one backend.
#[derive(Debug, Default)]
struct Connections {
    /// Where they go; `None`: nowhere, for the backend is not configured.
    address: Option<SocketAddr>,
    idle: VecDeque<Idle>,
}

impl Pool {
    /// A pool for the backends of `snapshot`.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let pool = Self { idle: RefCell::default(), timeout: Cell::default() };
        pool.adopt(snapshot);
        pool
    }

    /// Closes connections to backends and addresses that are configured no more, and takes none from now on.
    pub(crate) fn adopt(&self, snapshot: &Snapshot) {
        self.timeout.set(snapshot.timeouts.upstream_keep_alive);
        let mut former = self.idle.take();
        let mut idle: Vec<Connections> = Vec::new();
        for backend in snapshot.upstreams.iter().flat_map(|upstream| &upstream.backends) {
            let index = backend.id.index();
            if idle.len() <= index {
                idle.resize_with(index + 1, Connections::default);
            }
            let kept = former.get_mut(index).filter(|kept| kept.address == Some(backend.address));
            idle[index].idle = kept.map(|kept| std::mem::take(&mut kept.idle)).unwrap_or_default();
            idle[index].address = Some(backend.address);
        }
        self.idle.replace(idle);
    }

    /// The connection to `backend` used last that is still good.
    pub(crate) fn take(&self, backend: &Backend, now: Instant, hot: &HotBuffer) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        let connections = Connections::to(backend, &mut idle)?;
        loop {
            let candidate = connections.pop_back()?;
            if candidate.until > now && is_silent(&candidate.stream, hot) {
                return Some(candidate.stream);
            }
        }
    }

    /// Keeps `stream` for a later request; drops the oldest where there are too many.
    pub(crate) fn give_back(&self, backend: &Backend, stream: Stream, now: Instant) {
        if !stream.unread.is_empty() || stream.transport().is_read_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let Some(connections) = Connections::to(backend, &mut idle) else { return };
        if connections.len() == POOL_PER_BACKEND_MAX {
            connections.pop_front();
        }
        connections.push_back(Idle { stream, until: now + self.timeout.get() });
    }

    /// Closes what has been idle for too long or was closed by its backend.
    pub(crate) fn sweep(&self, now: Instant) {
        for Connections { idle: connections, .. } in self.idle.borrow_mut().iter_mut() {
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

impl Connections {
    /// Those to `backend`, which a request may have from an older configuration: `None` if that is not
    /// where the present one has it.
    fn to<'a>(backend: &Backend, all: &'a mut [Self]) -> Option<&'a mut VecDeque<Idle>> {
        let connections = all.get_mut(backend.id.index())?;
        (connections.address == Some(backend.address)).then_some(&mut connections.idle)
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
