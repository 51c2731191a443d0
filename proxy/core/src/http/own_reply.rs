//! Replies a route gives by itself: a redirect, or a fixed text.

use std::fmt;

use super::answers::{AnswerContext, phrase, write_connection};
use super::fields::{write_field, write_text};
use super::framing::write_length;
use super::request::RequestHead;
use super::rules::FieldRules;

/// The reply that a route is configured to give.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteReply {
    Redirect { status: u16, location: Location },
    Fixed { status: u16, content_type: Box<str>, body: Box<str> },
}

/// A reply to one request, ready but for its connection's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnReply {
    pub status: u16,
    fields: Vec<u8>,
    /// The route says nothing about the Date field.
    dated: bool,
    body: Box<str>,
}

impl RouteReply {
    /// The reply to the request of this head.
    #[must_use]
    pub fn to(&self, head: &RequestHead, rules: Option<&FieldRules>) -> OwnReply {
        let mut fields = Vec::new();
        let (status, body) = match self {
            Self::Redirect { status, location } => {
                fields.extend_from_slice(b"Location: ");
                location.write(head, &mut fields);
                fields.extend_from_slice(b"\r\n");
                (*status, "".into())
            }
            Self::Fixed { status, content_type, body } => {
                if !rules.is_some_and(|rules| rules.drops(b"content-type")) && !body.is_empty() {
                    write_field(b"Content-Type", content_type.as_bytes(), &mut fields);
                }
                (*status, body.clone())
            }
        };
        if let Some(rules) = rules {
            fields.extend_from_slice(rules.lines());
        }
        let dated = !rules.is_some_and(|rules| rules.drops(b"date"));
        OwnReply { status, fields, dated, body }
    }
}

impl OwnReply {
    /// Adds Strict-Transport-Security, for a reply that goes over TLS (RFC 6797 section 7.1).
    pub fn set_hsts(&mut self, value: &str) {
        write_field(b"Strict-Transport-Security", value.as_bytes(), &mut self.fields);
    }

    /// Appends the whole reply to `out`.
    pub fn write(&self, context: &AnswerContext<'_>, out: &mut Vec<u8>) {
        write_text(format_args!("HTTP/1.1 {} {}\r\n", self.status, phrase(self.status)), out);
        if self.dated {
            write_field(b"Date", context.date, out);
        }
        out.extend_from_slice(&self.fields);
        write_connection(context, out);
        // RFC 9110 section 8.6: a 204 has no length.
        if self.status != 204 {
            write_length(self.body.len() as u64, out);
        }
        out.extend_from_slice(b"\r\n");
        if !context.head_only {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

/// Where a redirect leads. It may hold the request's own host and target, so the fixed part around them
/// decides which host a client ends up at: a request must not be able to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    before: Box<str>,
    /// The request's host, without port, stands here.
    host: bool,
    between: Box<str>,
    /// The request's target stands at the end.
    target: bool,
}

/// A text that is no location. It says what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocationError(&'static str);

impl Location {
    /// Reads `https://chat.example.com/new`, `https://{host}{target}` or `/new{target}`.
    ///
    /// # Errors
    /// [`LocationError`]
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let (fixed, target) = match text.strip_suffix("{target}") {
            Some(fixed) => (fixed, true),
            None => (text, false),
        };
        let (before, between) = match fixed.split_once("{host}") {
            Some((before, between)) => (before, Some(between)),
            None => (fixed, None),
        };
        let between_text = between.unwrap_or_default();
        let is_url_byte = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !before.bytes().chain(between_text.bytes()).all(is_url_byte) {
            return Err(LocationError(
                "has a character that no URL has; {host} may stand once behind \"://\", {target} at the end",
            ));
        }
        let authority = before.strip_prefix("https://").or_else(|| before.strip_prefix("http://"));
        match (authority, between) {
            (Some(""), Some(rest)) if is_behind_host(rest) => {}
            (Some(authority), None) if !authority.is_empty() && !authority.starts_with(['/', '?', '#']) => {}
            (None, None) if is_local(before, target) => {}
            _ => {
                return Err(LocationError(
                    "leads nowhere for certain; write for example \"https://chat.example.com{target}\", \
                     \"https://{host}{target}\" or \"/new{target}\"",
                ));
            }
        }
        Ok(Self { before: before.into(), host: between.is_some(), between: between_text.into(), target })
    }

    fn write(&self, head: &RequestHead, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before.as_bytes());
        if self.host {
            out.extend_from_slice(head.host());
        }
        out.extend_from_slice(self.between.as_bytes());
        if self.target {
            // `*`, of OPTIONS, is no path.
            let target = if head.target().starts_with(b"/") { head.target() } else { b"/" };
            out.extend_from_slice(target);
        }
    }
}

/// Nothing, a path, or a port and perhaps a path: nothing that makes another host of the one before.
fn is_behind_host(text: &str) -> bool {
    let port = text.strip_prefix(':').map(|rest| rest.split('/').next().unwrap_or_default());
    match port {
        Some(port) => !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => text.is_empty() || text.starts_with('/'),
    }
}

/// A path on the same host. `//` at the beginning would lead to another one.
fn is_local(before: &str, target: bool) -> bool {
    before.starts_with('/') && !before.starts_with("//") && !(target && before == "/")
}

impl fmt::Display for LocationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for LocationError {}
