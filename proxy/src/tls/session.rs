//! One TLS connection's state, between the socket's bytes and ours.
//!
//! A session owns no buffer while nothing moves: records are received into, opened in and sealed in the
//! worker's one [`Records`] buffer, and only the bytes of a record that has not come whole, or that the
//! socket has not taken, are kept. Reading and writing have the shape of recv(2) and send(2), so that
//! whoever uses a connection need not know which kind it is. Knows nothing of sockets, readiness or names.

// tidy: allow peer, rustls calls so whoever is at the other end

mod kernel;

use std::fmt;
use std::io;
use std::rc::Rc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

use crate::hot_buffer::HotBuffer;
use crate::limits::{HOT_BUFFER_BYTES, TLS_PARTIAL_BYTES_MAX};

pub(crate) use self::kernel::{KernelSession, KernelSessionState, Offered, support};

/// The worker's buffer for TLS records, as the hot buffer is for what they carry. A handle.
#[derive(Clone, Debug)]
pub(crate) struct Records(Rc<HotBuffer>);

impl Records {
    pub(crate) fn new() -> Self {
        Self(Rc::new(HotBuffer::of(RECORDS_BYTES)))
    }

    /// How many sessions use it.
    pub(crate) fn sessions(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// What a hot buffer's worth of plaintext takes as records: each adds 5 bytes of header, 1 of type and 16 of
/// tag, in TLS 1.2 8 of nonce too. The rest is for control messages that go before it.
const RECORDS_BYTES: usize = HOT_BUFFER_BYTES + 4 * 1024;

/// Which end of the TLS connection we are.
enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// How far the other end's stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Open,
    /// `close_notify` has come: no byte follows.
    Ended,
    /// TCP ended without it, or a record broke a rule: what came may not be all that was sent.
    Broken,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    records: Records,
    /// Received bytes of a record that is not complete.
    partial: Vec<u8>,
    /// Sealed bytes that the socket has not taken.
    unsent: Vec<u8>,
    /// Plaintext in `unsent` that its sender still counts as its own.
    owed: usize,
    reading: Reading,
    /// Nothing was left in the socket when it was last read.
    emptied: bool,
    said_goodbye: bool,
    /// Its keys may be given away.
    for_kernel: bool,
    fault: Option<Box<Error>>,
    /// What backends are told about the client's certificate, where one was asked for.
    client_fields: Option<Box<[u8]>>,
}

/// What one look at received records came to.
enum Step {
    /// Something was understood; there may be more.
    On,
    /// So many bytes of plaintext.
    Plain(usize),
    /// The other end has finished.
    Ended,
    /// Nothing complete is left.
    Waiting,
    Failed(Error),
}

impl Session {
    pub(super) fn server(connection: UnbufferedServerConnection, records: Records) -> Self {
        Self::new(Connection::Server(connection), records)
    }

    pub(super) fn client(connection: UnbufferedClientConnection, records: Records) -> Self {
        Self::new(Connection::Client(connection), records)
    }

    fn new(connection: Connection, records: Records) -> Self {
        Self {
            connection,
            records,
            partial: Vec::new(),
            unsent: Vec::new(),
            owed: 0,
            reading: Reading::Open,
            emptied: false,
            said_goodbye: false,
            for_kernel: false,
            fault: None,
            client_fields: None,
        }
    }

