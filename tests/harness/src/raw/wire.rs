//! One end of a TCP connection, whichever: bytes out in any pieces, bytes in with a bound on every wait.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::message::{Ending, Head, Message, chunks, find};
use super::{WAIT, shown};

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// In order.
    Fin,
    /// By a reset.
    Reset,
}

/// One end of a connection and the bytes that came before anybody asked for them.
#[derive(Debug)]
pub struct Wire {
    /// `None` once closed by this end.
    stream: Option<Arc<TcpStream>>,
    unread: Vec<u8>,
}

impl Wire {
    /// Connects to `address`.
    ///
    /// # Panics
    /// If nobody accepts.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
    }

    /// Connects to `address`, where nobody may listen any more.
    pub(super) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&address, WAIT).map(|stream| Self::new(Arc::new(stream)))
    }

    /// Connects to `address` from another address of the loopback network.
    ///
    /// # Panics
    /// If nobody accepts.
    #[must_use]
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        // Not for a daemon that another test starts meanwhile: it would hold the connection open.
        let (family, kind, flags) = (AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, kind, flags, None).expect("a socket");
        rustix::net::bind(&socket, &SocketAddr::from((source, 0))).expect("an address of this machine");
        let connected = rustix::net::connect(&socket, &address);
        connected.unwrap_or_else(|error| panic!("connecting from {source} to {address}: {error}"));
        Self::new(Arc::new(TcpStream::from(socket)))
    }

    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        stream.set_nodelay(true).expect("an option of an open socket");
        stream.set_write_timeout(Some(WAIT)).expect("an option of an open socket");
        stream.set_read_timeout(Some(WAIT)).expect("an option of an open socket");
        Self { stream: Some(stream), unread: Vec::new() }
    }

    fn stream(&self) -> &TcpStream {
        self.stream.as_deref().expect("this end has closed the connection")
    }

    /// This end's address.
    ///
    /// # Panics
    /// If this end has closed the connection.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream().local_addr().expect("a bound socket")
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// If the far end has gone or takes nothing for [`WAIT`].
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("sending: {error}"));
    }

    /// Sends all of `bytes`, where the far end may be gone already.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn try_send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// Sends `bytes` as segments of `piece` bytes each.
    ///
    /// # Panics
    /// As [`Wire::send`].
    pub fn send_in_pieces(&self, bytes: impl AsRef<[u8]>, piece: usize) {
        for part in bytes.as_ref().chunks(piece) {
            self.send(part);
        }
    }

    /// Sends what `next` yields until the far end has taken nothing for `quiet`; returns the bytes taken.
    ///
    /// # Panics
    /// If the connection fails, or takes `limit` bytes without ever filling up.
    pub fn send_until_full(&self, quiet: Duration, limit: u64, mut next: impl FnMut(&mut [u8])) -> u64 {
        let mut taken = 0;
        let mut buffer = vec![0; 64 * 1024];
        self.stream().set_write_timeout(Some(quiet)).expect("an option of an open socket");
        while taken < limit {
            next(&mut buffer);
            let mut rest = &buffer[..];
            while !rest.is_empty() {
                match self.stream().write(rest) {
                    Ok(sent) => {
                        taken += sent as u64;
                        rest = &rest[sent..];
                    }
                    Err(error) if is_timeout(&error) => {
                        self.stream().set_write_timeout(Some(WAIT)).expect("an option of an open socket");
                        return taken;
                    }
                    Err(error) => panic!("sending after {taken} bytes: {error}"),
                }
            }
        }
        panic!("the far end took {taken} bytes that nobody read");
    }

    /// Sends FIN; this end can still receive.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn finish(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap_or_else(|error| panic!("sending FIN: {error}"));
    }

    /// As [`Wire::finish`], where the far end may be gone already.
    pub fn finish_if_open(&self) {
        // Fails only where it is.
        let _ = self.stream().shutdown(Shutdown::Write);
    }

    /// Closes the connection in order.
    pub fn close(&mut self) {
        self.stream = None;
    }

    /// Closes the connection with a reset.
    ///
    /// # Panics
    /// If this end has closed it already.
    pub fn reset(&mut self) {
        set_socket_linger(self.stream(), Some(Duration::ZERO)).expect("an option of an open socket");
        self.stream = None;
    }

    /// Whether this end has not closed the connection.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Takes bytes that have arrived, at least one; `Err` at the end of the connection.
    ///
    /// # Errors
    /// How the connection ended.
    ///
    /// # Panics
    /// If nothing comes for [`WAIT`].
    pub fn read(&mut self, what: &str) -> Result<Vec<u8>, End> {
        if self.unread.is_empty() {
            self.receive(Instant::now() + WAIT, what)?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// As [`Wire::read`], for a connection that may stay silent for as long as it likes.
    ///
    /// # Errors
    /// How the connection ended.
    ///
    /// # Panics
    /// If it fails in another way than by a reset.
    pub fn read_ever(&mut self) -> Result<Vec<u8>, End> {
        if self.unread.is_empty() {
            self.await_byte()?;
        }
        self.read("bytes that are there")
    }

    /// Waits until there is something to read, however long.
    fn await_byte(&self) -> Result<(), End> {
        self.stream().set_read_timeout(None).expect("an option of an open socket");
        match self.stream().peek(&mut [0]) {
            Ok(0) => Err(End::Fin),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    /// Waits for bytes and adds them to `unread`.
    fn receive(&mut self, deadline: Instant, what: &str) -> Result<(), End> {
        let mut buffer = [0; 64 * 1024];
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream().set_read_timeout(Some(left)).expect("an option of an open socket");
        match self.stream().read(&mut buffer) {
            Ok(0) => Err(End::Fin),
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) if is_timeout(&error) => {
                panic!("waited {WAIT:?} for {what}; so far {}", shown(&self.unread))
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Err(End::Reset)
            }
            Err(error) => panic!("receiving {what}: {error}"),
        }
    }

    /// Receives until `complete` finds in the unread bytes what it looks for.
    fn receive_until<T>(&mut self, what: &str, complete: impl Fn(&[u8]) -> Option<T>) -> Result<T, End> {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(found) = complete(&self.unread) {
                return Ok(found);
            }
            self.receive(deadline, what)?;
        }
    }

    /// Takes exactly `length` bytes.
    ///
    /// # Panics
    /// If the connection ends before.
    pub fn read_exactly(&mut self, length: usize, what: &str) -> Vec<u8> {
        let complete = self.receive_until(what, |unread| (unread.len() >= length).then_some(()));
        complete.unwrap_or_else(|end| panic!("{end:?} instead of {what}; so far {}", shown(&self.unread)));
        self.unread.drain(..length).collect()
    }

    /// Takes everything until the connection ends.
    ///
    /// # Panics
    /// If it does not end within [`WAIT`].
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let end = self.receive_until("the end of the connection", |_| None::<()>);
        (std::mem::take(&mut self.unread), end.expect_err("ends only with the connection"))
    }

    /// Waits for the connection to end without another byte.
    ///
    /// # Panics
    /// If a byte comes, or nothing for [`WAIT`].
    pub fn expect_end(&mut self) -> End {
        let (bytes, end) = self.read_to_end();
        assert!(bytes.is_empty(), "instead of the end there came {}", shown(&bytes));
        end
    }

    /// Takes one head; `None` if the connection ended, in order, instead.
    ///
    /// # Panics
    /// If it ends within a head.
    pub fn read_head(&mut self) -> Option<Head> {
        match self.receive_until("a head", |unread| find(unread, b"\r\n\r\n")) {
            Ok(at) => Some(Head(self.unread.drain(..at + 4).collect())),
            Err(End::Fin) if self.unread.is_empty() => None,
            Err(end) => panic!("{end:?} within a head: {}", shown(&self.unread)),
        }
    }

    /// As [`Wire::read_head`], for a connection that may stay silent for as long as it likes before.
    pub(super) fn await_head(&mut self) -> Result<Head, End> {
        if self.unread.is_empty() {
            self.await_byte()?;
        }
        let at = self.receive_until("a head", |unread| find(unread, b"\r\n\r\n"))?;
        Ok(Head(self.unread.drain(..at + 4).collect()))
    }

    /// What has been received and not been asked for.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes the body that `head`, of a request, announces.
    ///
    /// # Errors
    /// How the connection ended before the body did.
    ///
    /// # Panics
    /// If no byte comes for [`WAIT`], or the framing is broken.
    pub fn read_request_body(&mut self, head: Head) -> Result<Message, End> {
        let declared = head.declared().unwrap_or((Ending::Bodiless, 0));
        self.read_body(head, declared)
    }

    /// Takes one response to a GET, or to anything that has a body.
    ///
    /// # Panics
    /// If there is none, it is incomplete, or its framing is broken.
    pub fn read_response(&mut self) -> Message {
        self.read_response_to("GET")
    }

    /// Takes one response to a request of this method.
    ///
    /// # Panics
    /// As [`Wire::read_response`].
    pub fn read_response_to(&mut self, method: &str) -> Message {
        let head = self.read_head().expect("the connection ended instead of a response");
        let before = head.clone();
        self.read_response_body(method, head)
            .unwrap_or_else(|end| panic!("{end:?} within the body of {before:?}"))
    }

    fn read_response_body(&mut self, method: &str, head: Head) -> Result<Message, End> {
        let status = head.status();
        let declared = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            (Ending::Bodiless, 0)
        } else {
            head.declared().unwrap_or((Ending::Close, 0))
        };
        self.read_body(head, declared)
    }

    fn read_body(&mut self, head: Head, (ending, length): (Ending, usize)) -> Result<Message, End> {
        let mut message = Message { ending, ..Message::bodiless(head) };
        match ending {
            Ending::Bodiless => {}
            Ending::Length => {
                self.receive_until("a body", |unread| (unread.len() >= length).then_some(()))?;
                message.raw_body = self.unread.drain(..length).collect();
                message.body = message.raw_body.clone();
            }
            Ending::Chunked => {
                let found = self.receive_until("the last chunk", chunks)?;
                message.raw_body = self.unread.drain(..found.length).collect();
                message.trailers = message.raw_body[found.trailers].to_vec();
                message.body = found.payload;
            }
            Ending::Close => {
                let (bytes, end) = self.read_to_end();
                if end == End::Reset {
                    return Err(end);
                }
                message.body.clone_from(&bytes);
                message.raw_body = bytes;
            }
        }
        Ok(message)
    }

    /// Sends `request` and takes the response to it.
    ///
    /// # Panics
    /// As [`Wire::send`] and [`Wire::read_response`].
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Message {
        let method = if request.as_ref().starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        self.send(request);
        self.read_response_to(method)
    }

    /// Sends a GET or POST and takes the response, which may be long in coming, or never come.
    pub(super) fn try_exchange(&mut self, request: impl AsRef<[u8]>) -> Result<Message, End> {
        self.try_send(request).map_err(|_| End::Reset)?;
        let head = self.await_head()?;
        self.read_response_body("GET", head)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
