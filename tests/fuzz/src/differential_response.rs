//! A response that we pass on is the same response to a second parser, and a broken one is broken to it.
//!
//! An input is what a backend sends until it closes. The answer to GET and the one to HEAD are tried.

use ringbolt_core::http::{
    Asked, BodyReader, BodyWriter, ChunkPrefix, HeadLimits, Method, ReplyContext, ResponseHead, ResponseKind,
    Version, write_response,
};

use crate::hyper_reader::{self, Reply};
use crate::response_head::DATE;

pub(crate) fn run(input: &[u8]) {
    hyper_reader::check();
    for (name, method) in [("GET", Method::Get), ("HEAD", Method::Head)] {
        let mut bytes = Vec::new();
        let ours = pass_on(input, method, &mut bytes);
        let theirs = hyper_reader::reply(&bytes, name);
        match &ours {
            // It may refuse a head of ours, but neither lose nor add a byte.
            Reply::Complete { .. } => {
                assert!(theirs == ours || theirs == Reply::NoHead, "{theirs:?} of {ours:?}");
                let raw = hyper_reader::reply(input, name);
                assert!(raw == ours || raw == Reply::NoHead, "the backend meant {raw:?}, not {ours:?}");
            }
            Reply::NoHead => assert_eq!(theirs, Reply::NoHead),
            Reply::BrokenBody => {
                let looks_whole = matches!(theirs, Reply::Complete { .. });
                assert!(!looks_whole, "a broken answer looks complete: {theirs:?}");
            }
        }
    }
}

/// Writes what an HTTP/1.1 client gets to `out`, and returns what we believe it is.
fn pass_on(input: &[u8], method: Method, out: &mut Vec<u8>) -> Reply {
    let asked = Asked { method, upgrade: None, verify_accept: true };
    let context = ReplyContext {
        client_version: Version::Http11,
        close: true,
        hsts: None,
        set_cookie: None,
        date: DATE,
        rules: None,
    };
    let mut head = ResponseHead::default();
    let mut rest = input;
    let framing = loop {
        let Ok(Some(length)) = head.parse(rest, &asked, &HeadLimits::default()) else { return Reply::NoHead };
        rest = &rest[length..];
        let framing = write_response(&head, &context, out);
        if head.kind() == ResponseKind::Final {
            break framing;
        }
    };
    let mut reader = BodyReader::new(head.framing());
    let writer = BodyWriter::new(framing);
    let mut body = Vec::new();
    while !reader.is_done() && !rest.is_empty() {
        let mut piece = rest[..rest.len().min(11)].to_vec();
        let Ok(decoded) = reader.decode(&mut piece) else { return Reply::BrokenBody };
        let payload = &piece[..decoded.payload];
        if !payload.is_empty() {
            out.extend_from_slice(writer.prefix(payload.len(), &mut ChunkPrefix::default()));
            out.extend_from_slice(payload);
            out.extend_from_slice(writer.suffix());
        }
        body.extend_from_slice(payload);
        rest = &rest[decoded.consumed..];
    }
    if reader.finish_at_eof().is_err() {
        return Reply::BrokenBody;
    }
    writer.end(reader.trailers(), out);
    Reply::Complete { status: head.status(), body }
}
