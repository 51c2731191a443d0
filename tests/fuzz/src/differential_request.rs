//! Requests that we forward are the same requests to a second parser: as many, and byte for byte.
//!
//! An input is what a client sends on one connection. A difference here is request smuggling.

use ringbolt_core::http::{
    BodyReader, BodyWriter, ChunkPrefix, HeadLimits, RequestHead, Upgrade, write_request,
};

use crate::hyper_reader::{self, End, Message};
use crate::request_head;

/// What we made of a client's bytes.
#[derive(Debug, Default)]
pub struct Forwarded {
    pub messages: Vec<Message>,
    /// What a backend gets, on one connection.
    pub bytes: Vec<u8>,
}

pub(crate) fn run(input: &[u8]) {
    hyper_reader::check();
    let ours = forward(input);
    let theirs = hyper_reader::requests(&ours.bytes);
    let common = theirs.messages.len().min(ours.messages.len());
    assert_eq!(theirs.messages[..common], ours.messages[..common], "a backend reads other requests");
    // A backend may refuse what it is sent, such as a target it does not like: then it reads nothing on.
    let all = theirs.messages.len() == ours.messages.len();
    assert!(all || theirs.end == End::Refused && common == theirs.messages.len(), "{theirs:?} of {ours:?}");

    // The client's own bytes: what we took for a request, another parser does not take for another one.
    let raw = hyper_reader::requests(input);
    for (ours, theirs) in ours.messages.iter().zip(&raw.messages) {
        assert_eq!(
            (&ours.method, &ours.body),
            (&theirs.method, &theirs.body),
            "a client means another request"
        );
    }
    let broken = raw.end == End::BrokenBody && raw.messages.len() < ours.messages.len();
    assert!(!broken, "a body that is broken to another parser was forwarded: {ours:?}");
}

/// Forwards everything a connection brings, as if every answer were an ordinary one.
#[must_use]
pub fn forward(input: &[u8]) -> Forwarded {
    let context = request_head::context(false, false);
    let mut out = Forwarded::default();
    let mut head = RequestHead::default();
    let mut rest = input;
    while let Ok(Some(length)) = head.parse(rest, &HeadLimits::default()) {
        rest = &rest[length..];
        if head.upgrade() == Upgrade::RefusedHttp10 {
            break;
        }
        write_request(&head, &context, &mut out.bytes);
        let Some(body) = forward_body(&head, &mut rest, &mut out.bytes) else { break };
        out.messages.push(Message { method: head.method_bytes().into(), target: head.target().into(), body });
        if !head.keep_alive() {
            break;
        }
    }
    out
}

/// Takes a body from `rest` and frames it anew; `None` if it is broken or does not end.
fn forward_body(head: &RequestHead, rest: &mut &[u8], out: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut reader = BodyReader::new(head.framing());
    let writer = BodyWriter::new(head.framing());
    let mut body = Vec::new();
    while !reader.is_done() {
        let mut piece = rest[..rest.len().min(11)].to_vec();
        if piece.is_empty() {
            return None;
        }
        let decoded = reader.decode(&mut piece).ok()?;
        let payload = &piece[..decoded.payload];
        if !payload.is_empty() {
            out.extend_from_slice(writer.prefix(payload.len(), &mut ChunkPrefix::default()));
            out.extend_from_slice(payload);
            out.extend_from_slice(writer.suffix());
        }
        body.extend_from_slice(payload);
        *rest = &rest[decoded.consumed..];
    }
    writer.end(reader.trailers(), out);
    Some(body)
}
