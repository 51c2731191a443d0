//! The JSON object of an open packet: `sid`, `pingInterval`, `pingTimeout`, whether `upgrades` names websocket, and
//! keys we skip.
//!
//! The first three are needed, because a client needs all three. Of a repeated key the last value counts, as
//! in JavaScript and Python. Unknown values are skipped by their strings and brackets only: whether they
//! are good JSON is the client's business. Without recursion, so nesting costs no stack.

use super::Handshake;
use super::text::{Stop, Text};
use crate::affinity::Sid;
use crate::limits::SID_BYTES_MAX;

/// Longest key we compare, `pingInterval`, and one more, so that a longer key equals none.
const KEY_BYTES_MAX: usize = 13;

/// The upgrade we look for.
const WEBSOCKET: &[u8] = b"websocket";

/// Reads the object, from its opening to its closing brace.
pub(super) fn open_packet(text: &mut Text<'_>) -> Result<Handshake, Stop> {
    let mut sid = None;
    let mut ping_interval_ms = None;
    let mut ping_timeout_ms = None;
    let mut offers_websocket = false;
    text.expect(b'{')?;
    loop {
        skip_space(text)?;
        text.expect(b'"')?;
        let key: Bytes<KEY_BYTES_MAX> = string(text)?;
        skip_space(text)?;
        text.expect(b':')?;
        skip_space(text)?;
        match key.get() {
            Some(b"sid") => {
                text.expect(b'"')?;
                let start = text.at();
                let value: Bytes<SID_BYTES_MAX> = string(text)?;
                let bytes = value.get().filter(|bytes| !bytes.is_empty()).ok_or(Stop::NotAHandshake)?;
                sid = Some((Sid::new(bytes).map_err(|_| Stop::NotAHandshake)?, start..value.end));
            }
            Some(b"pingInterval") => ping_interval_ms = Some(milliseconds(text)?),
            Some(b"pingTimeout") => ping_timeout_ms = Some(milliseconds(text)?),
            Some(b"upgrades") => {
                offers_websocket = false;
                pass_value(text, |value: &Bytes<{ WEBSOCKET.len() }>| {
                    offers_websocket |= value.get() == Some(WEBSOCKET);
                })?;
            }
            _ => pass_value(text, |_: &Bytes<0>| {})?,
        }
        skip_space(text)?;
        match text.next()? {
            b',' => {}
            b'}' => break,
            _ => return Err(Stop::NotAHandshake),
        }
    }
    let (Some((sid, sid_range)), Some(ping_interval_ms), Some(ping_timeout_ms)) =
        (sid, ping_interval_ms, ping_timeout_ms)
    else {
        return Err(Stop::NotAHandshake);
    };
    Ok(Handshake { sid, sid_range, ping_interval_ms, ping_timeout_ms, offers_websocket })
}

/// The bytes of a string, or that there were too many.
struct Bytes<const MAX: usize> {
    bytes: [u8; MAX],
    length: usize,
    /// Offset of the closing quote in the body.
    end: usize,
}

impl<const MAX: usize> Bytes<MAX> {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.length += bytes.len();
    }

    fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// Reads a string behind its opening quote, to behind its closing one. Surrogates that are no pair
/// become U+FFFD.
fn string<const MAX: usize>(text: &mut Text<'_>) -> Result<Bytes<MAX>, Stop> {
    let mut out = Bytes { bytes: [0; MAX], length: 0, end: 0 };
    loop {
        out.end = text.at();
        match text.next()? {
            b'"' => return Ok(out),
            b'\\' => {
                let character = escape(text)?;
                out.push(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            0..0x20 => return Err(Stop::NotAHandshake),
            byte => out.push(&[byte]),
        }
    }
}

fn escape(text: &mut Text<'_>) -> Result<char, Stop> {
    Ok(match text.next()? {
        byte @ (b'"' | b'\\' | b'/') => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => unicode_escape(text)?,
        _ => return Err(Stop::NotAHandshake),
    })
}

fn unicode_escape(text: &mut Text<'_>) -> Result<char, Stop> {
    let first = text.hex4()?;
    if !(0xd800..0xdc00).contains(&first) {
        return Ok(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    let mut ahead = *text;
    if ahead.next()? != b'\\' || ahead.next()? != b'u' {
        return Ok(char::REPLACEMENT_CHARACTER);
    }
    let pair = [first, ahead.hex4()?];
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => {
            *text = ahead;
            Ok(character)
        }
        _ => Ok(char::REPLACEMENT_CHARACTER),
    }
}

/// A number of milliseconds, cut to an integer and to 32 bits. One with a sign or an exponent is no time
/// a client could wait.
fn milliseconds(text: &mut Text<'_>) -> Result<u32, Stop> {
    let mut value = 0_u32;
    if !text.peek()?.is_ascii_digit() {
        return Err(Stop::NotAHandshake);
    }
    while let digit @ b'0'..=b'9' = text.peek()? {
        value = value.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
        text.next()?;
    }
    if text.peek()? == b'.' {
        text.next()?;
        while text.peek()?.is_ascii_digit() {
            text.next()?;
        }
    }
    Ok(value)
}

/// Passes a value of any kind; `see` gets the strings in it.
fn pass_value<const MAX: usize>(text: &mut Text<'_>, mut see: impl FnMut(&Bytes<MAX>)) -> Result<(), Stop> {
    let mut depth = 0_usize;
    loop {
        match text.peek()? {
            b',' | b'}' if depth == 0 => return Ok(()),
            b'"' => {
                text.next()?;
                see(&string(text)?);
            }
            b'{' | b'[' => {
                text.next()?;
                depth += 1;
            }
            b'}' | b']' => {
                text.next()?;
                depth = depth.checked_sub(1).ok_or(Stop::NotAHandshake)?;
            }
            _ => {
                text.next()?;
            }
        }
    }
}

fn skip_space(text: &mut Text<'_>) -> Result<(), Stop> {
    while let b' ' | b'\t' | b'\r' | b'\n' = text.peek()? {
        text.next()?;
    }
    Ok(())
}
