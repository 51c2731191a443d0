//! HTTP/1.1 messages: heads, framing, bodies.
//!
//! Every message is read by these rules, understood once, and written anew from what was understood:
//! no byte of a peer's framing is ever copied. Where RFC 9110 and RFC 9112 leave a choice, the
//! stricter one is taken. Nothing here knows sockets, buffers' owners, routes or sessions.
//!
//! ```text
//! client bytes -> RequestHead -> write_request  -> upstream
//! client       <- write_response <- ResponseHead <- upstream bytes
//! body bytes   -> BodyReader -> payload -> BodyWriter -> body bytes
//! ```

mod answers;
mod authority;
mod body;
mod chunked;
mod fields;
mod forward;
mod framing;
mod lines;
mod name;
mod numbers;
mod own_reply;
mod question;
mod refusal;
mod reply;
mod request;
mod request_id;
mod request_line;
mod response;
mod rewrite;
mod rules;
mod source;
mod trace_context;
mod trailers;
mod websocket;

#[cfg(test)]
mod tests;

pub use answers::{
    Answer, AnswerContext, TlsAlert, write_answer, write_engine_io_answer, write_engine_io_payload,
};
pub use body::{BodyReader, BodyWriter, ChunkPrefix, Decoded};
pub use forward::{ForwardContext, believed_request_id, write_request};
pub use framing::Framing;
pub use lines::HeadLimits;
pub use numbers::{write_address, write_decimal, write_hex};
pub use own_reply::{Location, LocationError, OwnReply, RouteReply};
pub use question::write_question;
pub use refusal::{BadBody, BadResponse, Refusal};
pub use reply::{ReplyContext, write_longer_response, write_response};
pub use request::{RequestHead, Upgrade};
pub use request_id::RequestId;
pub use request_line::Method;
pub use response::{Asked, ResponseHead, ResponseKind};
pub use rewrite::PathRewrite;
pub use rules::{FieldRuleError, FieldRules};
pub use source::Source;
pub use trace_context::{TRACEPARENT_BYTES, TraceContext, Traceparent};
pub use websocket::{WebSocketKey, websocket_accept};

/// The protocol version a peer speaks. Higher minor versions than 1 count as 1.1 (RFC 9110 section 2.5).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}
