//! One end of a tunnel, and the way of its bytes to the other end.
//!
//! Small messages move by recv(2) and send(2) through the worker's hot buffer. While a direction is
//! bulk (`ringbolt_core::pace`) they move by splice(2) through a pipe of the worker's, without a copy
//! to user memory (decision D3). While it chats the kernel receives by itself (`tunnel/chat.rs`). What the far
//! end does not take at once is held, in memory or in the pipe, and reading stops until it is gone. An end that
//! holds nothing owns nothing but its descriptor.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ringbolt_core::chatter::Chatter;
use ringbolt_core::frames::RESTART_FRAME;
use ringbolt_core::pace::Pace;
use ringbolt_reactor::{self as net, Chunk, Pipe, Ready, SourceId};

use super::Side;
use super::farewell::ToClient;
use super::tls::Tls;
use crate::limits::{HOT_BUFFER_BYTES, TUNNEL_BYTES_PER_TURN};
use crate::metrics::label::{DrainedBy, TunnelEnd};
use crate::stream::Stream;
use crate::tls::Session;
use crate::worker::Worker;

/// What became of a direction that was asked to move bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// Nothing left to read, or the far end takes no more: the next event goes on.
    Waiting,
    /// The direction had its share of this turn and has more to move.
    Again,
    /// The sender has finished, and all it sent has been passed on.
    Finished,
}

/// Bytes that the far end has not taken.
#[derive(Debug)]
pub(super) enum Held {
    Spill {
        bytes: Vec<u8>,
        sent: usize,
    },
    Pipe {
        pipe: Pipe,
        bytes: usize,
    },
    /// Received behind the chunk that is being sent.
    Queue(VecDeque<Chunk>),
}

/// The TLS of a direction, `None` for a plain end.
#[derive(Debug)]
pub(super) struct Sessions<'a> {
    /// Of the end that is read from.
    pub(super) source: Option<&'a mut Tls>,
    /// Of the end that is written to.
    pub(super) target: Option<&'a mut Tls>,
}

impl Sessions<'_> {
    /// Bytes on one of the sockets are not those of the tunnel.
    fn any_in_user_space(&self) -> bool {
        [&self.source, &self.target].into_iter().flatten().any(|tls| tls.is_user_space())
    }
}

/// Who reads from an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// We, when its watch reports something.
    Watched,
    /// The kernel, into buffers of its choice.
    Receiving,
    /// The kernel, until it has confirmed that it stopped.
    Stopping,
}

/// One connection of a tunnel.
#[derive(Debug)]
pub(super) struct End {
    pub(super) fd: OwnedFd,
    pub(super) source: SourceId,
    /// Bytes read from here on their way to the other end.
    pub(super) held: Option<Box<Held>>,
    pub(super) pace: Pace,
    pub(super) chatter: Chatter,
    pub(super) reading: Reading,
    /// A chunk from here is on its way to the other end.
    pub(super) sending: bool,
    /// RDHUP or HUP was seen: no further event announces the FIN, so read until it is found.
    pub(super) closing: bool,
    /// Its FIN has been found.
    pub(super) finished: bool,
}

impl End {
    /// Makes an end of a connection, and gives back its TLS session; bytes already read from it go first.
    pub(super) fn new(stream: Stream) -> (Self, Option<Box<Session>>) {
        let closing = stream.transport().is_read_closed();
        let Stream { socket, tls, unread } = stream;
        let (fd, source) = socket.into_parts();
        let held = (!unread.is_empty()).then(|| Box::new(Held::Spill { bytes: unread, sent: 0 }));
        let end = Self {
            fd,
            source,
            held,
            pace: Pace::default(),
            chatter: Chatter::default(),
            reading: Reading::Watched,
            sending: false,
            closing,
            finished: false,
        };
        (end, tls.map(|session| Box::new(session.into_inner())))
    }

    pub(super) fn note(&mut self, ready: Ready) {
        self.closing |= ready.read_closed() || ready.closed() || ready.error();
    }

    /// Bytes wait for the other end.
    pub(super) fn is_blocked(&self) -> bool {
        self.held.is_some()
    }

