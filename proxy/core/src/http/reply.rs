//! A response head as the client gets it, written from what was understood.
//!
//! Knows the client's version and what was decided about its connection; not the request.

use super::Version;
use super::fields::{Field, write_field};
use super::framing::{Framing, write_length};
use super::name::Name;
use super::response::{ResponseHead, ResponseKind};
use super::rules::FieldRules;

/// What a reply says beyond what the backend said.
#[derive(Clone, Copy, Debug)]
pub struct ReplyContext<'a> {
    pub client_version: Version,
    /// The client's connection closes after this reply.
    pub close: bool,
    /// Value of Strict-Transport-Security in a final reply that goes over TLS, in place of the backend's.
    pub hsts: Option<&'a str>,
    /// Value of a Set-Cookie field to add.
    pub set_cookie: Option<&'a [u8]>,
    /// Value of the Date field that a final response gets whose backend gave it none (RFC 9110 section 6.6.1).
    pub date: &'a [u8],
    /// What the route does to fields. Informational heads are left alone.
    pub rules: Option<&'a FieldRules>,
}

const HSTS: &[u8] = b"Strict-Transport-Security";

/// Appends the head to send to the client to `out` and returns how the body behind it is to be framed.
///
/// A body of unknown length goes in chunks to an HTTP/1.1 client and ends with the connection for an
/// HTTP/1.0 client: then [`Framing::UntilClose`] is returned, the head says `Connection: close`, and
/// the caller must close whatever [`ReplyContext::close`] said. The caller keeps 1xx from HTTP/1.0
/// clients.
pub fn write_response(head: &ResponseHead, context: &ReplyContext<'_>, out: &mut Vec<u8>) -> Framing {
    write_longer_response(head, context, 0, out)
}

/// As [`write_response`], for a body that becomes longer by `added` bytes.
pub fn write_longer_response(
    head: &ResponseHead,
    context: &ReplyContext<'_>,
    added: usize,
    out: &mut Vec<u8>,
) -> Framing {
    let framing = match framing_for(head, context.client_version) {
        Framing::Length(length) => Framing::Length(length.saturating_add(added as u64)),
        other => other,
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status_text());
    if head.status_text().len() == 3 {
        // RFC 9112 section 4: the space before an empty reason phrase is not optional.
        out.push(b' ');
    }
    out.extend_from_slice(b"\r\n");
    let rules = context.rules.filter(|_| head.kind() != ResponseKind::Informational);
    let mut dated = rules.is_some_and(|rules| rules.drops(b"date"));
    for (field, name, value) in head.fields.iter() {
        dated |= name.eq_ignore_ascii_case(b"date");
        let replaced = context.hsts.is_some() && name.eq_ignore_ascii_case(HSTS);
        if is_passed_on(field) && !replaced && !rules.is_some_and(|rules| rules.drops(name)) {
            write_field(name, value, out);
        }
    }
    if let Some(rules) = rules {
        out.extend_from_slice(rules.lines());
    }
    match head.kind() {
        ResponseKind::Informational => {}
        ResponseKind::Switching => out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        ResponseKind::Final => {
            if !dated {
                write_field(b"Date", context.date, out);
            }
            write_final(head, framing, context, out);
        }
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn framing_for(head: &ResponseHead, client_version: Version) -> Framing {
    match (head.framing(), client_version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        (framing, _) => framing,
    }
}

fn write_final(head: &ResponseHead, framing: Framing, context: &ReplyContext<'_>, out: &mut Vec<u8>) {
    match head.declared_length() {
        // What an answer without its body says about the body it would have had. A 204 has none.
        Some(length) if framing == Framing::None && head.status() != 204 => write_length(length, out),
        _ => framing.write_field(out),
    }
    if let Some(hsts) = context.hsts {
        write_field(HSTS, hsts.as_bytes(), out);
    }
    if let Some(cookie) = context.set_cookie {
        write_field(b"Set-Cookie", cookie, out);
    }
    if context.close || framing == Framing::UntilClose {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if context.client_version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// Whether a field goes on as it came. Names that only requests give a meaning to are nothing special.
fn is_passed_on(field: &Field) -> bool {
    let hop_by_hop = matches!(
        field.name,
        Name::Connection | Name::ContentLength | Name::HopByHop | Name::TransferEncoding | Name::Upgrade
    );
    !field.nominated && !hop_by_hop
}
