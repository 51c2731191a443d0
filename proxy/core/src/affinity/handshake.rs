//! The session a backend opens: reads the Engine.IO handshake in an answer's first bytes.
//!
//! | framing | begins |
//! | --- | --- |
//! | `EIO=4` | `0{` |
//! | `EIO=3`, string | `97:0{`: length in characters |
//! | `EIO=3`, binary | `00 09 07 ff 0{`: string packet, length in bytes, one decimal digit each |
//! | JSONP | `___eio[0]("`, then any string form with its quotes escaped |
//!
//! The packet opens the body, so a message that merely contains a sid is never taken for one. What
//! follows the packet (initial packets of the server) is not looked at. Knows nothing of HTTP: the body
//! comes without its transfer or content coding.

use std::ops::Range;
use std::time::Duration;

use super::{Protocol, Sid};
use crate::limits::{
    HANDSHAKE_BODY_BYTES_MAX, SESSION_TIME_TO_LIVE_MARGIN, SESSION_TIME_TO_LIVE_MAX, SESSION_TIME_TO_LIVE_MIN,
};
use open_packet::open_packet;
use text::{Stop, Text};

mod open_packet;
#[cfg(test)]
mod tests;
mod text;

/// What a body shows so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandshakeReading {
    /// It may become a handshake: read more, and hold it back. If no more comes, it is none.
    Incomplete,
    /// It is a handshake. Whatever follows changes nothing.
    Found(Handshake),
    /// It is none, or none that can be read. Whatever follows changes nothing.
    NotAHandshake,
}

/// The open packet of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The id of the new session.
    pub sid: Sid,
    /// Where the sid stands in the body, without its quotes, as encoded there.
    pub sid_range: Range<usize>,
    /// Time between two pings, milliseconds.
    pub ping_interval_ms: u32,
    /// Time a ping may take, milliseconds.
    pub ping_timeout_ms: u32,
    /// `upgrades` names websocket: the client is to leave polling soon.
    pub offers_websocket: bool,
}

impl Handshake {
    /// How long the session lives without any request: as long as its server waits, and a margin.
    /// Bounded by [`SESSION_TIME_TO_LIVE_MIN`] and [`SESSION_TIME_TO_LIVE_MAX`], because a backend can
    /// announce anything.
    #[must_use]
    pub fn time_to_live(&self) -> Duration {
        let announced =
            Duration::from_millis(u64::from(self.ping_interval_ms) + u64::from(self.ping_timeout_ms));
        (announced + SESSION_TIME_TO_LIVE_MARGIN).clamp(SESSION_TIME_TO_LIVE_MIN, SESSION_TIME_TO_LIVE_MAX)
    }
}

/// Reads the handshake in the first bytes of the answer to a handshake request of `protocol`.
///
/// Called again with the whole prefix whenever more has come; at most [`HANDSHAKE_BODY_BYTES_MAX`] bytes
/// are looked at. A sid longer than [`crate::limits::SID_BYTES_MAX`] makes it unreadable.
#[must_use]
pub fn read_handshake(body_so_far: &[u8], protocol: Protocol) -> HandshakeReading {
    let readable = &body_so_far[..body_so_far.len().min(HANDSHAKE_BODY_BYTES_MAX)];
    match read(Text::new(readable), protocol) {
        Ok(handshake) => HandshakeReading::Found(handshake),
        Err(Stop::OutOfBytes) if readable.len() < HANDSHAKE_BODY_BYTES_MAX => HandshakeReading::Incomplete,
        Err(_) => HandshakeReading::NotAHandshake,
    }
}

/// The declared length of the packet, in the unit of its framing.
enum Length {
    /// To the end or to a separator.
    Open,
    /// In characters: some servers count code points, some UTF-16 units, some bytes.
    Characters(usize),
    Bytes(usize),
}

fn read(mut text: Text<'_>, protocol: Protocol) -> Result<Handshake, Stop> {
    if text.peek()? == b'_' {
        open_script(&mut text)?;
    }
    let length = match (text.peek()?, protocol) {
        (b'0', Protocol::V4 | Protocol::Other) => Length::Open,
        (0, Protocol::V3 | Protocol::Other) => binary_length(&mut text)?,
        (b'1'..=b'9', Protocol::V3 | Protocol::Other) => string_length(&mut text)?,
        _ => return Err(Stop::NotAHandshake),
    };
    let start = text;
    text.expect(b'0')?;
    let handshake = open_packet(&mut text)?;
    let (characters, bytes) = text.distance_from(&start);
    let fits = match length {
        Length::Open => true,
        Length::Characters(declared) => (characters..=bytes).contains(&declared),
        Length::Bytes(declared) => declared == bytes,
    };
    if fits { Ok(handshake) } else { Err(Stop::NotAHandshake) }
}

/// Takes `___eio[`, the client's number, `]("`, after which the text is that of a JavaScript string.
fn open_script(text: &mut Text<'_>) -> Result<(), Stop> {
    for &byte in b"___eio[" {
        text.expect(byte)?;
    }
    while text.peek()?.is_ascii_digit() {
        text.next()?;
    }
    for &byte in b"](\"" {
        text.expect(byte)?;
    }
    text.begin_string();
    Ok(())
}

fn string_length(text: &mut Text<'_>) -> Result<Length, Stop> {
    let mut declared = 0_usize;
    loop {
        match text.next()? {
            digit @ b'0'..=b'9' => declared = append(declared, digit - b'0')?,
            b':' => return Ok(Length::Characters(declared)),
            _ => return Err(Stop::NotAHandshake),
        }
    }
}

fn binary_length(text: &mut Text<'_>) -> Result<Length, Stop> {
    text.expect(0)?;
    let mut declared = 0_usize;
    loop {
        match text.next()? {
            digit @ 0..=9 => declared = append(declared, digit)?,
            0xff => return Ok(Length::Bytes(declared)),
            _ => return Err(Stop::NotAHandshake),
        }
    }
}

/// A length with one more digit, if a packet of it can still fit the bytes we read.
fn append(declared: usize, digit: u8) -> Result<usize, Stop> {
    let longer = declared * 10 + usize::from(digit);
    if longer <= HANDSHAKE_BODY_BYTES_MAX { Ok(longer) } else { Err(Stop::NotAHandshake) }
}
