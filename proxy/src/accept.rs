//! Accepting connections on one listener of one worker.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use ringbolt_reactor::{Listener, Socket};

use crate::client::Client;
use crate::connection;
use crate::limits::ACCEPT_PAUSE;
use crate::metrics::label;
use crate::snapshot::ListenerId;
use crate::worker::Worker;

/// Accepts until the worker drains; dropping the listener then closes the port.
pub(crate) async fn run(worker: Rc<Worker>, listener: Listener, id: ListenerId) {
    let mut exhausted = false;
    while let Some(accepted) = worker.unless_draining(listener.accept()).await {
        match accepted {
            Ok((fd, address)) => {
                exhausted = false;
                admit(&worker, fd, address, id);
            }
            Err(error) if is_exhausted(&error) => {
                worker.counters().connections_refused.of(label::RefusedConnection::Descriptors).add(1);
                // Once for each time it begins, not for each attempt.
                if !std::mem::replace(&mut exhausted, true) {
                    tracing::warn!(
                        %error,
                        "cannot accept, pausing; raise LimitNOFILE or lower limits.connections"
                    );
                }
                worker.unless_draining(worker.reactor.sleep_until(worker.reactor.now() + ACCEPT_PAUSE)).await;
            }
            // The client gave up between connecting and our accept: accept(2), "Error handling".
            Err(_) => {}
        }
    }
}

/// Starts the connection's task, or drops it where there are too many.
fn admit(worker: &Rc<Worker>, fd: OwnedFd, address: SocketAddr, listener: ListenerId) {
    if !worker.admit() {
        worker.counters().connections_refused.of(label::RefusedConnection::Limit).add(1);
        return;
    }
    let connection = Admitted(Rc::clone(worker));
    let Ok(socket) = Socket::register(&worker.reactor, fd) else { return };
    worker.counters().connections_accepted.add(1);
    // In a box, because a future holds what it is given more than once.
    let client = Box::new(Client::new(socket, address, listener));
    worker.reactor.spawn(async move { connection::serve(&connection.0, client).await });
}

/// The process or the system is out of descriptors or memory for sockets.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A connection that was counted in, until its task ends.
#[derive(Debug)]
struct Admitted(Rc<Worker>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.connection_ended();
    }
}
