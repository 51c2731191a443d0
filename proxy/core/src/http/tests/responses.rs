//! Which responses are passed on, how their bodies end, and when their connection is used again.

use super::*;
use crate::limits::CONNECTION_OPTIONS_MAX;

fn reason_of(input: &str) -> Option<BadResponse> {
    parse_response(&GET, input).err()
}

#[test]
fn an_ordinary_response_is_understood() {
    let head = ok_with("Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n").unwrap();
    assert_eq!((head.status(), head.kind(), head.version()), (200, ResponseKind::Final, Version::Http11));
    assert_eq!((head.framing(), head.keep_alive(), head.declared_length()), (Framing::Chunked, true, None));
    assert_eq!(head.field(b"content-type"), Some(&b"text/plain"[..]));
    assert_eq!(head.fields().count(), 2);
}

#[test]
fn malformed_status_lines_are_refused() {
    for line in [
        "HTTP/1.1 000 x",
        "HTTP/1.1 20 x",
        "HTTP/1.1 2000 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1 099 x",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1  200 x",
        "HTTP/1.1 200x",
        "HTTP/1.1\t200 x",
        "HTTP/1.1 200 \u{1}",
        "HTTP/1.1 200 \r",
        "HTTP/2.0 200 x",
        "HTTP/1.10 200 x",
        "http/1.1 200 x",
        "ICY 200 OK",
        "\r\nHTTP/1.1 200 x",
        " HTTP/1.1 200 x",
    ] {
        let bad = reason_of(&format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(bad, Some(BadResponse::STATUS_LINE), "{line:?}");
    }
    for line in
        ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 599 \t any \u{e9}", "HTTP/1.2 200 x", "HTTP/1.0 200 x"]
    {
        assert_eq!(reason_of(&format!("{line}\r\n\r\n")), None, "{line}");
    }
    let bare = parse_response(&GET, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(reply(&bare, &REPLY).0.starts_with("HTTP/1.1 200 \r\n"));
}

#[test]
fn a_body_without_a_head_is_refused_with_its_first_byte() {
    let mut head = ResponseHead::default();
    for input in ["<html>", "h", "HTTP/2"] {
        let verdict = head.parse(input.as_bytes(), &GET, &HeadLimits::default());
        assert_eq!(verdict, Err(BadResponse::STATUS_LINE));
    }
    assert_eq!(head.parse(b"HTTP/", &GET, &HeadLimits::default()), Ok(None));
}

#[test]
fn malformed_framing_is_refused() {
    for (fields, bad) in [
        ("Content-Length: -5\r\n", BadResponse::LENGTH),
        ("Content-Length: +5\r\n", BadResponse::LENGTH),
        ("Content-Length: 5x\r\n", BadResponse::LENGTH),
        ("Content-Length: 9223372036854775808\r\n", BadResponse::LENGTH),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", BadResponse::LENGTH_REPEATED),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BadResponse::LENGTH_AND_CODING),
        ("Transfer-Encoding: gzip\r\n", BadResponse::CODING),
        ("Transfer-Encoding: chunked,\r\n", BadResponse::CODING),
        ("X: a\nB: c\r\n", BadResponse::BARE_LF),
        ("X : a\r\n", BadResponse::FIELD_NAME),
        ("X: a\0\r\n", BadResponse::FIELD_VALUE),
        ("X: a\r\n b\r\n", BadResponse::FIELD_NAME),
    ] {
        assert_eq!(ok_with(fields).unwrap_err(), bad, "{fields}");
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(reason_of(old), Some(BadResponse::CODING_IN_HTTP10));
}

#[test]
fn limits_hold_for_responses() {
    let limits = HeadLimits { head_bytes_max: 64, target_bytes_max: 0, fields_max: 2 };
    let mut head = ResponseHead::default();
    let mut judge =
        |fields: &str| head.parse(format!("HTTP/1.1 200 OK\r\n{fields}").as_bytes(), &GET, &limits);
    assert_eq!(judge("A:\r\nB:\r\nC:\r\n"), Err(BadResponse::TOO_MANY_FIELDS));
    assert_eq!(judge(&"x".repeat(47)), Err(BadResponse::HEAD_TOO_LONG));
    assert_eq!(judge(&"x".repeat(46)), Ok(None));
    let options = format!("Connection: {}\r\n", "x,".repeat(CONNECTION_OPTIONS_MAX + 1));
    assert_eq!(ok_with(&options).unwrap_err(), BadResponse::TOO_MANY_OPTIONS);
}

#[test]
fn bodies_end_as_rfc_9112_section_6_3_says() {
    let head = Asked { method: Method::Head, ..GET };
    for (asked, status, fields, framing) in [
        (&GET, 200, "", Framing::UntilClose),
        (&GET, 200, "Content-Length: 0\r\n", Framing::Length(0)),
        (&GET, 206, "Transfer-Encoding: chunked\r\n", Framing::Chunked),
        (&GET, 204, "", Framing::None),
        (&GET, 304, "Content-Length: 5\r\n", Framing::None),
        (&head, 200, "Content-Length: 5\r\n", Framing::None),
        (&head, 200, "", Framing::None),
        (&head, 404, "Transfer-Encoding: chunked\r\n", Framing::None),
        (&GET, 103, "", Framing::None),
    ] {
        let parsed = parse_response(asked, format!("HTTP/1.1 {status} x\r\n{fields}\r\n")).unwrap();
        assert_eq!(parsed.framing(), framing, "{status} {fields}");
    }
}

#[test]
fn informational_responses_announce_another_head() {
    for status in [100, 102, 103, 199] {
        let head = parse_response(&GET, format!("HTTP/1.1 {status} x\r\nLink: y\r\n\r\n")).unwrap();
        assert_eq!(head.kind(), ResponseKind::Informational);
        let context = ReplyContext { close: true, set_cookie: Some(b"a=b"), ..REPLY };
        assert_eq!(
            reply(&head, &context),
            (format!("HTTP/1.1 {status} x\r\nLink: y\r\n\r\n"), Framing::None)
        );
    }
    let with_body = reason_of("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(with_body, Some(BadResponse::INFORMATIONAL_BODY));
}

#[test]
fn rule_06_a_connection_is_used_again_only_after_a_clear_end() {
    for (line, fields, keep_alive) in [
        ("HTTP/1.1 200 x", "Content-Length: 1\r\n", true),
        ("HTTP/1.1 200 x", "Content-Length: 1\r\nConnection: Close\r\n", false),
        ("HTTP/1.1 200 x", "", false),
        ("HTTP/1.0 200 x", "Content-Length: 1\r\n", false),
        ("HTTP/1.0 200 x", "Content-Length: 1\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 204 x", "", true),
        ("HTTP/1.1 204 x", "Content-Length: 0\r\n", true),
        ("HTTP/1.1 204 x", "Content-Length: 3\r\n", false),
        ("HTTP/1.1 204 x", "Transfer-Encoding: chunked\r\n", false),
        ("HTTP/1.1 304 x", "Content-Length: 3\r\n", true),
    ] {
        let head = parse_response(&GET, format!("{line}\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.keep_alive(), keep_alive, "{line} {fields}");
    }
}
