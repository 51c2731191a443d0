//! The client's side of one connection.

use std::net::SocketAddr;

use ringbolt_reactor::Socket;

use crate::admission::Entered;
use crate::snapshot::ListenerId;
use crate::stream::Stream;

/// A client's connection and what is known of it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) address: SocketAddr,
    /// The listener that accepted it.
    pub(crate) listener: ListenerId,
    /// What it counts towards, where connections are bounded.
    pub(crate) entered: Option<Box<Entered>>,
}

impl Client {
    pub(crate) fn new(socket: Socket, address: SocketAddr, listener: ListenerId) -> Self {
        Self { stream: Stream::new(socket), address, listener, entered: None }
    }
}
