//! A request head is judged alike however it is cut, and forwarded as what it was understood to be.

use std::net::{IpAddr, Ipv4Addr};

use ringbolt_core::http::{
    Answer, AnswerContext, Asked, ForwardContext, Framing, HeadLimits, Method, Refusal, RequestHead,
    ResponseHead, Source, Upgrade, Version, write_answer, write_engine_io_answer, write_request,
};
use ringbolt_core::limits::FIELDS_MAX;

use crate::field_lines::{FieldLines, printable};
use crate::response_head::DATE;
use crate::splits;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const STATUSES: [u16; 7] = [400, 405, 414, 417, 431, 501, 505];
/// Fields of the hop, and claims about the client, that may not reach a backend from an untrusted client.
const NEVER_FORWARDED: [&str; 6] =
    ["keep-alive", "proxy-connection", "te", "http2-settings", "proxy-authorization", "proxy-authenticate"];
/// What Connection cannot take away (rule 8).
const LASTING: [&str; 3] = ["host", "via", "x-real-ip"];

const SMALL: HeadLimits = HeadLimits { head_bytes_max: 160, target_bytes_max: 12, fields_max: 6 };

/// What a request is forwarded with, here and in `differential_request.rs`.
pub(crate) fn context(trusted: bool, drop_accept_encoding: bool) -> ForwardContext<'static> {
    ForwardContext {
        connection: CLIENT,
        source: Source { client: CLIENT, trusted },
        scheme: "https",
        client_certificate: None,
        request_id: None,
        trace: None,
        drop_accept_encoding,
        target: None,
        rules: None,
        rewrite: None,
    }
}

pub(crate) fn run(input: &[u8]) {
    for limits in [SMALL, HeadLimits::default()] {
        check(input, &limits);
    }
}

