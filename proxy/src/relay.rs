//! One message body on its way: decoded as its sender framed it, framed anew for its receiver.
//!
//! The payload is sent straight from the hot buffer, with the head or chunk framing around it in the
//! same system call. Only what the receiver does not take at once is copied, and reading stops until
//! it is gone: memory per body is bounded by one hot buffer. A body that is bulk (`ringbolt_core::pace`)
//! and has no framing between its bytes on either side is spliced, as a tunnel's bytes are. Knows nothing
//! of who the two ends are.

use std::io;

use ringbolt_core::allowance::Allowance;
use ringbolt_core::http::{BadBody, BodyReader, BodyWriter, ChunkPrefix, Framing};
use ringbolt_core::limits::CLOSE_BODY_BYTES_MAX;
use ringbolt_core::pace::Pace;
use ringbolt_reactor::{Elapsed, Socket, yield_now};

use crate::limits::{BODY_BYTES_PER_TURN, GATHER_BYTES_MAX};
use crate::stream::{Consumed, Reader};
use crate::transport::Transport;
use crate::worker::Worker;

/// Why a body was not relayed to its end.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// The sender's connection failed or ended before the body did.
    Source,
    /// The receiver's connection failed.
    Target,
    /// The sender broke the rules of its framing.
    Malformed(BadBody),
    /// More payload than allowed.
    TooLarge,
    /// An end was waited for too long.
    Timeout,
}

impl From<io::Error> for RelayError {
    fn from(_: io::Error) -> Self {
        Self::Source
    }
}

impl From<Elapsed> for RelayError {
    fn from(_: Elapsed) -> Self {
        Self::Timeout
    }
}

/// How long each end may be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) source: Allowance,
    pub(crate) target: Allowance,
}

/// The state of one body in transit.
#[derive(Debug)]
pub(crate) struct Relay {
    reader: BodyReader,
    writer: BodyWriter,
    /// To be sent before anything else: the head, later whatever the receiver did not take.
    pending: Vec<u8>,
    /// Payload kept back until [`Relay::release`].
    held: Vec<u8>,
    payload_bytes_left: u64,
    patience: Patience,
    whole: Whole,
    pace: Pace,
}

/// The payload as long as it is so short that it may be an Engine.IO close packet.
#[derive(Debug, Default)]
struct Whole {
    bytes: [u8; Whole::BYTES_MAX],
    length: u8,
}

const _: () = assert!(Whole::BYTES_MAX <= u8::MAX as usize);

impl Whole {
    /// One more than the longest close packet, so that a longer payload is told from it.
    const BYTES_MAX: usize = CLOSE_BODY_BYTES_MAX + 1;

    fn add(&mut self, payload: &[u8]) {
        let room = &mut self.bytes[usize::from(self.length)..];
        let taken = payload.len().min(room.len());
        room[..taken].copy_from_slice(&payload[..taken]);
        self.length += u8::try_from(taken).unwrap_or(u8::MAX);
    }
}

impl Relay {
    /// A relay that sends `head`, then the body. `payload_bytes_max` of `None` sets no bound.
    pub(crate) fn new(
        received: Framing,
        sent: Framing,
        head: Vec<u8>,
        payload_bytes_max: Option<u64>,
        patience: Patience,
    ) -> Self {
        Self {
            reader: BodyReader::new(received),
            writer: BodyWriter::new(sent),
            pending: head,
            held: Vec::new(),
            payload_bytes_left: payload_bytes_max.unwrap_or(u64::MAX),
            patience,
            whole: Whole::default(),
            pace: Pace::default(),
        }
    }

    /// The body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Payload so far, of a relay with this bound.
    pub(crate) fn payload_bytes(&self, payload_bytes_max: Option<u64>) -> u64 {
        payload_bytes_max.unwrap_or(u64::MAX) - self.payload_bytes_left
    }

    /// The whole payload if it is at most a few bytes long.
    pub(crate) fn short_payload(&self) -> Option<&[u8]> {
        let length = usize::from(self.whole.length);
        (length < Whole::BYTES_MAX).then(|| &self.whole.bytes[..length])
    }

