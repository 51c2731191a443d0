//! What a service manager is told: that the process serves, reloads, and how that went (sd_notify(3)).
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names; without it nothing is sent. That nobody listens there is
//! no reason to stop.

use std::env;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        Self(env::var_os("NOTIFY_SOCKET").and_then(|name| Self::to(&name)))
    }

    fn to(name: &OsString) -> Option<(UnixDatagram, SocketAddr)> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(name),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Some((socket.ok()?, address.ok()?))
    }

    /// The process serves; `status` is one line for people.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins, which [`Self::ready`] ends. `Type=notify-reload` wants the time as well.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// Another process serves from now on, and is to be looked after in place of this one.
    pub(crate) fn main_process_is(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}\nREADY=1\nSTATUS=upgraded"));
    }

    /// The process lives: what the manager's watchdog waits for.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The process drains and will end within this time, however little of it `TimeoutStopSec=` allows.
    pub(crate) fn stopping(&self, within: Duration) {
        let microseconds = within.as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}\nSTATUS=draining"));
    }

    fn send(&self, state: &str) {
        if let Some((socket, address)) = &self.0 {
            // Nobody may listen, and a full queue is the manager's.
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_reach_a_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("ringbolt-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (manager, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notify = Notify(Notify::to(&address));
            notify.ready("fine");
            let mut state = [0; 100];
            let length = manager.recv(&mut state).unwrap();
            assert_eq!(&state[..length], b"READY=1\nSTATUS=fine");
            notify.stopping(Duration::from_millis(2500));
            let length = manager.recv(&mut state).unwrap();
            assert_eq!(&state[..length], b"STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000\nSTATUS=draining");
        }
    }
}
