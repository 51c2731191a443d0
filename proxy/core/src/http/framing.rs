//! How long a message's body is, by RFC 9112 section 6 with every ambiguity refused.
//!
//! One decision per message. It is made here from what the peer declared, and only the decision is
//! written on: two parsers cannot disagree about bytes that only one of them has seen.

use crate::limits::BODY_BYTES_MAX;

use super::Version;
use super::fields::{Fields, is_token, trim, write_field};
use super::name::Name;
use super::numbers::write_decimal;
use super::refusal::{BadResponse, Refusal};

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Framing {
    /// There is no body and none is declared.
    #[default]
    None,
    /// This many bytes, declared by Content-Length; 0 is declared too.
    Length(u64),
    /// Chunks, declared by Transfer-Encoding.
    Chunked,
    /// All until the connection closes. Responses only.
    UntilClose,
}

impl Framing {
    /// Writes the one field that declares this framing, if there is one.
    pub(super) fn write_field(self, out: &mut Vec<u8>) {
        match self {
            Self::Length(length) => write_length(length, out),
            Self::Chunked => write_field(b"Transfer-Encoding", b"chunked", out),
            Self::None | Self::UntilClose => {}
        }
    }
}

/// Writes a Content-Length in canonical decimal.
pub(super) fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(length, out);
    out.extend_from_slice(b"\r\n");
}

/// Why the declared framing is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FramingFault {
    Length,
    LengthRepeated,
    LengthAndCoding,
    Coding,
    CodingUnknown,
    CodingInHttp10,
}

/// What the fields of one message declare: one of [`Framing`]'s first three.
///
/// Repeated Content-Length is refused even with equal values, and so are empty elements in
/// Transfer-Encoding: both are legal, and both are read differently by different servers.
pub(super) fn declared(fields: &Fields, version: Version) -> Result<Framing, FramingFault> {
    let mut lengths = fields.values(Name::ContentLength);
    let length = lengths.next();
    let mut codings = fields.values(Name::TransferEncoding);
    let coding = codings.next();
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(FramingFault::LengthAndCoding),
        (Some(_), None) if lengths.next().is_some() => Err(FramingFault::LengthRepeated),
        (Some(length), None) => parse_length(length).map(Framing::Length).ok_or(FramingFault::Length),
        (None, Some(_)) if version == Version::Http10 => Err(FramingFault::CodingInHttp10),
        (None, Some(coding)) => {
            judge_coding(coding)?;
            codings.try_for_each(judge_coding)?;
            let one = fields.only(Name::TransferEncoding).is_some();
            if one { Ok(Framing::Chunked) } else { Err(FramingFault::Coding) }
        }
    }
}

/// The value of `1*DIGIT` up to [`BODY_BYTES_MAX`].
fn parse_length(value: &[u8]) -> Option<u64> {
    let mut length: u64 = 0;
    for byte in value {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length = length.checked_mul(10)?.checked_add(digit)?;
    }
    (!value.is_empty() && length <= BODY_BYTES_MAX).then_some(length)
}

/// Accepts exactly `chunked`, and tells well-formed names of other codings from malformed lists.
fn judge_coding(value: &[u8]) -> Result<(), FramingFault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut unknown = false;
    for element in value.split(|&byte| byte == b',').map(trim) {
        if element.is_empty() || !element.iter().copied().all(is_token) {
            return Err(FramingFault::Coding);
        }
        unknown |= !element.eq_ignore_ascii_case(b"chunked");
    }
    Err(if unknown { FramingFault::CodingUnknown } else { FramingFault::Coding })
}

impl From<FramingFault> for Refusal {
    fn from(fault: FramingFault) -> Self {
        match fault {
            FramingFault::Length => Self::LENGTH,
            FramingFault::LengthRepeated => Self::LENGTH_REPEATED,
            FramingFault::LengthAndCoding => Self::LENGTH_AND_CODING,
            FramingFault::Coding => Self::CODING,
            FramingFault::CodingUnknown => Self::CODING_UNKNOWN,
            FramingFault::CodingInHttp10 => Self::CODING_IN_HTTP10,
        }
    }
}

impl From<FramingFault> for BadResponse {
    fn from(fault: FramingFault) -> Self {
        match fault {
            FramingFault::Length => Self::LENGTH,
            FramingFault::LengthRepeated => Self::LENGTH_REPEATED,
            FramingFault::LengthAndCoding => Self::LENGTH_AND_CODING,
            FramingFault::Coding | FramingFault::CodingUnknown => Self::CODING,
            FramingFault::CodingInHttp10 => Self::CODING_IN_HTTP10,
        }
    }
}
