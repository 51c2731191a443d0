//! Whether a body ends its session.
//!
//! Only a body that is a close packet and nothing else counts. A close behind other packets is missed,
//! and costs an entry until it expires; to find it, every body would have to be parsed, and a message
//! taken for a close by mistake would cost a living session. The JSONP forms are missed likewise.

use super::Protocol;
use crate::limits::CLOSE_BODY_BYTES_MAX;

/// The close packet of `EIO=3` in the framing of old servers without `b64`: string packet, length one.
const BINARY_CLOSE: &[u8] = &[0x00, 0x01, 0xff, b'1'];

const _: () = assert!(BINARY_CLOSE.len() == CLOSE_BODY_BYTES_MAX);

/// Whether `body`, of a POST or of the answer to a poll, is exactly an Engine.IO close packet.
#[must_use]
pub fn is_close(body: &[u8], protocol: Protocol) -> bool {
    match protocol {
        Protocol::V4 => body == b"1",
        Protocol::V3 => body == b"1:1" || body == BINARY_CLOSE,
        Protocol::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_bodies_of_the_right_generation_close() {
        assert!(is_close(b"1", Protocol::V4));
        assert!(is_close(b"1:1", Protocol::V3));
        assert!(is_close(b"\x00\x01\xff1", Protocol::V3));
        for body in [&b""[..], b"11", b"1\n", b"1\x1e2", b"4hello 1", b"1:1", b"\x00\x01\xff1"] {
            assert!(!is_close(body, Protocol::V4), "{body:?}");
        }
        for body in [&b""[..], b"1", b"1:11:1", b"1:2", b"2:41", b"\x00\x01\xff"] {
            assert!(!is_close(body, Protocol::V3), "{body:?}");
        }
        assert!(!is_close(b"1", Protocol::Other));
    }
}
