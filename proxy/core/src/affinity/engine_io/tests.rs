//! A query is read as the backends read it; otherwise a session's request goes to the wrong one.

use proptest::prelude::*;

use super::*;
use crate::limits::SID_BYTES_MAX;

fn sid(text: &str) -> Option<Result<Sid, SidTooLong>> {
    Some(Sid::new(text.as_bytes()))
}

fn read(text: &str) -> Query {
    query(text.as_bytes()).unwrap()
}

#[test]
fn real_queries() {
    let v4 = read("EIO=4&transport=polling&t=OtJ1zLd");
    assert_eq!(v4, Query { protocol: Protocol::V4, transport: Transport::Polling, sid: None, jsonp: None });
    let v3 = read("EIO=3&transport=polling&t=NfJ&b64=1&sid=Ek3yLmC0yr0OhBMbAAAA");
    assert_eq!((v3.protocol, v3.sid), (Protocol::V3, sid("Ek3yLmC0yr0OhBMbAAAA")));
    let upgrade = read("userId=7&EIO=4&transport=websocket&sid=-_b");
    assert_eq!((upgrade.transport, upgrade.sid), (Transport::WebSocket, sid("-_b")));
    assert_eq!(read("EIO=3&transport=polling&j=0&sid=x").jsonp, Some(0));
    assert_eq!(read("EIO=3&j=%31a2").jsonp, Some(12), "as in node, only digits count");
    assert_eq!(read("EIO=3&j=99999999999").jsonp, Some(u32::MAX));
    assert_eq!(read("EIO=4&transport=webtransport").transport, Transport::WebTransport);
}

#[test]
fn what_makes_a_query_engine_io() {
    for other in
        ["", "a=b", "sid=abc", "transport=truck", "transport=", "EIO", "EIO=", "eio=4&Transport=polling"]
    {
        assert_eq!(query(other.as_bytes()), None, "{other}");
    }
    assert_eq!(read("transport=polling").protocol, Protocol::V3, "node takes it for this");
    assert_eq!(read("EIO=4").transport, Transport::Polling, "Python takes it for this");
    assert_eq!(read("EIO=2&transport=flashsocket").transport, Transport::Other);
    assert_eq!(read("EIO=2&transport=polling").protocol, Protocol::Other);
}

#[test]
fn sids_are_percent_decoded_and_plus_stays() {
    assert_eq!(read("EIO=4&sid=a%2Bb%2fc%3D").sid, sid("a+b/c="));
    assert_eq!(read("EIO=4&sid=a+b/c=").sid, sid("a+b/c="));
    assert_eq!(read("EIO=4&sid=%zz%4").sid, sid("%zz%4"));
    assert_eq!(read("%45IO=%34&%73id=x").sid, sid("x"));
}

#[test]
fn the_first_value_counts_and_an_empty_one_does_not() {
    assert_eq!(read("EIO=4&sid=a&sid=b&EIO=3"), read("EIO=4&sid=a"));
    assert_eq!(read("EIO=4&sid=&sid=b&sid").sid, sid("b"));
    assert_eq!(read("EIO=4&transport=polling&sid=").role(b"GET"), Role::Handshake);
}

#[test]
fn the_longest_sid_and_one_more() {
    let longest = "x".repeat(SID_BYTES_MAX);
    assert_eq!(read(&format!("EIO=4&sid={longest}")).sid, sid(&longest));
    assert_eq!(read(&format!("EIO=4&sid={}", "%78".repeat(SID_BYTES_MAX))).sid, sid(&longest));
    let too_long = read(&format!("EIO=4&sid={longest}x"));
    assert_eq!(too_long.sid, Some(Err(SidTooLong)));
    assert_eq!(too_long.role(b"POST"), Role::SessionTooLong);
}

