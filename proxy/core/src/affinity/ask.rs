//! Asking a backend whether it has a session, in a way that does the session no harm.
//!
//! The question is a GET of the session with `transport=websocket` and without an upgrade. Servers refuse it either
//! way, and say in which:
//!
//! | server | it has the session | it does not |
//! | --- | --- | --- |
//! | engine.io 3, 4, 6 (node) | 400, `{"code":3,...}` | 400, `{"code":1,...}` |
//! | python-engineio | 400, `"Invalid transport"` | 400, `"Invalid session ..."` |
//!
//! A server that refuses the transport whatever the sid is would seem to have every session. So a backend is believed
//! to have one only if it has said of another that it has not. Counter sids are known at every backend: no question
//! tells them apart.

use super::{Protocol, Sid};

/// What a backend's answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It has the session, if it tells sessions apart at all.
    Known,
    /// It has not.
    Unknown,
    /// Neither can be told.
    Unclear,
}

/// What a backend that has a session says, in the words of python-engineio.
const KNOWN: [&[u8]; 3] = [b"Invalid transport", b"Unexpected HTTP request", b"Not connected"];

/// What one says that has not; also of a session that was closed a moment ago.
const UNKNOWN: [&[u8]; 3] = [b"Invalid session", b"Session is disconnected", b"Session ID unknown"];

/// Appends the question's query to `out`, without its `?`.
pub fn write_question_query(protocol: Protocol, sid: &Sid, out: &mut Vec<u8>) {
    // Anything before 4 is taken for 3 by servers too.
    out.extend_from_slice(match protocol {
        Protocol::V4 => b"EIO=4",
        Protocol::V3 | Protocol::Other => b"EIO=3",
    });
    out.extend_from_slice(b"&transport=websocket&sid=");
    write_encoded(sid.as_bytes(), out);
}

/// Appends bytes to `out` as the value of a query's parameter.
pub fn write_encoded(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// Reads the answer to a question.
#[must_use]
pub fn read_reply(status: u16, body: &[u8]) -> Reply {
    if status != 400 {
        return Reply::Unclear;
    }
    if let Some(code) = code(body) {
        return match code {
            b'1' => Reply::Unknown,
            b'3' => Reply::Known,
            _ => Reply::Unclear,
        };
    }
    let says = |words: &[&[u8]]| words.iter().any(|words| memchr::memmem::find(body, words).is_some());
    match (says(&UNKNOWN), says(&KNOWN)) {
        (true, _) => Reply::Unknown,
        (false, true) => Reply::Known,
        (false, false) => Reply::Unclear,
    }
}

/// The digit of `"code":D`, a number or, in Rust's engineioxide, a string.
fn code(body: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"\"code\":";
    let rest = &body[memchr::memmem::find(body, NAME)? + NAME.len()..];
    let mut rest = rest.iter().copied().skip_while(|byte| matches!(byte, b' ' | b'"'));
    let digit = rest.next().filter(u8::is_ascii_digit)?;
    (!rest.next().is_some_and(|next| next.is_ascii_digit())).then_some(digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::affinity::{Role, query};

    #[test]
    fn answers_of_real_servers_are_read() {
        // Bodies as these servers send them.
        let known = [r#"{"code":3,"message":"Bad request"}"#, r#""Invalid transport""#];
        let unknown = [
            r#"{"code":1,"message":"Session ID unknown"}"#,
            r#"{"code":"1","message":"Session ID unknown"}"#,
            r#"{ "code": 1 }"#,
            r#""Invalid session Ek3yLmC0yr0OhBMbAAAA""#,
            r#""'Session is disconnected' Ek3yLmC0yr0OhBMbAAAA""#,
            "Session ID unknown",
            // Whatever a client puts into its sid comes back.
            r#""Invalid session Invalid transport""#,
        ];
        let unclear = [
            r#"{"code":0,"message":"Transport unknown"}"#,
            r#"{"code":5,"message":"Unsupported protocol version"}"#,
            r#"{"code":13}"#,
            "Bad Request",
            "",
        ];
        assert!(known.iter().all(|body| read_reply(400, body.as_bytes()) == Reply::Known));
        assert!(unknown.iter().all(|body| read_reply(400, body.as_bytes()) == Reply::Unknown));
        assert!(unclear.iter().all(|body| read_reply(400, body.as_bytes()) == Reply::Unclear));
        assert_eq!(read_reply(200, known[0].as_bytes()), Reply::Unclear);
    }

    proptest! {
        #[test]
        fn a_question_names_the_session_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 1..129)) {
            let sid = Sid::new(&bytes).unwrap();
            let mut written = Vec::new();
            write_question_query(Protocol::V4, &sid, &mut written);
            let read = query(&written).unwrap();
            prop_assert_eq!(read.protocol, Protocol::V4);
            prop_assert_eq!(read.role(b"GET"), Role::Session(sid));
            prop_assert!(written.iter().all(|byte| byte.is_ascii_graphic()));
        }

        #[test]
        fn no_answer_is_too_strange(status: u16, body in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = read_reply(status, &body);
        }
    }
}
