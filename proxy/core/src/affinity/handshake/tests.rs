//! The sid is learned from every framing real servers use, wherever a segment ends.
//!
//! Without it the session's second request goes anywhere: 400 `Session ID unknown`.

use proptest::prelude::*;

use super::*;

const SID: &str = "Ek3yLmC0yr0OhBMbAAAA";
/// socket.io 4.8 and python-engineio.
const V4: &str = r#"0{"sid":"Ek3yLmC0yr0OhBMbAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":5000000}"#;
/// socket.io 2.5, which sends the connect packet along.
const V3: &str = r#"97:0{"sid":"Ek3yLmC0yr0OhBMbAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}2:40"#;
/// engine.io 1.8.5 without b64.
const BINARY: &[u8] = b"\x00\x09\x07\xff0{\"sid\":\"Ek3yLmC0yr0OhBMbAAAA\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":60000}";

/// As node and Python wrap it.
fn script(payload: &str) -> String {
    format!("___eio[0](\"{}\");", payload.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Every framing, the protocol of its request, and the length of what must be there to read it.
fn bodies() -> Vec<(Vec<u8>, Protocol, usize)> {
    let until_brace = |body: &[u8]| body.iter().position(|&byte| byte == b'}').unwrap() + 1;
    [
        (V4.into(), Protocol::V4),
        (format!("{V4}\x1e40{{\"sid\":\"other\"}}").into_bytes(), Protocol::V4),
        (script(V4).into(), Protocol::V4),
        (V3.into(), Protocol::V3),
        (script(V3).into(), Protocol::V3),
        (BINARY.into(), Protocol::V3),
        ([BINARY, b"\x00\x02\xff40"].concat(), Protocol::V3),
    ]
    .map(|(body, protocol): (Vec<u8>, Protocol)| {
        let enough = until_brace(&body);
        (body, protocol, enough)
    })
    .into()
}

fn found(body: impl AsRef<[u8]>, protocol: Protocol) -> Handshake {
    match read_handshake(body.as_ref(), protocol) {
        HandshakeReading::Found(handshake) => handshake,
        other => panic!("{other:?}: {}", body.as_ref().escape_ascii()),
    }
}

fn is_none(body: impl AsRef<[u8]>, protocol: Protocol) {
    let reading = read_handshake(body.as_ref(), protocol);
    assert_eq!(reading, HandshakeReading::NotAHandshake, "{}", body.as_ref().escape_ascii());
}

#[test]
fn every_framing_at_every_split() {
    for (body, protocol, enough) in bodies() {
        let whole = found(&body, protocol);
        assert_eq!(whole.sid.as_bytes(), SID.as_bytes());
        assert_eq!(&body[whole.sid_range.clone()], SID.as_bytes());
        assert_eq!(whole.ping_interval_ms, 25_000);
        assert!(whole.offers_websocket);
        assert_eq!(whole.ping_timeout_ms, if body.starts_with(b"\0") { 60_000 } else { 20_000 });
        for end in 0..=body.len() {
            let expected = if end < enough {
                HandshakeReading::Incomplete
            } else {
                HandshakeReading::Found(whole.clone())
            };
            assert_eq!(read_handshake(&body[..end], protocol), expected, "{end} bytes");
        }
        assert_eq!(found(&body, Protocol::Other), whole);
    }
}

#[test]
fn framings_of_the_other_protocol_are_none() {
    is_none(V3, Protocol::V4);
    is_none(BINARY, Protocol::V4);
    is_none(V4, Protocol::V3);
    is_none(script(V3), Protocol::V4);
}

#[test]
fn keys_in_any_order_with_spaces_escapes_and_unknown_ones() {
    let body = "0{ \"pingTimeout\" : 1000.75 ,\r\n\t\"x\":{\"sid\":\"no\",\"y\":[1,\"}]\\\"\",null,{}]},\
                \"\\u0070ingInterval\":1500,\"z\":-1e3,\"sid\":\"a\\u002Bb\\/c\\u00e9\\ud83d\\ude00\"}";
    for (body, protocol) in [
        (body.to_owned(), Protocol::V4),
        (script(body), Protocol::V4),
        (format!("{}:{body}", body.chars().count()), Protocol::V3),
        (script(&format!("{}:{body}2:40", body.encode_utf16().count())), Protocol::V3),
    ] {
        let handshake = found(&body, protocol);
        assert_eq!(handshake.sid.as_bytes(), "a+b/cé😀".as_bytes());
        assert_eq!((handshake.ping_interval_ms, handshake.ping_timeout_ms), (1500, 1000));
    }
}

#[test]
fn sids_of_all_servers() {
    for sid in [
        "1",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "Zm9vYmFyYmF6cXV4Zm9vYg==",
        "a+/b",
        "é",
        &"x".repeat(128),
    ] {
        let json = format!("0{{\"sid\":\"{sid}\",\"pingInterval\":1,\"pingTimeout\":2}}");
        assert_eq!(found(&json, Protocol::V4).sid.as_bytes(), sid.as_bytes());
        // The three ways to count.
        for length in [json.chars().count(), json.encode_utf16().count(), json.len()] {
            assert_eq!(found(format!("{length}:{json}"), Protocol::V3).sid.as_bytes(), sid.as_bytes());
        }
    }
}

#[test]
fn a_message_that_contains_a_sid_is_none() {
    for body in [
        r#"42["x",{"sid":"a","pingInterval":1,"pingTimeout":1}]"#,
        r#"40{"sid":"a"}"#,
        r#"4{"sid":"a","pingInterval":1,"pingTimeout":1}"#,
        r#"{"sid":"a","pingInterval":1,"pingTimeout":1}"#,
        r#"0{"data":{"sid":"a","pingInterval":1,"pingTimeout":1}}"#,
        r#"0{"sid":"","pingInterval":1,"pingTimeout":1}"#,
        r#"0{"sid":5,"pingInterval":1,"pingTimeout":1}"#,
        r#"0{"sid":"a","pingInterval":-1,"pingTimeout":1}"#,
        r#"0{"sid":"a","pingInterval":1e3,"pingTimeout":1}"#,
        r#"0{"sid":"a","pingInterval":null,"pingTimeout":1}"#,
        r#"0{"sid":"a"}"#,
        r#"0{}"#,
        "0{\"sid\":\"a\nb\",\"pingInterval\":1,\"pingTimeout\":1}",
        "ok",
        r#"{"code":1,"message":"Session ID unknown"}"#,
    ] {
        is_none(body, Protocol::V4);
        is_none(body, Protocol::Other);
        is_none(script(body), Protocol::V4);
        is_none(format!("{}:{body}", body.len()), Protocol::V3);
    }
    is_none(V3.replace("97:", "96:"), Protocol::V3);
    is_none(V3.replace("97:", "98:"), Protocol::V3);
    is_none(V3.replace("97:", "99999999999999999999:"), Protocol::V3);
    is_none("___eio[0](\"\");", Protocol::V4);
    is_none("___eio[0](\"0{\\\"sid\\\":\");", Protocol::V4);
    is_none("____", Protocol::V4);
}

#[test]
fn too_long_a_sid_and_too_long_a_body_are_none() {
    is_none(V4.replace(SID, &"x".repeat(129)), Protocol::V4);
    let endless = format!("0{{\"x\":\"{}", "x".repeat(HANDSHAKE_BODY_BYTES_MAX));
    assert_eq!(read_handshake(&endless.as_bytes()[..4095], Protocol::V4), HandshakeReading::Incomplete);
    is_none(&endless[..4096], Protocol::V4);
    is_none(&endless, Protocol::V4);
}

#[test]
fn the_time_to_live_is_that_of_the_server_within_bounds() {
    let mut handshake = found(V4, Protocol::V4);
    assert_eq!(handshake.time_to_live(), Duration::from_secs(45) + SESSION_TIME_TO_LIVE_MARGIN);
    (handshake.ping_interval_ms, handshake.ping_timeout_ms) = (0, 0);
    assert!(handshake.time_to_live() >= SESSION_TIME_TO_LIVE_MIN);
    handshake = found(V4.replace("25000", "99999999999999999999"), Protocol::V4);
    assert_eq!(handshake.ping_interval_ms, u32::MAX);
    assert_eq!(handshake.time_to_live(), SESSION_TIME_TO_LIVE_MAX);
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::V3, Protocol::V4, Protocol::Other])
}

