//! Bytes of a body that may end anywhere, seen through the escapes of a JavaScript string if need be.
//!
//! Knows nothing of packets or JSON.

/// Why reading ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// So far it was right, and the bytes ran out.
    OutOfBytes,
    /// It is something else.
    NotAHandshake,
}

/// A place in a body.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    body: &'a [u8],
    /// Offset of the next byte in the body, escapes included.
    at: usize,
    /// Inside a JavaScript string, where a backslash escapes.
    in_string: bool,
    /// Bytes read, escapes resolved.
    bytes: usize,
    /// Characters (UTF-8 code points) of those.
    characters: usize,
}

impl<'a> Text<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, in_string: false, bytes: 0, characters: 0 }
    }

    /// From here on the body is the inside of a JavaScript string.
    pub(super) const fn begin_string(&mut self) {
        self.in_string = true;
    }

    /// Offset in the body of what comes next.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Characters and bytes read since `start`, escapes of the JavaScript string resolved.
    pub(super) const fn distance_from(&self, start: &Self) -> (usize, usize) {
        (self.characters - start.characters, self.bytes - start.bytes)
    }

    /// The next byte, left in place.
    pub(super) fn peek(&self) -> Result<u8, Stop> {
        let mut ahead = *self;
        ahead.next()
    }

    /// Takes the next byte.
    pub(super) fn next(&mut self) -> Result<u8, Stop> {
        let byte = match self.next_raw()? {
            b'\\' if self.in_string => self.escape()?,
            // The string ends, and with it the script's argument.
            b'"' if self.in_string => return Err(Stop::NotAHandshake),
            byte => byte,
        };
        self.bytes += 1;
        self.characters += usize::from(byte & 0xc0 != 0x80);
        Ok(byte)
    }

    /// Takes the next byte, which must be this one.
    pub(super) fn expect(&mut self, expected: u8) -> Result<(), Stop> {
        if self.next()? == expected { Ok(()) } else { Err(Stop::NotAHandshake) }
    }

    /// Takes four hexadecimal digits.
    pub(super) fn hex4(&mut self) -> Result<u16, Stop> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | hex(self.next()?)?;
        }
        Ok(unit)
    }

    fn next_raw(&mut self) -> Result<u8, Stop> {
        let byte = *self.body.get(self.at).ok_or(Stop::OutOfBytes)?;
        self.at += 1;
        Ok(byte)
    }

    /// The byte a backslash stands for. Servers escape quotes and backslashes; of the rest only ASCII is
    /// known, because the handshake's own JSON has escaped what is not already.
    fn escape(&mut self) -> Result<u8, Stop> {
        match self.next_raw()? {
            byte @ (b'"' | b'\'' | b'\\' | b'/') => Ok(byte),
            b'n' => Ok(b'\n'),
            b'r' => Ok(b'\r'),
            b't' => Ok(b'\t'),
            b'u' => {
                let mut unit = 0;
                for _ in 0..4 {
                    unit = unit << 4 | hex(self.next_raw()?)?;
                }
                u8::try_from(unit).ok().filter(u8::is_ascii).ok_or(Stop::NotAHandshake)
            }
            _ => Err(Stop::NotAHandshake),
        }
    }
}

fn hex(digit: u8) -> Result<u16, Stop> {
    match digit {
        b'0'..=b'9' => Ok(u16::from(digit - b'0')),
        b'a'..=b'f' => Ok(u16::from(digit - b'a') + 10),
        b'A'..=b'F' => Ok(u16::from(digit - b'A') + 10),
        _ => Err(Stop::NotAHandshake),
    }
}
