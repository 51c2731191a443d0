//! Each trace is told from what looks like it, and what is kept of it has bounds.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::http::{Asked, HeadLimits, RequestHead, ResponseHead};
use crate::limits::{
    FINDING_LOG_INTERVAL, FINDING_SHOWN, FINDINGS_MAX, HOP_BYTES_MAX, POLL_CUTS, POLLING_SESSIONS,
};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";

fn head(version: &str, fields: &[&str]) -> RequestHead {
    let mut bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n");
    for field in fields {
        bytes += &format!("{field}\r\n");
    }
    let mut head = RequestHead::default();
    head.parse(format!("{bytes}\r\n").as_bytes(), &HeadLimits::default()).unwrap().expect("a whole head");
    head
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_torn_handshake_is_named_by_what_it_lacks() {
    let (upgrade, connection) = ("Upgrade: websocket", "Connection: Upgrade");
    for (version, fields, expected) in [
        ("1.1", &[upgrade, connection, KEY, VERSION][..], None),
        ("1.0", &[upgrade, connection, KEY, VERSION], Some(Downgrade::Http10)),
        ("1.0", &["Connection: close", KEY, VERSION], Some(Downgrade::Http10)),
        ("1.0", &["Upgrade: h2c"], None),
        ("1.1", &[upgrade, KEY, VERSION], Some(Downgrade::ConnectionMissing)),
        ("1.1", &[upgrade, "Connection: close", KEY], Some(Downgrade::ConnectionMissing)),
        ("1.1", &[connection, KEY, VERSION], Some(Downgrade::UpgradeMissing)),
        ("1.1", &[KEY, VERSION], Some(Downgrade::UpgradeMissing)),
        ("1.1", &[upgrade, connection, VERSION], Some(Downgrade::FieldsMissing)),
        ("1.1", &[upgrade, connection, "Sec-WebSocket-Key: short"], Some(Downgrade::FieldsMissing)),
        ("1.1", &[upgrade, connection, KEY], Some(Downgrade::FieldsMissing)),
        // nginx with a fixed Connection field sends this with every request.
        ("1.1", &[connection], None),
        ("1.1", &["Upgrade: h2c", connection], None),
        ("1.1", &[], None),
    ] {
        assert_eq!(head(version, fields).downgrade(), expected, "{version} {fields:?}");
    }
}

#[test]
fn a_hop_is_named_by_what_it_leaves() {
    let named = |version, fields: &[&str]| hop_in_front(&head(version, fields)).map(String::from);
    for (version, fields, expected) in [
        ("1.1", &[][..], None),
        ("1.1", &["X-Forwarded-For: 192.0.2.1"], Some("a proxy that sets X-Forwarded-For")),
        ("1.1", &["X-Forwarded-For: 192.0.2.1", "X-Amzn-Trace-Id: a"], Some("an AWS load balancer")),
        ("1.0", &["Via: 1.1 far, 1.1 near (squid)"], Some("Via: 1.1 near (squid)")),
        ("1.0", &["Via: 1.1 far", "Via: 1.0 near"], Some("Via: 1.0 near; HTTP/1.0 came to it already")),
        ("1.1", &["Via: 1.0 near"], Some("Via: 1.0 near")),
        ("1.1", &["Via: 1.1 far,"], None),
        ("1.1", &["Via: 1.1 \u{e4}b"], Some("Via: 1.1 ??b")),
    ] {
        assert_eq!(named(version, fields).as_deref(), expected, "{fields:?}");
    }
    let long = format!("Via: 1.1 {}", "x".repeat(1000));
    assert_eq!(named("1.1", &[&long]).unwrap().len(), "Via: ".len() + HOP_BYTES_MAX);
}

#[test]
fn who_answers_is_named_by_its_own_word() {
    let mut response = ResponseHead::default();
    let mut named = |fields: &str| {
        let bytes = format!("HTTP/1.1 400 Bad Request\r\n{fields}Content-Length: 0\r\n\r\n");
        let asked = Asked::by(&head("1.1", &[]), true);
        response.parse(bytes.as_bytes(), &asked, &HeadLimits::default()).unwrap().expect("a whole head");
        hop_behind(&response).map(String::from)
    };
    assert_eq!(named(""), None);
    assert_eq!(named("Server: nginx/1.22\r\n").as_deref(), Some("Server: nginx/1.22"));
    assert_eq!(named("Server: node\r\nVia: 1.0 inner\r\n").as_deref(), Some("Via: 1.0 inner"));
}

#[test]
fn sessions_that_stay_with_polling_show_after_a_while() {
    let mut source = Source::default();
    // A crowd that comes at once has not had the time to upgrade.
    assert!((0..1000).all(|_| !source.offered(seconds(5))));
    assert!(source.offered(seconds(15)));
    source.upgraded();
    assert!((0..u64::from(POLLING_SESSIONS)).all(|minute| !source.offered(seconds(60 * minute))));
    assert!(source.offered(seconds(3600)));
}

#[test]
fn a_timeout_is_told_from_clients_that_leave() {
    let mut source = Source::default();
    let needed = usize::from(POLL_CUTS);
    let cuts: Vec<_> = (0..needed).map(|_| source.cut(Duration::from_millis(20_130))).collect();
    assert_eq!(cuts.iter().flatten().collect::<Vec<_>>(), [&20]);
    assert_eq!(cuts.last(), Some(&Some(20)));
    // Somebody leaves.
    assert_eq!(source.cut(Duration::from_millis(7_300)), None);
    assert_eq!(source.cut(Duration::from_millis(19_950)), Some(20));
    // The timeout is changed.
    let changed: Vec<_> = (0..4 * needed).filter_map(|_| source.cut(seconds(10))).collect();
    assert!(!changed.is_empty() && changed.iter().all(|&seconds| seconds == 10), "{changed:?}");
}

#[test]
fn upgrades_of_strange_sessions_count_when_they_come_together() {
    let mut source = Source::default();
    assert!((0..100).all(|_| !source.strange(seconds(9))), "of the time before the start");
    assert!((1..100).all(|minute| !source.strange(seconds(100 * minute))), "one now and then");
    let now = seconds(20_000);
    assert_eq!([0; 4].map(|_| source.strange(now)), [false, false, true, true]);
}

proptest! {
    /// Whatever it counts, no source counts for another one, and the memory stays what it was.
    #[test]
    fn sources_are_kept_apart(addresses in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut sources = Sources::new(8);
        for address in addresses {
            let address = IpAddr::from([192, 0, 2, address]);
            let before = *sources.of(address);
            sources.of(address).offered(seconds(1));
            let mut expected = before;
            expected.offered(seconds(1));
            prop_assert_eq!(*sources.of(address), expected);
        }
    }

    /// A poll that ended at a moment that is no timeout's is never blamed on one.
    #[test]
    fn polls_that_end_anywhere_are_nobodys_fault(milliseconds in 0_u64..3_600_000) {
        let off = milliseconds % 5000;
        prop_assume!((601..4900).contains(&off));
        let mut source = Source::default();
        for _ in 0..20 {
            prop_assert_eq!(source.cut(Duration::from_millis(milliseconds)), None);
        }
    }
}

fn sighting(downgrade: Downgrade, address: u16) -> Sighting {
    let [high, low] = address.to_be_bytes();
    Sighting { downgrade, place: Place::Front([10, 0, high, low].into()), hop: None, seconds: None }
}

#[test]
fn a_line_is_due_once_an_interval() {
    let mut findings = Findings::default();
    let mut note = |at| findings.note(sighting(Downgrade::Http10, 1), at).map(|due| due.count);
    let interval = FINDING_LOG_INTERVAL;
    assert_eq!(note(seconds(5)), Some(1));
    assert_eq!([note(seconds(6)), note(seconds(7))], [None; 2]);
    assert_eq!(note(seconds(5) + interval), Some(3));
    assert_eq!(note(seconds(6) + interval), None);
    assert!(findings.note(sighting(Downgrade::PollsCut, 1), seconds(8)).is_some(), "another kind");
    assert!(findings.note(sighting(Downgrade::Http10, 2), seconds(8)).is_some(), "another source");
    let shown = findings.shown(interval);
    assert_eq!(shown[0].count, 5);
    assert_eq!((shown[0].first, shown[0].last), (seconds(5), seconds(6) + interval));
    assert!(findings.shown(FINDING_SHOWN + 2 * interval).is_empty(), "what is over is not shown");
}

#[test]
fn a_hop_that_was_named_once_stays_named() {
    let mut findings = Findings::default();
    let named = Sighting { hop: Some("Via: 1.0 near".into()), ..sighting(Downgrade::Http10, 1) };
    findings.note(named, seconds(1));
    findings.note(sighting(Downgrade::Http10, 1), seconds(2));
    assert_eq!(findings.shown(seconds(2))[0].sighting.hop.as_deref(), Some("Via: 1.0 near"));
}

#[test]
fn ever_new_sources_neither_fill_memory_nor_the_log() {
    let mut findings = Findings::default();
    let many = u16::try_from(FINDINGS_MAX * 4).unwrap();
    let mut lines =
        |at| (0..many).filter_map(|one| findings.note(sighting(Downgrade::Http10, one), at)).count();
    assert_eq!(lines(seconds(1)), FINDINGS_MAX);
    assert_eq!(lines(seconds(2)), 0);
    let later = seconds(3) + FINDING_LOG_INTERVAL;
    assert!(lines(later) <= 2 * FINDINGS_MAX);
    assert_eq!(findings.shown(later).len(), FINDINGS_MAX);
}

#[test]
fn names_are_alike_and_words_are_there() {
    for (index, one) in Downgrade::ALL.into_iter().enumerate() {
        assert!(
            one.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        );
        assert!(Downgrade::ALL.iter().skip(index + 1).all(|other| other.name() != one.name()));
        assert!(one.cure().ends_with('.') && !one.cure().contains("  "), "{}", one.cure());
        assert!(!one.seen().ends_with('.') && !one.seen().contains("  "), "{}", one.seen());
    }
}