    /// Decodes `input` and sends its payload, and returns how many bytes of it belonged to the body.
    pub(crate) fn step(&mut self, input: &mut [u8], target: Transport<'_>) -> Result<usize, RelayError> {
        let decoded = self.decode(input)?;
        self.send(&input[..decoded.payload], decoded.done, target)?;
        Ok(decoded.consumed)
    }

    /// Decodes `input` and keeps its payload back, and returns how many bytes of it belonged to the body.
    pub(crate) fn hold(&mut self, input: &mut [u8]) -> Result<usize, RelayError> {
        let decoded = self.decode(input)?;
        self.held.extend_from_slice(&input[..decoded.payload]);
        Ok(decoded.consumed)
    }

    /// The payload kept back so far.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Puts `bytes` into the payload kept back, at `position`, and another head before it.
    pub(crate) fn insert(&mut self, position: usize, bytes: &[u8], head: Vec<u8>) {
        self.held.splice(position..position, bytes.iter().copied());
        self.pending = head;
    }

    /// Sends the head and the payload that was kept back.
    pub(crate) fn release(&mut self, target: Transport<'_>) -> Result<(), RelayError> {
        let held = std::mem::take(&mut self.held);
        self.send(&held, self.reader.is_done(), target)
    }

    /// The sender closed: right only for a body that ends with its connection.
    pub(crate) fn end_of_source(&mut self) -> Result<(), RelayError> {
        self.reader.finish_at_eof().map_err(|_| RelayError::Source)
    }

    /// The same, with what that means sent to the receiver.
    pub(crate) fn end_of_stream(&mut self, target: Transport<'_>) -> Result<(), RelayError> {
        self.end_of_source()?;
        self.send(&[], true, target)
    }

    fn decode(&mut self, input: &mut [u8]) -> Result<ringbolt_core::http::Decoded, RelayError> {
        let decoded = self.reader.decode(input).map_err(RelayError::Malformed)?;
        self.count(decoded.payload)?;
        self.whole.add(&input[..decoded.payload]);
        Ok(decoded)
    }

    fn count(&mut self, payload: usize) -> Result<(), RelayError> {
        self.payload_bytes_left =
            self.payload_bytes_left.checked_sub(payload as u64).ok_or(RelayError::TooLarge)?;
        Ok(())
    }

    /// Sends what is pending and `payload` in its framing; keeps what the target does not take.
    fn send(&mut self, payload: &[u8], last: bool, target: Transport<'_>) -> Result<(), RelayError> {
        let mut prefix = ChunkPrefix::default();
        let (before, after) = match payload {
            [] => (&[][..], &[][..]),
            _ => (self.writer.prefix(payload.len(), &mut prefix), self.writer.suffix()),
        };
        let mut end = Vec::new();
        if last {
            self.writer.end(self.reader.trailers(), &mut end);
        }
        let parts = [&self.pending[..], before, payload, after, &end];
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total > GATHER_BYTES_MAX {
            let sent = taken(target.try_send_parts(&parts))?;
            if sent == total {
                self.pending.clear();
            } else {
                self.pending = rest(&parts, sent);
            }
            self.patience.target.moved(sent);
        } else if total > 0 {
            for part in [before, payload, after, &end] {
                self.pending.extend_from_slice(part);
            }
            let sent = taken(target.try_send(&self.pending))?;
            self.pending.drain(..sent);
            self.patience.target.moved(sent);
        }
        Ok(())
    }

    /// Waits until everything pending is sent.
    async fn flush(&mut self, worker: &Worker, target: Transport<'_>) -> Result<(), RelayError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let mut unsent = &pending[..];
        while !unsent.is_empty() {
            match taken(target.try_send(unsent))? {
                0 => wait(worker, &mut self.patience.target, target.writable()).await?,
                sent => {
                    self.patience.target.moved(sent);
                    unsent = &unsent[sent..];
                }
            }
        }
        worker.buffers.give(pending);
        Ok(())
    }

    /// Keeps the memory of a relay that has ended for another one.
    pub(crate) fn give_back(&mut self, worker: &Worker) {
        worker.buffers.give(std::mem::take(&mut self.pending));
    }

