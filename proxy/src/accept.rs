//! Accepting connections on one listener of one worker.
//!
//! Where the process is out of descriptors a reserve is given up for a moment, so that waiting clients are
//! refused at once: left in the kernel's queue they would hang, and keep the listener readable for ever.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use ringbolt_reactor::{BoundListener, Listener, Socket, set_incoming_cpu};

use crate::client::Client;
use crate::connection;
use crate::limits::{ACCEPT_PAUSE, EXHAUSTED_LOG_INTERVAL};
use crate::memory;
use crate::metrics::label;
use crate::snapshot::ListenerId;
use crate::worker::Worker;

/// Accepts on listeners that are bound.
///
/// # Errors
/// The kernel is out of memory or watches.
pub(crate) fn listen(worker: &Rc<Worker>, bound: Vec<(ListenerId, BoundListener)>) -> io::Result<()> {
    for (id, bound) in bound {
        // Of one that was inherited the process before may have said something else.
        set_incoming_cpu(bound.fd(), worker.steered_core)?;
        let listener = Listener::register(&worker.reactor, bound)?;
        worker.reactor.spawn(run(Rc::clone(worker), listener, id));
    }
    Ok(())
}

/// Accepts until the listener closes; dropping it then closes the port.
async fn run(worker: Rc<Worker>, listener: Listener, id: ListenerId) {
    let mut reserve = Reserve::new();
    let mut quiet_until = worker.reactor.now();
    loop {
        reserve.renew();
        let Some(accepted) = worker.unless_closing(id, listener.accept()).await else { return };
        match accepted {
            Ok((fd, address)) => admit(&worker, fd, address, id),
            Err(error) if is_exhausted(&error) => {
                let refused = reserve.refuse(&listener);
                let now = worker.reactor.now();
                // The kernel wants a descriptor before it looks whether anybody waits: maybe nobody does.
                if !matches!(refused, Ok(false)) && now >= quiet_until {
                    quiet_until = now + EXHAUSTED_LOG_INTERVAL;
                    tracing::warn!(
                        %error,
                        "cannot accept, refusing connections; raise LimitNOFILE or lower limits.connections"
                    );
                }
                match refused {
                    Ok(refused) => {
                        let counter = &worker.counters().connections_refused;
                        counter.of(label::RefusedConnection::Descriptors).add(refused.into());
                    }
                    Err(_) => {
                        worker.unless_closing(id, worker.reactor.sleep_until(now + ACCEPT_PAUSE)).await;
                    }
                }
            }
            // The client gave up between connecting and our accept: accept(2), "Error handling".
            Err(_) => {}
        }
    }
}

/// As if it had just been accepted: a connection of another process, on which nothing has come there.
pub(crate) fn admit_again(worker: &Rc<Worker>, fd: OwnedFd, listener: ListenerId) {
    // It may be gone.
    let address = rustix::net::getpeername(&fd).ok().and_then(|address| SocketAddr::try_from(address?).ok());
    if let Some(address) = address {
        admit(worker, fd, address, listener);
    }
}

/// Starts the connection's task, or drops it where there are too many.
fn admit(worker: &Rc<Worker>, fd: OwnedFd, address: SocketAddr, listener: ListenerId) {
    if memory::refuses(worker) || !worker.admit() {
        worker.counters().connections_refused.of(label::RefusedConnection::Limit).add(1);
        return;
    }
    let admitted = Admitted(Rc::clone(worker));
    let Ok(socket) = Socket::register(&worker.reactor, fd) else { return };
    worker.counters().connections_accepted.add(1);
    worker.reactor.spawn(connection::serve(admitted, Client::new(socket, address, listener)));
}

/// The process or the system is out of descriptors or memory for sockets.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A descriptor that is open for nothing but to be closed when there is no other.
#[derive(Debug)]
struct Reserve(Option<OwnedFd>);

impl Reserve {
    fn new() -> Self {
        Self(open_reserve())
    }

    /// Has the reserve again where somebody else was faster to take its number.
    fn renew(&mut self) {
        if self.0.is_none() {
            self.0 = open_reserve();
        }
    }

    /// Takes a waiting connection in place of the reserve and closes it. `false`: none is waiting any more.
    ///
    /// # Errors
    /// That cannot be done either: somebody else took the descriptor, or memory is what lacks.
    fn refuse(&mut self, listener: &Listener) -> io::Result<bool> {
        drop(self.0.take());
        let refused = listener.try_accept().map(|waiting| waiting.is_some());
        self.0 = open_reserve();
        refused
    }
}

fn open_reserve() -> Option<OwnedFd> {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()
}

/// A connection that was counted in, until its task ends.
#[derive(Debug)]
pub(crate) struct Admitted(Rc<Worker>);

impl Deref for Admitted {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.0
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.connection_ended();
    }
}
