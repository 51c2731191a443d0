//! What a client says first decides what it gets, at the first byte that leaves no doubt.
//!
//! Fails with a client that waits for nothing, with one handed to the wrong server, or with protocols that a
//! listener does not serve getting through.

use proptest::prelude::*;

use super::Protocol::{FlashPolicy, Http, Tcp, Tls};
use super::Verdict::{Refuse, Serve, Undecided};
use super::*;

/// The record header of a ClientHello and its first byte.
const HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1];

fn all() -> Protocols {
    Protocol::ALL.into_iter().collect()
}

fn these(protocols: &[Protocol]) -> Protocols {
    protocols.iter().copied().collect()
}

/// How many bytes it takes, and what comes of it.
fn decided(protocols: Protocols, input: &[u8]) -> (usize, Verdict) {
    let verdict = |length: usize| Some((length, protocols.judge(&input[..length])));
    (0..=input.len()).filter_map(verdict).find(|(_, verdict)| *verdict != Undecided).unwrap_or((0, Undecided))
}

#[test]
fn each_protocol_is_known_by_its_first_bytes() {
    for (input, bytes, protocol) in [
        (&b"GET / HTTP/1.1\r\n"[..], 5, Http),
        (b"OPTIONS * HTTP/1.1\r\n", 9, Http),
        (b"M-SEARCH / HTTP/1.1\r\n", 10, Http),
        (b"GET http://a.example/ HTTP/1.1\r\n", 11, Http),
        (b"CONNECT a.example:443 HTTP/1.1\r\n", 9, Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 5, Http),
        (b"<policy-file-request/>\0", 22, FlashPolicy),
        (b"<policy-file-request/>", 22, FlashPolicy),
        (HELLO, 6, Tls),
        (b"\x16\x03\x04\0\x01\x01", 6, Tls),
        (b"\x16\x03\xff\0\x01\x01", 6, Tls),
        (b"<policy-file/>", 13, Tcp),
        (b"<?xml", 2, Tcp),
        (b"EHLO a.example\r\n", 6, Tcp),
        (b"NICK hugo\r\n", 7, Tcp),
        (b"GET key\r\n", 5, Tcp),
        (b"GET httpkey\r\n", 9, Tcp),
        (b"REGISTER sip:a.example SIP/2.0\r\n", 10, Tcp),
        (b"CONNECT\naccept-version:1.2\n", 8, Tcp),
        (b"CONNECTED", 0, Tcp),
        (b"get / HTTP/1.1\r\n", 1, Tcp),
        (b"\x16\x02", 2, Tcp),
        (b"\x16\x03\x01\x40\x01", 5, Tcp),
        (b"\x16\x03\x01\0\0", 5, Tcp),
        (b"\x16\x03\x01\x02\0\x02", 6, Tcp),
        (b"\0", 1, Tcp),
    ] {
        let expected = if bytes == 0 { (0, Undecided) } else { (bytes, Serve(protocol)) };
        assert_eq!(decided(all(), input), expected, "{}", input.escape_ascii());
    }
    let long = [b'A'; METHOD_BYTES_MAX + 1];
    assert_eq!(decided(all(), &long), (METHOD_BYTES_MAX + 1, Serve(Tcp)));
}

#[test]
fn where_only_tcp_is_served_nothing_is_waited_for() {
    assert_eq!(these(&[Tcp]).judge(b""), Serve(Tcp));
    assert_eq!(all().judge(b""), Undecided);
}

#[test]
fn tcp_takes_what_the_others_are_not_allowed_to() {
    for input in [b"GET / HTTP/1.1", HELLO, FLASH_POLICY_REQUEST, b"\0"] {
        assert_eq!(decided(these(&[Tcp]), input), (0, Serve(Tcp)));
    }
    assert_eq!(decided(these(&[Tcp, Tls]), b"GET / "), (1, Serve(Tcp)));
    assert_eq!(decided(these(&[Tcp, Http]), HELLO), (1, Serve(Tcp)));
}

#[test]
fn http_answers_whatever_it_can_where_tcp_is_not_served() {
    let served = these(&[Http, FlashPolicy]);
    assert_eq!(decided(served, b"EHLO"), (1, Serve(Http)));
    assert_eq!(decided(served, b"<html>"), (2, Serve(Http)));
    assert_eq!(decided(these(&[Http]), b"<policy"), (1, Serve(Http)));
    assert_eq!(decided(served, HELLO), (6, Refuse(Tls)));
    assert_eq!(decided(served, b"\x16\x02\x09"), (2, Serve(Http)));
}

#[test]
fn what_is_refused_has_a_name() {
    for (protocols, input, refused) in [
        (these(&[Tls]), &b"GET / HTTP/1.1"[..], Http),
        (these(&[FlashPolicy]), b"GET / HTTP/1.1", Http),
        (these(&[FlashPolicy]), HELLO, Tls),
        (these(&[Tls]), FLASH_POLICY_REQUEST, FlashPolicy),
        (these(&[Tls, FlashPolicy]), b"SSH-2.0-", Tcp),
        (these(&[Tls]), b"\x80\x2e\x01", Tcp),
    ] {
        assert_eq!(decided(protocols, input).1, Refuse(refused), "{}", input.escape_ascii());
    }
}

#[test]
fn sets_hold_what_was_put_in() {
    let served = these(&[Tls, Tcp]);
    assert_eq!(Protocol::ALL.map(|protocol| served.has(protocol)), [false, true, false, true]);
    assert!(served.without(Tcp).is_only(Tls) && !served.is_only(Tls));
    assert!(Protocols::default().is_empty() && !Protocols::of(Http).is_empty());
}

/// Bytes that are likely to begin one of the protocols.
fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
    let beginnings = vec![&b""[..], b"GET ", b"POST http", b"<policy-file-request", b"\x16\x03\x01", HELLO];
    (prop::sample::select(beginnings), prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(beginning, rest)| [beginning, &rest].concat())
}

proptest! {
    #[test]
    fn a_verdict_stands_however_the_bytes_are_cut(bits in 1_u8..16, input in first_bytes()) {
        let protocols = Protocols(bits);
        let (length, verdict) = decided(protocols, &input);
        if verdict != Undecided {
            for longer in length..=input.len() {
                prop_assert_eq!(protocols.judge(&input[..longer]), verdict);
            }
        } else {
            // Nothing is waited for beyond the longest method, a space and the start of a URL.
            prop_assert!(input.len() <= METHOD_BYTES_MAX + 9);
        }
    }

    #[test]
    fn only_what_is_served_is_served(bits in 1_u8..16, input in first_bytes()) {
        let protocols = Protocols(bits);
        match protocols.judge(&input) {
            Serve(protocol) => prop_assert!(protocols.has(protocol)),
            Refuse(protocol) => prop_assert!(!protocols.has(protocol) && !protocols.has(Tcp)),
            Undecided => {}
        }
    }
}
