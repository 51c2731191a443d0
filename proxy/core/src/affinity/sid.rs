//! A session id, stored inline.
//!
//! Who knows a sid can take over its session, so neither `Display` nor `Debug` shows more than a few
//! characters. What alphabet a server uses is its own affair: any bytes are a sid.

use std::fmt;

use crate::limits::SID_BYTES_MAX;

/// Characters of a sid that logs may show.
const SHOWN_MAX: usize = 4;

/// A session id a backend issued, percent-decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid {
    bytes: [u8; SID_BYTES_MAX],
    length: u8,
}

/// A sid of more than [`SID_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SidTooLong;

impl Sid {
    /// A sid of these bytes.
    ///
    /// # Errors
    /// [`SidTooLong`] above [`SID_BYTES_MAX`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, SidTooLong> {
        let mut sid =
            Self { bytes: [0; SID_BYTES_MAX], length: u8::try_from(bytes.len()).map_err(|_| SidTooLong)? };
        sid.bytes.get_mut(..bytes.len()).ok_or(SidTooLong)?.copy_from_slice(bytes);
        Ok(sid)
    }

    /// A sid of the bytes of an iterator, of which at most one more than fit are taken.
    pub(super) fn collect(bytes: impl IntoIterator<Item = u8>) -> Result<Self, SidTooLong> {
        let mut sid = Self { bytes: [0; SID_BYTES_MAX], length: 0 };
        for byte in bytes {
            let slot = sid.bytes.get_mut(usize::from(sid.length)).ok_or(SidTooLong)?;
            *slot = byte;
            sid.length += 1;
        }
        Ok(sid)
    }

    /// The sid itself, for hashing and forwarding; never for a log.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// At most the first four characters and never more than half of them: counter sids are short.
impl fmt::Display for Sid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.as_bytes();
        write!(formatter, "{}...", bytes[..SHOWN_MAX.min(bytes.len() / 2)].escape_ascii())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sid({self})")
    }
}

impl fmt::Display for SidTooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "session id of more than {SID_BYTES_MAX} bytes")
    }
}

impl std::error::Error for SidTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_of_the_longest_length_fits_and_one_more_does_not() {
        let longest = [b'x'; SID_BYTES_MAX];
        assert_eq!(Sid::new(&longest).unwrap().as_bytes(), longest);
        assert_eq!(Sid::new(&[b'x'; SID_BYTES_MAX + 1]), Err(SidTooLong));
    }

    #[test]
    fn nothing_shows_a_whole_sid() {
        let sid = Sid::new(b"Ek3yLmC0yr0OhBMbAAAA").unwrap();
        assert_eq!(format!("{sid} {sid:?}"), "Ek3y... Sid(Ek3y...)");
        assert_eq!(Sid::new(b"42").unwrap().to_string(), "4...");
        assert_eq!(Sid::new(b"1").unwrap().to_string(), "...");
        assert_eq!(
            Sid::new(b"\r\n\x1b]xxxx").unwrap().to_string(),
            "\\r\\n\\x1b]...",
            "no control character"
        );
    }
}
