//! Rule 2 for bodies: chunks are strict, and a body that is not whole never looks whole.

use super::*;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};

/// Payload, trailers and unread rest.
type Body = (Vec<u8>, String, Vec<u8>);

/// Decodes a chunked body given at once; `None` for an incomplete one.
fn decode(body: impl AsRef<[u8]>) -> Result<Option<Body>, BadBody> {
    let mut input = body.as_ref().to_vec();
    let mut reader = BodyReader::new(Framing::Chunked);
    let decoded = reader.decode(&mut input)?;
    assert_eq!(decoded.done, reader.is_done());
    let trailers = String::from_utf8(reader.trailers().to_vec()).unwrap();
    Ok(decoded
        .done
        .then(|| (input[..decoded.payload].to_vec(), trailers, input[decoded.consumed..].to_vec())))
}

fn payload(body: &str) -> Vec<u8> {
    decode(body).unwrap().unwrap().0
}

#[test]
fn chunks_are_put_together_in_place() {
    let (payload, trailers, rest) =
        decode("4\r\nring\r\n00A\r\nbolt\r\n\r\nis\r\n0\r\n\r\nGET / HTTP/1.1").unwrap().unwrap();
    assert_eq!(payload, b"ringbolt\r\n\r\nis");
    assert_eq!((trailers.as_str(), rest.as_slice()), ("", &b"GET / HTTP/1.1"[..]));
}

#[test]
fn rule_02_chunk_lines_are_strict() {
    for body in [
        "\r\n", "\r\n\r\n", "\n", "x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", ";a\r\n", "1\n", "1\r1",
        "1\r\r\n", "1\0\r\n", "1_0\r\n", "1g\r\n",
    ] {
        assert_eq!(decode(body).unwrap_err(), BadBody::CHUNK_SIZE, "{body:?}");
    }
    for body in ["1 \r\n", "1\t\r\n", "1 x\r\n", "1;a\n", "1;a\0\r\n", "1;a\u{7f}\r\n"] {
        assert_eq!(decode(body).unwrap_err(), BadBody::CHUNK_EXTENSION, "{body:?}");
    }
    for body in ["1\r\nab", "1\r\na\n", "1\r\na\rb", "1\r\na1\r\n", "1\r\na\0\r\n"] {
        assert_eq!(decode(body).unwrap_err(), BadBody::CHUNK_END, "{body:?}");
    }
}

#[test]
fn rule_02_chunk_sizes_do_not_overflow() {
    for size in ["8000000000000000", "ffffffffffffffff", "00000000000000001", "10000000000000000"] {
        assert_eq!(decode(format!("{size}\r\n")).unwrap_err(), BadBody::CHUNK_TOO_LARGE, "{size}");
    }
    assert_eq!(decode("7fffffffffffffff\r\n"), Ok(None));
    assert_eq!(payload("0000000000000001\r\na\r\n0000000000000000\r\n\r\n"), b"a");
}

#[test]
fn rule_05_chunk_extensions_are_bounded_and_ignored() {
    assert_eq!(payload("1;a=b;c=\"d e\"\r\nx\r\n1 ; a\r\ny\r\n0;\r\n\r\n"), b"xy");
    let extension = |bytes: usize| decode(format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes - 1)));
    assert!(extension(CHUNK_EXTENSION_BYTES_MAX).is_ok());
    assert_eq!(extension(CHUNK_EXTENSION_BYTES_MAX + 1).unwrap_err(), BadBody::CHUNK_EXTENSION_TOO_LONG);
}

#[test]
fn trailers_are_validated_and_filtered() {
    let section = "Digest: x\r\nContent-Length: 5\r\nhost: b\r\nX-Sum:  1 \r\nTransfer-Encoding: chunked\r\n\
                   Authorization: z\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\n\
                   Set-Cookie: a\r\nContent-Type: b\r\nTrailer: c\r\n";
    let (payload, trailers, rest) = decode(format!("1\r\na\r\n0\r\n{section}\r\nrest")).unwrap().unwrap();
    assert_eq!((payload.as_slice(), rest.as_slice()), (&b"a"[..], &b"rest"[..]));
    assert_eq!(trailers, "Digest: x\r\nX-Sum: 1\r\n");
    for section in ["X : 1\r\n", "X: 1\n", "X\r\n", "X: \u{1}\r\n", " X: 1\r\n", "\n", "X: a\r\n b\r\n"] {
        assert_eq!(decode(format!("0\r\n{section}\r\n")).unwrap_err(), BadBody::TRAILERS, "{section:?}");
    }
}

