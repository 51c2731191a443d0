//! Rules 8 to 12: what reaches the other side of a head that is accepted.

use super::*;

/// The forwarded lines of a GET with these field lines, without those that are always there.
fn forwarded(fields: &str, context: &ForwardContext<'_>) -> Vec<String> {
    let head = get_with(fields).unwrap();
    let always = ["GET / HTTP/1.1", "Host: a", "Via: 1.1 ringbolt", ""];
    let text = forward(&head, context);
    text.split("\r\n").filter(|line| !always.contains(line)).map(str::to_owned).collect()
}

const OURS: [&str; 4] =
    ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: a", "X-Real-IP: 192.0.2.7"];

#[test]
fn a_forwarded_head_is_exactly_this() {
    let head = parse_request(
        "POST /x?y HTTP/1.0\r\nB: 1\r\nhOst: Chat:3000\r\nA:  2 \r\nb: 3\r\nVia: 1.1 edge\r\ncontent-length: 012\r\n\r\n",
    );
    assert_eq!(
        forward(&head.unwrap(), &CONTEXT),
        "POST /x?y HTTP/1.1\r\nHost: Chat:3000\r\nB: 1\r\nA: 2\r\nb: 3\r\nVia: 1.1 edge\r\nContent-Length: 12\r\n\
         X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: Chat:3000\r\n\
         X-Real-IP: 192.0.2.7\r\nVia: 1.0 ringbolt\r\n\r\n"
    );
}

#[test]
fn rule_01_framing_is_written_from_the_decision() {
    for (fields, framing) in [
        ("Content-Length: 0010\r\n", "Content-Length: 10"),
        ("Content-Length: 0\r\n", "Content-Length: 0"),
        ("Transfer-Encoding:\tCHUNKED\r\n", "Transfer-Encoding: chunked"),
    ] {
        assert_eq!(forwarded(fields, &CONTEXT), [&[framing], &OURS[..]].concat());
    }
    assert_eq!(forwarded("", &CONTEXT), OURS);
}

#[test]
fn rule_08_hop_by_hop_fields_of_requests_are_removed() {
    let fields = "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\
                  Proxy-Authorization: x\r\nX-Hop: 1\r\nConnection: x-hop, HTTP2-Settings, close\r\nx-hop: 2\r\n";
    assert_eq!(forwarded(fields, &CONTEXT), OURS);
}

#[test]
fn rule_08_connection_cannot_remove_what_we_rely_on() {
    let fields = "Content-Length: 5\r\nX-Forwarded-For: 198.51.100.1\r\n\
                  Connection: Host, Content-Length, X-Forwarded-For, X-Forwarded-Proto, X-Real-IP, Via\r\n";
    let lines = forwarded(fields, &CONTEXT);
    assert_eq!(lines[..2], ["Content-Length: 5", "X-Forwarded-For: 198.51.100.1, 192.0.2.7"]);
    assert_eq!(lines[2..], OURS[1..]);
    let said = [
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: b",
        "X-Forwarded-Port: 1",
        "X-Request-ID: 1",
        "Via: x",
    ];
    let options = "Connection: X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Request-ID, Via";
    let lines = forwarded(&format!("{}\r\n{options}\r\n", said.join("\r\n")), &TRUSTED);
    assert_eq!(lines, [&said[..], &OURS[..1], &OURS[3..]].concat());
    let chunked = forwarded("Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n", &CONTEXT);
    assert_eq!(chunked[0], "Transfer-Encoding: chunked");
}

#[test]
fn rule_09_an_untrusted_client_is_not_believed() {
    let fields = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                  X-Forwarded-Port: 443\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\n\
                  X_Real_IP: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n";
    let lines = forwarded(fields, &CONTEXT);
    assert_eq!(lines[0], "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7");
    assert_eq!(lines[1..], OURS[1..]);
}

#[test]
fn rule_09_a_trusted_proxy_is_believed() {
    let trusted = ForwardContext { source: Source { client: [1, 1, 1, 1].into(), trusted: true }, ..CONTEXT };
    let fields = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 6.6.6.6\r\n\
                  Forwarded: for=1.1.1.1\r\nX_Forwarded_Proto: ftp\r\nX-Forwarded-For: 1.1.1.1\r\n";
    assert_eq!(
        forwarded(fields, &trusted),
        [
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop",
            "X-Forwarded-Port: 443",
            "X-Forwarded-For: 1.1.1.1, 192.0.2.7",
            "Forwarded: for=1.1.1.1, for=192.0.2.7",
            "X-Real-IP: 1.1.1.1",
        ]
    );
    assert_eq!(forwarded("", &TRUSTED), OURS, "what it does not say, we do");
    let v6 = ForwardContext { connection: "2001:db8::1".parse().unwrap(), ..trusted };
    let lines = forwarded("Forwarded: for=x\r\n", &v6);
    assert_eq!(lines[..2], ["X-Forwarded-For: 2001:db8::1", "Forwarded: for=x, for=\"[2001:db8::1]\""]);
    let mapped = ForwardContext { connection: "::ffff:192.0.2.7".parse().unwrap(), ..CONTEXT };
    assert_eq!(forwarded("", &mapped), OURS, "an IPv4 client of a dual-stack listener");
}

