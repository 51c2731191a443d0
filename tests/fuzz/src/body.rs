//! A body ends where its framing says, for requests and responses alike, in whatever pieces it comes.
//!
//! The first byte of an input chooses the framing: `l` a length of half the rest, `u` until close, `n`
//! none, and any other chunks.

use ringbolt_core::http::{BadBody, BodyReader, BodyWriter, ChunkPrefix, Framing};

use crate::splits;

/// A body that was read.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    payload: Vec<u8>,
    trailers: Vec<u8>,
    /// Bytes of the input behind it.
    left: usize,
    done: bool,
}

pub(crate) fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let framing = match kind {
        b'l' => Framing::Length(bytes.len() as u64 / 2),
        b'u' => Framing::UntilClose,
        b'n' => Framing::None,
        _ => Framing::Chunked,
    };
    let whole = read(framing, [bytes]);
    assert_eq!(read(framing, bytes.chunks(1)), whole, "byte by byte");
    for end in splits::ends(bytes.len()) {
        assert_eq!(read(framing, [&bytes[..end], &bytes[end..]]), whole, "cut at {end}");
    }
    let Ok(body) = whole else { return };
    let read_bytes = bytes.len() - body.left;
    // Each trailer is written with a space behind its colon, which it may not have had.
    let spaces = body.trailers.iter().filter(|byte| **byte == b'\n').count();
    assert!(body.payload.len() + body.trailers.len() <= read_bytes + spaces, "more came out than went in");
    match framing {
        Framing::None => assert_eq!((read_bytes, body.done), (0, true)),
        Framing::Length(length) => assert_eq!((read_bytes as u64, body.done), (length, true)),
        Framing::UntilClose => assert!(body.payload == bytes && !body.done),
        Framing::Chunked if body.done => {
            assert!(bytes[..read_bytes].ends_with(b"\r\n"));
            written(&body);
        }
        Framing::Chunked => assert_eq!(body.left, 0),
    }
}

/// Reads a body that comes in these pieces, and checks what each of them gives.
fn read<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Read, BadBody> {
    let mut reader = BodyReader::new(framing);
    let mut found = Read { payload: Vec::new(), trailers: Vec::new(), left: 0, done: reader.is_done() };
    for piece in pieces {
        if found.done {
            found.left += piece.len();
            continue;
        }
        let mut input = piece.to_vec();
        let decoded = reader.decode(&mut input)?;
        assert!(decoded.payload <= decoded.consumed && decoded.consumed <= piece.len());
        assert!(decoded.done || decoded.consumed == piece.len(), "an unfinished body takes everything");
        assert_eq!(input[decoded.consumed..], piece[decoded.consumed..], "what follows is untouched");
        assert_eq!(decoded.done, reader.is_done());
        found.payload.extend_from_slice(&input[..decoded.payload]);
        found.left += piece.len() - decoded.consumed;
        found.done = decoded.done;
    }
    found.trailers.extend_from_slice(reader.trailers());
    let complete = reader.finish_at_eof().is_ok();
    assert_eq!(complete, found.done || framing == Framing::UntilClose, "truncated bodies never look whole");
    Ok(found)
}

/// What the writer frames, the reader reads.
fn written(body: &Read) {
    let writer = BodyWriter::new(Framing::Chunked);
    let mut out = Vec::new();
    for piece in body.payload.chunks(7) {
        out.extend_from_slice(writer.prefix(piece.len(), &mut ChunkPrefix::default()));
        out.extend_from_slice(piece);
        out.extend_from_slice(writer.suffix());
    }
    writer.end(&body.trailers, &mut out);
    let again = read(Framing::Chunked, [&out[..]]).expect("our own framing is legal");
    assert_eq!((&again.payload, &again.trailers, again.left), (&body.payload, &body.trailers, 0));
    assert!(again.done);
}
