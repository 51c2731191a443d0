//! Rule 9: who a request comes from, and what a proxy in front may say about it.

use proptest::prelude::*;

use super::*;
use crate::network::Network;

const INNER: [u8; 4] = [10, 0, 0, 1];

fn trusted() -> Vec<Network> {
    ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec()
}

/// The source of a request from `connection` with these X-Forwarded-For lines.
fn source(connection: impl Into<IpAddr>, lines: &[&str]) -> Source {
    let fields: String = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
    Source::of(&get_with(&fields).unwrap(), connection.into(), &trusted())
}

#[test]
fn rule_09_the_rightmost_untrusted_address_is_the_client() {
    for (lines, client) in [
        (&["198.51.100.1"][..], "198.51.100.1"),
        (&["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        (&["6.6.6.6, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        (&["6.6.6.6", "198.51.100.1,10.9.9.9 ,", "fd00::7"], "198.51.100.1"),
        (&["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:443"], "2001:db8::1"),
        (&["198.51.100.1:5000"], "198.51.100.1"),
        (&["::ffff:198.51.100.1"], "198.51.100.1"),
        (&["6.6.6.6", "::ffff:10.9.9.9"], "6.6.6.6"),
        (&[], "10.0.0.1"),
        (&[","], "10.0.0.1"),
    ] {
        let expected = Source { client: client.parse().unwrap(), trusted: true };
        assert_eq!(source(INNER, lines), expected, "{lines:?}");
    }
}

#[test]
fn rule_09_what_is_no_address_hides_what_stands_before_it() {
    for junk in
        ["unknown", "_hidden", "198.51.100.1.2", "1.2.3.4:x", "[::1", "\"1.1.1.1\"", "\u{e9}", "fe80::1%1"]
    {
        let behind = format!("6.6.6.6, {junk}, 10.2.2.2");
        assert_eq!(source(INNER, &[&behind]).client, IpAddr::from([10, 2, 2, 2]), "{junk}");
    }
}

#[test]
fn rule_09_a_connection_that_is_not_trusted_is_the_client() {
    for connection in ["192.0.2.7", "2001:db8::1", "11.0.0.1"] {
        let connection: IpAddr = connection.parse().unwrap();
        let expected = Source { client: connection, trusted: false };
        assert_eq!(source(connection, &["198.51.100.1"]), expected);
    }
    assert!(source("::ffff:10.0.0.1".parse::<IpAddr>().unwrap(), &[]).trusted);
}

/// The X-Request-ID lines that are forwarded of a request with these fields.
fn request_ids(fields: &str, context: &ForwardContext<'_>) -> Vec<String> {
    let text = forward(&get_with(fields).unwrap(), context);
    text.split("\r\n").filter_map(|line| line.strip_prefix("X-Request-ID: ")).map(str::to_owned).collect()
}

#[test]
fn a_request_id_is_taken_from_trusted_proxies_only() {
    let ours = "0000000000000000000000000000002a";
    let asked =
        |context: ForwardContext<'static>| ForwardContext { request_id: Some(RequestId(42)), ..context };
    let given = "X-Request-ID: 7d9e-x/Y=\r\n";
    assert_eq!(request_ids(given, &asked(TRUSTED)), ["7d9e-x/Y="]);
    assert_eq!(request_ids(given, &asked(CONTEXT)), [ours]);
    assert_eq!(request_ids("", &asked(CONTEXT)), [ours]);
    let long = format!("X-Request-ID: {}\r\n", "a".repeat(129));
    for bad in [&*long, "X-Request-ID:\r\n", "X-Request-ID: a b\r\n", "X-Request-ID: a\"\r\n"] {
        assert_eq!(request_ids(bad, &asked(TRUSTED)), [ours], "{bad}");
    }
    assert_eq!(request_ids(&given.repeat(2), &asked(TRUSTED)), [ours], "which one would be meant?");
    assert_eq!(request_ids(given, &CONTEXT), ["7d9e-x/Y="], "nobody asked for ids");
}

proptest! {
    /// Whatever a client writes before, only what trusted proxies appended decides.
    #[test]
    fn a_client_cannot_choose_its_address(written in "([0-9]{1,2}(\\.[0-9]{1,2}){3},){0,3}|[ -~]{0,40}", client: [u8; 4], hops in 0_u8..4) {
        let client = IpAddr::from(client);
        prop_assume!(!trusted().iter().any(|network| network.contains(client)));
        let hops: String = (0..hops).map(|hop| format!(", 10.0.1.{hop}")).collect();
        let line = format!("{written}, {client}{hops}");
        prop_assert_eq!(source(INNER, &[&line]).client, client);
    }
}
