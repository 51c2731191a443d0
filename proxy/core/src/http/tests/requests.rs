//! Rules 2 to 5: which requests are refused, and with which status.

use super::*;
use crate::limits::{CONNECTION_OPTIONS_MAX, FIELDS_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX};

#[test]
fn an_ordinary_request_is_understood() {
    let head = parse_request(
        "POST /socket.io/?EIO=4&sid=x HTTP/1.1\r\nHost: chat.example:3000\r\nContent-Length: 007\r\n\
         Cookie: a=1; sid=\"two\"\r\nX-Empty:\r\ncookie:b = 3;io=four\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.method(), head.method_bytes()), (Method::Post, &b"POST"[..]));
    assert_eq!(head.target(), b"/socket.io/?EIO=4&sid=x");
    assert_eq!((head.path(), head.query()), (&b"/socket.io/"[..], Some(&b"EIO=4&sid=x"[..])));
    assert_eq!((head.authority(), head.host()), (&b"chat.example:3000"[..], &b"chat.example"[..]));
    assert_eq!((head.version(), head.framing()), (Version::Http11, Framing::Length(7)));
    assert!(head.keep_alive() && !head.expects_continue());
    assert_eq!(head.field(b"x-empty"), Some(&b""[..]));
    assert_eq!((head.cookie(b"sid"), head.cookie(b"io")), (Some(&b"\"two\""[..]), Some(&b"four"[..])));
    assert_eq!((head.cookie(b"SID"), head.cookie(b"b")), (None, None));
    assert_eq!(head.fields().count(), 5);
}

#[test]
fn a_head_is_reused_without_a_trace_of_the_one_before() {
    let mut head = RequestHead::default();
    let first = b"POST http://b?q HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n";
    let second = b"GET / HTTP/1.1\r\nHost: c\r\n\r\n";
    assert_eq!(head.parse(first, &HeadLimits::default()), Ok(Some(first.len())));
    assert_eq!(head.target(), b"/?q");
    assert_eq!(head.parse(second, &HeadLimits::default()), Ok(Some(second.len())));
    assert_eq!(forward(&head, &CONTEXT), forward(&parse_request(second).unwrap(), &CONTEXT));
    assert_eq!((head.framing(), head.version()), (Framing::None, Version::Http11));
    head.clear();
    assert_eq!((head.fields().count(), head.target()), (0, &b""[..]));
}

#[test]
fn one_empty_line_before_a_head_is_skipped() {
    let mut head = RequestHead::default();
    let input = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nnext";
    assert_eq!(head.parse(input, &HeadLimits::default()), Ok(Some(input.len() - 4)));
    assert_eq!(status_of("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(status_of("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
}

#[test]
fn rule_02_content_length_with_transfer_encoding_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 0\r\n",
        "Content-Length: x\r\nTransfer-Encoding: identity\r\n",
    ] {
        assert_eq!(get_with(fields).unwrap_err(), Refusal::LENGTH_AND_CODING, "{fields}");
    }
}

#[test]
fn rule_02_content_length_is_one_decimal_number() {
    for value in [
        "",
        "+5",
        "-1",
        "0x5",
        "5.0",
        "5 5",
        "5,5",
        "5, 5",
        "5,",
        "1e3",
        "five",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999999",
        "\u{0665}",
    ] {
        assert_eq!(
            get_with(&format!("Content-Length: {value}\r\n")).unwrap_err(),
            Refusal::LENGTH,
            "{value}"
        );
    }
    for second in ["5", "6", "05"] {
        let fields = format!("Content-Length: 5\r\nContent-Length: {second}\r\n");
        assert_eq!(get_with(&fields).unwrap_err(), Refusal::LENGTH_REPEATED, "{second}");
    }
    let longest = get_with("Content-Length: 00009223372036854775807\r\n").unwrap();
    assert_eq!(longest.framing(), Framing::Length(u64::MAX / 2));
    assert_eq!(get_with("Content-Length:\t0 \t\r\n").unwrap().framing(), Framing::Length(0));
}

#[test]
fn rule_02_transfer_encoding_is_exactly_one_chunked() {
    for value in ["chunked", "Chunked", "\tchunked\t", " CHUNKED "] {
        let head = get_with(&format!("Transfer-Encoding:{value}\r\n")).unwrap();
        assert_eq!(head.framing(), Framing::Chunked, "{value}");
    }
    for (value, status) in [
        ("", 400),
        ("chunked,", 400),
        (",chunked", 400),
        ("chunked, chunked", 400),
        ("chunked;q=1", 400),
        ("\"chunked\"", 400),
        ("chun ked", 400),
        ("chunked gzip", 400),
        ("chunked, gzip;", 400),
        ("gzip", 501),
        ("identity", 501),
        ("xchunked", 501),
        ("chunked-", 501),
        ("gzip, chunked", 501),
        ("chunked, identity", 501),
    ] {
        assert_eq!(
            get_with(&format!("Transfer-Encoding: {value}\r\n")).unwrap_err().status,
            status,
            "{value}"
        );
    }
    let twice = get_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
    assert_eq!(twice.unwrap_err(), Refusal::CODING);
    let mixed = get_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n");
    assert_eq!(mixed.unwrap_err(), Refusal::CODING_UNKNOWN);
}

#[test]
fn rule_02_transfer_encoding_in_http_10_is_refused() {
    for value in ["chunked", "gzip", ""] {
        let input = format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
        assert_eq!(parse_request(input).unwrap_err(), Refusal::CODING_IN_HTTP10);
    }
}

#[test]
fn rule_02_host_is_there_once_and_well_formed() {
    let missing =
        |version: &str| parse_request(format!("GET / {version}\r\nAccept: */*\r\n\r\n")).unwrap_err();
    assert_eq!(missing("HTTP/1.1"), Refusal::HOST_MISSING);
    assert_eq!(missing("HTTP/1.0"), Refusal::HOST_MISSING);
    assert_eq!(get_with("host: a\r\n").unwrap_err(), Refusal::HOST_REPEATED);
    for value in ["", "a b", "a,b", "a/", "user@a", "a:b", "a:", "http://a"] {
        let input = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
        assert_eq!(parse_request(input).unwrap_err(), Refusal::HOST, "{value}");
    }
}

#[test]
fn rule_02_malformed_field_lines_are_refused() {
    for line in
        ["X : 1", "X\t: 1", " X: 1", "\tX: 1", ": 1", "X", "X Y: 1", "X(: 1", "X\u{e9}: 1", "X: 1\r\n folded"]
    {
        assert_eq!(get_with(&format!("{line}\r\n")).unwrap_err(), Refusal::FIELD_NAME, "{line}");
    }
    for byte in (0..=31).chain([127]).filter(|byte| !b"\t\n".contains(byte)) {
        let value = get_with(&format!("X: a{}b\r\n", char::from(byte))).unwrap_err();
        assert_eq!(value, Refusal::FIELD_VALUE, "{byte}");
        let name = get_with(&format!("X{}: b\r\n", char::from(byte))).unwrap_err();
        assert_eq!(name, Refusal::FIELD_NAME, "{byte}");
        let host = parse_request(format!("GET / HTTP/1.1\r\nHost: a{}\r\n\r\n", char::from(byte)));
        assert_eq!(host.unwrap_err().status, 400, "{byte}");
    }
    assert!(get_with("X: a\tb \u{e9}\r\n").is_ok());
}

#[test]
fn rule_03_bare_lf_is_refused() {
    for input in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(parse_request(input).unwrap_err(), Refusal::BARE_LF, "{input:?}");
    }
    let mut head = RequestHead::default();
    let incomplete = b"GET / HTTP/1.1\r\nHost: a\n";
    assert_eq!(head.parse(incomplete, &HeadLimits::default()), Err(Refusal::BARE_LF), "as soon as it comes");
}