#[test]
fn rule_05_trailers_are_bounded() {
    let lines = |count: usize| decode(format!("0\r\n{}\r\n", "X: 1\r\n".repeat(count)));
    assert!(lines(TRAILER_FIELDS_MAX).unwrap().is_some());
    assert_eq!(lines(TRAILER_FIELDS_MAX + 1).unwrap_err(), BadBody::TRAILERS_TOO_LONG);
    let bytes = |count: usize| decode(format!("0\r\nX: {}\r\n\r\n", "x".repeat(count - 7)));
    assert!(bytes(TRAILER_BYTES_MAX).unwrap().is_some());
    assert_eq!(bytes(TRAILER_BYTES_MAX + 1).unwrap_err(), BadBody::TRAILERS_TOO_LONG);
    let mut reader = BodyReader::new(Framing::Chunked);
    reader.decode(&mut b"0\r\nX: ".to_vec()).unwrap();
    let endless = (0..=TRAILER_BYTES_MAX).find_map(|_| reader.decode(&mut b"x".to_vec()).err());
    assert_eq!(endless, Some(BadBody::TRAILERS_TOO_LONG));
}

#[test]
fn declared_lengths_end_where_they_say() {
    let mut reader = BodyReader::new(Framing::Length(5));
    let part = reader.decode(&mut b"abc".to_vec()).unwrap();
    assert_eq!(part, Decoded { payload: 3, consumed: 3, done: false });
    let end = reader.decode(&mut b"defg".to_vec()).unwrap();
    assert_eq!(end, Decoded { payload: 2, consumed: 2, done: true });
    let behind = reader.decode(&mut b"more".to_vec()).unwrap();
    assert_eq!(behind, Decoded { payload: 0, consumed: 0, done: true });
    for framing in [Framing::None, Framing::Length(0)] {
        assert!(BodyReader::new(framing).is_done());
    }
}

#[test]
fn rule_06_a_truncated_body_is_told() {
    for (framing, sent) in [
        (Framing::Length(2), "a"),
        (Framing::Chunked, ""),
        (Framing::Chunked, "5\r\nab"),
        (Framing::Chunked, "1\r\na\r\n"),
        (Framing::Chunked, "1\r\na\r\n0\r\n"),
        (Framing::Chunked, "0\r\nX: 1\r\n"),
    ] {
        let mut reader = BodyReader::new(framing);
        reader.decode(&mut sent.as_bytes().to_vec()).unwrap();
        assert_eq!(reader.finish_at_eof(), Err(BadBody::TRUNCATED), "{sent:?}");
        assert!(!reader.is_done() && reader.trailers().is_empty());
    }
    let mut reader = BodyReader::new(Framing::UntilClose);
    assert!(!reader.decode(&mut b"all".to_vec()).unwrap().done);
    assert_eq!((reader.finish_at_eof(), reader.is_done()), (Ok(()), true));
    assert_eq!(BodyReader::new(Framing::None).finish_at_eof(), Ok(()));
}

#[test]
fn bytes_that_need_no_look_may_pass_the_reader() {
    let mut reader = BodyReader::new(Framing::Length(10));
    assert_eq!(reader.decode(&mut b"abc".to_vec()).unwrap().consumed, 3);
    assert_eq!(reader.plain_bytes_left(), Some(7));
    reader.pass(6);
    assert_eq!((reader.plain_bytes_left(), reader.finish_at_eof()), (Some(1), Err(BadBody::TRUNCATED)));
    reader.pass(1);
    assert_eq!((reader.plain_bytes_left(), reader.is_done()), (None, true));

    let mut reader = BodyReader::new(Framing::UntilClose);
    reader.pass(1 << 40);
    assert_eq!((reader.plain_bytes_left(), reader.is_done()), (Some(u64::MAX), false));
    assert_eq!(reader.finish_at_eof(), Ok(()));
    assert_eq!(BodyReader::new(Framing::Chunked).plain_bytes_left(), None);
    assert!(!BodyWriter::new(Framing::Chunked).is_plain() && BodyWriter::new(Framing::Length(1)).is_plain());
}

#[test]
fn bodies_are_framed_for_their_receiver() {
    let mut prefix = ChunkPrefix::default();
    let mut end = Vec::new();
    let chunked = BodyWriter::new(Framing::Chunked);
    assert_eq!(chunked.prefix(0x1a2b, &mut prefix), b"1a2b\r\n");
    assert_eq!(chunked.prefix(usize::MAX, &mut prefix), b"ffffffffffffffff\r\n");
    assert_eq!(chunked.prefix(0, &mut prefix), b"", "a chunk of no bytes would end the body");
    assert_eq!(chunked.suffix(), b"\r\n");
    chunked.end(b"X: 1\r\n", &mut end);
    assert_eq!(end, b"0\r\nX: 1\r\n\r\n");
    for framing in [Framing::None, Framing::Length(9), Framing::UntilClose] {
        let plain = BodyWriter::new(framing);
        assert_eq!((plain.prefix(9, &mut prefix), plain.suffix()), (&b""[..], &b""[..]));
        end.clear();
        plain.end(b"X: 1\r\n", &mut end);
        assert_eq!(end, b"");
    }
}