    /// What the handshake has agreed on so far.
    pub(super) fn agreed(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// The TLS handshake is not complete, or its last message has not left.
    pub(super) fn is_handshaking(&self) -> bool {
        self.agreed().is_handshaking() || self.has_unsent()
    }

    /// Why the session has failed.
    pub(super) fn fault(&self) -> Option<&Error> {
        self.fault.as_deref()
    }

    /// Lines of a head that say who the client has proved to be; `None`: it was not asked.
    pub(crate) fn client_fields(&self) -> Option<&[u8]> {
        self.client_fields.as_deref()
    }

    pub(super) fn set_client_fields(&mut self, fields: Box<[u8]>) {
        self.client_fields = Some(fields);
    }

    /// Sealed bytes wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The other end's stream is over: a read tells how, without the socket.
    pub(crate) fn is_over(&self) -> bool {
        self.reading != Reading::Open
    }

    /// The last read left nothing in the socket, and did not find the end.
    pub(crate) fn has_emptied(&self) -> bool {
        self.emptied && !self.is_over()
    }

    /// Receives with `recv` and opens what has come into `into`, which takes a hot buffer's worth. 0 is the
    /// end that the other end has declared.
    ///
    /// Returns plaintext or says why there is none; nothing that was opened stays behind.
    ///
    /// # Errors
    /// `WouldBlock`; `UnexpectedEof` for a stream cut off without `close_notify`; `InvalidData` for one that
    /// breaks the rules of TLS, whose alert is then in [`Self::flush`]; or what `recv` says.
    pub(crate) fn receive(
        &mut self,
        into: &mut [u8],
        mut recv: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let records = self.records.clone();
        loop {
            match self.reading {
                Reading::Open => {}
                Reading::Ended => return Ok(0),
                Reading::Broken => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            let plain = records.0.with(|buffer| {
                let kept = self.partial.len();
                buffer[..kept].copy_from_slice(&self.partial);
                let room = &mut buffer[kept..HOT_BUFFER_BYTES];
                let room_bytes = room.len();
                self.emptied = false;
                let length = match recv(room) {
                    Ok(0) => {
                        self.reading = Reading::Broken;
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Ok(length) => length,
                    Err(error) => {
                        self.emptied = error.kind() == io::ErrorKind::WouldBlock;
                        return Err(error);
                    }
                };
                self.emptied = length < room_bytes;
                self.open(&mut buffer[..kept + length], into)
            })?;
            // A record that carries nothing, such as a ticket, is no reason to come back later.
            if plain > 0 {
                return Ok(plain);
            }
        }
    }

    /// Opens bytes that were received before there was a session.
    pub(super) fn begin(&mut self, received: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        self.open(received, into)
    }

    /// Opens every complete record in `received` into `into` and keeps what is left.
    fn open(&mut self, received: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        let (mut at, mut plain) = (0, 0);
        let failed = loop {
            let (discarded, step) =
                self.connection.step(&mut received[at..], &mut into[plain..], &mut self.unsent);
            at += discarded;
            match step {
                Step::On => {}
                Step::Plain(length) => plain += length,
                Step::Waiting => break None,
                Step::Ended => {
                    self.reading = Reading::Ended;
                    break None;
                }
                Step::Failed(error) => break Some(error),
            }
        };
        self.partial = received[at..].to_vec();
        let failed = failed.or_else(|| {
            let too_long = self.partial.len() > TLS_PARTIAL_BYTES_MAX;
            too_long.then(|| Error::General("a TLS message is too long".to_owned()))
        });
        match failed {
            Some(error) => {
                self.reading = Reading::Broken;
                self.fault = Some(Box::new(error));
                self.gather_alert();
                Err(io::ErrorKind::InvalidData.into())
            }
            None => Ok(plain),
        }
    }

    /// Takes what the session has to say by itself, such as an alert, into `unsent`.
    fn gather_control(&mut self) {
        // Always with the bytes that are kept: rustls may hold ranges of them.
        while let (_, Step::On) = self.connection.step(&mut self.partial, &mut [], &mut self.unsent) {}
    }

    /// Takes the alert of a session that has failed. rustls must not be asked anything else then.
    fn gather_alert(&mut self) {
        while self.agreed().wants_write()
            && let (_, Step::On) = self.connection.step(&mut self.partial, &mut [], &mut self.unsent)
        {
        }
    }

    /// Replaces whatever waits to be sent: the handshake has failed for a reason TLS has a better word for.
    pub(super) fn say_instead(&mut self, record: &[u8]) {
        self.unsent = record.to_vec();
    }

    /// Seals `parts` and sends them with `send`. Returns how many of their bytes the socket has taken, as
    /// send(2) does.
    ///
    /// A record is sealed as a whole, so more may be sealed than taken. The caller still owns those bytes
    /// and must offer them first the next time; they are then only counted.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was taken, or what `send` says.
    pub(crate) fn send<'p>(
        &mut self,
        parts: impl IntoIterator<Item = &'p [u8]>,
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.fault.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.gather_control();
        if !self.flush(&mut send)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut counted = std::mem::take(&mut self.owed);
        let mut taken = counted;
        let mut parts = parts.into_iter().filter_map(|part| {
            let skipped = counted.min(part.len());
            counted -= skipped;
            Some(&part[skipped..]).filter(|rest| !rest.is_empty())
        });
        let records = self.records.clone();
        let mut part: &[u8] = &[];
        loop {
            let sealed = records.0.with(|buffer| {
                let (mut filled, mut plain) = (0, 0);
                while plain < HOT_BUFFER_BYTES {
                    if part.is_empty() {
                        match parts.next() {
                            Some(next) => part = next,
                            None => break,
                        }
                    }
                    let (piece, rest) = part.split_at(part.len().min(HOT_BUFFER_BYTES - plain));
                    // Many short parts could outgrow the buffer by their headers.
                    if buffer.len() - filled < sealed_bytes_max(piece.len()) {
                        break;
                    }
                    filled += self.seal(piece, &mut buffer[filled..])?;
                    plain += piece.len();
                    part = rest;
                }
                let sent = match send_some(&mut send, &buffer[..filled]) {
                    Ok(sent) => sent,
                    Err(error) if taken == 0 => return Err(error),
                    Err(_) => 0,
                };
                self.unsent.extend_from_slice(&buffer[sent..filled]);
                Ok::<_, io::Error>(plain)
            })?;
            if sealed == 0 {
                return Ok(taken);
            }
            if self.has_unsent() {
                self.owed = sealed;
                return if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) };
            }
            taken += sealed;
        }
    }