#[test]
fn rule_04_absolute_targets_override_host() {
    let head = parse_request("GET HTTP://b:81/x?y=http://c HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(
        (head.target(), head.authority(), head.host()),
        (&b"/x?y=http://c"[..], &b"b:81"[..], &b"b"[..])
    );
    assert!(forward(&head, &CONTEXT).starts_with("GET /x?y=http://c HTTP/1.1\r\nHost: b:81\r\n"));
    for (method, sent, target) in [
        ("GET", "http://b", "/"),
        ("GET", "https://b?q", "/?q"),
        ("OPTIONS", "http://b", "*"),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "http://b/", "/"),
        ("GET", "/http://b", "/http://b"),
        ("GET", "//b//../%2e?", "//b//../%2e?"),
    ] {
        let head = parse_request(format!("{method} {sent} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(head.target(), target.as_bytes(), "{sent}");
    }
    let without_host = parse_request("GET http://b/ HTTP/1.1\r\n\r\n");
    assert_eq!(without_host.unwrap_err(), Refusal::HOST_MISSING);
}

#[test]
fn rule_04_other_targets_are_refused() {
    for target in [
        "*",
        "x",
        "a:80",
        "?q",
        "http:/b",
        "http://",
        "http:///x",
        "http://u@b/",
        "http://b:x/",
        "ftp://b/",
        "ws://b/",
        "/#f",
        "/\u{e9}",
        "/\u{1}",
        "/\t",
        "/\u{7f}",
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(&input), 400, "{target:?}");
    }
}

