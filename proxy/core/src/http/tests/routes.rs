//! What a route adds: rules for fields, another path, replies of its own.

use super::*;

fn rules(build: impl FnOnce(&mut FieldRules) -> Result<(), FieldRuleError>) -> FieldRules {
    let mut rules = FieldRules::default();
    build(&mut rules).unwrap();
    rules
}

#[test]
fn fields_are_set_added_and_removed_in_both_directions() {
    let rules = rules(|rules| {
        rules.set("X-Env", "prod")?;
        rules.add("X-Tag", "b")?;
        rules.add("X-Tag", "c")?;
        rules.remove("x-debug")
    });
    let fields = "x-env: a\r\nX-ENV: b\r\nX-Tag: a\r\nX-Debug: 1\r\nX-Other: 1\r\n";
    let expected = ["X-Tag: a", "X-Other: 1", "X-Env: prod", "X-Tag: b", "X-Tag: c"];
    let lines = |text: String| -> Vec<String> {
        let names = ["x-env", "x-tag", "x-debug", "x-other"];
        let kept = |line: &&str| names.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
        text.split("\r\n").filter(kept).map(str::to_owned).collect()
    };
    let context = ForwardContext { rules: Some(&rules), ..CONTEXT };
    assert_eq!(lines(forward(&get_with(fields).unwrap(), &context)), expected);
    let context = ReplyContext { rules: Some(&rules), ..REPLY };
    assert_eq!(lines(reply(&ok_with(fields).unwrap(), &context).0), expected);
}

#[test]
fn a_rule_that_sets_a_field_leaves_those_of_the_proxy_alone() {
    let rules = rules(|rules| rules.remove("Set-Cookie"));
    let context = ReplyContext { rules: Some(&rules), set_cookie: Some(b"ours=1"), ..REPLY };
    let (text, _) = reply(&ok_with("Set-Cookie: a=1\r\nContent-Length: 0\r\n").unwrap(), &context);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: ours=1\r\n\r\n");
}

#[test]
fn rule_01_framing_and_hop_by_hop_fields_are_out_of_reach() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Proxy-Authorization",
        "Host",
        "Expect",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "Forwarded",
        "X-Real-IP",
        "X-Request-ID",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Accept",
        "Content_Length",
        "X_Forwarded_For",
    ] {
        let mut rules = FieldRules::default();
        let reserved = Err(FieldRuleError::Reserved(name.to_owned()));
        assert_eq!(
            [rules.set(name, "1"), rules.add(name, "1"), rules.remove(name)],
            [&reserved, &reserved, &reserved].map(Clone::clone)
        );
        assert!(rules.is_empty());
    }
    let mut rules = FieldRules::default();
    assert!(rules.set("Accept-Encoding", "br").is_err() && rules.remove("Accept-Encoding").is_ok());
}

#[test]
fn a_rule_cannot_write_another_line() {
    let mut rules = FieldRules::default();
    for name in ["", "a b", "a:", "a\r\n", "\u{e9}"] {
        assert_eq!(rules.remove(name), Err(FieldRuleError::BadName(name.to_owned())));
    }
    for value in ["a\r\nb: c", "\n", "\0", "\u{7f}", " a", "a\t"] {
        assert_eq!(rules.add("X-A", value), Err(FieldRuleError::BadValue(value.to_owned())));
    }
    assert!(rules.is_empty() && rules.add("X-A", "").is_ok() && rules.add("X-A", "a\tb \u{e9}").is_ok());
}

