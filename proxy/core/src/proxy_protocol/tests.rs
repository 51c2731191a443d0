//! A header is read exactly as its specification says, in whatever pieces it comes, or refused.
//!
//! Fails with clients that have another client's address, or with the first bytes of a request missing.

use proptest::prelude::*;

use super::*;

fn addresses(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::Proxied(Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    })
}

/// A version 2 header of these four parts.
fn binary(command: u8, family: u8, length: u16, block: &[u8]) -> Vec<u8> {
    [V2_SIGNATURE, &[command, family], &length.to_be_bytes(), block].concat()
}

#[test]
fn lines_of_version_1() {
    for (line, header) in [
        ("TCP4 192.0.2.7 198.51.100.1 56324 443", addresses("192.0.2.7:56324", "198.51.100.1:443")),
        ("TCP4 255.255.255.255 0.0.0.0 65535 0", addresses("255.255.255.255:65535", "0.0.0.0:0")),
        ("TCP6 2001:db8::1 ::1 1 2", addresses("[2001:db8::1]:1", "[::1]:2")),
        ("TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 2", addresses("192.0.2.7:1", "198.51.100.1:2")),
        ("UNKNOWN", ProxyHeader::Local),
        ("UNKNOWN ffff:f...f:ffff anything 65535", ProxyHeader::Local),
    ] {
        let text = format!("PROXY {line}\r\nGET / HTTP/1.1\r\n");
        assert_eq!(ProxyHeader::parse(text.as_bytes()), Ok(Some((header, line.len() + 8))), "{line}");
    }
}

#[test]
fn the_longest_line_of_version_1_and_one_byte_more() {
    let ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {ip} {ip} 65535 65535\r\n");
    assert!(matches!(ProxyHeader::parse(line.as_bytes()), Ok(Some((_, length))) if length == line.len()));
    let padded = |bytes: usize| format!("PROXY UNKNOWN {:x<1$}\r\n", "", bytes - 16);
    assert_eq!(ProxyHeader::parse(padded(107).as_bytes()), Ok(Some((ProxyHeader::Local, 107))));
    assert_eq!(ProxyHeader::parse(padded(108).as_bytes()), Err(BadProxyHeader::TOO_LONG));
    assert_eq!(ProxyHeader::parse(&padded(200).as_bytes()[..107]), Err(BadProxyHeader::TOO_LONG));
}

#[test]
fn what_is_no_line_of_version_1() {
    for line in [
        "TCP4 192.0.2.7 198.51.100.1 56324",
        "TCP4 192.0.2.7 198.51.100.1 56324 443 1",
        "TCP4 ::1 ::1 1 2",
        "TCP6 192.0.2.7 198.51.100.1 1 2",
        "TCP4  192.0.2.7 198.51.100.1 1 2",
        "TCP4 192.0.2.7 198.51.100.1 01 2",
        "TCP4 192.0.2.7 198.51.100.1 +1 2",
        "TCP4 192.0.2.7 198.51.100.1 65536 2",
        "TCP4 192.0.2.7 198.51.100.1 1 ",
        "TCP4 192.0.2.07 198.51.100.1 1 2",
        "UDP4 192.0.2.7 198.51.100.1 1 2",
        "tcp4 192.0.2.7 198.51.100.1 1 2",
        "TCP4\t192.0.2.7 198.51.100.1 1 2",
        "UNKNOWNS",
        "",
        " UNKNOWN",
        "TCP6 fe80::1%1 ::1 1 2",
    ] {
        let text = format!("PROXY {line}\r\n");
        assert_eq!(ProxyHeader::parse(text.as_bytes()), Err(BadProxyHeader::LINE), "{line}");
    }
    assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN\n"), Err(BadProxyHeader::LINE), "bare LF");
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"PROXX", b"PUT /", b"POST / ", b"\x16\x03\x01", b"\r\nGET"] {
        assert_eq!(ProxyHeader::parse(other), Err(BadProxyHeader::NO_SIGNATURE), "{other:?}");
    }
}