#[test]
fn roles() {
    let session = Role::Session(Sid::new(b"a").unwrap());
    for method in ["GET", "POST", "OPTIONS", "DELETE"] {
        for transport in ["polling", "websocket", "other"] {
            let query = read(&format!("EIO=4&transport={transport}&sid=a"));
            assert_eq!(query.role(method.as_bytes()), session);
        }
    }
    assert_eq!(read("EIO=3&transport=polling").role(b"GET"), Role::Handshake);
    assert_eq!(read("EIO=4&transport=websocket").role(b"GET"), Role::WebSocketHandshake);
    for (method, transport) in
        [("OPTIONS", "polling"), ("POST", "polling"), ("GET", "webtransport"), ("GET", "x")]
    {
        assert_eq!(read(&format!("EIO=4&transport={transport}")).role(method.as_bytes()), Role::Other);
    }
}

/// Decodes all pairs first, then looks.
fn reference(query: &[u8]) -> Option<Query> {
    fn decode(mut text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(first) = text.first() {
            let pair = text.get(1..3).and_then(|pair| std::str::from_utf8(pair).ok());
            let pair = pair.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
            match pair.map(|pair| u8::from_str_radix(pair, 16).unwrap()) {
                Some(byte) if *first == b'%' => {
                    out.push(byte);
                    text = &text[3..];
                }
                _ => {
                    out.push(*first);
                    text = &text[1..];
                }
            }
        }
        out
    }
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split(|&byte| byte == b'&')
        .filter_map(|pair| {
            pair.iter()
                .position(|&byte| byte == b'=')
                .map(|at| (decode(&pair[..at]), decode(&pair[at + 1..])))
        })
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let first = |name: &[u8]| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice());
    let transport = match first(b"transport") {
        Some(b"polling") => Some(Transport::Polling),
        Some(b"websocket") => Some(Transport::WebSocket),
        Some(b"webtransport") => Some(Transport::WebTransport),
        Some(_) => Some(Transport::Other),
        None => None,
    };
    let protocol = match first(b"EIO") {
        Some(b"4") => Protocol::V4,
        Some(b"3") => Protocol::V3,
        Some(_) => Protocol::Other,
        None if transport.is_some_and(|transport| transport != Transport::Other) => Protocol::V3,
        None => return None,
    };
    let number = |value: &[u8]| {
        let digits: String =
            value.iter().filter(|byte| byte.is_ascii_digit()).map(|&byte| char::from(byte)).collect();
        if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u32::MAX) }
    };
    Some(Query {
        protocol,
        transport: transport.unwrap_or(Transport::Polling),
        sid: first(b"sid").map(Sid::new),
        jsonp: first(b"j").map(number),
    })
}

/// Percent-encodes the bytes `which` marks.
fn encode(text: &str, which: u32) -> String {
    (0..).zip(text.bytes()).fold(String::new(), |out, (index, byte)| {
        if which >> (index % 32) & 1 == 1 {
            format!("{out}%{byte:02x}")
        } else {
            out + &char::from(byte).to_string()
        }
    })
}

prop_compose! {
    fn pair()(
        key in prop::sample::select(vec!["EIO", "transport", "sid", "j", "t", "eio", ""]),
        value in prop::sample::select(vec!["3", "4", "polling", "websocket", "webtransport", "", "a+b", "%4", "x=y"]),
        // Mostly as it is.
        encoded in prop_oneof![4 => Just(0), 1 => any::<u32>()],
        equals in prop::bool::weighted(0.95),
    ) -> String {
        format!("{}{}{}", encode(key, encoded), if equals { "=" } else { "" }, encode(value, encoded >> 7))
    }
}

proptest! {
    #[test]
    fn likely_queries_read_as_by_decoding_all_pairs(pairs in prop::collection::vec(pair(), 0..8)) {
        let text = pairs.join("&");
        prop_assert_eq!(query(text.as_bytes()), reference(text.as_bytes()));
    }

    #[test]
    fn any_bytes_read_as_by_decoding_all_pairs(tail: Vec<u8>) {
        prop_assert_eq!(query(&tail), reference(&tail));
        let text = [b"EIO=4&sid=", tail.as_slice()].concat();
        prop_assert_eq!(query(&text), reference(&text));
    }
}
