//! A response head is judged alike however it is cut, and reaches the client framed once and as decided.

use ringbolt_core::http::{
    Asked, Framing, HeadLimits, Method, ReplyContext, ResponseHead, ResponseKind, Version, WebSocketKey,
    websocket_accept, write_response,
};

use crate::field_lines::{FieldLines, printable};
use crate::splits;

/// The key of RFC 6455's example: the corpus holds the 101 that proves it.
const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

/// What a response without one gets.
pub(crate) const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

const SMALL: HeadLimits = HeadLimits { head_bytes_max: 160, target_bytes_max: 0, fields_max: 6 };

pub(crate) fn run(input: &[u8]) {
    let plain = Asked { method: Method::Get, upgrade: None, verify_accept: true };
    let upgrade = Asked { upgrade: WebSocketKey::parse(KEY), ..plain };
    assert!(upgrade.upgrade.is_some());
    for asked in
        [plain, Asked { method: Method::Head, ..plain }, upgrade, Asked { verify_accept: false, ..upgrade }]
    {
        for limits in [SMALL, HeadLimits::default()] {
            check(input, &asked, &limits);
        }
    }
}

fn check(input: &[u8], asked: &Asked, limits: &HeadLimits) {
    let mut head = ResponseHead::default();
    let verdict = head.parse(input, asked, limits);
    let mut early = ResponseHead::default();
    for end in splits::ends(input.len()) {
        let found = early.parse(&input[..end], asked, limits);
        let settled = matches!(verdict, Ok(Some(length)) if end >= length);
        assert!(found == verdict || !settled && found == Ok(None), "{found:?} at {end}, then {verdict:?}");
    }
    let Ok(Some(length)) = verdict else { return };
    assert!(length <= input.len() && length <= limits.head_bytes_max);
    check_kind(&head, asked);
    for client_version in [Version::Http10, Version::Http11] {
        for close in [false, true] {
            check_reply(
                &head,
                asked,
                &ReplyContext {
                    client_version,
                    close,
                    hsts: None,
                    set_cookie: Some(b"a=b"),
                    date: DATE,
                    rules: None,
                },
            );
        }
    }
}

/// Only a 101 that was asked for and proves it opens a tunnel, and no other connection is used again
/// unless its response has a certain end.
fn check_kind(head: &ResponseHead, asked: &Asked) {
    assert!((100..600).contains(&head.status()));
    assert_eq!(head.kind() == ResponseKind::Final, head.status() >= 200);
    if head.kind() == ResponseKind::Switching {
        let key = asked.upgrade.expect("a 101 that nobody asked for");
        assert_eq!(head.status(), 101);
        let accept = head.field(b"sec-websocket-accept");
        assert!(!asked.verify_accept || accept == Some(&websocket_accept(key.as_bytes())[..]));
    }
    if head.keep_alive() {
        assert!(head.framing() != Framing::UntilClose && head.kind() != ResponseKind::Switching);
    }
}

fn check_reply(head: &ResponseHead, asked: &Asked, context: &ReplyContext<'_>) {
    let mut out = Vec::new();
    let framing = write_response(head, context, &mut out);
    let text = printable(&out);
    let lines = FieldLines::of(&text);
    assert!(lines.start.starts_with(&format!("HTTP/1.1 {} ", head.status())), "{}", lines.start);
    let declared = lines.framing();
    match framing {
        Framing::Chunked => {
            assert_eq!((declared, context.client_version), (Some("chunked"), Version::Http11));
        }
        Framing::Length(length) => assert_eq!(declared, Some(length.to_string().as_str())),
        Framing::UntilClose => assert_eq!(declared, None),
        // What an answer to HEAD says about the body it has not.
        Framing::None => assert_ne!(declared, Some("chunked")),
    }
    if head.status() < 200 || head.status() == 204 {
        assert_eq!(declared, None, "{} has no body to declare", head.status());
    }
    if head.kind() == ResponseKind::Final {
        let own = head.field(b"date").is_none();
        assert!(!own || lines.all("date") == ["Sun, 06 Nov 1994 08:49:37 GMT"], "{lines:?}");
    }
    let hop_by_hop = ["keep-alive", "proxy-connection", "te"];
    assert!(lines.names().all(|name| !hop_by_hop.contains(&name)), "{lines:?}");
    if head.kind() == ResponseKind::Final {
        let closes = context.close || framing == Framing::UntilClose;
        assert_eq!(lines.all("connection").contains(&"close"), closes);
        assert!(lines.all("upgrade").is_empty());
    }
    let limits = HeadLimits { head_bytes_max: usize::MAX, ..HeadLimits::default() };
    if head.fields().count() + 5 <= limits.fields_max {
        let mut again = ResponseHead::default();
        assert_eq!(again.parse(&out, asked, &limits), Ok(Some(out.len())), "{text:?}");
        assert_eq!((again.status(), again.kind(), again.framing()), (head.status(), head.kind(), framing));
    }
}
