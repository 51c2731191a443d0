//! The server name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2, RFC 6066 section 3).
//!
//! It is read to find who is to take the connection, without taking part in the handshake: what is no business
//! of that (versions, ciphers, all other extensions, those of GREASE among them) is stepped over. Where a client
//! hides its name (Encrypted ClientHello) this sees the public name outside, as everybody on the way does. The message
//! may be cut into records as its sender likes, and into segments as the network does.

use std::net::IpAddr;

use crate::limits::{CLIENT_HELLO_BYTES_MAX, HOST_BYTES_MAX};

#[cfg(test)]
mod tests;

/// Bytes before the fragment of a record: type, version, length.
const RECORD_HEADER_BYTES: usize = 5;

/// Bytes before the body of a handshake message: type, length.
const MESSAGE_HEADER_BYTES: usize = 4;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Longest fragment of a record in plain text (RFC 8446 section 5.1).
const FRAGMENT_BYTES_MAX: usize = 1 << 14;

/// What a ClientHello says about its destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientHello {
    /// In lower case, without a final dot. `None`: there is none, or an address, which is no name.
    pub server_name: Option<Box<str>>,
}

/// Bytes that are no ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadClientHello {
    pub reason: &'static str,
}

impl BadClientHello {
    const RECORD: Self = Self { reason: "malformed TLS record" };
    const TOO_LONG: Self = Self { reason: "ClientHello is too long" };
    const MESSAGE: Self = Self { reason: "malformed ClientHello" };
    const NAME: Self = Self { reason: "malformed server name in a ClientHello" };
}

/// Reads the ClientHello that a connection begins with, as its bytes come.
#[derive(Clone, Default, Debug)]
pub struct ClientHelloReader {
    /// Where the first record begins that is not in `message`: no byte is read twice, however they drip.
    at: usize,
    /// The message, as far as whole records of it have come.
    message: Vec<u8>,
}

impl ClientHelloReader {
    /// Reads on; `input` is all that the connection has sent. `None`: more is needed.
    ///
    /// # Errors
    /// [`BadClientHello`] if no more bytes can make it one.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<ClientHello>, BadClientHello> {
        loop {
            if let Some(body) = self.body()? {
                return parse(body).map(Some);
            }
            let rest = input.get(self.at..).unwrap_or_default();
            let Some((&[kind, major, _, high, low], rest)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>()
            else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if kind != HANDSHAKE || major != 3 || !(1..=FRAGMENT_BYTES_MAX).contains(&length) {
                return Err(BadClientHello::RECORD);
            }
            let end = self.at + RECORD_HEADER_BYTES + length;
            if end > CLIENT_HELLO_BYTES_MAX {
                return Err(BadClientHello::TOO_LONG);
            }
            let Some(fragment) = rest.get(..length) else { return Ok(None) };
            self.message.extend_from_slice(fragment);
            self.at = end;
        }
    }

    /// The body of the message, once it is there.
    fn body(&self) -> Result<Option<&[u8]>, BadClientHello> {
        let Some((&[kind, high, middle, low], rest)) =
            self.message.split_first_chunk::<MESSAGE_HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([middle, low]));
        match (kind, high) {
            (CLIENT_HELLO, 0) if length <= CLIENT_HELLO_BYTES_MAX => Ok(rest.get(..length)),
            (CLIENT_HELLO, _) => Err(BadClientHello::TOO_LONG),
            _ => Err(BadClientHello::MESSAGE),
        }
    }
}

fn parse(body: &[u8]) -> Result<ClientHello, BadClientHello> {
    let mut body = Cursor(body);
    let extensions = body.extensions().ok_or(BadClientHello::MESSAGE)?;
    let mut extensions = Cursor(extensions);
    let mut server_name = None;
    while !extensions.0.is_empty() {
        let (kind, data) = extensions.extension().ok_or(BadClientHello::MESSAGE)?;
        if kind == SERVER_NAME && server_name.replace(read_name(data)?).is_some() {
            return Err(BadClientHello::MESSAGE);
        }
    }
    Ok(ClientHello { server_name: server_name.flatten() })
}

/// The name in a server_name extension: a list of exactly one.
fn read_name(data: &[u8]) -> Result<Option<Box<str>>, BadClientHello> {
    let name = Cursor(data).only_name().ok_or(BadClientHello::NAME)?;
    let text = str::from_utf8(name).map_err(|_| BadClientHello::NAME)?;
    if text.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(is_name_byte) {
        return Err(BadClientHello::NAME);
    }
    Ok(Some(text.to_ascii_lowercase().into()))
}

/// The rest of a structure that is read from its beginning.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector whose length stands before it in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    /// A vector whose length stands before it in two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    /// Steps over version, random, session id, ciphers and compressions. There may be no extensions at all.
    fn extensions(&mut self) -> Option<&'a [u8]> {
        self.take(2 + 32)?;
        let session_id = self.short()?;
        let ciphers = self.long()?;
        let compressions = self.short()?;
        let is_right = session_id.len() <= 32
            && !ciphers.is_empty()
            && ciphers.len().is_multiple_of(2)
            && !compressions.is_empty();
        let extensions = if self.0.is_empty() { &[] } else { self.long()? };
        (is_right && self.0.is_empty()).then_some(extensions)
    }

    fn extension(&mut self) -> Option<(u16, &'a [u8])> {
        Some((self.number()?, self.long()?))
    }

    /// The host name that is alone in its list, and the list in its extension.
    fn only_name(&mut self) -> Option<&'a [u8]> {
        let mut list = Cursor(self.long()?);
        let kind = list.take(1)?[0];
        let name = list.long()?;
        (kind == HOST_NAME && list.0.is_empty() && self.0.is_empty()).then_some(name)
    }
}
