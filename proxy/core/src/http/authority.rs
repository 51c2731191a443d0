//! Whether a Host is one: `host [":" port]`, stricter than RFC 3986 section 3.2.
//!
//! A host is a name of letters, digits, `-`, `_` and dots, an IPv4 address, or an IPv6 address in
//! brackets. Percent-encoding, user information, zone identifiers and an empty port are refused: no
//! browser sends them, and servers disagree on what they mean.

use std::net::Ipv6Addr;

use crate::limits::HOST_BYTES_MAX;

/// Where a request is meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Authority<'a> {
    /// Host and port as they were sent.
    pub(super) whole: &'a [u8],
    /// The host as it was sent, brackets included.
    pub(super) host: &'a [u8],
}

impl<'a> Authority<'a> {
    /// Takes `whole` apart; `None` if it is malformed.
    pub(super) fn parse(whole: &'a [u8]) -> Option<Self> {
        let host_end = match whole.first()? {
            b'[' => whole.iter().position(|&byte| byte == b']')? + 1,
            _ => whole.iter().position(|&byte| byte == b':').unwrap_or(whole.len()),
        };
        let (host, port) = whole.split_at(host_end);
        (is_host(host) && is_port(port)).then_some(Self { whole, host })
    }
}

fn is_host(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    // One dot may end a name: it is then absolute in DNS.
    let name = host.strip_suffix(b".").unwrap_or(host);
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= HOST_BYTES_MAX && name.split(|&byte| byte == b'.').all(is_label)
}

/// Nothing, or a colon and the digits of a 16-bit number.
fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_02_well_formed_hosts() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("example.com.:8080", "example.com."),
            ("chat_1.internal:3000", "chat_1.internal"),
            ("127.0.0.1:65535", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let parsed = Authority::parse(authority.as_bytes()).unwrap();
            assert_eq!((parsed.whole, parsed.host), (authority.as_bytes(), host.as_bytes()));
        }
    }

    #[test]
    fn rule_02_malformed_hosts_are_refused() {
        for authority in [
            "",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "a:",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "a..b",
            ".a",
            ".",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.x]",
            "[]",
            "::1",
            "a%62",
            "a\\b",
            "a\u{e9}",
            "<a>",
        ] {
            assert_eq!(Authority::parse(authority.as_bytes()), None, "{authority}");
        }
        assert_eq!(Authority::parse(&[b'a'; HOST_BYTES_MAX + 1]), None);
    }
}
