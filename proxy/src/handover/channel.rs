//! One end of the line between a process and its successor: messages in order, with descriptors beside them.
//!
//! A pair of sockets that keep datagrams apart (SOCK_SEQPACKET, unix(7)), so that descriptors arrive with the very
//! message they belong to. Calls block, with a limit. Used by a thread that has nothing else to do.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::wire::{Malformed, Message};
use crate::limits::{HANDOVER_DESCRIPTORS_MAX, HANDOVER_MESSAGE_BYTES_MAX};

/// Why there is no next message.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other process has closed its end: it has given up, or it is dead.
    Closed,
    /// Nothing came, or was taken, for as long as it may take.
    Silent,
    Malformed(Malformed),
    /// Another message, or other descriptors, than may come now.
    Unexpected(Message),
    Failed(io::Error),
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Both ends of a new line.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(here), there))
    }

    /// This end of a line that the other process made.
    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// How long each call may wait; `None`: for ever.
    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, timeout)?;
        set_socket_timeout(&self.0, Timeout::Send, timeout)?;
        Ok(())
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), Broken> {
        self.send_with(message, &[])
    }

    /// Sends a message and duplicates of descriptors.
    pub(super) fn send_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        let bytes = message.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Broken::Failed(io::ErrorKind::InvalidInput.into()));
        }
        // A datagram goes whole or not at all.
        let bytes = [IoSlice::new(&bytes)];
        let send = || {
            sendmsg(&self.0, &bytes, &mut ancillary, SendFlags::NOSIGNAL).map(drop).map_err(io::Error::from)
        };
        send_once(send)
    }

    /// The next message, which must come with as many descriptors as belong to it.
    pub(super) fn receive(&self) -> Result<(Message, Vec<OwnedFd>), Broken> {
        let mut bytes = vec![0; HANDOVER_MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(|error| Broken::from(io::Error::from(error)))?;
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(Broken::Malformed(Malformed::Length));
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            // This process has no room for more descriptors.
            return Err(Broken::Failed(rustix::io::Errno::MFILE.into()));
        }
        if received.bytes == 0 {
            return Err(Broken::Closed);
        }
        let message = Message::decode(&bytes[..received.bytes]).map_err(Broken::Malformed)?;
        let complete = message.descriptors().map_or(!fds.is_empty(), |count| fds.len() == count);
        if complete { Ok((message, fds)) } else { Err(Broken::Unexpected(message)) }
    }

    /// Waits for exactly this message.
    pub(super) fn expect(&self, expected: &Message) -> Result<(), Broken> {
        match self.receive()? {
            (message, _) if message == *expected => Ok(()),
            (message, _) => Err(Broken::Unexpected(message)),
        }
    }
}

fn send_once(mut send: impl FnMut() -> io::Result<()>) -> Result<(), Broken> {
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent.map_err(Broken::from),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("the other process has ended or given up"),
            Self::Silent => formatter.write_str("the other process does not answer"),
            Self::Malformed(malformed) => write!(formatter, "{malformed}"),
            Self::Unexpected(message) => write!(formatter, "an unexpected {message:?}"),
            Self::Failed(error) => write!(formatter, "the line to the other process failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use ringbolt_core::affinity::BackendId;
    use ringbolt_core::frames::Frames;

    use crate::handover::wire::{EndState, TunnelState};

    fn pair() -> (Channel, Channel) {
        let (here, there) = Channel::pair().unwrap();
        (here, Channel::from_fd(there))
    }

    fn tunnel() -> TunnelState {
        TunnelState {
            backend: BackendId(7),
            listener: None,
            client: None,
            silent_seconds: 1,
            of_client: EndState::default(),
            of_upstream: EndState::default(),
            client_first: false,
            frames: Frames::BEGINNING,
            tls: None,
        }
    }

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (here, there) = pair();
        let (mut client, end) = UnixStream::pair().unwrap();
        here.send(&Message::Commit).unwrap();
        here.send_with(&Message::Tunnels(vec![tunnel()]), &[end.as_fd(), end.as_fd()]).unwrap();
        drop(end);
        there.expect(&Message::Commit).unwrap();
        let (message, fds) = there.receive().unwrap();
        assert!(message == Message::Tunnels(vec![tunnel()]) && fds.len() == 2);
        let mut moved = UnixStream::from(fds.into_iter().next().unwrap());
        moved.write_all(b"x").unwrap();
        drop(moved);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"x", "and no duplicate is left");
    }

    #[test]
    fn a_message_without_its_descriptors_is_refused() {
        let (here, there) = pair();
        here.send(&Message::Tunnels(vec![tunnel()])).unwrap();
        assert!(matches!(there.receive(), Err(Broken::Unexpected(_))));
        here.send_with(&Message::Taken, &[here.0.as_fd()]).unwrap();
        assert!(matches!(there.receive(), Err(Broken::Unexpected(_))));
    }

    #[test]
    fn silence_and_an_end_are_told_apart() {
        let (here, there) = pair();
        there.set_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(matches!(there.receive(), Err(Broken::Silent)));
        drop(here);
        assert!(matches!(there.receive(), Err(Broken::Closed)));
        assert!(matches!(there.send(&Message::Taken), Err(Broken::Closed)));
    }
}
