//! Everything about a peer's bytes that is refused, and the words for it.
//!
//! The words reach clients and logs, so they name the cause in plain ASCII without quotes: they are put
//! into JSON as they are. What is sent around them is decided in `answers.rs`.

/// Why a request is refused. The connection closes after the answer, because what follows the refused
/// bytes cannot be told apart from them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Status code of the answer.
    pub status: u16,
    /// Cause, shown to the client.
    pub reason: &'static str,
}

/// Why a backend's response is not passed on: the client gets a 502 instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadResponse {
    /// Cause, shown to the client.
    pub reason: &'static str,
}

/// Why a message body cannot be read on. If part of it is already out, the receiving connection is
/// closed without the last chunk, so that it looks as broken as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadBody {
    /// Cause, shown to a client that sent the body.
    pub reason: &'static str,
}

impl Refusal {
    const fn bad_request(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    pub(super) const HEAD_TOO_LONG: Self = Self { status: 431, reason: "request head is too long" };
    pub(super) const TOO_MANY_FIELDS: Self = Self { status: 431, reason: "request has too many fields" };
    pub(super) const TARGET_TOO_LONG: Self = Self { status: 414, reason: "request target is too long" };
    pub(super) const METHOD_TOO_LONG: Self = Self { status: 501, reason: "method is not implemented" };
    pub(super) const METHOD_NOT_ALLOWED: Self =
        Self { status: 405, reason: "CONNECT and TRACE are not allowed" };
    pub(super) const VERSION: Self =
        Self { status: 505, reason: "only HTTP/1.1 and HTTP/1.0 are spoken here" };
    pub(super) const CODING_UNKNOWN: Self =
        Self { status: 501, reason: "transfer coding other than chunked is not implemented" };
    pub(super) const EXPECTATION: Self =
        Self { status: 417, reason: "expectation other than 100-continue is not supported" };

    pub(super) const BARE_LF: Self = Self::bad_request("bare LF in request head");
    pub(super) const REQUEST_LINE: Self = Self::bad_request("malformed request line");
    pub(super) const PREFACE: Self = Self::bad_request("HTTP/2 connection preface on an HTTP/1.1 connection");
    pub(super) const TARGET: Self = Self::bad_request("malformed request target");
    pub(super) const FIELD_NAME: Self =
        Self::bad_request("malformed field name, folded line or space before a colon");
    pub(super) const FIELD_VALUE: Self = Self::bad_request("control byte in a field value");
    pub(super) const HOST_MISSING: Self = Self::bad_request("Host field is missing");
    pub(super) const HOST_REPEATED: Self = Self::bad_request("Host field is repeated");
    pub(super) const HOST: Self = Self::bad_request("malformed Host");
    pub(super) const LENGTH: Self = Self::bad_request("malformed Content-Length");
    pub(super) const LENGTH_REPEATED: Self = Self::bad_request("Content-Length is repeated");
    pub(super) const LENGTH_AND_CODING: Self =
        Self::bad_request("both Content-Length and Transfer-Encoding are present");
    pub(super) const CODING: Self = Self::bad_request("Transfer-Encoding is not exactly one chunked");
    pub(super) const CODING_IN_HTTP10: Self = Self::bad_request("Transfer-Encoding in an HTTP/1.0 request");
    pub(super) const TOO_MANY_OPTIONS: Self = Self::bad_request("Connection field has too many options");
}

impl BadResponse {
    const fn new(reason: &'static str) -> Self {
        Self { reason }
    }

    pub(super) const HEAD_TOO_LONG: Self = Self::new("backend sent a response head that is too long");
    pub(super) const TOO_MANY_FIELDS: Self = Self::new("backend sent too many fields");
    pub(super) const BARE_LF: Self = Self::new("backend sent a bare LF in a response head");
    pub(super) const STATUS_LINE: Self = Self::new("backend sent a malformed status line");
    pub(super) const FIELD_NAME: Self = Self::new("backend sent a malformed field name");
    pub(super) const FIELD_VALUE: Self = Self::new("backend sent a control byte in a field value");
    pub(super) const LENGTH: Self = Self::new("backend sent a malformed Content-Length");
    pub(super) const LENGTH_REPEATED: Self = Self::new("backend sent a repeated Content-Length");
    pub(super) const LENGTH_AND_CODING: Self =
        Self::new("backend sent both Content-Length and Transfer-Encoding");
    pub(super) const CODING: Self = Self::new("backend sent a Transfer-Encoding other than one chunked");
    pub(super) const CODING_IN_HTTP10: Self =
        Self::new("backend sent Transfer-Encoding in an HTTP/1.0 response");
    pub(super) const TOO_MANY_OPTIONS: Self = Self::new("backend sent too many Connection options");
    pub(super) const INFORMATIONAL_BODY: Self =
        Self::new("backend declared a body for an informational response");
    pub(super) const UNASKED_SWITCH: Self = Self::new("backend switched protocols unasked");
    pub(super) const SWITCH: Self = Self::new("backend switched to another protocol than WebSocket");
    pub(super) const ACCEPT: Self = Self::new("backend sent a wrong Sec-WebSocket-Accept");
}

impl BadBody {
    const fn new(reason: &'static str) -> Self {
        Self { reason }
    }

    pub(super) const CHUNK_SIZE: Self = Self::new("malformed chunk size");
    pub(super) const CHUNK_TOO_LARGE: Self = Self::new("chunk size is too large");
    pub(super) const CHUNK_EXTENSION: Self = Self::new("malformed chunk extension");
    pub(super) const CHUNK_EXTENSION_TOO_LONG: Self = Self::new("chunk extension is too long");
    pub(super) const CHUNK_END: Self = Self::new("chunk data does not end where its size says");
    pub(super) const TRAILERS: Self = Self::new("malformed trailer section");
    pub(super) const TRAILERS_TOO_LONG: Self = Self::new("trailer section is too long");
    pub(super) const TRUNCATED: Self = Self::new("connection ended before the body did");
}
