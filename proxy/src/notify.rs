//! What a service manager is told: that the process serves, reloads, and how that went (sd_notify(3)); and what it
//! keeps over a crash: the listening sockets (`FileDescriptorStoreMax=`), so that connections wait for the next process
//! instead of being refused. That process gets them as it gets sockets of socket activation (`activation.rs`).
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names; without it nothing is sent. That nobody listens there is
//! no reason to stop.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use ringbolt_reactor::BoundListener;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use rustix::time::{ClockId, clock_gettime};

use crate::limits::NOTIFY_DESCRIPTORS_MAX;
use crate::listeners::Listening;
use crate::server::Inheritance;

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notify {
    manager: Option<(UnixDatagram, SocketAddrUnix)>,
    /// Addresses of sockets that it keeps.
    kept: RefCell<BTreeSet<SocketAddr>>,
}

impl Notify {
    /// As the environment says. The manager has what it gave, and what the process gave it that this one takes over from.
    pub(crate) fn from_environment(inheritance: &Inheritance) -> Self {
        let manager = env::var_os("NOTIFY_SOCKET").and_then(|name| Self::to(&name));
        let known = inheritance.listeners.iter().map(|(address, _)| *address);
        Self { manager, kept: RefCell::new(known.filter(is_kept).collect()) }
    }

    fn to(name: &OsStr) -> Option<(UnixDatagram, SocketAddrUnix)> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            name => SocketAddrUnix::new(name),
        };
        Some((UnixDatagram::unbound().ok()?, address.ok()?))
    }

    /// These listeners are there now. What is new is kept, what is gone is not any longer.
    pub(crate) fn keep<'a>(&self, listeners: impl Iterator<Item = &'a Listening>) {
        let mut gone = self.kept.take();
        for Listening { configured, sockets, .. } in listeners.filter(|new| is_kept(&new.configured)) {
            self.kept.borrow_mut().insert(*configured);
            if gone.remove(configured) {
                continue;
            }
            for sockets in sockets.chunks(NOTIFY_DESCRIPTORS_MAX) {
                let sockets: Vec<_> = sockets.iter().map(BoundListener::fd).collect();
                self.send_with(&format!("FDSTORE=1\nFDNAME={}", kept_name(*configured)), &sockets);
            }
        }
        self.keep_no_longer(gone);
    }

    fn keep_no_longer(&self, addresses: BTreeSet<SocketAddr>) {
        for address in addresses {
            self.send(&format!("FDSTOREREMOVE=1\nFDNAME={}", kept_name(address)));
        }
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
        // Nobody is to wait at a port that this process closes.
        self.keep_no_longer(self.kept.take());
        let microseconds = within.as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}\nSTATUS=draining"));
    }

    fn send(&self, state: &str) {
        self.send_with(state, &[]);
    }

    fn send_with(&self, state: &str, fds: &[BorrowedFd<'_>]) {
        let Some((socket, address)) = &self.manager else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(NOTIFY_DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            let (state, flags) =
                ([IoSlice::new(state.as_bytes())], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            // Nobody may listen, and a full queue is the manager's.
            let _ = sendmsg_addr(socket, address, &state, &mut ancillary, flags);
        }
    }
}

/// A port that the kernel chose would be another one the next time.
fn is_kept(configured: &SocketAddr) -> bool {
    configured.port() != 0
}

/// The manager's name for the sockets of a listener, which holds no colon.
fn kept_name(address: SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    use super::*;

    #[test]
    fn states_reach_a_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("ringbolt-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let name = OsString::from(format!("@{name}"));
        for (manager, address) in [(by_path, path.into_os_string()), (by_name, name)] {
            let notify = Notify { manager: Notify::to(&address), kept: RefCell::default() };
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
