//! Bodies that end a session: whether one does, and the one that does for a client.
//!
//! Only a body that is a close packet and nothing else counts. A close behind other packets is missed,
//! and costs an entry until it expires; to find it, every body would have to be parsed, and a message
//! taken for a close by mistake would cost a living session.
//!
//! The forms of JSONP are told by the body alone: no packet of any generation begins as they do.

use std::io::Write as _;

use super::{Protocol, Query};
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

/// The close packet that ends a session for its client, as the answer to a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClosePacket {
    packet: &'static str,
    /// The number of the function to call with it, in JSONP.
    jsonp: Option<u32>,
}

/// What the User-Agent of JavaScript's client begins with: in browsers, and in node.
const JAVASCRIPT: [&[u8]; 2] = [b"Mozilla/", b"node-XMLHttpRequest"];

impl ClosePacket {
    /// The close packet for the client that asks by `query`. `None`: it may not come back after one.
    ///
    /// JavaScript's client opens another session when its server has closed one. python-socketio's stays away for good, and comes
    /// back when a poll fails. Of clients that are unknown the same is assumed: a failed poll all of them survive.
    #[must_use]
    pub fn to(query: &Query, user_agent: Option<&[u8]>) -> Option<Self> {
        let packet = match query.protocol {
            Protocol::V4 => "1",
            // A client of this generation reads it whatever framing its server prefers.
            Protocol::V3 => "1:1",
            Protocol::Other => return None,
        };
        let user_agent = user_agent?;
        let comes_back = JAVASCRIPT.iter().any(|name| user_agent.starts_with(name));
        comes_back.then_some(Self { packet, jsonp: query.jsonp })
    }

    /// Value of Content-Type.
    #[must_use]
    pub fn content_type(&self) -> &'static [u8] {
        match self.jsonp {
            None => b"text/plain; charset=UTF-8",
            Some(_) => b"text/javascript; charset=UTF-8",
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(CLOSE_BODY_BYTES_MAX);
        // A vector takes whatever is written.
        let _ = match self.jsonp {
            None => write!(body, "{}", self.packet),
            Some(number) => write!(body, "___eio[{number}](\"{}\");", self.packet),
        };
        body
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

    fn told(text: &str, user_agent: &str) -> Option<ClosePacket> {
        ClosePacket::to(&super::super::query(text.as_bytes()).unwrap(), Some(user_agent.as_bytes()))
    }

    #[test]
    fn what_closes_a_session_is_a_close() {
        for (text, protocol, body, content_type) in [
            ("EIO=4&sid=x", Protocol::V4, "1", "text/plain; charset=UTF-8"),
            ("EIO=3&sid=x", Protocol::V3, "1:1", "text/plain; charset=UTF-8"),
            ("EIO=4&sid=x&j=7", Protocol::V4, "___eio[7](\"1\");", "text/javascript; charset=UTF-8"),
            (
                "EIO=3&sid=x&j=4294967295",
                Protocol::V3,
                "___eio[4294967295](\"1:1\");",
                "text/javascript; charset=UTF-8",
            ),
        ] {
            let packet = told(text, "Mozilla/5.0 (X11)").unwrap();
            assert_eq!(
                (packet.body().as_slice(), packet.content_type()),
                (body.as_bytes(), content_type.as_bytes())
            );
            assert!(is_close(&packet.body(), protocol));
        }
    }

    #[test]
    fn only_who_comes_back_gets_a_close() {
        assert!(told("EIO=4&sid=x", "node-XMLHttpRequest").is_some());
        for user_agent in
            ["", "Python/3.11 aiohttp/3.14.5", "python-requests/2.32", "okhttp/4.12", "not Mozilla/5.0"]
        {
            assert_eq!(told("EIO=4&sid=x", user_agent), None, "{user_agent}");
        }
        assert_eq!(told("EIO=5&sid=x", "Mozilla/5.0"), None, "of this generation nothing is known");
        let query = super::super::query(b"EIO=4&sid=x").unwrap();
        assert_eq!(ClosePacket::to(&query, None), None);
    }

    #[test]
    fn the_longest_close_is_as_long_as_the_limit() {
        assert_eq!(br#"___eio[9999999999]("1:1");"#.len(), CLOSE_BODY_BYTES_MAX);
    }
}
