//! A PROXY header has one verdict however it is cut, is bounded, and reads back the same when it is written on.

use ringbolt_core::proxy_protocol::{BadProxyHeader, ProxyHeader, ProxyVersion};

use crate::splits;

/// The longest header of version 2 that is accepted; those of version 1 are shorter.
const HEADER_BYTES_MAX: usize = 536;

pub(crate) fn run(input: &[u8]) {
    let verdict = ProxyHeader::parse(input);
    for end in splits::ends(input.len()) {
        early(input, end, &verdict);
    }
    match verdict {
        Ok(Some((header, length))) => accepted(header, length, input),
        Ok(None) => assert!(input.len() < HEADER_BYTES_MAX, "waits for more than a header can have"),
        Err(_) => {}
    }
}

/// The verdict on the first `end` bytes is that on all of them, or that more are needed.
fn early(input: &[u8], end: usize, verdict: &Result<Option<(ProxyHeader, usize)>, BadProxyHeader>) {
    match ProxyHeader::parse(&input[..end]) {
        Ok(None) => {
            let length = verdict.as_ref().ok().copied().flatten().map(|(_, length)| length);
            assert!(length.is_none_or(|length| end < length), "a whole header was called incomplete");
        }
        Ok(Some(found)) => assert_eq!(Ok(Some(found)), *verdict, "bytes behind a header changed it"),
        Err(_) => assert!(verdict.is_err(), "refused, and accepted with more bytes"),
    }
}

fn accepted(header: ProxyHeader, length: usize, input: &[u8]) {
    assert!((1..=HEADER_BYTES_MAX).contains(&length) && length <= input.len());
    let ProxyHeader::Proxied(addresses) = header else { return };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        addresses.write(version, &mut out);
        assert!(out.len() <= HEADER_BYTES_MAX);
        let Ok(Some((ProxyHeader::Proxied(again), whole))) = ProxyHeader::parse(&out) else {
            panic!("{version:?}: what was written is no header: {out:?}")
        };
        assert_eq!(whole, out.len());
        let ends = |found: &ringbolt_core::proxy_protocol::Addresses| {
            [found.source, found.destination].map(|end| (end.ip(), end.port()))
        };
        assert_eq!(ends(&again), ends(&addresses), "{version:?}");
    }
}