#[test]
fn rule_04_methods() {
    for (method, status) in [
        ("CONNECT", 405),
        ("TRACE", 405),
        ("connect", 405),
        ("get", 200),
        ("PROPFIND", 200),
        ("G@T", 400),
        ("", 400),
        ("PATCH", 200),
    ] {
        assert_eq!(status_of(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")), status, "{method}");
    }
    assert_eq!(status_of("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
    assert_eq!(status_of("PRI * HTTP/2.0\r\n\r\n"), 400);
    let longest = "M".repeat(METHOD_BYTES_MAX);
    assert_eq!(status_of(format!("{longest} / HTTP/1.1\r\nHost: a\r\n\r\n")), 200);
    assert_eq!(status_of(format!("{longest}M / HTTP/1.1\r\nHost: a\r\n\r\n")), 501);
}

#[test]
fn rule_04_versions() {
    for (version, status) in [
        ("HTTP/1.1", 200),
        ("HTTP/1.0", 200),
        ("HTTP/1.2", 200),
        ("HTTP/1.9", 200),
        ("HTTP/2.0", 505),
        ("HTTP/3.0", 505),
        ("HTTP/0.9", 505),
        ("HTTP/1.10", 400),
        ("HTTP/1", 400),
        ("HTTP/2", 400),
        ("http/1.1", 400),
        ("HTTP/1.1 ", 400),
        (" HTTP/1.1", 400),
        ("HTTP/11", 400),
        ("HTTPS/1.1", 400),
        ("", 400),
    ] {
        assert_eq!(status_of(format!("GET / {version}\r\nHost: a\r\n\r\n")), status, "{version}");
    }
    let newer = parse_request("GET / HTTP/1.7\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(newer.version(), Version::Http11);
    assert_eq!(status_of("GET /\r\n\r\n"), 400, "HTTP/0.9");
}

#[test]
fn rule_05_limits_have_their_own_status() {
    let sized = |bytes: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "x".repeat(bytes - head.len())))
    };
    let limits = HeadLimits::default();
    assert_eq!(status_of(sized(16 * 1024)), 200);
    assert_eq!(status_of(sized(limits.head_bytes_max)), 200);
    assert_eq!(status_of(sized(limits.head_bytes_max + 1)), 431);
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "t".repeat(bytes - 1));
    assert_eq!(status_of(target(TARGET_BYTES_MAX)), 200);
    assert_eq!(status_of(target(TARGET_BYTES_MAX + 1)), 414);
    assert_eq!(status_of(target(1 << 20)), 414);
    assert!(get_with(&"X: 1\r\n".repeat(FIELDS_MAX - 1)).is_ok());
    assert_eq!(get_with(&"X: 1\r\n".repeat(FIELDS_MAX)).unwrap_err(), Refusal::TOO_MANY_FIELDS);
    let options = |count: usize| get_with(&format!("Connection: {}\r\n", "x,".repeat(count)));
    assert!(options(CONNECTION_OPTIONS_MAX).is_ok());
    assert_eq!(options(CONNECTION_OPTIONS_MAX + 1).unwrap_err(), Refusal::TOO_MANY_OPTIONS);
}

#[test]
fn rule_05_limits_are_held_before_the_head_is_complete() {
    let limits = HeadLimits { head_bytes_max: 64, target_bytes_max: 16, fields_max: 2 };
    let mut head = RequestHead::default();
    let mut judge = |input: &[u8]| head.parse(input, &limits);
    assert_eq!(judge(b"GET /23456789abcdef"), Ok(None));
    assert_eq!(judge(b"GET /23456789abcdefgh"), Err(Refusal::TARGET_TOO_LONG));
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(64));
    assert_eq!(judge(&long.as_bytes()[..63]), Ok(None));
    assert_eq!(judge(&long.as_bytes()[..64]), Err(Refusal::HEAD_TOO_LONG));
    assert_eq!(judge(b"GET / HTTP/1.1\r\nA:\r\nB:\r\nC:\r\n"), Err(Refusal::TOO_MANY_FIELDS));
    assert_eq!(judge(b"\x16\x03\x01"), Err(Refusal::REQUEST_LINE), "a TLS client is told at once");
    assert_eq!(judge(b"GET /\r\n"), Err(Refusal::REQUEST_LINE), "an HTTP/0.9 client is told at once");
}

#[test]
fn rule_12_keep_alive_is_what_the_client_asked_for() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "close", false),
        ("1.1", "x, Close", false),
        ("1.0", "", false),
        ("1.0", "Keep-Alive", true),
        ("1.0", "keep-alive, close", false),
        ("1.1", "closed", true),
    ] {
        let head =
            parse_request(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"));
        assert_eq!(head.unwrap().keep_alive(), keep_alive, "{version} {connection}");
    }
}

#[test]
fn expectations_are_100_continue_for_a_body_in_http_11() {
    let expects = |version: &str, fields: &str| {
        parse_request(format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"))
            .map(|head| (head.expects_continue(), forward(&head, &CONTEXT).contains("\r\nExpect: 100-")))
            .map_err(|refusal| refusal.status)
    };
    assert_eq!(expects("1.1", "Expect: 100-Continue\r\nContent-Length: 5\r\n"), Ok((true, true)));
    assert_eq!(expects("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"), Ok((true, true)));
    assert_eq!(expects("1.1", "Expect: 100-continue\r\n"), Ok((false, false)));
    assert_eq!(expects("1.0", "Expect: 100-continue\r\nContent-Length: 5\r\n"), Ok((false, false)));
    assert_eq!(expects("1.1", "Expect: 200-ok\r\nContent-Length: 5\r\n"), Err(417));
}
