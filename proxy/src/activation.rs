//! Listening sockets that a service manager has bound before it started the process (sd_listen_fds(3)).
//!
//! A listener whose address one of them is bound to takes it; the other listeners are bound as ever. Ports stay open
//! while the service is restarted, and low ones need no privilege.

use listenfd::ListenFd;
use ringbolt_reactor::BoundListener;

use crate::listeners::Inherited;
use crate::start::StartError;

/// The sockets, by the address each is bound to.
///
/// # Errors
/// What was given is no listening TCP socket.
pub(crate) fn listeners() -> Result<Inherited, StartError> {
    let refused = |error| {
        StartError::new(format!("LISTEN_FDS: a socket of the service manager is not usable: {error}"))
    };
    let mut given = ListenFd::from_env();
    let mut inherited = Inherited::new();
    for index in 0..given.len() {
        let Some(socket) = given.take_tcp_listener(index).map_err(refused)? else { continue };
        let socket = BoundListener::from_fd(socket.into()).map_err(refused)?;
        match inherited.iter_mut().find(|(address, _)| *address == socket.local_addr()) {
            Some((_, sockets)) => sockets.push(socket),
            None => inherited.push((socket.local_addr(), vec![socket])),
        }
    }
    Ok(inherited)
}
