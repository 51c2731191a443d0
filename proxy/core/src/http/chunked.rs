//! The chunked coding (RFC 9112 section 7.1), decoded byte by byte and strictly.
//!
//! Not httparse's `parse_chunk_size`: it takes an empty line for the last chunk and a bare LF or a NUL
//! for part of an extension. Knows nothing of what is in the trailer section; `trailers.rs` does.

use crate::limits::{BODY_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX};

use super::refusal::BadBody;

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChunkState {
    /// In a chunk size, behind this many digits.
    Size { digits: usize, value: u64 },
    /// In white space before an extension, or in the extension.
    Extension { bytes: usize, named: bool, size: u64 },
    /// Behind the CR of a size line.
    SizeLf { size: u64 },
    /// In chunk data, this many bytes before its end.
    Data { left: u64 },
    /// Behind chunk data.
    DataCr,
    /// Behind the CR after chunk data.
    DataLf,
    /// At the start of the trailer section.
    Trailers,
}

impl ChunkState {
    pub(super) const START: Self = Self::Size { digits: 0, value: 0 };

    /// The state behind `byte`, which is not chunk data and not part of the trailer section.
    pub(super) fn after(self, byte: u8) -> Result<Self, BadBody> {
        match self {
            Self::Size { digits, value } => after_size_byte(digits, value, byte),
            Self::Extension { bytes, named, size } => after_extension_byte(bytes, named, size, byte),
            Self::SizeLf { size } if byte == b'\n' => {
                Ok(if size == 0 { Self::Trailers } else { Self::Data { left: size } })
            }
            Self::SizeLf { .. } => Err(BadBody::CHUNK_SIZE),
            Self::DataCr if byte == b'\r' => Ok(Self::DataLf),
            Self::DataLf if byte == b'\n' => Ok(Self::START),
            Self::DataCr | Self::DataLf => Err(BadBody::CHUNK_END),
            Self::Data { .. } | Self::Trailers => Ok(self),
        }
    }
}

fn after_size_byte(digits: usize, value: u64, byte: u8) -> Result<ChunkState, BadBody> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ if digits == 0 => return Err(BadBody::CHUNK_SIZE),
        b'\r' => return Ok(ChunkState::SizeLf { size: value }),
        b';' => return Ok(ChunkState::Extension { bytes: 1, named: true, size: value }),
        b' ' | b'\t' => return Ok(ChunkState::Extension { bytes: 1, named: false, size: value }),
        _ => return Err(BadBody::CHUNK_SIZE),
    };
    if digits == CHUNK_SIZE_DIGITS_MAX {
        return Err(BadBody::CHUNK_TOO_LARGE);
    }
    let value = value
        .checked_mul(16)
        .and_then(|value| value.checked_add(u64::from(digit)))
        .filter(|value| *value <= BODY_BYTES_MAX)
        .ok_or(BadBody::CHUNK_TOO_LARGE)?;
    Ok(ChunkState::Size { digits: digits + 1, value })
}

/// An extension is skipped, but a byte that no extension may have is refused, and so is white space
/// with no extension behind it.
fn after_extension_byte(bytes: usize, named: bool, size: u64, byte: u8) -> Result<ChunkState, BadBody> {
    if bytes == CHUNK_EXTENSION_BYTES_MAX && byte != b'\r' {
        return Err(BadBody::CHUNK_EXTENSION_TOO_LONG);
    }
    match byte {
        b'\r' if named => Ok(ChunkState::SizeLf { size }),
        b';' => Ok(ChunkState::Extension { bytes: bytes + 1, named: true, size }),
        b' ' | b'\t' => Ok(ChunkState::Extension { bytes: bytes + 1, named, size }),
        0x21..=0x7e | 0x80.. if named => Ok(ChunkState::Extension { bytes: bytes + 1, named, size }),
        _ => Err(BadBody::CHUNK_EXTENSION),
    }
}
