//! Every answer the proxy gives by itself: status, words, fields.
//!
//! The words name the cause for whoever reads them in a terminal, a browser or a log of a proxy in front
//! of us. They are plain ASCII without quotes or backslashes, because they also stand in JSON.

use super::Version;
use super::fields::{write_field, write_text};
use super::framing::write_length;
use super::refusal::{BadBody, BadResponse, Refusal};
use crate::limits::STORM_RETRY_SECONDS_MAX;

/// An answer: what happened, in a status and a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    pub reason: &'static str,
}

impl Answer {
    const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// No route and no default upstream take this request.
    pub const NO_ROUTE: Self = Self::new(404, "no route for this host and path");
    /// A request where HTTP is not served.
    pub const HTTP_NOT_SERVED: Self = Self::new(400, "this port does not serve HTTP");
    /// A request where HTTP is served inside of TLS at most.
    pub const HTTP_ON_TLS: Self = Self::new(400, "this port speaks TLS, the request was in plain HTTP");
    /// The head or body of a request did not come in time.
    pub const REQUEST_TIMEOUT: Self = Self::new(408, "request did not arrive in time");
    /// The request's body is longer than the configuration allows.
    pub const BODY_TOO_LARGE: Self = Self::new(413, "request body is too large");
    /// The client's address opens Engine.IO sessions faster than it may.
    pub const TOO_MANY_SESSIONS: Self = Self::new(429, "too many new sessions from this address");
    /// No backend has the session, in Engine.IO's own words.
    pub const UNKNOWN_SID: Self = Self::new(400, "Session ID unknown");
    /// A WebSocket handshake in HTTP/1.0, see [`super::Upgrade::RefusedHttp10`].
    pub const UPGRADE_DOWNGRADED: Self = Self::new(
        426,
        "a hop before this proxy downgraded the WebSocket upgrade to HTTP/1.0; \
         make it speak HTTP/1.1 to this proxy and pass on Upgrade and Connection \
         (nginx: proxy_http_version 1.1)",
    );
    /// No backend accepted a connection.
    pub const BACKEND_REFUSED: Self = Self::new(502, "backend refused the connection");
    /// A backend with TLS failed to prove who it is, or has nothing in common with us.
    pub const BACKEND_TLS: Self = Self::new(502, "TLS handshake with the backend failed");
    /// A backend broke the rules of its body's framing before anything of its answer had left.
    pub const BACKEND_BODY: Self = Self::new(502, "backend sent a malformed body");
    /// A backend closed before it had answered.
    pub const BACKEND_CLOSED: Self = Self::new(502, "backend closed the connection before it answered");
    /// No backend may take a new session or request: all are down or draining.
    pub const NO_BACKEND: Self = Self::new(503, "no backend is available");
    /// The backend has as many connections as it may, and as many requests wait for one.
    pub const QUEUE_FULL: Self = Self::new(503, "the queue for a connection to the backend is full");
    /// The backend had as many connections as it may all the while.
    pub const QUEUE_TIMEOUT: Self = Self::new(503, "no connection to the backend became free in time");
    /// More sessions are unknown than backends may be asked about.
    pub const ASK_BUSY: Self = Self::new(503, "too many unknown sessions to ask the backends about");
    /// The sid table has reached its bound.
    pub const SESSIONS_FULL: Self = Self::new(503, "session table is full");
    /// The table of tunnels has reached its bound.
    pub const TUNNELS_FULL: Self = Self::new(503, "tunnel table is full");
    /// The workers hold as much memory as they may.
    pub const MEMORY_FULL: Self = Self::new(503, "proxy is short of memory");
    /// The proxy is drained and takes no new work.
    pub const DRAINING: Self = Self::new(503, "proxy is shutting down");
    /// The process opens Engine.IO sessions faster than it may.
    pub const TOO_MANY_OPENING: Self = Self::new(503, "too many new sessions");
    /// The backend that is to have the session is given them faster than it may be.
    pub const BACKEND_OPENING: Self = Self::new(503, "too many new sessions for the backend");
    /// The route gets more requests a second than it may.
    pub const ROUTE_BUSY: Self = Self::new(503, "too many requests for this route");
    /// Connecting to a backend took too long.
    pub const BACKEND_TIMEOUT: Self = Self::new(504, "connecting to the backend timed out");
    /// A backend took the request and did not answer in time.
    pub const BACKEND_SILENT: Self = Self::new(504, "backend did not answer in time");
}

impl Answer {
    /// Value of Retry-After, where the status has one; `random` spreads the clients of a storm, who would else come
    /// back all at once.
    #[must_use]
    pub fn retry_after_seconds(&self, random: u64) -> u64 {
        match *self {
            Self::TOO_MANY_OPENING | Self::BACKEND_OPENING => 1 + random % STORM_RETRY_SECONDS_MAX,
            // Also right where a rate is exceeded: a second's worth of tokens comes in a second.
            _ => 1,
        }
    }
}

/// What a client is told that speaks TLS where that is not taken up: a fatal alert (RFC 8446 section 6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsAlert {
    description: u8,
    pub reason: &'static str,
}

