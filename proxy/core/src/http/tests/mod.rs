//! The rules of HTTP messages, each test named by its rule's number, and their properties.
//!
//! A rule that fails here is a request or response that two servers would understand differently.

mod answers;
mod bodies;
mod forwarding;
mod properties;
mod requests;
mod responses;
mod routes;
mod sources;
mod upgrades;

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

const CONTEXT: ForwardContext<'_> = ForwardContext {
    connection: CLIENT,
    source: Source { client: CLIENT, trusted: false },
    scheme: "http",
    client_certificate: None,
    request_id: None,
    trace: None,
    drop_accept_encoding: false,
    target: None,
    rules: None,
    rewrite: None,
};

/// The same from a trusted proxy that names no client.
const TRUSTED: ForwardContext<'_> =
    ForwardContext { source: Source { client: CLIENT, trusted: true }, ..CONTEXT };

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

const REPLY: ReplyContext<'_> = ReplyContext {
    client_version: Version::Http11,
    close: false,
    hsts: None,
    set_cookie: None,
    date: DATE,
    rules: None,
};

const ANSWERED: AnswerContext<'_> = AnswerContext {
    version: Version::Http11,
    head_only: false,
    close: false,
    date: DATE,
    retry_after_seconds: 1,
};

const GET: Asked = Asked { method: Method::Get, upgrade: None, verify_accept: true };

fn parse_request(input: impl AsRef<[u8]>) -> Result<RequestHead, Refusal> {
    let input = input.as_ref();
    let mut head = RequestHead::default();
    let length = head.parse(input, &HeadLimits::default())?.expect("the head is complete");
    assert_eq!(length, input.len(), "the head is the whole input");
    Ok(head)
}

/// The request `GET / HTTP/1.1` with a Host and these field lines.
fn get_with(fields: &str) -> Result<RequestHead, Refusal> {
    parse_request(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

fn status_of(input: impl AsRef<[u8]>) -> u16 {
    parse_request(input).map_or_else(|refusal| refusal.status, |_| 200)
}

fn forward(head: &RequestHead, context: &ForwardContext<'_>) -> String {
    let mut out = Vec::new();
    write_request(head, context, &mut out);
    String::from_utf8(out).unwrap()
}

fn parse_response(asked: &Asked, input: impl AsRef<[u8]>) -> Result<ResponseHead, BadResponse> {
    let input = input.as_ref();
    let mut head = ResponseHead::default();
    let length = head.parse(input, asked, &HeadLimits::default())?.expect("the head is complete");
    assert_eq!(length, input.len(), "the head is the whole input");
    Ok(head)
}

/// A 200 to a GET with these field lines.
fn ok_with(fields: &str) -> Result<ResponseHead, BadResponse> {
    parse_response(&GET, format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
}

/// The head a client gets, without the Date field that it gets from us.
fn reply(head: &ResponseHead, context: &ReplyContext<'_>) -> (String, Framing) {
    let mut out = Vec::new();
    let framing = write_response(head, context, &mut out);
    (undated(out), framing)
}

fn undated(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap().replacen("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "", 1)
}
