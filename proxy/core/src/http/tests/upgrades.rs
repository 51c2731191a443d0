//! Rules 13 and 14: only a WebSocket handshake is one, and only a proven 101 answers it.

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The head of a WebSocket handshake, `from` in it replaced by `to`.
fn handshake(from: &str, to: &str) -> RequestHead {
    let text = format!(
        "GET /socket.io/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    assert!(text.contains(from));
    parse_request(text.replacen(from, to, 1)).unwrap()
}

#[test]
fn rule_13_a_websocket_handshake_is_forwarded() {
    for (from, to) in [
        ("GET", "GET"),
        ("websocket", "WebSocket"),
        ("Upgrade\r\n", "uPgrade\r\n"),
        ("Version: 13", "Version: 8"),
        ("\r\nHost", "\r\nContent-Length: 0\r\nHost"),
    ] {
        let head = handshake(from, to);
        assert_eq!(head.upgrade(), Upgrade::WebSocket, "{to}");
        assert_eq!(head.websocket_key(), WebSocketKey::parse(KEY.as_bytes()));
        let text = forward(&head, &CONTEXT);
        assert_eq!(text.matches("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n").count(), 1, "{text}");
        assert_eq!(text.matches("pgrade").count(), 2, "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Version: "));
    }
}

#[test]
fn rule_13_any_other_upgrade_is_dropped() {
    for (from, to) in [
        ("GET", "POST"),
        ("websocket", "h2c"),
        ("websocket", "websocket, h2c"),
        ("websocket", "websocket/13"),
        ("websocket\r\n", "websocket\r\nUpgrade: websocket\r\n"),
        ("keep-alive, Upgrade", "keep-alive"),
        ("keep-alive, Upgrade", "Upgraded"),
        ("Sec-WebSocket-Key", "X-Key"),
        (KEY, "short"),
        ("\r\nHost", "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost"),
        ("\r\nHost", "\r\nContent-Length: 1\r\nHost"),
        ("\r\nHost", "\r\nTransfer-Encoding: chunked\r\nHost"),
    ] {
        let head = handshake(from, to);
        assert_eq!(head.upgrade(), Upgrade::Ignored, "{to}");
        assert_eq!(head.websocket_key(), None);
        let text = forward(&head, &CONTEXT);
        assert!(!text.contains("\r\nUpgrade:") && !text.contains("\r\nConnection:"), "{text}");
    }
    assert_eq!(handshake("Upgrade: websocket\r\n", "").upgrade(), Upgrade::None);
}

#[test]
fn rule_13_a_downgraded_handshake_is_told_apart() {
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("HTTP/1.1\r\nHost: a\r\nUpgrade: websocket", "HTTP/1.0\r\nHost: a\r\nUpgrade: h2c, WebSocket"),
        ("HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n", "HTTP/1.0\r\nHost: a\r\n"),
    ] {
        assert_eq!(handshake(from, to).upgrade(), Upgrade::RefusedHttp10, "{to}");
    }
    let other = parse_request("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: h2c\r\n\r\n").unwrap();
    assert_eq!(other.upgrade(), Upgrade::Ignored);
    let none = parse_request("GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(none.upgrade(), Upgrade::None);
}

fn switch(asked: &Asked, from: &str, to: &str) -> Result<ResponseHead, BadResponse> {
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: x\r\n\r\n"
    );
    assert!(text.contains(from));
    parse_response(asked, text.replacen(from, to, 1))
}

#[test]
fn rule_14_a_proven_101_is_passed_on() {
    let asked = Asked::by(&handshake("GET", "GET"), true);
    let head = switch(&asked, "websocket", "WebSocket").unwrap();
    assert_eq!(
        (head.kind(), head.framing(), head.keep_alive()),
        (ResponseKind::Switching, Framing::None, false)
    );
    let written = format!(
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(reply(&head, &ReplyContext { close: true, ..REPLY }), (written, Framing::None));
}

#[test]
fn rule_14_any_other_101_is_refused() {
    let asked = Asked::by(&handshake("GET", "GET"), true);
    for (from, to, reason) in [
        ("websocket", "h2c", BadResponse::SWITCH),
        ("websocket", "websocket, h2c", BadResponse::SWITCH),
        ("Upgrade: websocket\r\n", "", BadResponse::SWITCH),
        ("Connection: Upgrade", "Connection: close", BadResponse::SWITCH),
        ("HTTP/1.1", "HTTP/1.0", BadResponse::SWITCH),
        ("s3pP", "S3pP", BadResponse::ACCEPT),
        ("Sec-WebSocket-Accept", "X-Accept", BadResponse::ACCEPT),
        ("Connection", "Content-Length: 5\r\nConnection", BadResponse::INFORMATIONAL_BODY),
    ] {
        assert_eq!(switch(&asked, from, to).unwrap_err(), reason, "{to}");
    }
    assert_eq!(switch(&GET, "HTTP", "HTTP").unwrap_err(), BadResponse::UNASKED_SWITCH);
    let trusting = Asked { verify_accept: false, ..asked };
    assert_eq!(switch(&trusting, "s3pP", "S3pP").unwrap().kind(), ResponseKind::Switching);
}

#[test]
fn rule_14_another_status_is_an_ordinary_response() {
    let asked = Asked::by(&handshake("GET", "GET"), true);
    let head = parse_response(&asked, "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert_eq!(
        (head.kind(), head.framing(), head.keep_alive()),
        (ResponseKind::Final, Framing::Length(3), true)
    );
}