impl TlsAlert {
    /// TLS where it is not served: handshake_failure.
    pub const NOT_SERVED: Self = Self { description: 40, reason: "TLS is not served on this port" };
    /// A ClientHello that breaks a rule or did not come in time: decode_error.
    pub const CLIENT_HELLO: Self = Self { description: 50, reason: "ClientHello cannot be read" };
    /// A name that leads nowhere: unrecognized_name (RFC 6066 section 3).
    pub const SERVER_NAME: Self = Self { description: 112, reason: "no server of this name" };

    /// The alert in a record of its own, in plain text as before any key is known.
    #[must_use]
    pub const fn record(self) -> [u8; 7] {
        [0x15, 3, 3, 0, 2, 2, self.description]
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status, refusal.reason)
    }
}

impl From<BadResponse> for Answer {
    fn from(bad: BadResponse) -> Self {
        Self::new(502, bad.reason)
    }
}

/// For the body of a request. A response body that breaks after its head was sent has no answer.
impl From<BadBody> for Answer {
    fn from(bad: BadBody) -> Self {
        Self::new(400, bad.reason)
    }
}

/// What an answer depends on beside its cause.
#[derive(Clone, Copy, Debug)]
pub struct AnswerContext<'a> {
    /// The client's.
    pub version: Version,
    /// The body is left out, as in an answer to HEAD it must be.
    pub head_only: bool,
    /// The connection closes after it.
    pub close: bool,
    /// Value of its Date field.
    pub date: &'a [u8],
    /// Of its Retry-After field, if it has one.
    pub retry_after_seconds: u64,
}

/// Appends `answer` to `out` as plain text.
pub fn write_answer(answer: &Answer, context: &AnswerContext<'_>, out: &mut Vec<u8>) {
    write_head(answer.status, context, out);
    write_field(b"Content-Type", b"text/plain; charset=utf-8", out);
    write_body(format_args!("{} {}\n", answer.status, answer.reason), context.head_only, out);
}

/// Appends `answer` to `out` as an Engine.IO client expects an error, readable across origins.
///
/// `origin` is the request's Origin field. The code in the body is Engine.IO's 1 for an unknown sid, else its 3, bad
/// request: its codes name faults of a request and have none for a server's, and clients show the message, not the code.
pub fn write_engine_io_answer(
    answer: &Answer,
    context: &AnswerContext<'_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    write_engine_io_head(answer.status, b"application/json", context, origin, out);
    let code = if *answer == Answer::UNKNOWN_SID { 1 } else { 3 };
    let body = format_args!("{{\"code\":{code},\"message\":\"{}\"}}", answer.reason);
    write_body(body, context.head_only, out);
}

/// Appends the answer to a poll that delivers `payload`, readable across origins like an error.
pub fn write_engine_io_payload(
    content_type: &[u8],
    payload: &[u8],
    context: &AnswerContext<'_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    write_engine_io_head(200, content_type, context, origin, out);
    write_length(payload.len() as u64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(payload);
}

fn write_engine_io_head(
    status: u16,
    content_type: &[u8],
    context: &AnswerContext<'_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    write_head(status, context, out);
    write_field(b"Content-Type", content_type, out);
    match origin {
        Some(origin) => {
            write_field(b"Access-Control-Allow-Origin", origin, out);
            write_field(b"Access-Control-Allow-Credentials", b"true", out);
            write_field(b"Vary", b"Origin", out);
        }
        None => write_field(b"Access-Control-Allow-Origin", b"*", out),
    }
}

fn write_head(status: u16, context: &AnswerContext<'_>, out: &mut Vec<u8>) {
    write_text(format_args!("HTTP/1.1 {status} {}\r\n", phrase(status)), out);
    write_field(b"Date", context.date, out);
    write_field(b"Cache-Control", b"no-store", out);
    match status {
        // RFC 9110 sections 15.5.6, 15.5.22 and 10.2.3.
        405 => write_field(b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH", out),
        426 => write_field(b"Upgrade", b"websocket", out),
        429 | 503 => write_text(format_args!("Retry-After: {}\r\n", context.retry_after_seconds), out),
        _ => {}
    }
    match (status, context.close) {
        (426, true) => write_field(b"Connection", b"upgrade, close", out),
        (426, false) => write_field(b"Connection", b"upgrade", out),
        _ => write_connection(context, out),
    }
}

/// Says what becomes of the client's connection.
pub(super) fn write_connection(context: &AnswerContext<'_>, out: &mut Vec<u8>) {
    match (context.close, context.version) {
        (true, _) => write_field(b"Connection", b"close", out),
        (false, Version::Http10) => write_field(b"Connection", b"keep-alive", out),
        (false, Version::Http11) => {}
    }
}

fn write_body(body: std::fmt::Arguments<'_>, head_only: bool, out: &mut Vec<u8>) {
    let mut content = Vec::new();
    write_text(body, &mut content);
    write_length(content.len() as u64, out);
    out.extend_from_slice(b"\r\n");
    if !head_only {
        out.extend_from_slice(&content);
    }
}

/// The reason phrase of RFC 9110 section 15 and RFC 6585 for the statuses we use and routes often do.
pub(super) fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