    /// Moves what this end has sent to `target`, as much as both allow. `side` is this end's.
    pub(super) fn pump(
        &mut self,
        target: &Self,
        mut tls: Sessions<'_>,
        mut to_client: Option<ToClient<'_>>,
        side: Side,
        worker: &Worker,
    ) -> Result<Flow, TunnelEnd> {
        let ours = self.reading == Reading::Watched && !self.sending && !self.finished;
        if !ours || !self.flush(target, &mut tls, side, worker)? {
            return Ok(Flow::Waiting);
        }
        if !self.say_farewell(&mut to_client, target, &mut tls, side, worker)? {
            return Ok(Flow::Waiting);
        }
        let mut moved = 0;
        while moved < TUNNEL_BYTES_PER_TURN {
            let ends = to_client.as_ref().is_some_and(ToClient::ends);
            let splices = self.pace.is_bulk() && !tls.any_in_user_space();
            let most = to_client.as_ref().map_or(usize::MAX, ToClient::spliced_bytes_max);
            let pipe = if splices && most > 0 { worker.pipes.take() } else { None };
            let copies = splices && pipe.is_none();
            let piece = match pipe {
                Some(pipe) => self.splice((pipe, most), target, &mut tls, &mut to_client, side, worker)?,
                None => self.copy(target, &mut tls, &mut to_client, side, worker)?,
            };
            let Some(length) = piece else { return Ok(Flow::Waiting) };
            if length == 0 {
                if !target.say_goodbye(&mut tls, side)? {
                    // To be tried again when the target takes bytes, as if some were left.
                    self.held = Some(Box::new(Held::Spill { bytes: Vec::new(), sent: 0 }));
                    return Ok(Flow::Waiting);
                }
                self.finished = true;
                return Ok(Flow::Finished);
            }
            self.note_moved(length, worker);
            if let (true, Some(to_client)) = (copies && length >= HOT_BUFFER_BYTES, &mut to_client) {
                to_client.may_lose_track();
            }
            if ends && !self.say_farewell(&mut to_client, target, &mut tls, side, worker)? {
                return Ok(Flow::Waiting);
            }
            // A short read emptied the socket, and the next byte raises an event of its own.
            let emptied = match tls.source.as_deref() {
                Some(Tls::UserSpace(session)) => session.has_emptied() && !self.closing,
                _ => !self.pace.is_bulk() && length < HOT_BUFFER_BYTES && !self.closing,
            };
            if self.held.is_some() || emptied {
                return Ok(Flow::Waiting);
            }
            moved += length;
        }
        Ok(Flow::Again)
    }

    /// Sends the close frame of a tunnel that is to end, if it is time. `false`: not all of it is taken.
    fn say_farewell(
        &mut self,
        to_client: &mut Option<ToClient<'_>>,
        target: &Self,
        tls: &mut Sessions<'_>,
        side: Side,
        worker: &Worker,
    ) -> Result<bool, TunnelEnd> {
        let Some(to_client) = to_client else { return Ok(true) };
        if !to_client.says_close()? {
            return Ok(true);
        }
        worker.counters().tunnels_drained.of(DrainedBy::CloseFrame).add(1);
        let held = self.take_held();
        self.hold(held, &RESTART_FRAME);
        self.flush(target, tls, side, worker)
    }

    pub(super) fn note_moved(&mut self, length: usize, worker: &Worker) {
        self.pace.add(length, worker.uptime_ms());
        self.chatter.add(length, worker.uptime_seconds_wrapping());
    }

    /// Moves one piece through the hot buffer. `None`: nothing to read; 0: the end.
    fn copy(
        &mut self,
        target: &Self,
        tls: &mut Sessions<'_>,
        to_client: &mut Option<ToClient<'_>>,
        side: Side,
        worker: &Worker,
    ) -> Result<Option<usize>, TunnelEnd> {
        worker.hot.with(|buffer| {
            let Some(length) = unless_blocked(self.receive(tls, buffer), side)? else {
                return Ok(None);
            };
            if length == 0 {
                return Ok(Some(0));
            }
            let passed = to_client.as_mut().map_or(length, |to_client| to_client.pass(&buffer[..length]));
            let sent = target.send(&buffer[..passed], tls, side, worker)?;
            if sent < passed {
                self.held = Some(Box::new(Held::Spill { bytes: buffer[sent..passed].to_vec(), sent: 0 }));
            }
            Ok(Some(length))
        })
    }

    fn receive(&self, tls: &mut Sessions<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        match tls.source.as_deref_mut() {
            None => net::recv(self.fd.as_fd(), buffer),
            Some(tls) => tls.receive(self.fd.as_fd(), buffer),
        }
    }

