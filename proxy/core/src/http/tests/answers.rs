//! What the proxy says by itself is a complete response that any client can read.

use super::*;

/// The answer as text, checked to be one whole response.
fn text_of(answer: &Answer, version: Version, close: bool) -> String {
    let mut out = Vec::new();
    write_answer(answer, &AnswerContext { version, close, ..ANSWERED }, &mut out);
    whole(&out, answer.status, close)
}

fn whole(out: &[u8], status: u16, close: bool) -> String {
    let mut head = ResponseHead::default();
    let length = head.parse(out, &GET, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!((head.status(), head.keep_alive()), (status, !close));
    assert_eq!(head.framing(), Framing::Length((out.len() - length) as u64));
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn answers_are_whole_responses() {
    let text = text_of(&Answer::BACKEND_REFUSED, Version::Http11, true);
    assert_eq!(
        text,
        "HTTP/1.1 502 Bad Gateway\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: no-store\r\nConnection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 35\r\n\r\n502 backend refused the connection\n"
    );
    assert!(!text_of(&Answer::NO_ROUTE, Version::Http11, false).contains("Connection"));
    assert!(text_of(&Answer::NO_ROUTE, Version::Http10, false).contains("Connection: keep-alive\r\n"));
}

#[test]
fn an_answer_to_head_has_the_length_and_no_body() {
    let mut out = Vec::new();
    write_answer(&Answer::NO_ROUTE, &AnswerContext { head_only: true, ..ANSWERED }, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("Content-Length: 36\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn engine_io_clients_get_json_they_may_read() {
    let mut out = Vec::new();
    let origin = Some(&b"https://app.example"[..]);
    let context = AnswerContext { close: true, ..ANSWERED };
    write_engine_io_answer(&Answer::NO_BACKEND, &context, origin, &mut out);
    let text = whole(&out, 503, true);
    assert!(text.contains("\r\nAccess-Control-Allow-Origin: https://app.example\r\n"));
    assert!(text.contains("\r\nAccess-Control-Allow-Credentials: true\r\n"));
    assert!(text.contains("\r\nContent-Type: application/json\r\n"));
    assert!(text.ends_with("\r\n\r\n{\"code\":3,\"message\":\"no backend is available\"}"));
    out.clear();
    write_engine_io_answer(&Answer::NO_BACKEND, &context, None, &mut out);
    let text = whole(&out, 503, true);
    assert!(text.contains("\r\nAccess-Control-Allow-Origin: *\r\n") && !text.contains("Credentials"));
}

#[test]
fn statuses_bring_the_fields_they_require() {
    for (answer, field) in [
        (Refusal::METHOD_NOT_ALLOWED.into(), "\r\nAllow: GET, "),
        (Answer::UPGRADE_DOWNGRADED, "\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n"),
        (Answer::SESSIONS_FULL, "\r\nRetry-After: "),
        (Answer::TOO_MANY_SESSIONS, "\r\nRetry-After: "),
    ] {
        let text = text_of(&answer, Version::Http10, true);
        assert!(text.contains(field), "{text}");
    }
}

#[test]
fn who_is_turned_away_in_a_storm_comes_back_at_a_time_of_its_own() {
    for answer in [Answer::TOO_MANY_OPENING, Answer::BACKEND_OPENING] {
        let mut seconds: Vec<u64> = (0..100).map(|random| answer.retry_after_seconds(random)).collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert_eq!(seconds, [1, 2, 3, 4, 5]);
    }
    assert_eq!(Answer::TOO_MANY_SESSIONS.retry_after_seconds(3), 1);
    let mut out = Vec::new();
    write_answer(&Answer::TOO_MANY_OPENING, &AnswerContext { retry_after_seconds: 4, ..ANSWERED }, &mut out);
    assert!(out.windows(18).any(|bytes| bytes == b"\r\nRetry-After: 4\r\n"));
}

#[test]
fn the_answer_to_a_poll_is_whole_and_readable_across_origins() {
    let mut out = Vec::new();
    write_engine_io_payload(
        b"text/plain; charset=UTF-8",
        b"1",
        &ANSWERED,
        Some(b"http://a.example"),
        &mut out,
    );
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\nContent-Length: 1\r\n\r\n1"),
        "{text}"
    );
    assert!(text.contains("\r\nAccess-Control-Allow-Origin: http://a.example\r\n"), "{text}");
    assert!(text.contains("\r\nContent-Type: text/plain; charset=UTF-8\r\n"), "{text}");
    assert!(text.contains("\r\nCache-Control: no-store\r\n"), "{text}");
}

#[test]
fn reasons_need_no_escaping_and_statuses_have_a_phrase() {
    let refusals = [
        Refusal::HEAD_TOO_LONG,
        Refusal::TOO_MANY_FIELDS,
        Refusal::TARGET_TOO_LONG,
        Refusal::METHOD_TOO_LONG,
        Refusal::METHOD_NOT_ALLOWED,
        Refusal::VERSION,
        Refusal::CODING_UNKNOWN,
        Refusal::EXPECTATION,
        Refusal::BARE_LF,
        Refusal::PREFACE,
        Refusal::FIELD_NAME,
        Refusal::CODING,
    ];
    let own = [
        Answer::NO_ROUTE,
        Answer::REQUEST_TIMEOUT,
        Answer::BODY_TOO_LARGE,
        Answer::UPGRADE_DOWNGRADED,
        Answer::BACKEND_REFUSED,
        Answer::BACKEND_BODY,
        Answer::BACKEND_CLOSED,
        Answer::NO_BACKEND,
        Answer::SESSIONS_FULL,
        Answer::TUNNELS_FULL,
        Answer::DRAINING,
        Answer::BACKEND_TIMEOUT,
        Answer::BACKEND_SILENT,
        BadResponse::ACCEPT.into(),
        BadBody::TRUNCATED.into(),
    ];
    for answer in refusals.map(Answer::from).into_iter().chain(own) {
        assert!(answer.reason.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte)));
        let text = text_of(&answer, Version::Http11, true);
        assert!(!text.starts_with(&format!("HTTP/1.1 {} \r\n", answer.status)), "{text}");
    }
}
