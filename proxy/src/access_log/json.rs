//! One line of JSON, field by field.
//!
//! Written by hand because a request's fields come at different times, as bytes that need not be UTF-8, and each line
//! must not cost more than its bytes do.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ringbolt_core::http::{RequestId, write_address, write_decimal};

use super::fields::{self, Field};
use super::record::write_query;
use super::termination::{Cause, Phase};
use crate::limits::ACCESS_FIELD_BYTES_MAX;

/// Fields to be written one after the other, each with a comma before it.
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Json<'_> {
    /// A text: what `write` writes, which must not end the string that it stands in.
    // Inlined, so that the key's length is known where it is copied: a line has some twenty of them.
    #[inline]
    fn quoted(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(field.text_key.as_bytes());
        write(self.0);
        self.0.push(b'"');
    }

    /// A text that needs no escapes: one of ours.
    #[inline]
    pub(super) fn word(&mut self, field: &Field, word: &str) {
        self.quoted(field, |line| line.extend_from_slice(word.as_bytes()));
    }

    /// A text of somebody else, cut where it is too long.
    #[inline]
    pub(super) fn text(&mut self, field: &Field, text: &[u8]) {
        self.quoted(field, |line| write_escaped(text, line));
    }

    #[inline]
    pub(super) fn number(&mut self, field: &Field, number: u64) {
        self.0.extend_from_slice(field.key.as_bytes());
        write_decimal(number, self.0);
    }

    /// As seconds with six digits behind the point.
    #[inline]
    pub(super) fn seconds(&mut self, field: &Field, duration: Duration) {
        self.number(field, duration.as_secs());
        let mut fraction = *b".000000";
        let mut micros = duration.subsec_micros();
        for digit in fraction[1..].iter_mut().rev() {
            *digit = b"0123456789"[(micros % 10) as usize];
            micros /= 10;
        }
        self.0.extend_from_slice(&fraction);
    }

    pub(super) fn request_id(&mut self, field: &Field, id: RequestId) {
        self.quoted(field, |line| id.write(line));
    }

    /// Why something ended.
    pub(super) fn code(&mut self, cause: Cause, phase: Phase) {
        self.quoted(&fields::TERMINATION, |line| line.extend_from_slice(&[cause.letter(), phase.letter()]));
    }

    pub(super) fn masked_query(&mut self, field: &Field, query: &[u8]) {
        self.quoted(field, |line| write_query(query, line));
    }

    pub(super) fn address(&mut self, field: &Field, address: IpAddr) {
        self.quoted(field, |line| write_address(address, line));
    }
}

/// Writes at most [`ACCESS_FIELD_BYTES_MAX`] bytes of `text`, so that they are a part of a JSON string: what is not printable
/// ASCII is taken for ISO 8859-1 and escaped.
pub(crate) fn write_escaped(text: &[u8], line: &mut Vec<u8>) {
    let cut = text.get(..ACCESS_FIELD_BYTES_MAX);
    let mut rest = cut.unwrap_or(text);
    // Looks at all of them at once, which is many bytes an instruction; hardly any text has such bytes.
    if rest.iter().fold(false, |any, byte| any | is_special(*byte)) {
        while let Some(special) = rest.iter().position(|byte| is_special(*byte)) {
            line.extend_from_slice(&rest[..special]);
            // Writing to memory does not fail.
            let _ = write!(line, "\\u{:04x}", rest[special]);
            rest = &rest[special + 1..];
        }
    }
    line.extend_from_slice(rest);
    if cut.is_some() {
        line.extend_from_slice(b"...");
    }
}

/// A byte that stands in no JSON string, or in none that is read as anything but UTF-8.
const fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte >= 0x7f) | (byte == b'"') | (byte == b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_sends_stays_within_its_string() {
        let mut line = b"{\"a\":1".to_vec();
        let hostile = b"a\"b\\c\nd\x00\x7f\xe9\",\"status\":500,\"x\":\"";
        Json(&mut line).text(&fields::PATH, hostile);
        line.push(b'}');
        let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let text: String = hostile.iter().map(|byte| char::from(*byte)).collect();
        assert_eq!(parsed["path"], text);
        assert_eq!(parsed.as_object().unwrap().len(), 2);
    }

    #[test]
    fn numbers_and_seconds_are_numbers() {
        for (number, seconds, expected) in [
            (0, Duration::ZERO, r#","status":0,"duration_seconds":0.000000"#),
            (
                u64::MAX,
                Duration::from_micros(61_000_203),
                r#","status":18446744073709551615,"duration_seconds":61.000203"#,
            ),
        ] {
            let mut line = Vec::new();
            let mut json = Json(&mut line);
            json.number(&fields::STATUS, number);
            json.seconds(&fields::DURATION, seconds);
            assert_eq!(line, expected.as_bytes());
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let mut line = Vec::new();
        write_escaped(&[b'a'; ACCESS_FIELD_BYTES_MAX + 1], &mut line);
        assert_eq!(line.len(), ACCESS_FIELD_BYTES_MAX + 3);
        assert!(line.ends_with(b"a..."));
    }
}
