//! The combined form of Apache and nginx: a request a line, for tools that read it.

use ringbolt_core::http::{RequestHead, write_address, write_decimal};

use super::clock::{self, Stamp};
use super::json::write_escaped;
use super::record::{Record, version, write_query};

/// Puts the request line into `text`, and what stands behind the number of bytes into `tail`.
pub(super) fn write_head(head: &RequestHead, with_query: bool, text: &mut Vec<u8>, tail: &mut Vec<u8>) {
    text.push(b'"');
    write_escaped(head.method_bytes(), text);
    text.push(b' ');
    write_escaped(head.path(), text);
    if let Some(query) = head.query().filter(|_| with_query) {
        text.push(b'?');
        write_query(query, text);
    }
    text.extend_from_slice(b" HTTP/");
    text.extend_from_slice(version(head).as_bytes());
    text.push(b'"');
    for name in [b"referer".as_slice(), b"user-agent"] {
        tail.extend_from_slice(b" \"");
        write_escaped(head.field(name).unwrap_or(b"-"), tail);
        tail.push(b'"');
    }
}

impl Record {
    /// Writes the line of a request that has ended.
    pub(super) fn write_combined(&self, stamp: Stamp, line: &mut Vec<u8>) {
        write_address(self.client.get(), line);
        line.extend_from_slice(b" - - [");
        clock::write_combined(&stamp, line);
        line.extend_from_slice(b"] ");
        match &self.text.borrow()[..] {
            [] => line.extend_from_slice(b"\"-\""),
            request => line.extend_from_slice(request),
        }
        line.push(b' ');
        write_decimal(self.status().into(), line);
        line.push(b' ');
        write_decimal(self.response_body_bytes(), line);
        line.extend_from_slice(if self.tail.is_empty() { b" \"-\" \"-\"" } else { &self.tail });
    }
}
