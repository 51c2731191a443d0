//! The sockets that listeners are bound to, over all configurations of the process.
//!
//! A listener is the same as long as its address is. What is new is bound before anything else of a
//! configuration takes effect, and what is gone is closed by the workers, who own the sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use ringbolt_reactor::{BoundListener, Listener};

use crate::config::Config;
use crate::limits::{LISTEN_BACKLOG, SOCKET_OPTIONS};
use crate::snapshot::ListenerId;
use crate::start::{self, StartError};

/// Listening sockets that somebody else has bound, by the address that is configured.
pub(crate) type Inherited = Vec<(SocketAddr, Vec<BoundListener>)>;

/// The listeners of one configuration, in its order.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    listening: Vec<Listening>,
    /// Listeners there have been: the number of the next one, which nothing can refer to yet.
    count: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Listening {
    pub(crate) id: ListenerId,
    pub(crate) configured: SocketAddr,
    /// With the port the kernel chose where the configuration says 0.
    address: SocketAddr,
    /// Second descriptors of the workers' sockets, for a process that takes over.
    pub(crate) sockets: Arc<[BoundListener]>,
}

/// Sockets of new listeners, by worker.
type Bound = Vec<Vec<(ListenerId, BoundListener)>>;

impl Listeners {
    /// The listeners of `config`, and the sockets of those that are new: one for each worker, because
    /// SO_REUSEPORT lets the kernel spread connections.
    ///
    /// Sockets in `inherited` are taken from there.
    ///
    /// # Errors
    /// The address that cannot be bound. Those bound before it are closed again.
    pub(crate) fn changed(
        &self,
        config: &Config,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<(Self, Bound), StartError> {
        let ports: Vec<u16> =
            self.addresses().into_iter().chain(addresses(inherited)).map(|address| address.port()).collect();
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
                    let place = inherited.iter().position(|(address, _)| *address == configured);
                    let sockets = match place.map(|place| inherited.remove(place)) {
                        Some((_, sockets)) => share(sockets, workers),
                        None => bind(configured, workers, ports.contains(&configured.port())),
                    }?;
                    Self::listen(id, configured, sockets, &mut bound)?
                }
            };
            changed.listening.push(listening);
        }
        Ok((changed, bound))
    }

    /// Gives each socket to a worker, and keeps a second descriptor of it.
    fn listen(
        id: ListenerId,
        configured: SocketAddr,
        sockets: Vec<BoundListener>,
        bound: &mut Bound,
    ) -> Result<Listening, StartError> {
        let failed = |error| StartError::bind("listener.address", configured, &error);
        let kept: Result<_, _> = sockets.iter().map(BoundListener::duplicate).collect();
        let address = sockets.first().map_or(configured, BoundListener::local_addr);
        let workers = bound.len();
        for (number, socket) in sockets.into_iter().enumerate() {
            SOCKET_OPTIONS.apply(socket.fd()).map_err(failed)?;
            bound[number % workers].push((id, socket));
        }
        Ok(Listening { id, configured, address, sockets: kept.map_err(failed)? })
    }

    /// Nobody takes over: without this the ports would stay bound when the workers close their sockets.
    pub(crate) fn let_go(&mut self) {
        self.listening.iter_mut().for_each(|listening| listening.sockets = Arc::default());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listening> {
        self.listening.iter()
    }

    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.listening.iter().map(|listening| listening.id).collect()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listening.iter().map(|listening| listening.address).collect()
    }
}

/// A socket for each worker. `shares_port`: one of our own has the port, on another address and perhaps about to be
/// closed, and would stand in the way of the test only.
fn bind(configured: SocketAddr, workers: usize, shares_port: bool) -> Result<Vec<BoundListener>, StartError> {
    if !shares_port {
        start::claim("listener.address", configured)?;
    }
    let mut address = configured;
    let bind = |_| {
        let socket = Listener::bind(address, LISTEN_BACKLOG, true)
            .map_err(|error| StartError::bind("listener.address", address, &error))?;
        // Where the first was given a port by the kernel, the others share it.
        address = socket.local_addr();
        Ok(socket)
    };
    (0..workers).map(bind).collect()
}

/// At least one socket for each worker. All that were inherited are used, because connections wait in each.
fn share(mut sockets: Vec<BoundListener>, workers: usize) -> Result<Vec<BoundListener>, StartError> {
    let Some(first) = sockets.first() else { return Ok(sockets) };
    let first = first.duplicate().map_err(|error| StartError::new(format!("a listener: {error}")))?;
    while sockets.len() < workers {
        // Refused where the first was bound by another user, or without SO_REUSEPORT: then workers share it.
        let socket = Listener::bind(first.local_addr(), LISTEN_BACKLOG, true).or_else(|_| first.duplicate());
        sockets
            .push(socket.map_err(|error| StartError::bind("listener.address", first.local_addr(), &error))?);
    }
    Ok(sockets)
}

fn addresses(inherited: &Inherited) -> impl Iterator<Item = SocketAddr> {
    inherited.iter().flat_map(|(_, sockets)| sockets.iter().map(BoundListener::local_addr))
}
