//! A query names the same session whatever stands around it and however its sid is encoded.

use ringbolt_core::affinity::{Query, Role, Sid, query};

pub(crate) fn run(input: &[u8]) {
    let found = query(input);
    assert_eq!(found.is_some(), query(&[input, b"&"].concat()).is_some());
    assert_eq!(query(&[b"x=1&", input].concat()), found, "a parameter before");
    assert_eq!(query(&[input, b"&x=1"].concat()), found, "a parameter behind");
    assert_eq!(sid_by_hand(input), found.and_then(|query| query.sid), "a second reader");
    let Some(found) = found else { return };
    roles(&found);
    if let Some(Ok(sid)) = found.sid {
        let again = query(&encoded(&sid)).expect("EIO makes it one");
        assert_eq!(again.sid, Some(Ok(sid)), "every byte percent-encoded");
    }
}

/// What a request with this query is.
fn roles(query: &Query) {
    for method in [&b"GET"[..], b"POST", b"OPTIONS", b"get"] {
        match (query.role(method), query.sid) {
            (Role::Session(sid), found) => assert_eq!(found, Some(Ok(sid))),
            (Role::SessionTooLong, found) => assert!(matches!(found, Some(Err(_)))),
            (Role::Handshake | Role::WebSocketHandshake, found) => {
                assert!(found.is_none() && method == b"GET");
            }
            (Role::Other, found) => assert_eq!(found, None, "a sid was ignored"),
        }
    }
}

/// The first `sid` that is not empty, decoded the slow way. `None` too where the query is not Engine.IO's.
fn sid_by_hand(input: &[u8]) -> Option<Result<Sid, ringbolt_core::affinity::SidTooLong>> {
    query(input)?;
    let mut pairs = input.split(|byte| *byte == b'&').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((decoded(&pair[..equals]), &pair[equals + 1..]))
    });
    let (_, value) = pairs.find(|(key, value)| key == b"sid" && !value.is_empty())?;
    Some(Sid::new(&decoded(value)))
}

fn decoded(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < encoded.len() {
        let digits = encoded.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = digits.filter(|_| encoded[at] == b'%').and_then(|digits| str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(encoded[at]);
                at += 1;
            }
        }
    }
    out
}

fn encoded(sid: &Sid) -> Vec<u8> {
    let digits: Vec<String> = sid.as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    format!("EIO=4&sid={}", digits.concat()).into_bytes()
}
