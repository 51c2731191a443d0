//! Where the WebSocket frames of a server begin and end (RFC 6455 section 5.2), in four bytes of state.
//!
//! Between any two frames, those of one message included, a control frame may be put in (section 5.4); inside of
//! one it would be taken for payload. Nothing else of a frame is looked at, but whether it is the last: behind a close
//! frame no other may be sent (section 5.5.1). Who loses track can never find a boundary again, because any bytes may
//! look like frames.

use crate::limits::FRAME_BYTES_MAX;

#[cfg(test)]
mod tests;

/// The code of a close frame by which a client is asked to connect again: Service Restart (section 7.4, registered
/// with IANA).
const SERVICE_RESTART: u16 = 1012;

/// A whole close frame of a server, that says [`SERVICE_RESTART`].
pub const RESTART_FRAME: [u8; 4] = {
    let [high, low] = SERVICE_RESTART.to_be_bytes();
    [0x80 | CLOSE, 2, high, low]
};

/// Opcode of a close frame.
const CLOSE: u8 = 8;
const OPCODE_BITS: u8 = 0x0f;
const MASKED: u8 = 0x80;
const MASK_BYTES: u32 = 4;

/// Place in a stream of frames.
///
/// The low 24 bits count payload bytes to come; while a length is being read they are what there is of it. The high 8
/// say which bytes come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames(u32);

const COUNT_BITS: u32 = 24;
const COUNT: u32 = (1 << COUNT_BITS) - 1;
const _: () = assert!(FRAME_BYTES_MAX + MASK_BYTES <= COUNT);

/// The second byte of a header.
const SECOND: u32 = 0x40;
/// In place of the last four bits: so many bytes of a length, at most 8.
const LENGTH: u32 = 0x20;
/// With [`LENGTH`]: a mask follows.
const LENGTH_THEN_MASK: u32 = LENGTH | 0x10;
const LENGTH_BYTES: u32 = 0x0f;

impl Frames {
    /// A stream of frames that has not begun.
    pub const BEGINNING: Self = Self(0);

    /// No boundary is known any more, or no frame may follow.
    pub const LOST: Self = Self(u32::MAX);

    /// As [`Self::to_word`] gave it. `None`: it never does.
    #[must_use]
    pub fn from_word(word: u32) -> Option<Self> {
        let frames = Self(word);
        let (next, count) = (word >> COUNT_BITS, word & COUNT);
        let possible = match next {
            0 => true,
            SECOND => count == 0,
            LENGTH..SECOND => (1..=8).contains(&(next & LENGTH_BYTES)) && count <= FRAME_BYTES_MAX,
            _ => frames == Self::LOST,
        };
        possible.then_some(frames)
    }

    /// The place as a number, for another process.
    #[must_use]
    pub fn to_word(self) -> u32 {
        self.0
    }

    /// A frame may be put in here.
    #[must_use]
    pub fn at_boundary(self) -> bool {
        self == Self::BEGINNING
    }

    /// See [`Self::LOST`].
    #[must_use]
    pub fn is_lost(self) -> bool {
        self == Self::LOST
    }

    /// Payload bytes to come of the frame that is under way, as far as it is known.
    #[must_use]
    pub fn payload_left(self) -> usize {
        if self.0 <= COUNT { self.0 as usize } else { 0 }
    }

    /// Follows these bytes of the stream.
    #[inline]
    pub fn follow(&mut self, bytes: &[u8]) {
        // Nearly always they are one whole short frame. (A set mask bit makes the length too large.)
        let [first, second, payload @ ..] = bytes else { return self.follow_any(bytes) };
        let is_whole = usize::from(*second) == payload.len() && payload.len() < 126;
        if !(self.at_boundary() && is_whole && first & OPCODE_BITS != CLOSE) {
            self.follow_any(bytes);
        }
    }

    #[cold]
    fn follow_any(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = self.step(bytes);
        }
    }

    /// Follows these bytes as far as the first boundary behind one of them, and returns how many that are: all, if there
    /// is none among them.
    pub fn follow_to_boundary(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.step(rest);
            if self.at_boundary() {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    /// Follows so many bytes unseen.
    pub fn skip(&mut self, count: usize) {
        match u32::try_from(count) {
            Ok(0) => {}
            Ok(passed) if count <= self.payload_left() => self.0 -= passed,
            _ => *self = Self::LOST,
        }
    }

    /// Follows one part of a frame, and returns the bytes behind it.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (next, count) = (self.0 >> COUNT_BITS, self.0 & COUNT);
        let Some((&first, behind)) = bytes.split_first() else { return bytes };
        match next {
            0 if count == 0 => {
                let closes = first & OPCODE_BITS == CLOSE;
                *self = if closes { Self::LOST } else { Self(SECOND << COUNT_BITS) };
                behind
            }
            0 => {
                let passed = bytes.len().min(count as usize);
                self.skip(passed);
                &bytes[passed..]
            }
            SECOND => {
                let length = if first & MASKED == 0 { LENGTH } else { LENGTH_THEN_MASK };
                match u32::from(first & !MASKED) {
                    126 => self.0 = (length | 2) << COUNT_BITS,
                    127 => self.0 = (length | 8) << COUNT_BITS,
                    short => self.begin_payload(length, short),
                }
                behind
            }
            LENGTH..SECOND => {
                // Shifted by a byte it still fits in 32 bits.
                let count = count << 8 | u32::from(first);
                match next & LENGTH_BYTES {
                    _ if count > FRAME_BYTES_MAX => *self = Self::LOST,
                    1 => self.begin_payload(next, count),
                    _ => self.0 = (next - 1) << COUNT_BITS | count,
                }
                behind
            }
            _ => &[],
        }
    }

    fn begin_payload(&mut self, length: u32, count: u32) {
        let masked = length & LENGTH_THEN_MASK == LENGTH_THEN_MASK;
        self.0 = count + if masked { MASK_BYTES } else { 0 };
    }
}
