//! The texts of the load: requests a Socket.IO client sends, answers its server gives, and a reader
//! of both that knows exactly these. Pure.

use std::borrow::Cow;

use memchr::memmem;
use ringbolt_core::http::websocket_accept;

/// Bytes of a sid, as Engine.IO issues them.
pub(crate) const SID_BYTES: usize = 20;
/// Body of the answer to a poll: a message packet.
pub(crate) const POLL_BODY: &str =
    "42[\"message\",{\"from\":\"somebody\",\"text\":\"hello to all of you!!\"}]";

const FIELDS: &str = "Host: chat.example\r\nUser-Agent: ringbolt-bench\r\nAccept: */*\r\n";

/// Key and answer of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Opens an Engine.IO session by polling.
pub(crate) fn handshake_request() -> String {
    format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n{FIELDS}\r\n")
}

/// A poll of an open session.
pub(crate) fn poll_request(sid: &str) -> String {
    format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\n{FIELDS}\r\n")
}

/// A session that is a WebSocket from its first request on.
pub(crate) fn upgrade_request() -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{FIELDS}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The answer to [`upgrade_request`].
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The answer to an upgrade, whose key need not be that of [`upgrade_request`]: other load tools have their
/// own.
pub(crate) fn switching(request: &[u8]) -> Cow<'static, str> {
    match field(request, b"sec-websocket-key:") {
        Some(key) if key != KEY => {
            let accept = websocket_accept(key.as_bytes());
            Cow::Owned(SWITCHING.replace(ACCEPT, &String::from_utf8_lossy(&accept)))
        }
        _ => Cow::Borrowed(SWITCHING),
    }
}

/// The answer to [`handshake_request`].
pub(crate) fn handshake_answer(sid: &str) -> String {
    answer(&format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}}"
    ))
}

/// The answer to [`poll_request`].
pub(crate) fn poll_answer() -> String {
    answer(POLL_BODY)
}

fn answer(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// What a request to the origin asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Handshake,
    Poll,
    Upgrade,
}

/// Reads a request the origin got; `None` while it is not whole. None of them has a body.
pub(crate) fn read_request(bytes: &[u8]) -> Option<Asked> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let line = &bytes[..memchr::memchr(b'\r', bytes)?];
    if memmem::find(line, b"transport=websocket").is_some() {
        Some(Asked::Upgrade)
    } else if memmem::find(line, b"&sid=").is_some() {
        Some(Asked::Poll)
    } else {
        Some(Asked::Handshake)
    }
}

/// An answer a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

/// Reads an answer; `Ok(None)` while it is not whole.
pub(crate) fn read_answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, String> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = (&bytes[..end + 2], &bytes[end + 4..]);
    let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let Some(status) = status.filter(|_| head.starts_with(b"HTTP/1.1 ")) else {
        return Err(format!("not an answer: {:?}", String::from_utf8_lossy(head)));
    };
    if status == 101 {
        return Ok(Some(Answer { status, body }));
    }
    let Some(length) = content_length(head) else {
        return Err(format!("an answer without Content-Length: {:?}", String::from_utf8_lossy(head)));
    };
    match body.len() {
        got if got < length => Ok(None),
        got if got > length => Err(format!("{} bytes beyond the answer", got - length)),
        _ => Ok(Some(Answer { status, body })),
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    field(head, b"content-length:")?.parse().ok()
}

/// The value of a field. `name` is in small letters and ends with the colon.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let mut line_start = 0;
    for line_end in memchr::memchr_iter(b'\n', head) {
        let line = &head[line_start..line_end];
        line_start = line_end + 1;
        if line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) {
            return Some(std::str::from_utf8(&line[name.len()..]).ok()?.trim());
        }
    }
    None
}

/// The sid in the answer to a handshake.
pub(crate) fn sid_of(body: &[u8]) -> Option<String> {
    let start = body.strip_prefix(b"0{\"sid\":\"")?;
    String::from_utf8(start.get(..SID_BYTES)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "abcdefghijklmnopqrst";

    #[test]
    fn the_origin_understands_every_request() {
        let cases = [
            (handshake_request(), Asked::Handshake),
            (poll_request(SID), Asked::Poll),
            (upgrade_request(), Asked::Upgrade),
        ];
        for (text, asked) in cases {
            assert_eq!(read_request(text.as_bytes()), Some(asked), "{text}");
            assert_eq!(read_request(&text.as_bytes()[..text.len() - 1]), None, "{text}");
        }
        assert_eq!(read_request(b""), None);
    }

    #[test]
    fn clients_understand_every_answer_and_wait_for_all_of_it() {
        let (poll, handshake) = (poll_answer(), handshake_answer(SID));
        for (text, status, body) in [(poll.as_str(), 200, POLL_BODY), (SWITCHING, 101, "")] {
            let expected = Answer { status, body: body.as_bytes() };
            assert_eq!(read_answer(text.as_bytes()), Ok(Some(expected)));
            for cut in 0..text.len() {
                assert_eq!(read_answer(&text.as_bytes()[..cut]), Ok(None), "{cut}");
            }
        }
        let answer = read_answer(handshake.as_bytes()).unwrap().unwrap();
        assert_eq!(sid_of(answer.body).as_deref(), Some(SID));
    }

    #[test]
    fn every_key_gets_its_own_accept() {
        assert_eq!(switching(upgrade_request().as_bytes()), SWITCHING);
        assert!(SWITCHING.contains(ACCEPT));
        let other = upgrade_request()
            .replace(KEY, "x3JJHMbDL1EzLkh9GBhXDw==")
            .replace("Sec-WebSocket-Key", "sec-websocket-key");
        assert!(
            switching(other.as_bytes()).contains("Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n")
        );
    }

    #[test]
    fn an_answer_that_is_no_answer_is_a_fault() {
        assert!(read_answer(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err().contains("without Content-Length"));
        assert!(read_answer(b"SMTP/1.1 200 OK\r\n\r\n").unwrap_err().contains("not an answer"));
        let long = poll_answer() + "x";
        assert_eq!(read_answer(long.as_bytes()), Err("1 bytes beyond the answer".to_owned()));
        let refused = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(read_answer(refused), Ok(Some(Answer { status: 502, body: b"no" })));
    }
}