/// What was decided on a prefix holds for all that follows.
fn is_settled(body: &[u8], protocol: Protocol) {
    let mut settled = None;
    for end in 0..=body.len() {
        let reading = read_handshake(&body[..end], protocol);
        if let HandshakeReading::Found(handshake) = &reading {
            assert!(handshake.sid_range.end <= end && !handshake.sid.as_bytes().is_empty());
        }
        if let Some(settled) = &settled {
            assert_eq!(&reading, settled);
        } else if reading != HandshakeReading::Incomplete {
            settled = Some(reading);
        }
    }
}

proptest! {
    #[test]
    fn mutated_bodies_never_panic_and_never_change_their_mind(
        which in 0..7_usize,
        protocol in protocols(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..6),
    ) {
        let (mut body, ..) = bodies().swap_remove(which);
        for (at, byte, kind) in edits {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        is_settled(&body, protocol);
    }

    #[test]
    fn any_bytes_never_panic(start in prop::sample::select(vec!["", "0{", "0{\"sid\":\"", "___eio[0](\"", "9:"]),
                             tail: Vec<u8>, protocol in protocols()) {
        is_settled(&[start.as_bytes(), &tail].concat(), protocol);
    }

    #[test]
    fn sids_of_any_characters_are_read(sid in "[^\\x00-\\x1f\"\\\\\u{2028}\u{2029}]{1,30}", interval: u32, timeout: u32) {
        let json = format!("0{{\"sid\":\"{sid}\",\"pingInterval\":{interval},\"pingTimeout\":{timeout}}}");
        for body in [json.clone(), script(&json)] {
            let handshake = found(&body, Protocol::V4);
            prop_assert_eq!(handshake.sid.as_bytes(), sid.as_bytes());
            prop_assert_eq!(&body.as_bytes()[handshake.sid_range], sid.as_bytes());
            prop_assert_eq!((handshake.ping_interval_ms, handshake.ping_timeout_ms), (interval, timeout));
        }
    }
}

#[test]
fn only_upgrades_offer_websocket() {
    let offers = |more: &str| {
        found(format!(r#"0{{"sid":"a",{more},"pingInterval":1,"pingTimeout":1}}"#), Protocol::V4)
            .offers_websocket
    };
    for yes in [r#""upgrades":["websocket"]"#, r#""upgrades":["webtransport", "web\u0073ocket"]"#] {
        assert!(offers(yes), "{yes}");
    }
    for no in [
        r#""upgrades":[]"#,
        r#""upgrades":["websockets"]"#,
        r#""upgrades":["websocket"],"upgrades":[]"#,
        r#""others":["websocket"]"#,
    ] {
        assert!(!offers(no), "{no}");
    }
}