#[test]
fn a_prefix_is_stripped_or_replaced_and_the_rest_is_untouched() {
    for (path, replacement, target, expected) in [
        ("/app", "/", "/app/x?y=/app", "/x?y=/app"),
        ("/app/", "/", "/app", "/"),
        ("/app", "/", "/app?x", "/?x"),
        ("/app", "/", "/app/", "/"),
        ("/app", "/", "/app//evil.example/x", "/evil.example/x"),
        ("/app", "/v2/", "/app/%2F//x", "/v2/%2F//x"),
        ("/app", "/v2", "/app?x", "/v2/?x"),
        ("/", "/v2", "/x", "/v2/x"),
    ] {
        let rewrite = PathRewrite::new(path, replacement);
        let context = ForwardContext { rewrite: Some(&rewrite), ..CONTEXT };
        let head = parse_request(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let line = format!("GET {expected} HTTP/1.1\r\n");
        assert!(forward(&head, &context).starts_with(&line), "{target} with {path} to {replacement}");
    }
}

/// Where a request for `target` at `host` is sent.
fn redirected(location: &str, host: &str, target: &str) -> String {
    let head = parse_request(format!("OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
    let reply = RouteReply::Redirect { status: 308, location: Location::parse(location).unwrap() };
    let mut out = Vec::new();
    reply.to(&head, None).write(&ANSWERED, &mut out);
    let text = undated(out);
    let rest = text.strip_prefix("HTTP/1.1 308 Permanent Redirect\r\nLocation: ").unwrap();
    rest.strip_suffix("\r\nContent-Length: 0\r\n\r\n").unwrap().to_owned()
}

#[test]
fn redirects_keep_what_they_are_told_to_keep() {
    for (location, host, target, expected) in [
        ("https://{host}{target}", "a.example:8080", "/x?y", "https://a.example/x?y"),
        ("https://{host}:8443/app{target}", "[::1]:80", "/x", "https://[::1]:8443/app/x"),
        ("https://b.example{target}", "a", "*", "https://b.example/"),
        ("http://b.example/new?a=b#c", "a", "/x", "http://b.example/new?a=b#c"),
        ("/new{target}", "a", "//evil.example", "/new//evil.example"),
    ] {
        assert_eq!(redirected(location, host, target), expected);
    }
}

#[test]
fn a_location_that_a_request_could_bend_is_refused() {
    for text in [
        "",
        "{target}",
        "/{target}",
        "//b{target}",
        "//b.example",
        "https://{target}",
        "https:///{target}",
        "https://",
        "{host}",
        "https://a{host}",
        "https://{host}.b{target}",
        "https://{host}@b{target}",
        "https://{host}:{target}",
        "https://{host}{host}",
        "https://{target}{host}",
        "https://a/{path}",
        "ftp://a/",
        "javascript:alert(1)",
        "https://a b",
        "https://a\r\nX: y",
        "https://a/\u{e9}",
        "https://{host}:8x",
        "new{target}",
    ] {
        assert!(Location::parse(text).is_err(), "{text}");
    }
}

#[test]
fn fixed_replies_are_whole_responses() {
    let fixed = |status, body: &str| RouteReply::Fixed {
        status,
        content_type: "text/html".into(),
        body: body.into(),
    };
    let written = |reply: &RouteReply, version, head_only, close| {
        let rules = rules(|rules| rules.set("X-A", "1"));
        let mut out = Vec::new();
        let context = AnswerContext { version, head_only, close, date: DATE, retry_after_seconds: 1 };
        reply.to(&get_with("").unwrap(), Some(&rules)).write(&context, &mut out);
        undated(out)
    };
    let ok = fixed(200, "fine");
    assert_eq!(
        written(&ok, Version::Http11, false, false),
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nfine"
    );
    assert_eq!(
        written(&ok, Version::Http10, true, false),
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-A: 1\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n"
    );
    assert_eq!(
        written(&fixed(204, ""), Version::Http11, false, true),
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_fixed_reply_has_a_date_unless_its_route_decides_about_it() {
    let reply = RouteReply::Fixed { status: 200, content_type: "text/plain".into(), body: "fine".into() };
    let dates = |rules: Option<&FieldRules>| {
        let mut out = Vec::new();
        reply.to(&get_with("").unwrap(), rules).write(&ANSWERED, &mut out);
        String::from_utf8(out).unwrap().matches("Date: ").count()
    };
    assert_eq!(dates(None), 1);
    assert_eq!(dates(Some(&rules(|rules| rules.set("Date", "Sun, 06 Nov 1994 08:49:37 GMT")))), 1);
    assert_eq!(dates(Some(&rules(|rules| rules.remove("Date")))), 0);
}
