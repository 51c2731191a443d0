//! Where a head ends, judged on the bytes that are there so far.
//!
//! Every verdict here depends only on bytes up to the place it is about, so a refusal never depends on how
//! the bytes were split on their way, and comes with the first byte that earns it. Knows lines and
//! bounds, not what the lines mean.

use memchr::memchr;

use crate::limits::{FIELDS_MAX, HEAD_BYTES_DEFAULT, TARGET_BYTES_MAX};

/// Bounds of one head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the head, its last empty line included.
    pub head_bytes_max: usize,
    /// Bytes of the request target.
    pub target_bytes_max: usize,
    /// Field lines. More than [`FIELDS_MAX`] are never accepted.
    pub fields_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: HEAD_BYTES_DEFAULT,
            target_bytes_max: TARGET_BYTES_MAX,
            fields_max: FIELDS_MAX,
        }
    }
}

/// What is wrong with the lines of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineFault {
    BareLf,
    TooLong,
    TooManyFields,
}

/// The field lines of a complete head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    /// Number of field lines.
    pub(super) count: usize,
    /// Where the head ends: behind its empty line.
    pub(super) end: usize,
}

/// Length of the line that starts at `start`, without its CRLF; `None` if it is not complete yet.
///
/// `input` starts with the head, whose bound the line's end is held against.
pub(super) fn line_at(input: &[u8], start: usize, limits: &HeadLimits) -> Result<Option<usize>, LineFault> {
    let Some(length) = memchr(b'\n', &input[start..]) else {
        // At least one more byte is needed.
        return if input.len() >= limits.head_bytes_max { Err(LineFault::TooLong) } else { Ok(None) };
    };
    if start + length >= limits.head_bytes_max {
        return Err(LineFault::TooLong);
    }
    if length == 0 || input[start + length - 1] != b'\r' {
        return Err(LineFault::BareLf);
    }
    Ok(Some(length - 1))
}

/// The field lines that start at `start`; `None` if their empty line has not come yet.
pub(super) fn block_at(input: &[u8], start: usize, limits: &HeadLimits) -> Result<Option<Block>, LineFault> {
    let mut position = start;
    let mut count = 0;
    while let Some(length) = line_at(input, position, limits)? {
        position += length + 2;
        if length == 0 {
            return Ok(Some(Block { count, end: position }));
        }
        count += 1;
        if count > limits.fields_max.min(FIELDS_MAX) {
            return Err(LineFault::TooManyFields);
        }
    }
    Ok(None)
}