    /// Relays until the body has ended and its last byte is sent.
    pub(crate) async fn run(
        &mut self,
        worker: &Worker,
        source: &mut Reader<'_>,
        target: Transport<'_>,
    ) -> Result<(), RelayError> {
        // A head goes out together with the bytes behind it, if they are here already.
        if self.is_done() || !source.has_unread() {
            self.flush(worker, target).await?;
        }
        let mut moved = 0;
        while !self.is_done() {
            let spliced = match (self.plain_bytes_left(source), source.transport().plain(), target.plain()) {
                // In a box: few bodies are bulk, and no exchange should carry the room for it.
                (Some(left), Some(from), Some(to)) => Box::pin(self.splice(worker, from, to, left)).await?,
                _ => None,
            };
            moved += match spliced {
                Some(length) => length,
                None => self.copy(worker, source, target).await?,
            };
            if moved >= BODY_BYTES_PER_TURN {
                moved = 0;
                yield_now().await;
            }
        }
        Ok(())
    }

    /// Moves what has come through the hot buffer, and returns its length.
    async fn copy(
        &mut self,
        worker: &Worker,
        source: &mut Reader<'_>,
        target: Transport<'_>,
    ) -> Result<usize, RelayError> {
        let mut waiting = self.patience.source;
        let read = source.read(&worker.hot, |input| -> Result<_, RelayError> {
            let length = self.step(input, target)?;
            self.pace.add(length, worker.uptime_ms());
            Ok(Consumed::Done(length, length))
        });
        let read = wait(worker, &mut waiting, read).await?;
        self.patience.source = waiting;
        let moved = match read? {
            Some(length) => {
                self.patience.source.moved(length);
                length
            }
            None => {
                self.end_of_stream(target)?;
                0
            }
        };
        self.flush(worker, target).await?;
        Ok(moved)
    }

    /// Bytes that may be spliced, while that pays.
    fn plain_bytes_left(&self, source: &Reader<'_>) -> Option<u64> {
        let at_rest = self.pending.is_empty() && !source.has_unread();
        let pays = self.pace.is_bulk() && self.writer.is_plain() && at_rest;
        self.reader.plain_bytes_left().filter(|_| pays)
    }

    /// Moves one piece of at most `left` bytes through a pipe, and returns its length. `None`: there is no
    /// pipe, so it has to be copied.
    async fn splice(
        &mut self,
        worker: &Worker,
        source: &Socket,
        target: &Socket,
        left: u64,
    ) -> Result<Option<usize>, RelayError> {
        wait(worker, &mut self.patience.source, source.readable()).await?;
        let Some(mut pipe) = worker.pipes.lend() else { return Ok(None) };
        let length = match pipe.fill(source, left) {
            Ok(0) => {
                self.end_of_stream(Transport { socket: target, tls: None })?;
                return Ok(Some(0));
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(0)),
            Err(_) => return Err(RelayError::Source),
        };
        self.patience.source.moved(length);
        self.count(length)?;
        self.reader.pass(length as u64);
        self.pace.add(length, worker.uptime_ms());
        while pipe.held() > 0 {
            let held = pipe.held();
            match pipe.drain(target) {
                Ok(()) => self.patience.target.moved(held - pipe.held()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(worker, &mut self.patience.target, target.writable()).await?;
                }
                Err(_) => return Err(RelayError::Target),
            }
        }
        worker.counters().body_spliced_bytes.add(length as u64);
        Ok(Some(length))
    }
}

/// Waits for an end, no longer than that may take, and notes how long it took.
async fn wait<F: Future>(worker: &Worker, end: &mut Allowance, waiting: F) -> Result<F::Output, Elapsed> {
    let began = worker.reactor.now();
    let result = worker.reactor.timeout_at(Some(began + end.left()), waiting).await;
    end.waited(worker.reactor.now().saturating_duration_since(began));
    result
}

/// How many bytes the receiver took.
fn taken(sent: io::Result<usize>) -> Result<usize, RelayError> {
    match sent {
        Ok(sent) => Ok(sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(RelayError::Target),
    }
}

/// The bytes of `parts` behind the first `sent`.
fn rest(parts: &[&[u8]], mut sent: usize) -> Vec<u8> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let mut rest = Vec::with_capacity(total - sent);
    for part in parts {
        let skipped = sent.min(part.len());
        rest.extend_from_slice(&part[skipped..]);
        sent -= skipped;
    }
    rest
}
