//! A request head as the backend gets it: always HTTP/1.1, written from what was understood.
//!
//! What an upstream server believes about the client stands in fields that the client could have
//! written itself, so what is dropped here matters as much as what is added:
//!
//! | field | from anybody | from a trusted proxy |
//! | --- | --- | --- |
//! | `X-Forwarded-For` | kept, address of the connection appended | the same |
//! | `X-Forwarded-Proto`, `-Host` | overwritten | kept; written if absent |
//! | `X-Real-IP` | overwritten with the client's address | the same |
//! | other `X-Forwarded-*` | dropped | kept |
//! | `Forwarded` | dropped | kept, address of the connection appended |
//! | `X-Request-ID`, where one is asked for | overwritten | kept if well-formed; written if not |
//! | `X-Client-Cert-*` | overwritten where certificates are asked for, else dropped | the same, else kept |
//! | `traceparent`, where a span is exported | names that span | the same |
//! | any of these, or framing, spelt with `_` | dropped | dropped |
//! | `Via` | kept, ours appended | the same |

use std::net::IpAddr;

use super::Version;
use super::fields::{Field, write_field};
use super::name::Name;
use super::numbers::write_address;
use super::request::{RequestHead, Upgrade};
use super::request_id::{self, RequestId};
use super::rewrite::PathRewrite;
use super::rules::FieldRules;
use super::source::Source;
use super::trace_context::Traceparent;

/// What a forwarded head says beyond what the client said.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    /// Address of the connection the request came on.
    pub connection: IpAddr,
    /// Who it comes from. What a trusted proxy says about its client is passed on.
    pub source: Source,
    /// `http` or `https`: how the client reached us.
    pub scheme: &'static str,
    /// What to write into X-Request-ID; `None`: that field is nothing special.
    pub request_id: Option<RequestId>,
    /// Lines that say who the client has proved to be by its certificate; `None`: it was not asked.
    pub client_certificate: Option<&'a [u8]>,
    /// The span that the backend's are below; `None`: what the request says of one is passed on as it is.
    pub trace: Option<Traceparent>,
    /// Leave out Accept-Encoding, so that the answer can be read here.
    pub drop_accept_encoding: bool,
    /// What the route does to fields.
    pub rules: Option<&'a FieldRules>,
    /// The target in place of the request's own.
    pub target: Option<&'a [u8]>,
    /// What the route does to the path.
    pub rewrite: Option<&'a PathRewrite>,
}

/// Appends the head to send to the backend to `out`.
pub fn write_request(head: &RequestHead, context: &ForwardContext<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_bytes());
    out.push(b' ');
    let target = context.target.unwrap_or(head.target());
    match context.rewrite {
        Some(rewrite) => rewrite.write(target, out),
        None => out.extend_from_slice(target),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(b"Host", head.authority(), out);
    for (field, name, value) in head.fields.iter() {
        if is_passed_on(field, head, context)
            && !is_replaced(name, context)
            && !context.rules.is_some_and(|rules| rules.drops(name))
        {
            write_field(name, value, out);
        }
    }
    if let Some(rules) = context.rules {
        out.extend_from_slice(rules.lines());
    }
    head.framing().write_field(out);
    if head.upgrade() == Upgrade::WebSocket {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    write_client(head, context, out);
    // RFC 9110 section 7.6.3: the version in which the message was received.
    out.extend_from_slice(match head.version() {
        Version::Http10 => b"Via: 1.0 ringbolt\r\n\r\n",
        Version::Http11 => b"Via: 1.1 ringbolt\r\n\r\n",
    });
}

/// Whether a field of the request's trace is written anew or dropped.
fn is_replaced(name: &[u8], context: &ForwardContext<'_>) -> bool {
    context.trace.is_some_and(|trace| {
        name.eq_ignore_ascii_case(b"traceparent") || trace.begins && name.eq_ignore_ascii_case(b"tracestate")
    })
}

/// Whether a field goes on as it came. Those that do not are gone or written anew.
fn is_passed_on(field: &Field, head: &RequestHead, context: &ForwardContext<'_>) -> bool {
    if field.nominated {
        return false;
    }
    match field.name {
        Name::Other | Name::Cookie | Name::Via | Name::WebSocketKey | Name::WebSocketAccept => true,
        Name::AcceptEncoding => !context.drop_accept_encoding,
        Name::Expect => head.expects_continue(),
        Name::ForwardedHost | Name::ForwardedProto | Name::ForwardedOther => context.source.trusted,
        Name::RequestId => context.request_id.is_none(),
        Name::ClientCertificate => context.source.trusted && context.client_certificate.is_none(),
        Name::Alias
        | Name::Connection
        | Name::ContentLength
        | Name::Forwarded
        | Name::ForwardedFor
        | Name::HopByHop
        | Name::Host
        | Name::RealIp
        | Name::TransferEncoding
        | Name::Upgrade => false,
    }
}

/// Writes who the client is.
fn write_client(head: &RequestHead, context: &ForwardContext<'_>, out: &mut Vec<u8>) {
    let connection = context.connection.to_canonical();
    write_values(b"X-Forwarded-For", head, Name::ForwardedFor, out);
    write_address(connection, out);
    out.extend_from_slice(b"\r\n");
    if context.source.trusted && head.fields.has(Name::Forwarded) {
        write_values(b"Forwarded", head, Name::Forwarded, out);
        let (before, after): (&[u8], &[u8]) =
            if connection.is_ipv4() { (b"for=", b"\r\n") } else { (b"for=\"[", b"]\"\r\n") };
        out.extend_from_slice(before);
        write_address(connection, out);
        out.extend_from_slice(after);
    }
    let said = |name| context.source.trusted && head.fields.has(name);
    if !said(Name::ForwardedProto) {
        write_field(b"X-Forwarded-Proto", context.scheme.as_bytes(), out);
    }
    if !said(Name::ForwardedHost) {
        write_field(b"X-Forwarded-Host", head.authority(), out);
    }
    out.extend_from_slice(b"X-Real-IP: ");
    write_address(context.source.client, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(context.client_certificate.unwrap_or_default());
    if let Some(trace) = context.trace {
        write_field(b"traceparent", &trace.value, out);
    }
    if let Some(fresh) = context.request_id {
        write_request_id(head, context.source.trusted, fresh, out);
    }
}

/// Writes the id a trusted proxy gave the request, or `fresh`.
fn write_request_id(head: &RequestHead, trusted: bool, fresh: RequestId, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Request-ID: ");
    match believed_request_id(head, trusted) {
        Some(given) => out.extend_from_slice(given),
        None => fresh.write(out),
    }
    out.extend_from_slice(b"\r\n");
}

/// The id that a trusted proxy gave the request, if it can be put into logs as it is.
pub fn believed_request_id(head: &RequestHead, trusted: bool) -> Option<&[u8]> {
    head.fields.only(Name::RequestId).filter(|given| trusted && request_id::is_well_formed(given))
}

/// Begins one line with the values of all fields called `name`; a last value and the line's end are to follow.
fn write_values(title: &[u8], head: &RequestHead, name: Name, out: &mut Vec<u8>) {
    out.extend_from_slice(title);
    out.extend_from_slice(b": ");
    for value in head.fields.values(name).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}
