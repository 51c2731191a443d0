//! What the query of a request says in Engine.IO's terms.
//!
//! Knows nothing of sessions: whether a sid exists is the table's business. Any path may be Engine.IO;
//! the query alone tells. Nothing is allocated, and a hostile query costs one pass over its bytes.

use super::{Sid, SidTooLong};

#[cfg(test)]
mod tests;

/// Protocol generation of Engine.IO, which decides how bodies are framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// `EIO=3`: packets with a length prefix. Also a request without `EIO`: node servers take every
    /// query that does not say `EIO=4` for this.
    V3,
    /// `EIO=4`: packets separated by a control character.
    V4,
    /// Another number, of a generation before or after the known ones.
    Other,
}

/// How the session moves its packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// GET and POST. Also `EIO` without `transport`, which python-engineio takes for polling.
    Polling,
    /// An upgraded connection.
    WebSocket,
    /// HTTP/3.
    WebTransport,
    /// A name we do not know.
    Other,
}

/// The Engine.IO parameters of one query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// From `EIO`.
    pub protocol: Protocol,
    /// From `transport`.
    pub transport: Transport,
    /// From `sid`; `None` on the first request of a session.
    pub sid: Option<Result<Sid, SidTooLong>>,
    /// The number in `j`: polling answers are a script that calls the function of this number (JSONP).
    pub jsonp: Option<u32>,
}

/// What a request is in the life of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Its answer opens a session and carries the sid: a polling GET without sid.
    Handshake,
    /// A session of its own on a WebSocket from the start: no later request will carry its sid.
    WebSocketHandshake,
    /// It belongs to a session, whatever its method. Preflights are included: socket.io 2 refuses
    /// them where the sid is unknown.
    Session(Sid),
    /// It belongs to a session whose sid no table can hold.
    SessionTooLong,
    /// It opens nothing and belongs to nothing, such as a preflight or POST without sid.
    Other,
}

impl Query {
    /// The role of a request with this method and query.
    #[must_use]
    pub fn role(&self, method: &[u8]) -> Role {
        match (self.sid, self.transport) {
            (Some(Ok(sid)), _) => Role::Session(sid),
            (Some(Err(SidTooLong)), _) => Role::SessionTooLong,
            (None, Transport::Polling) if method == b"GET" => Role::Handshake,
            (None, Transport::WebSocket) if method == b"GET" => Role::WebSocketHandshake,
            (None, _) => Role::Other,
        }
    }
}

/// Reads a query, without its `?`. `None`: not an Engine.IO request.
///
/// A query is Engine.IO's if it has `EIO`, or a `transport` of a known name: old clients send no `EIO`,
/// and a `transport=truck` is some application's. Parameters stand in any order, keys and values may be
/// percent-encoded. Where a key is repeated its first value counts, as in Python and Go; node joins the
/// values with a comma into a sid that no backend knows, so for it any choice is as good. A value that
/// is empty does not count, as in all of them. `+` stays `+`: servers that put it into sids have clients
/// that encode it, and a space is in no sid.
#[must_use]
pub fn query(query: &[u8]) -> Option<Query> {
    // Hardly any query has an escape, and then all comparisons are plain ones.
    let escaped = memchr::memchr(b'%', query).is_some();
    let is = |encoded: &[u8], plain: &[u8]| encoded == plain || (escaped && is_escaped(encoded, plain));
    let mut protocol = None;
    let mut transport = None;
    let mut sid = None;
    let mut jsonp = None;
    let mut start = 0;
    for end in memchr::memchr_iter(b'&', query).chain([query.len()]) {
        let pair = &query[start..end];
        start = end + 1;
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        if value.is_empty() {
            continue;
        }
        if is(key, b"EIO") {
            protocol.get_or_insert_with(|| match value {
                value if is(value, b"4") => Protocol::V4,
                value if is(value, b"3") => Protocol::V3,
                _ => Protocol::Other,
            });
        } else if is(key, b"transport") {
            transport.get_or_insert_with(|| match value {
                value if is(value, b"polling") => Transport::Polling,
                value if is(value, b"websocket") => Transport::WebSocket,
                value if is(value, b"webtransport") => Transport::WebTransport,
                _ => Transport::Other,
            });
        } else if is(key, b"sid") {
            sid.get_or_insert_with(|| if escaped { Sid::collect(decoded(value)) } else { Sid::new(value) });
        } else if is(key, b"j") {
            jsonp.get_or_insert_with(|| decoded(value).filter(u8::is_ascii_digit).fold(0, append_digit));
        }
    }
    let (protocol, transport) = match (protocol, transport) {
        (Some(protocol), transport) => (protocol, transport.unwrap_or(Transport::Polling)),
        (None, Some(Transport::Other) | None) => return None,
        (None, Some(transport)) => (Protocol::V3, transport),
    };
    Some(Query { protocol, transport, sid, jsonp })
}

/// Where the value of the sid that [`query`] reads stands in a query, as it is encoded there.
pub(super) fn sid_value(query: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for end in memchr::memchr_iter(b'&', query).chain([query.len()]) {
        let pair = &query[start..end];
        if let Some(equals) = pair.iter().position(|&byte| byte == b'=') {
            let (key, value) = (&pair[..equals], start + equals + 1..end);
            if !value.is_empty() && (key == b"sid" || is_escaped(key, b"sid")) {
                return Some(value);
            }
        }
        start = end + 1;
    }
    None
}

/// Whether `encoded` is an encoding of `plain` with escapes. Such a one is longer.
fn is_escaped(encoded: &[u8], plain: &[u8]) -> bool {
    encoded.len() > plain.len() && decoded(encoded).eq(plain.iter().copied())
}

/// Percent-decoded bytes. A `%` without two hexadecimal digits stays as it is, as in node and Python.
fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> {
    units(encoded).map(|(byte, _)| byte)
}

/// The same, each with the bytes that it is encoded in.
pub(super) fn units(encoded: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = after;
            return Some((high << 4 | low, 3));
        }
        rest = after;
        Some((first, 1))
    })
}

/// A decimal number with one more digit; the highest there is where that does not fit.
fn append_digit(number: u32, digit: u8) -> u32 {
    number.saturating_mul(10).saturating_add(u32::from(digit - b'0'))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