    /// Seals one piece of plaintext.
    fn seal(&mut self, piece: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let sealed = match &mut self.connection {
            Connection::Server(connection) => traffic(connection.process_tls_records(&mut self.partial))
                .and_then(|mut traffic| traffic.encrypt(piece, out).ok()),
            Connection::Client(connection) => traffic(connection.process_tls_records(&mut self.partial))
                .and_then(|mut traffic| traffic.encrypt(piece, out).ok()),
        };
        sealed.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Sends what is sealed. `false`: not all of it is taken.
    ///
    /// # Errors
    /// What `send` says.
    pub(crate) fn flush(&mut self, send: &mut impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        while self.has_unsent() {
            match send_some(send, &self.unsent)? {
                0 => return Ok(false),
                sent if sent == self.unsent.len() => self.unsent = Vec::new(),
                sent => drop(self.unsent.drain(..sent)),
            }
        }
        Ok(true)
    }

    /// Never says goodbye: what was sent is not all that was to be.
    pub(crate) fn abandon(&mut self) {
        self.said_goodbye = true;
    }

    /// Sends `close_notify`: nothing more comes from us, the other end may go on (RFC 8446 section 6.1).
    /// `false`: it is not all taken, call it again.
    ///
    /// # Errors
    /// What `send` says.
    pub(crate) fn say_goodbye(
        &mut self,
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        if !self.said_goodbye && self.fault.is_none() {
            self.said_goodbye = true;
            self.gather_control();
            let mut record = [0; GOODBYE_BYTES_MAX];
            let length = match &mut self.connection {
                Connection::Server(connection) => traffic(connection.process_tls_records(&mut self.partial))
                    .and_then(|mut traffic| traffic.queue_close_notify(&mut record).ok()),
                Connection::Client(connection) => traffic(connection.process_tls_records(&mut self.partial))
                    .and_then(|mut traffic| traffic.queue_close_notify(&mut record).ok()),
            };
            self.unsent.extend_from_slice(&record[..length.unwrap_or(0)]);
        }
        self.flush(&mut send)
    }
}

/// What it holds is secret.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

impl Connection {
    /// Takes one step over `received`; returns how many of its bytes are done with.
    fn step(&mut self, received: &mut [u8], into: &mut [u8], unsent: &mut Vec<u8>) -> (usize, Step) {
        match self {
            Self::Server(connection) => step(connection.process_tls_records(received), into, unsent),
            Self::Client(connection) => step(connection.process_tls_records(received), into, unsent),
        }
    }
}

/// Longest record of a `close_notify`: header, alert, type, tag and TLS 1.2's nonce, and padding of none.
const GOODBYE_BYTES_MAX: usize = 64;

/// Longest form of so many bytes as records.
fn sealed_bytes_max(plain: usize) -> usize {
    const OVERHEAD: usize = 5 + 8 + 1 + 16;
    plain + (plain / (16 * 1024) + 1) * OVERHEAD
}

/// What rustls makes of received bytes, done with what it asks for.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    into: &mut [u8],
    unsent: &mut Vec<u8>,
) -> (usize, Step) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Step::Failed(error),
        Ok(ConnectionState::EncodeTlsData(control)) => encode(control, unsent),
        Ok(ConnectionState::TransmitTlsData(control)) => {
            control.done();
            Step::On
        }
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut length = 0;
            loop {
                match traffic.next_record() {
                    None => break Step::Plain(length),
                    Some(Err(error)) => break Step::Failed(error),
                    Some(Ok(record)) => {
                        let Some(room) = into.get_mut(length..length + record.payload.len()) else {
                            break Step::Failed(Error::General("more plaintext than room".to_owned()));
                        };
                        room.copy_from_slice(record.payload);
                        length += record.payload.len();
                        discard += record.discard;
                    }
                }
            }
        }
        Ok(ConnectionState::PeerClosed) => Step::Ended,
        Ok(
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed,
        ) => Step::Waiting,
        // Early data is never accepted.
        Ok(_) => Step::Failed(Error::General("an unknown state of TLS".to_owned())),
    };
    (discard, step)
}

fn encode<Data>(mut control: EncodeTlsData<'_, Data>, unsent: &mut Vec<u8>) -> Step {
    let start = unsent.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        control.encode(&mut [])
    {
        unsent.resize(start + required_size, 0);
        if let Err(error) = control.encode(&mut unsent[start..]) {
            return Step::Failed(Error::General(error.to_string()));
        }
    }
    Step::On
}

/// The permission to send, which an established session has unless it has said goodbye.
fn traffic<'c, Data>(status: UnbufferedStatus<'c, '_, Data>) -> Option<WriteTraffic<'c, Data>> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(traffic)) => Some(traffic),
        _ => None,
    }
}

/// How many bytes were taken, 0 if none can be now.
fn send_some(send: &mut impl FnMut(&[u8]) -> io::Result<usize>, bytes: &[u8]) -> io::Result<usize> {
    match send(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
