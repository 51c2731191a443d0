//! A request head as the backend gets it: always HTTP/1.1, written from what was understood.
//!
//! What an upstream server believes about the client stands in fields that the client could have
//! written itself, so what is dropped here matters as much as what is added:
//!
//! | field | from anybody | from a trusted proxy |
//! | --- | --- | --- |
//! | `X-Forwarded-For` | kept, address of the connection appended | the same |
//! | `X-Forwarded-Proto`, `-Host`, `X-Real-IP` | overwritten | kept; written if absent |
//! | other `X-Forwarded-*` | dropped | kept |
//! | `Forwarded` | dropped | kept, address of the connection appended |
//! | any of these, or framing, spelt with `_` | dropped | dropped |
//! | `Via` | kept, ours appended | the same |

use std::net::IpAddr;

use super::Version;
use super::fields::{Field, write_field};
use super::name::Name;
use super::numbers::write_address;
use super::request::{RequestHead, Upgrade};

/// What a forwarded head says beyond what the client said.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext {
    /// Address of the client's connection.
    pub client: IpAddr,
    /// `http` or `https`: how the client reached us.
    pub scheme: &'static str,
    /// The client is a proxy whose word about its own client is believed.
    pub trust_forwarded: bool,
    /// Leave out Accept-Encoding, so that the answer can be read here.
    pub drop_accept_encoding: bool,
}

/// Appends the head to send to the backend to `out`.
pub fn write_request(head: &RequestHead, context: &ForwardContext, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(b"Host", head.authority(), out);
    for (field, name, value) in head.fields.iter() {
        if is_passed_on(field, head, context) {
            write_field(name, value, out);
        }
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

/// Whether a field goes on as it came. Those that do not are gone or written anew.
fn is_passed_on(field: &Field, head: &RequestHead, context: &ForwardContext) -> bool {
    if field.nominated {
        return false;
    }
    match field.name {
        Name::Other | Name::Cookie | Name::Via | Name::WebSocketKey | Name::WebSocketAccept => true,
        Name::AcceptEncoding => !context.drop_accept_encoding,
        Name::Expect => head.expects_continue(),
        Name::ForwardedHost | Name::ForwardedProto | Name::ForwardedOther | Name::RealIp => {
            context.trust_forwarded
        }
        Name::Alias
        | Name::Connection
        | Name::ContentLength
        | Name::Forwarded
        | Name::ForwardedFor
        | Name::HopByHop
        | Name::Host
        | Name::TransferEncoding
        | Name::Upgrade => false,
    }
}

/// Writes who the client is.
fn write_client(head: &RequestHead, context: &ForwardContext, out: &mut Vec<u8>) {
    let client = context.client.to_canonical();
    write_values(b"X-Forwarded-For", head, Name::ForwardedFor, out);
    write_address(client, out);
    out.extend_from_slice(b"\r\n");
    if context.trust_forwarded && head.fields.values(Name::Forwarded).next().is_some() {
        write_values(b"Forwarded", head, Name::Forwarded, out);
        let (before, after): (&[u8], &[u8]) =
            if client.is_ipv4() { (b"for=", b"\r\n") } else { (b"for=\"[", b"]\"\r\n") };
        out.extend_from_slice(before);
        write_address(client, out);
        out.extend_from_slice(after);
    }
    let said = |name| context.trust_forwarded && head.fields.values(name).next().is_some();
    if !said(Name::ForwardedProto) {
        write_field(b"X-Forwarded-Proto", context.scheme.as_bytes(), out);
    }
    if !said(Name::ForwardedHost) {
        write_field(b"X-Forwarded-Host", head.authority(), out);
    }
    if !said(Name::RealIp) {
        out.extend_from_slice(b"X-Real-IP: ");
        write_address(client, out);
        out.extend_from_slice(b"\r\n");
    }
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
