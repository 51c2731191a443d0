//! Tunnels that a drain ends: of a backend, or of the whole process.
//!
//! A WebSocket client is told to connect again, by a close frame with the code 1012, where the last frame it was sent is
//! known to be whole (`ringbolt_core::frames`). From then on nothing of the backend reaches it. It answers with a close
//! frame of its own, which reaches the backend, and that closes the connection as both ends are used to. Whoever does
//! not, and every tunnel of which no boundary is known, is closed by FIN.

use std::time::Duration;

use ringbolt_core::affinity::BackendId;
use ringbolt_core::frames::Frames;
use ringbolt_reactor::Key;

use super::{Side, Tunnel, arm, close, drive};
use crate::limits::{FAREWELL_TIMEOUT, SPLICED_FRAME_BYTES_MIN};
use crate::metrics::label::TunnelEnd;
use crate::worker::Worker;

/// How far the end of a tunnel has come that is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// It is not to end.
    Open,
    /// The close frame waits for the end of a frame, or for the kernel to stop receiving.
    Due,
    /// The close frame is on its way: what the backend still sends is dropped.
    Said,
}

/// What goes from the backend to the client, as far as the end of a tunnel needs to know.
#[derive(Debug)]
pub(super) struct ToClient<'a> {
    pub(super) frames: &'a mut Frames,
    pub(super) farewell: &'a mut Farewell,
}

impl ToClient<'_> {
    /// How many of these bytes are to be passed on.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        match self.farewell {
            Farewell::Open => {
                self.frames.follow(bytes);
                bytes.len()
            }
            Farewell::Due => self.frames.follow_to_boundary(bytes),
            Farewell::Said => 0,
        }
    }

    /// Bytes that may be spliced now, unseen.
    pub(super) fn spliced_bytes_max(&self) -> usize {
        match self.frames.payload_left() {
            _ if self.ends() => 0,
            _ if self.frames.is_lost() => usize::MAX,
            left if left >= SPLICED_FRAME_BYTES_MIN => left,
            _ => 0,
        }
    }

    /// Bulk was copied for the sake of the frames: no more of it, if that found no long one.
    pub(super) fn may_lose_track(&mut self) {
        if !self.ends() && self.spliced_bytes_max() == 0 {
            *self.frames = Frames::LOST;
        }
    }

    /// The tunnel is to end.
    pub(super) fn ends(&self) -> bool {
        *self.farewell != Farewell::Open
    }

    /// Whether the close frame is to go behind what has been passed on; once.
    ///
    /// # Errors
    /// There can be none any more.
    pub(super) fn says_close(&mut self) -> Result<bool, TunnelEnd> {
        match self.farewell {
            Farewell::Due if self.frames.is_lost() => Err(TunnelEnd::Drained),
            Farewell::Due if self.frames.at_boundary() => {
                *self.farewell = Farewell::Said;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Which tunnels a drain ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shed {
    All,
    /// Those that no other process can take over.
    Unmovable,
    To(BackendId),
}

impl Shed {
    fn includes(self, tunnel: &Tunnel) -> bool {
        match self {
            Self::All => true,
            Self::Unmovable => !tunnel.may_move(),
            Self::To(backend) => tunnel.counted.backend() == backend,
        }
    }
}

/// Closes tunnels of the worker, spread evenly over `over` with the help of random numbers, as long as `goes_on`.
pub(crate) async fn shed(
    worker: &Worker,
    which: Shed,
    over: Duration,
    random: impl Fn() -> u64,
    goes_on: impl Fn() -> bool,
) {
    let keys: Vec<_> = {
        let slots = worker.tunnels.slots.borrow();
        let leaves = |key: &Key| slots.get(*key).is_some_and(|tunnel| which.includes(tunnel));
        slots.keys().into_iter().filter(leaves).collect()
    };
    let count = u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1);
    let began = worker.reactor.now();
    for (number, key) in (0..count).zip(keys) {
        // Each at a moment of its own within its share of the time.
        let (_, percent) = random().carrying_mul(100, 0);
        let share = over / count;
        let wait = share * number + share / 100 * u32::try_from(percent).unwrap_or(0);
        worker.reactor.sleep_until(began + wait).await;
        if !goes_on() {
            return;
        }
        begin(worker, key);
    }
}

/// Closes every tunnel of the worker now: the drain deadline has passed.
pub(crate) fn close_all(worker: &Worker) {
    let open = worker.tunnels.slots.borrow().keys();
    for key in open {
        // Nobody waits for an answer, but a client that can be told is.
        begin(worker, key);
        if worker.tunnels.slots.borrow().get(key).is_some() {
            close(worker, key.index, TunnelEnd::Drained);
        }
    }
}

/// Begins the end of a tunnel, and ends it where nothing can be said.
fn begin(worker: &Worker, key: Key) {
    let timer = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        // One that is on its way to another process is that one's to close.
        let Some(tunnel) = slots.get_mut(key).filter(|tunnel| !tunnel.moving) else { return };
        if tunnel.farewell != Farewell::Open {
            return;
        }
        if tunnel.frames.is_lost() || tunnel.first_closed.is_some() {
            None
        } else {
            tunnel.farewell = Farewell::Due;
            tunnel.client.stop_chat(worker);
            tunnel.upstream.stop_chat(worker);
            Some(tunnel.timer.take())
        }
    };
    let Some(timer) = timer else { return close(worker, key.index, TunnelEnd::Drained) };
    if let Some(timer) = timer {
        worker.reactor.cancel_timer(timer);
    }
    arm(worker, key.index, FAREWELL_TIMEOUT);
    drive(worker, key.index, &[Side::Upstream]);
}
