//! The sockets that listeners are bound to, over all configurations of the process.
//!
//! A listener is the same as long as its address is. What is new is bound before anything else of a
//! configuration takes effect, and what is gone is closed by the workers, who own the sockets.

use std::net::SocketAddr;

use ringbolt_reactor::{BoundListener, Listener};

use crate::config::Config;
use crate::limits::{LISTEN_BACKLOG, SOCKET_OPTIONS};
use crate::snapshot::ListenerId;
use crate::start::{self, StartError};

/// The listeners of one configuration, in its order.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    listening: Vec<Listening>,
    /// Listeners there have been: the number of the next one, which nothing can refer to yet.
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Listening {
    id: ListenerId,
    configured: SocketAddr,
    /// With the port the kernel chose where the configuration says 0.
    address: SocketAddr,
}

/// Sockets of new listeners, by worker.
type Bound = Vec<Vec<(ListenerId, BoundListener)>>;

impl Listeners {
    /// The listeners of `config`, and the sockets of those that are new: one for each worker, because
    /// SO_REUSEPORT lets the kernel spread connections.
    ///
    /// # Errors
    /// The address that cannot be bound. Those bound before it are closed again.
    pub(crate) fn changed(&self, config: &Config, workers: usize) -> Result<(Self, Bound), StartError> {
        let mut bound: Bound = (0..workers).map(|_| Vec::new()).collect();
        // Of several with port 0 each is found once.
        let mut former = self.listening.clone();
        let mut changed = Self { listening: Vec::new(), count: self.count };
        for listener in &config.listeners {
            let configured = listener.address;
            let listening = match former.iter().position(|former| former.configured == configured) {
                Some(known) => former.remove(known),
                None => {
                    let id = ListenerId(changed.count);
                    changed.count += 1;
                    Listening { id, configured, address: self.bind(id, configured, &mut bound)? }
                }
            };
            changed.listening.push(listening);
        }
        Ok((changed, bound))
    }

    fn bind(
        &self,
        id: ListenerId,
        configured: SocketAddr,
        bound: &mut Bound,
    ) -> Result<SocketAddr, StartError> {
        let holds_port = self.listening.iter().any(|listening| listening.address.port() == configured.port());
        // One of our own, on another address and perhaps about to be closed, stands in the way of the test only.
        if !holds_port {
            start::claim("listener.address", configured)?;
        }
        let mut address = configured;
        for of_worker in bound {
            let socket = Listener::bind(address, LISTEN_BACKLOG, true)
                .and_then(|socket| SOCKET_OPTIONS.apply(socket.fd()).map(|()| socket))
                .map_err(|error| StartError::bind("listener.address", address, &error))?;
            // Where the first was given a port by the kernel, the others share it.
            address = socket.local_addr();
            of_worker.push((id, socket));
        }
        Ok(address)
    }

    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.listening.iter().map(|listening| listening.id).collect()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listening.iter().map(|listening| listening.address).collect()
    }
}
