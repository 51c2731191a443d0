//! The fields behind the last chunk (RFC 9112 section 7.1.2).
//!
//! A trailer comes after everything was decided, so a field that anything is decided by may not be one:
//! a server that merged it into the head would act on what we never judged.

use crate::limits::{TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};

use super::fields::{Fields, write_field};
use super::lines::{HeadLimits, block_at};
use super::name::Name;
use super::refusal::BadBody;

const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: TRAILER_BYTES_MAX, target_bytes_max: 0, fields_max: TRAILER_FIELDS_MAX };

/// Fields that frame, route, authenticate, modify a request, or say how to read the content
/// (RFC 9110 section 6.5.1), besides those that [`Name`] knows.
const FORBIDDEN: [&[u8]; 24] = [
    b"age",
    b"authentication-info",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"date",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"proxy-authentication-info",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"trailer",
    b"www-authenticate",
];

/// A trailer section that is complete.
#[derive(Debug)]
pub(super) struct Section {
    /// Bytes from the start of the section up to and with its empty line.
    pub(super) length: usize,
    /// The lines to pass on, each with its CRLF.
    pub(super) kept: Vec<u8>,
}

/// Judges the section at the start of `input`; `None` if it is incomplete.
pub(super) fn parse(input: &[u8]) -> Result<Option<Section>, BadBody> {
    let block = block_at(input, 0, &LIMITS).map_err(|fault| match fault {
        super::lines::LineFault::BareLf => BadBody::TRAILERS,
        _ => BadBody::TRAILERS_TOO_LONG,
    })?;
    let Some(block) = block else {
        return Ok(None);
    };
    let mut fields = Fields::default();
    fields.fill(&input[..block.end], 0, block.count).map_err(|_| BadBody::TRAILERS)?;
    let mut kept = Vec::new();
    for (field, name, value) in fields.iter() {
        if field.name == Name::Other && !FORBIDDEN.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            write_field(name, value, &mut kept);
        }
    }
    Ok(Some(Section { length: block.end, kept }))
}
