//! Message bodies: taken out of their sender's framing, put into their receiver's.
//!
//! Payload is never copied to another buffer: the reader leaves it at the front of the bytes it was
//! given, the writer says what to send around it. Knows no limits of the payload's size; the caller
//! counts.

use super::chunked::ChunkState;
use super::framing::Framing;
use super::refusal::BadBody;
use super::trailers;

/// What [`BodyReader::decode`] made of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Bytes of payload, now at the front of the input.
    pub payload: usize,
    /// Bytes of the input that belong to this body: all, unless the body ends within them. What is
    /// behind them is untouched and starts the next message.
    pub consumed: usize,
    /// The body has ended.
    pub done: bool,
}

/// What is left of a body.
#[derive(Debug)]
enum Rest {
    Nothing,
    Bytes(u64),
    Chunks(ChunkState),
    Everything,
}

/// Reads one body.
#[derive(Debug)]
pub struct BodyReader {
    rest: Rest,
    /// While the trailer section comes in: its bytes so far. After it: the lines to pass on.
    trailers: Vec<u8>,
}

impl BodyReader {
    /// A reader of a body with this framing. It allocates only for trailers.
    pub fn new(framing: Framing) -> Self {
        let rest = match framing {
            Framing::None | Framing::Length(0) => Rest::Nothing,
            Framing::Length(length) => Rest::Bytes(length),
            Framing::Chunked => Rest::Chunks(ChunkState::START),
            Framing::UntilClose => Rest::Everything,
        };
        Self { rest, trailers: Vec::new() }
    }

    /// Takes the payload out of `input` and moves it together at the front.
    ///
    /// # Errors
    /// The framing is broken. Payload of earlier calls may be out already; nothing of this call may be
    /// used, and the reader must not be used again.
    pub fn decode(&mut self, input: &mut [u8]) -> Result<Decoded, BadBody> {
        match self.rest {
            Rest::Nothing => Ok(Decoded { payload: 0, consumed: 0, done: true }),
            Rest::Bytes(left) => {
                let taken = bounded(left, input.len());
                let left = left - taken as u64;
                self.rest = if left == 0 { Rest::Nothing } else { Rest::Bytes(left) };
                Ok(Decoded { payload: taken, consumed: taken, done: left == 0 })
            }
            Rest::Chunks(state) => self.decode_chunks(state, input),
            Rest::Everything => Ok(Decoded { payload: input.len(), consumed: input.len(), done: false }),
        }
    }

    fn decode_chunks(&mut self, mut state: ChunkState, input: &mut [u8]) -> Result<Decoded, BadBody> {
        let mut payload = 0;
        let mut consumed = 0;
        while consumed < input.len() {
            match state {
                ChunkState::Data { left } => {
                    let taken = bounded(left, input.len() - consumed);
                    if payload != consumed {
                        input.copy_within(consumed..consumed + taken, payload);
                    }
                    payload += taken;
                    consumed += taken;
                    let left = left - taken as u64;
                    state = if left == 0 { ChunkState::DataCr } else { ChunkState::Data { left } };
                }
                ChunkState::Trailers => {
                    self.rest = Rest::Chunks(state);
                    let (taken, done) = self.take_trailers(&input[consumed..])?;
                    return Ok(Decoded { payload, consumed: consumed + taken, done });
                }
                _ => {
                    state = state.after(input[consumed])?;
                    consumed += 1;
                }
            }
        }
        self.rest = Rest::Chunks(state);
        Ok(Decoded { payload, consumed, done: false })
    }

    /// Takes as much of `input` as belongs to the trailer section, and says whether that has ended.
    fn take_trailers(&mut self, input: &[u8]) -> Result<(usize, bool), BadBody> {
        let known = self.trailers.len();
        if known == 0 && input.starts_with(b"\r\n") {
            self.rest = Rest::Nothing;
            return Ok((2, true));
        }
        // Within the bound the section is judged anew with each arrival: it is nearly always empty.
        let room = (crate::limits::TRAILER_BYTES_MAX + 1).saturating_sub(known);
        self.trailers.extend_from_slice(&input[..input.len().min(room)]);
        let Some(section) = trailers::parse(&self.trailers)? else {
            return Ok((input.len(), false));
        };
        self.trailers = section.kept;
        self.rest = Rest::Nothing;
        Ok((section.length - known, true))
    }

    /// How many bytes may be passed on without being looked at: those of a body that has no framing
    /// between them. `None`: every byte must be decoded, or there is none.
    pub fn plain_bytes_left(&self) -> Option<u64> {
        match self.rest {
            Rest::Bytes(left) => Some(left),
            Rest::Everything => Some(u64::MAX),
            Rest::Nothing | Rest::Chunks(_) => None,
        }
    }

    /// Notes that `count` bytes, at most those of [`BodyReader::plain_bytes_left`], went past the reader.
    pub fn pass(&mut self, count: u64) {
        if let Rest::Bytes(left) = self.rest {
            let left = left.saturating_sub(count);
            self.rest = if left == 0 { Rest::Nothing } else { Rest::Bytes(left) };
        }
    }

    /// The body has ended.
    pub fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// The connection has ended, and with it the body, if its framing says so.
    ///
    /// # Errors
    /// The body is truncated: what was passed on of it must not look complete.
    pub fn finish_at_eof(&mut self) -> Result<(), BadBody> {
        match self.rest {
            Rest::Nothing => Ok(()),
            Rest::Everything => {
                self.rest = Rest::Nothing;
                Ok(())
            }
            Rest::Bytes(_) | Rest::Chunks(_) => Err(BadBody::TRUNCATED),
        }
    }

    /// The trailer lines to pass on, each with its CRLF; none before the body has ended.
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() { &self.trailers } else { &[] }
    }
}

/// `left`, but at most `available`.
fn bounded(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// Room for what precedes a chunk: 16 digits and CRLF.
#[derive(Clone, Copy, Default, Debug)]
pub struct ChunkPrefix([u8; 18]);

/// Frames one body.
#[derive(Clone, Copy, Debug)]
pub struct BodyWriter {
    chunked: bool,
}

impl BodyWriter {
    pub fn new(framing: Framing) -> Self {
        Self { chunked: framing == Framing::Chunked }
    }

    /// Payload goes out as it is, with nothing around it.
    pub fn is_plain(&self) -> bool {
        !self.chunked
    }

    /// What to send before `payload` bytes of payload.
    ///
    /// Nothing for no payload: a chunk of size 0 would end the body, and [`BodyWriter::suffix`] must not
    /// be sent either.
    pub fn prefix<'a>(&self, payload: usize, out: &'a mut ChunkPrefix) -> &'a [u8] {
        if !self.chunked || payload == 0 {
            return &[];
        }
        let ChunkPrefix(bytes) = out;
        let mut start = bytes.len() - 2;
        bytes[start..].copy_from_slice(b"\r\n");
        let mut rest = payload;
        while rest > 0 {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[rest & 15];
            rest >>= 4;
        }
        &bytes[start..]
    }

    /// What to send behind payload that was sent with a [`BodyWriter::prefix`].
    pub fn suffix(&self) -> &'static [u8] {
        if self.chunked { b"\r\n" } else { b"" }
    }

    /// Appends what ends the body to `out`. `trailers` are dropped where the framing has no place for them.
    pub fn end(&self, trailers: &[u8], out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}
