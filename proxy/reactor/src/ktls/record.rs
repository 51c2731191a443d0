//! Records with their content type, of a connection whose TLS is the kernel's.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

// From linux/tls.h, which libc does not carry.
const TLS_SET_RECORD_TYPE: libc::c_int = 1;
const TLS_GET_RECORD_TYPE: libc::c_int = 2;

/// What is in a record (RFC 8446 section 5.1).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ContentType(pub u8);

impl ContentType {
    pub const ALERT: Self = Self(21);
    pub const HANDSHAKE: Self = Self(22);
    pub const APPLICATION_DATA: Self = Self(23);
}

/// A control message that carries a content type and nothing else.
#[repr(C)]
struct TypeMessage {
    header: libc::cmsghdr,
    content_type: u8,
}

/// `CMSG_LEN(1)`.
const TYPE_MESSAGE_BYTES: usize = size_of::<libc::cmsghdr>() + 1;

impl TypeMessage {
    fn new(content_type: u8) -> Self {
        // SAFETY: a cmsghdr is integers only, for which zero is a value.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = TYPE_MESSAGE_BYTES;
        header.cmsg_level = libc::SOL_TLS;
        header.cmsg_type = TLS_SET_RECORD_TYPE;
        Self { header, content_type }
    }
}

/// Whether a receive, a splice or the ring's receive has failed because the next record is not data: fetch it
/// with [`recv_record`]. Nothing is lost by the failure.
///
/// A connection that has failed gives other errors. `EINVAL` is what splice says.
#[must_use]
pub fn is_record(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}

/// Reads once, whatever kind of record is next; 0 bytes of data is the end of the stream. Data of several records
/// may come together, of other kinds it is one record, or as much of it as the buffer takes.
///
/// # Errors
///
/// `WouldBlock`; `EBADMSG` for a record that was tampered with, or protected by keys the kernel does not have;
/// else what recvmsg(2) says.
pub fn recv_record(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(ContentType, usize)> {
    let mut control = TypeMessage::new(0);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = message(&mut piece, &mut control);
    let length = retry(|| {
        // SAFETY: `message` points to one piece, which is `buffer`, and to `control`; all outlive the call, and
        // the lengths in it are theirs.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) }
    })?;
    let typed = message.msg_controllen >= TYPE_MESSAGE_BYTES
        && control.header.cmsg_level == libc::SOL_TLS
        && control.header.cmsg_type == TLS_GET_RECORD_TYPE;
    // None comes with the end of the stream.
    Ok((if typed { ContentType(control.content_type) } else { ContentType::APPLICATION_DATA }, length))
}

/// Sends one record of a kind, at most 2^14 bytes, behind what was sent before.
///
/// # Errors
///
/// `WouldBlock`, or what sendmsg(2) says.
pub fn send_record(fd: BorrowedFd<'_>, content_type: ContentType, bytes: &[u8]) -> io::Result<usize> {
    let mut control = TypeMessage::new(content_type.0);
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let message = message(&mut piece, &mut control);
    retry(|| {
        // SAFETY: sendmsg only reads: from `message`, the one piece it points to, which is `bytes`, and `control`,
        // all of which outlive the call, and the lengths in it are theirs.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
    })
}

fn message(piece: &mut libc::iovec, control: &mut TypeMessage) -> libc::msghdr {
    // SAFETY: a msghdr is pointers and integers, for which null and zero are values.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = ptr::from_mut(piece);
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(control).cast();
    message.msg_controllen = size_of::<TypeMessage>();
    message
}

fn retry(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(length) => return Ok(length),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn without_ktls_all_is_data_until_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut buffer = [0; 16];
        let received = recv_record(server.as_fd(), &mut buffer).unwrap();
        assert_eq!((received, &buffer[..5]), ((ContentType::APPLICATION_DATA, 5), &b"hello"[..]));
        assert_eq!(recv_record(server.as_fd(), &mut buffer).unwrap(), (ContentType::APPLICATION_DATA, 0));
    }

    #[test]
    fn the_control_message_is_as_the_macros_lay_it_out() {
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
        let length = unsafe { libc::CMSG_LEN(1) } as usize;
        // SAFETY: as above.
        let space = unsafe { libc::CMSG_SPACE(1) } as usize;
        assert_eq!((TYPE_MESSAGE_BYTES, size_of::<TypeMessage>()), (length, space));
    }
}