#[test]
fn headers_of_version_2() {
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 187];
    let mut v6 = [0; 36];
    (v6[0], v6[15], v6[31], v6[33], v6[35]) = (0x20, 1, 2, 3, 4);
    let tlv = [&v4[..], &[4, 0, 1, 0]].concat();
    for (header, input) in [
        (addresses("192.0.2.7:56324", "198.51.100.1:443"), binary(0x21, 0x11, 12, &v4)),
        (addresses("192.0.2.7:56324", "198.51.100.1:443"), binary(0x21, 0x11, 16, &tlv)),
        (addresses("[2000::1]:3", "[::2]:4"), binary(0x21, 0x21, 36, &v6)),
        (ProxyHeader::Local, binary(0x20, 0x00, 0, &[])),
        (ProxyHeader::Local, binary(0x20, 0x11, 12, &v4)),
        (ProxyHeader::Local, binary(0x21, 0x00, 3, &[1, 2, 3])),
        (ProxyHeader::Local, binary(0x21, 0x31, 216, &[0; 216])),
        (ProxyHeader::Local, binary(0x20, 0xff, 520, &[0; 520])),
    ] {
        let with_request = [&input[..], b"GET"].concat();
        assert_eq!(ProxyHeader::parse(&with_request), Ok(Some((header, input.len()))), "{input:?}");
    }
}

#[test]
fn what_is_no_header_of_version_2() {
    for (error, input) in [
        (BadProxyHeader::VERSION, binary(0x11, 0x11, 12, &[])),
        (BadProxyHeader::VERSION, binary(0x22, 0x11, 12, &[])),
        (BadProxyHeader::FAMILY, binary(0x21, 0x12, 12, &[])),
        (BadProxyHeader::FAMILY, binary(0x21, 0x41, 12, &[])),
        (BadProxyHeader::LENGTH, binary(0x21, 0x11, 11, &[])),
        (BadProxyHeader::LENGTH, binary(0x21, 0x21, 35, &[])),
        (BadProxyHeader::TOO_LONG, binary(0x20, 0x00, 521, &[])),
        (BadProxyHeader::NO_SIGNATURE, b"\r\n\r\n\0\r\nQUIT\r".to_vec()),
    ] {
        assert_eq!(ProxyHeader::parse(&input), Err(error), "{input:?}");
    }
}

fn version() -> impl Strategy<Value = ProxyVersion> {
    prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        source: (IpAddr, u16), destination: (IpAddr, u16), version in version(), rest: Vec<u8>,
    ) {
        let sent = Addresses::new(source.into(), destination.into());
        let mut bytes = Vec::new();
        sent.write(version, &mut bytes);
        let length = bytes.len();
        for shorter in 0..length {
            prop_assert_eq!(ProxyHeader::parse(&bytes[..shorter]), Ok(None));
        }
        bytes.extend(rest);
        prop_assert_eq!(ProxyHeader::parse(&bytes), Ok(Some((ProxyHeader::Proxied(sent), length))));
    }

    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_are_split(
        which in 0_usize..3, tail in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let input = [[&b""[..], V1_SIGNATURE, V2_SIGNATURE][which], &tail].concat();
        let whole = ProxyHeader::parse(&input);
        let first = (0..=input.len()).map(|length| ProxyHeader::parse(&input[..length])).find(|read| *read != Ok(None));
        prop_assert_eq!(first.unwrap_or(Ok(None)), whole);
        let bounded = whole != Ok(None) || input.len() < crate::limits::PROXY_HEADER_BYTES_MAX;
        prop_assert!(bounded, "{} bytes and no verdict", input.len());
    }
}

#[test]
fn a_local_header_reads_as_one() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let header = version.local_header();
        assert_eq!(ProxyHeader::parse(header), Ok(Some((ProxyHeader::Local, header.len()))));
    }
}
