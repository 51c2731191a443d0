//! A backend's answer to a handshake request, through body framing and the handshake reader.

use ringbolt_core::affinity::{Handshake, HandshakeReading, Protocol, read_handshake};
use ringbolt_core::http::{BodyReader, BodyWriter, ChunkPrefix, Framing};

use crate::random::Random;

/// What the proxy learns from the answer that hands out `sid`, framed and cut as chance has it.
///
/// # Panics
/// If it learns another sid, or none, or takes a part of the body for the whole.
pub(crate) fn learn(sid: &str, interval_ms: u32, random: &mut Random) -> (Handshake, Protocol) {
    let (body, protocol) = body_of(sid, interval_ms, random);
    let writer = BodyWriter::new(Framing::Chunked);
    let mut sent = Vec::new();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(1 + random.below(rest.len()));
        sent.extend_from_slice(writer.prefix(now.len(), &mut ChunkPrefix::default()));
        sent.extend_from_slice(now);
        sent.extend_from_slice(writer.suffix());
        rest = later;
    }
    writer.end(b"", &mut sent);

    let mut reader = BodyReader::new(Framing::Chunked);
    let mut seen = Vec::new();
    let mut rest = &sent[..];
    let mut learned = HandshakeReading::Incomplete;
    while !reader.is_done() {
        let (now, later) = rest.split_at(1 + random.below(rest.len()));
        let mut piece = now.to_vec();
        let decoded = reader.decode(&mut piece).expect("a legal body");
        seen.extend_from_slice(&piece[..decoded.payload]);
        if learned == HandshakeReading::Incomplete {
            learned = read_handshake(&seen, protocol);
        }
        rest = later;
    }
    assert_eq!(seen, body, "the body changed on its way");
    let HandshakeReading::Found(handshake) = learned else { panic!("no session in {body:?}") };
    assert_eq!(handshake.sid.as_bytes(), sid.as_bytes());
    (handshake, protocol)
}

/// The body, in one of the framings of Engine.IO.
fn body_of(sid: &str, interval_ms: u32, random: &mut Random) -> (Vec<u8>, Protocol) {
    let packet =
        format!("0{{\"sid\":\"{sid}\",\"upgrades\":[],\"pingInterval\":{interval_ms},\"pingTimeout\":0}}");
    let escaped = packet.replace('"', "\\\"");
    let length = packet.len();
    match random.below(4) {
        0 => (packet.into_bytes(), Protocol::V4),
        1 => (format!("{length}:{packet}2:40").into_bytes(), Protocol::V3),
        2 => {
            let digits = length.to_string().into_bytes().into_iter().map(|digit| digit - b'0');
            let body = [0].into_iter().chain(digits).chain([0xff]).chain(packet.into_bytes());
            (body.collect(), Protocol::V3)
        }
        _ => (format!("___eio[{length}](\"{escaped}\");").into_bytes(), Protocol::V4),
    }
}