    /// Moves one piece of so many bytes at most through a pipe. `None`: nothing to read; 0: the end.
    fn splice(
        &mut self,
        (pipe, most): (Pipe, usize),
        target: &Self,
        tls: &mut Sessions<'_>,
        to_client: &mut Option<ToClient<'_>>,
        side: Side,
        worker: &Worker,
    ) -> Result<Option<usize>, TunnelEnd> {
        let length = match pipe.fill(self.fd.as_fd(), pipe.capacity().min(most)) {
            Ok(length) if length > 0 => length,
            nothing => {
                worker.pipes.give_back(pipe);
                let blocked = nothing.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
                // The next record of the kernel's TLS may not be data, which only a receive tells.
                return if tls.source.is_some() && !blocked {
                    self.copy(target, tls, to_client, side, worker)
                } else {
                    unless_blocked(nothing, side)
                };
            }
        };
        if let Some(ToClient { frames, .. }) = to_client {
            frames.skip(length);
        }
        match drain(&pipe, length, target, side, worker) {
            Ok(moved) if moved == length => worker.pipes.give_back(pipe),
            Ok(moved) => self.held = Some(Box::new(Held::Pipe { pipe, bytes: length - moved })),
            Err(reason) => {
                worker.pipes.discard(pipe);
                return Err(reason);
            }
        }
        Ok(Some(length))
    }

    /// Sends what is held. `false` when the target still does not take all of it.
    fn flush(
        &mut self,
        target: &Self,
        tls: &mut Sessions<'_>,
        side: Side,
        worker: &Worker,
    ) -> Result<bool, TunnelEnd> {
        let Some(held) = &mut self.held else { return Ok(true) };
        let empty = match &mut **held {
            Held::Spill { bytes, sent } => {
                *sent += target.send(&bytes[*sent..], tls, side, worker)?;
                *sent == bytes.len()
            }
            Held::Pipe { pipe, bytes } => {
                *bytes -= drain(pipe, *bytes, target, side, worker)?;
                *bytes == 0
            }
            // Goes on when the chunk before them has been sent.
            Held::Queue(_) => false,
        };
        if empty && let Some(held) = self.held.take() {
            held.give_back(worker);
        }
        Ok(empty)
    }

    /// Sends bytes that came from the other end, `side`; 0 when nothing is taken now.
    fn send(
        &self,
        bytes: &[u8],
        tls: &mut Sessions<'_>,
        side: Side,
        worker: &Worker,
    ) -> Result<usize, TunnelEnd> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let result = match tls.target.as_deref_mut() {
            None => net::send(self.fd.as_fd(), bytes),
            Some(tls) => tls.send(self.fd.as_fd(), bytes),
        };
        let sent = unless_blocked(result, side.other())?.unwrap_or(0);
        worker.counters().tunnel_bytes.of(side.direction()).add(sent as u64);
        Ok(sent)
    }

    /// Tells this end over TLS that nothing more comes from the other, `side`. `false`: not all is taken yet.
    fn say_goodbye(&self, tls: &mut Sessions<'_>, side: Side) -> Result<bool, TunnelEnd> {
        let Some(tls) = tls.target.as_deref_mut() else { return Ok(true) };
        tls.say_goodbye(self.fd.as_fd()).map_err(|_| side.other().reset())
    }

    /// Closes the connection; what is held is lost with it.
    pub(super) fn close(self, worker: &Worker) {
        if let Some(held) = self.held {
            held.give_back(worker);
        }
        if self.reading != Reading::Watched {
            worker.counters().tunnel_chats_active.sub(1);
        }
        worker.reactor.close(self.fd, self.source);
    }
}

impl Held {
    fn give_back(self, worker: &Worker) {
        match self {
            Self::Pipe { pipe, bytes: 0 } => worker.pipes.give_back(pipe),
            Self::Pipe { pipe, .. } => worker.pipes.discard(pipe),
            Self::Spill { .. } | Self::Queue(_) => {}
        }
    }
}

/// Moves bytes that came from the end at `side` out of a pipe; 0 when nothing is taken now.
fn drain(pipe: &Pipe, bytes: usize, target: &End, side: Side, worker: &Worker) -> Result<usize, TunnelEnd> {
    let moved = unless_blocked(pipe.drain(target.fd.as_fd(), bytes), side.other())?.unwrap_or(0);
    worker.counters().tunnel_bytes.of(side.direction()).add(moved as u64);
    worker.counters().tunnel_spliced_bytes.of(side.direction()).add(moved as u64);
    Ok(moved)
}

/// `None` if the call would have blocked; any other error is a reset of the connection at `side`.
pub(super) fn unless_blocked(result: io::Result<usize>, side: Side) -> Result<Option<usize>, TunnelEnd> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(side.reset()),
    }
}
