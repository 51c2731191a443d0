//! The Engine.IO handshake is read once, alike however the body is cut, and as a JSON parser reads it.
//!
//! The first byte of an input chooses the protocol generation: `3`, `4`, any other for an unknown one.

use ringbolt_core::affinity::{HandshakeReading, Protocol, Sid, read_handshake};
use ringbolt_core::limits::{
    HANDSHAKE_BODY_BYTES_MAX, SESSION_TIME_TO_LIVE_MAX, SESSION_TIME_TO_LIVE_MIN, SID_BYTES_MAX,
};
use serde_json::Value;

use crate::splits;

pub(crate) fn run(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let protocol = match kind {
        b'3' => Protocol::V3,
        b'4' => Protocol::V4,
        _ => Protocol::Other,
    };
    let verdict = read_handshake(body, protocol);
    let mut settled = None;
    for end in splits::ends(body.len()) {
        let found = read_handshake(&body[..end], protocol);
        if let Some(before) = &settled {
            assert_eq!(&found, before, "changed its mind at {end}");
        } else if found != HandshakeReading::Incomplete {
            settled = Some(found);
        }
    }
    assert_eq!(settled.unwrap_or(HandshakeReading::Incomplete), verdict);
    match verdict {
        HandshakeReading::Incomplete => assert!(body.len() < HANDSHAKE_BODY_BYTES_MAX, "waits for ever"),
        HandshakeReading::NotAHandshake => {}
        HandshakeReading::Found(handshake) => {
            let sid = handshake.sid.as_bytes();
            assert!(!sid.is_empty() && sid.len() <= SID_BYTES_MAX);
            let encoded = &body[handshake.sid_range.clone()];
            assert!(encoded == sid || encoded.contains(&b'\\'), "the range holds another text");
            let time_to_live = handshake.time_to_live();
            assert!((SESSION_TIME_TO_LIVE_MIN..=SESSION_TIME_TO_LIVE_MAX).contains(&time_to_live));
            if protocol == Protocol::V4 && body[0] == b'0' {
                agrees_with_json(body, &handshake.sid);
            }
        }
    }
}

/// Where the packet is good JSON, its sid is the one that a JSON parser finds.
fn agrees_with_json(body: &[u8], sid: &Sid) {
    let mut values = serde_json::Deserializer::from_slice(&body[1..]).into_iter::<Value>();
    if let Some(Ok(object)) = values.next() {
        assert_eq!(object["sid"].as_str().map(str::as_bytes), Some(sid.as_bytes()));
    }
}