#[test]
fn rule_09_an_underscore_alias_of_framing_is_dropped() {
    assert_eq!(forwarded("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n", &CONTEXT), OURS);
}

#[test]
fn rule_11_target_and_order_are_untouched() {
    let target = "/a/../b//%2f%2F?x=%zz&{\"<>\\^`|}'";
    let head =
        parse_request(format!("GET {target} HTTP/1.1\r\nHost: a\r\nZ: 1\r\nA: 2\r\nz: 3\r\n\r\n")).unwrap();
    let text = forward(&head, &CONTEXT);
    assert!(text.starts_with(&format!("GET {target} HTTP/1.1\r\n")));
    assert!(text.contains("\r\nZ: 1\r\nA: 2\r\nz: 3\r\n"));
}

#[test]
fn accept_encoding_is_dropped_on_demand() {
    let reading = ForwardContext { drop_accept_encoding: true, ..CONTEXT };
    assert_eq!(forwarded("Accept-Encoding: gzip\r\n", &reading), OURS);
    assert_eq!(forwarded("Accept-Encoding: gzip\r\n", &CONTEXT)[0], "Accept-Encoding: gzip");
}

#[test]
fn rule_08_hop_by_hop_fields_of_responses_are_removed() {
    let head = ok_with(
        "Keep-Alive: timeout=5\r\nA: 1\r\nConnection: X-Hop, Content-Length\r\nX-Hop: 1\r\nUpgrade: h2c\r\n\
         Proxy-Authenticate: x\r\nContent-Length: 02\r\nSet-Cookie: b\r\nSet-Cookie: c\r\n",
    );
    let context = ReplyContext { set_cookie: Some(b"ringbolt=1; Path=/"), ..REPLY };
    let (text, framing) = reply(&head.unwrap(), &context);
    assert_eq!(framing, Framing::Length(2));
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nA: 1\r\nSet-Cookie: b\r\nSet-Cookie: c\r\nContent-Length: 2\r\n\
         Set-Cookie: ringbolt=1; Path=/\r\n\r\n"
    );
}

#[test]
fn rule_12_http_10_clients_get_no_chunks() {
    let old = ReplyContext { client_version: Version::Http10, ..REPLY };
    for fields in ["Transfer-Encoding: chunked\r\n", ""] {
        let (text, framing) = reply(&ok_with(fields).unwrap(), &old);
        assert_eq!(
            (text.as_str(), framing),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Framing::UntilClose)
        );
        let (text, framing) = reply(&ok_with(fields).unwrap(), &REPLY);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!((text.as_str(), framing), (chunked, Framing::Chunked));
    }
    let sized = ok_with("Content-Length: 3\r\n").unwrap();
    let (text, _) = reply(&sized, &old);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n");
    let (text, _) = reply(&sized, &ReplyContext { close: true, ..old });
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
}

#[test]
fn an_answer_without_a_body_keeps_what_it_says_about_it() {
    let head_asked = Asked { method: Method::Head, ..GET };
    let answers = [
        (&head_asked, "200 OK", "Content-Length: 3\r\n", "Content-Length: 3\r\n"),
        (&head_asked, "200 OK", "Transfer-Encoding: chunked\r\n", ""),
        (&GET, "304 Not Modified", "Content-Length: 3\r\n", "Content-Length: 3\r\n"),
        (&GET, "204 No Content", "Content-Length: 0\r\n", ""),
    ];
    for (asked, status, sent, kept) in answers {
        let head = parse_response(asked, format!("HTTP/1.1 {status}\r\n{sent}\r\n")).unwrap();
        assert_eq!(head.framing(), Framing::None);
        let written = (format!("HTTP/1.1 {status}\r\n{kept}\r\n"), Framing::None);
        assert_eq!(reply(&head, &REPLY), written);
    }
}

#[test]
fn a_response_without_a_date_gets_one_and_no_other_does() {
    let dated = |head: &ResponseHead, context: &ReplyContext<'_>| {
        let mut out = Vec::new();
        write_response(head, context, &mut out);
        String::from_utf8(out).unwrap()
    };
    let ours = "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert!(dated(&ok_with("").unwrap(), &REPLY).contains(ours));
    let text = dated(&ok_with("dAte: theirs\r\n").unwrap(), &REPLY);
    assert!(text.contains("\r\ndAte: theirs\r\n") && !text.contains(ours));
    let hints = parse_response(&GET, "HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert!(!dated(&hints, &REPLY).contains("Date"));
    let mut rules = FieldRules::default();
    rules.remove("Date").unwrap();
    assert!(!dated(&ok_with("").unwrap(), &ReplyContext { rules: Some(&rules), ..REPLY }).contains("Date"));
}
