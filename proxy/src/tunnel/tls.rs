//! TLS at one end of a tunnel: sealed and opened here, or by the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ringbolt_reactor::{recv, send};

use super::end::End;
use crate::metrics::label::TlsRecords;
use crate::tls::{KernelSession, Offered, Session};
use crate::worker::Worker;

/// Whose the records of an end are.
#[derive(Debug)]
pub(super) enum Tls {
    UserSpace(Box<Session>),
    Kernel(KernelSession),
}

impl Tls {
    /// Of a client's connection, which the kernel gets where it can. `None`: the connection is lost.
    pub(super) fn client(session: Box<Session>, end: &End, worker: &Worker) -> Option<Self> {
        let (tls, records) = match session.offer_to_kernel(end.fd.as_fd()) {
            Offered::Taken(session) => (Some(Self::Kernel(session)), TlsRecords::Kernel),
            Offered::Kept(session) => (Some(Self::UserSpace(session)), TlsRecords::UserSpace),
            Offered::Lost => (None, TlsRecords::Lost),
        };
        worker.counters().tls_tunnels.of(records).add(1);
        tls
    }

    /// Bytes on the socket are not those of the tunnel, so that the kernel cannot move them alone.
    pub(super) fn is_user_space(&self) -> bool {
        matches!(self, Self::UserSpace(_))
    }

    /// As recv(2); 0 is the end the other side has declared.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let session = match self {
            Self::Kernel(session) => return session.receive(fd, buffer),
            Self::UserSpace(session) => session,
        };
        let received = session.receive(buffer, |records| recv(fd, records));
        if session.has_unsent() {
            // An alert, or the answer to a change of keys. What is not taken goes with the next bytes.
            let _ = session.flush(&mut |records| send(fd, records));
        }
        received
    }

    /// As send(2).
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::UserSpace(session) => session.send([bytes], |records| send(fd, records)),
            Self::Kernel(session) => session.send(fd, bytes),
        }
    }

    /// Declares our end. `false`: to be tried again when the socket takes bytes.
    pub(super) fn say_goodbye(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        match self {
            Self::UserSpace(session) => session.say_goodbye(|records| send(fd, records)),
            Self::Kernel(session) => session.say_goodbye(fd),
        }
    }

    /// To be called about every minute in which something was sent. The error ends the tunnel.
    pub(super) fn look_after_key(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::UserSpace(_) => Ok(()),
            Self::Kernel(session) => session.look_after_key(fd),
        }
    }
}
