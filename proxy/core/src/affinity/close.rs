//! Whether a body ends its session.
//!
//! Only a body that is a close packet and nothing else counts. A close behind other packets is missed,
//! and costs an entry until it expires; to find it, every body would have to be parsed, and a message
//! taken for a close by mistake would cost a living session.
//!
//! The forms of JSONP are told by the body alone: no packet of any generation begins as they do.

use super::Protocol;
use crate::limits::CLOSE_BODY_BYTES_MAX;

/// The close packet of `EIO=3` in the framing of old servers without `b64`: string packet, length one.
const BINARY_CLOSE: &[u8] = &[0x00, 0x01, 0xff, b'1'];

/// What a JSONP answer has before its index, between that and its packet, and behind the packet.
const JSONP: [&[u8]; 3] = [b"___eio[", b"](\"", b"\");"];

/// Whether `body`, of a POST or of the answer to a poll, is exactly an Engine.IO close packet.
#[must_use]
pub fn is_close(body: &[u8], protocol: Protocol) -> bool {
    if body.len() > CLOSE_BODY_BYTES_MAX {
        return false;
    }
    match protocol {
        Protocol::V4 => body == b"1" || body == b"d=1" || in_jsonp(body) == Some(b"1"),
        Protocol::V3 => {
            body == b"1:1"
                || body == BINARY_CLOSE
                || body.eq_ignore_ascii_case(b"d=1%3a1")
                || body == b"d=1:1"
                || in_jsonp(body) == Some(b"1:1")
        }
        Protocol::Other => false,
    }
}

/// The packets of `___eio[0]("...");`.
fn in_jsonp(body: &[u8]) -> Option<&[u8]> {
    let [before, between, behind] = JSONP;
    let rest = body.strip_prefix(before)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(between)?.strip_suffix(behind)
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

    #[test]
    fn the_forms_of_jsonp_close_both_ways() {
        assert!(is_close(b"d=1", Protocol::V4));
        assert!(is_close(br#"___eio[0]("1");"#, Protocol::V4));
        assert!(is_close(br#"___eio[1234567890]("1");"#, Protocol::V4));
        assert!(is_close(br#"___eio[]("1");"#, Protocol::V4));
        for body in [&b"d=1%3A1"[..], b"d=1%3a1", b"d=1:1", br#"___eio[9999999999]("1:1");"#] {
            assert!(is_close(body, Protocol::V3), "{body:?}");
            assert!(!is_close(body, Protocol::V4), "{body:?}");
        }
        for body in [
            &b"d=4"[..],
            b"d=",
            b"d=11",
            br#"___eio[0]("4");"#,
            br#"___eio[0]("1")"#,
            br#"___eio[0]("#,
            b"___eio[",
        ] {
            assert!(!is_close(body, Protocol::V4), "{body:?}");
        }
    }

    #[test]
    fn the_longest_close_is_as_long_as_the_limit() {
        assert_eq!(br#"___eio[9999999999]("1:1");"#.len(), CLOSE_BODY_BYTES_MAX);
    }
}