fn check(input: &[u8], limits: &HeadLimits) {
    let mut head = RequestHead::default();
    let verdict = head.parse(input, limits);
    let mut early = RequestHead::default();
    for end in splits::ends(input.len()) {
        let found = early.parse(&input[..end], limits);
        let settled = matches!(verdict, Ok(Some(length)) if end >= length);
        assert!(found == verdict || !settled && found == Ok(None), "{found:?} at {end}, then {verdict:?}");
    }
    match verdict {
        Ok(None) => {}
        Ok(Some(length)) => {
            assert!(length <= input.len() && length <= limits.head_bytes_max + 2);
            accepted(&head);
        }
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) {
    assert!(STATUSES.contains(&refusal.status), "{refusal:?}");
    let answer = Answer::from(refusal);
    for head_only in [false, true] {
        let mut out = Vec::new();
        let answering = AnswerContext {
            version: Version::Http11,
            head_only,
            close: true,
            date: DATE,
            retry_after_seconds: 1,
        };
        write_answer(&answer, &answering, &mut out);
        answered(&out, refusal.status, head_only);
    }
}

/// An answer of our own is one message, and nothing is behind it.
fn answered(out: &[u8], status: u16, head_only: bool) {
    let method = if head_only { Method::Head } else { Method::Get };
    let asked = Asked { method, upgrade: None, verify_accept: true };
    let mut head = ResponseHead::default();
    let length = head.parse(out, &asked, &HeadLimits::default()).expect("legal").expect("complete");
    assert_eq!(head.status(), status);
    let body = if head_only { 0 } else { head.declared_length().expect("a length") };
    assert_eq!((out.len() - length) as u64, body);
}

fn accepted(head: &RequestHead) {
    let mut out = Vec::new();
    let origin = head.field(b"origin");
    let answering = AnswerContext {
        version: head.version(),
        head_only: false,
        close: false,
        date: DATE,
        retry_after_seconds: 1,
    };
    write_engine_io_answer(&Answer::NO_BACKEND, &answering, origin, &mut out);
    answered(&out, 503, false);
    assert_ne!(head.framing(), Framing::UntilClose, "a request has no such body");
    for trusted in [false, true] {
        for drop_accept_encoding in [false, true] {
            let context = context(trusted, drop_accept_encoding);
            out.clear();
            write_request(head, &context, &mut out);
            check_lines(head, &context, &out);
            check_meaning(head, &out);
        }
    }
}

/// What stands in the forwarded head, read by plain means.
fn check_lines(head: &RequestHead, context: &ForwardContext<'_>, out: &[u8]) {
    let text = printable(out);
    let lines = FieldLines::of(&text);
    let start: Vec<&str> = lines.start.split(' ').collect();
    assert_eq!(start, [&printable(head.method_bytes()), &printable(head.target()), "HTTP/1.1"]);
    assert_eq!(lines.all("host"), [printable(head.authority())]);
    let expected = match head.framing() {
        Framing::Length(length) => Some(length.to_string()),
        Framing::Chunked => Some("chunked".to_owned()),
        Framing::None | Framing::UntilClose => None,
    };
    assert_eq!(lines.framing(), expected.as_deref());
    let switch: &[&str] = if head.upgrade() == Upgrade::WebSocket { &["websocket"] } else { &[] };
    assert_eq!(lines.all("upgrade"), switch);
    assert_eq!(lines.all("connection").len(), switch.len());
    for name in NEVER_FORWARDED {
        assert!(lines.all(name).is_empty(), "{name} was forwarded");
    }
    for name in lines.names().filter(|name| name.contains('_')) {
        let dashed = name.replace('_', "-");
        let ours = ["content-length", "transfer-encoding", "host", "x-real-ip", "forwarded"];
        assert!(!ours.contains(&dashed.as_str()) && !dashed.starts_with("x-forwarded-"), "alias {name}");
    }
    check_client(&lines, context);
    check_nominated(head, &lines);
}

/// Who the client is, in the fields that backends believe.
fn check_client(lines: &FieldLines<'_>, context: &ForwardContext<'_>) {
    let client = context.source.client.to_string();
    let [forwarded_for] = lines.all("x-forwarded-for")[..] else { panic!("not one X-Forwarded-For") };
    assert_eq!(forwarded_for.rsplit(", ").next(), Some(client.as_str()));
    assert_eq!(lines.all("x-real-ip"), [client.as_str()]);
    if !context.source.trusted {
        assert_eq!(lines.all("x-forwarded-proto"), [context.scheme]);
        assert_eq!(lines.all("x-forwarded-host"), lines.all("host"));
        assert!(lines.all("forwarded").is_empty());
    }
}

/// What the client's Connection names is gone, but for what the proxy itself says.
fn check_nominated(head: &RequestHead, lines: &FieldLines<'_>) {
    let connection = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    for option in connection.flat_map(|(_, value)| value.split(|byte| *byte == b',')) {
        let option = printable(option).trim_matches([' ', '\t']).to_ascii_lowercase();
        let ours = ["content-length", "transfer-encoding", "upgrade", "connection", "forwarded"];
        let lasts = LASTING.contains(&option.as_str()) || option.starts_with("x-forwarded-");
        if !option.is_empty() && !lasts && !ours.contains(&option.as_str()) {
            assert!(lines.all(&option).is_empty(), "nominated {option} was forwarded");
        }
    }
}

/// The forwarded head, read again, says what the first one was understood to say.
fn check_meaning(head: &RequestHead, out: &[u8]) {
    // What we add may be the one field or byte too many for our own limits.
    let limits =
        HeadLimits { head_bytes_max: usize::MAX, target_bytes_max: usize::MAX, ..HeadLimits::default() };
    if head.fields().count() + 6 > FIELDS_MAX {
        return;
    }
    let mut again = RequestHead::default();
    assert_eq!(again.parse(out, &limits), Ok(Some(out.len())), "{:?}", printable(out));
    assert_eq!(again.version(), Version::Http11);
    assert_eq!(again.framing(), head.framing());
    assert_eq!(again.method(), head.method());
    assert_eq!((again.method_bytes(), again.target()), (head.method_bytes(), head.target()));
    assert_eq!((again.authority(), again.host()), (head.authority(), head.host()));
    assert_eq!(again.websocket_key(), head.websocket_key());
    assert_eq!(again.expects_continue(), head.expects_continue());
    assert!(again.keep_alive());
}
