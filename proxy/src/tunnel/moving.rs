//! Tunnels on their way from one process to another (decision 13).
//!
//! On the side that gives, a tunnel is halted, described with duplicates of its descriptors, and kept as it is:
//! halted it can be served on as if nothing had been, until the other process has said that it is its own. On the
//! side that takes it is parked, watched and untouched, until that has been said.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use ringbolt_reactor::{Key, Socket};

use super::end::{End, Held, Reading};
use super::farewell::Farewell;
use super::tls::Tls;
use super::{Beside, Side, Told, Tunnel, arm, begin, close, drive, insert};
use crate::admission::{self, Entered};
use crate::handover::{EndState, TunnelState};
use crate::limits::{HALT_TIMEOUT, HANDOVER_TUNNELS_MAX, QUIET_SECONDS};
use crate::load::Counted;
use crate::metrics::label::TunnelEnd;
use crate::snapshot::ListenerId;
use crate::stream::Stream;
use crate::tls::KernelSession;
use crate::worker::Worker;

/// Between two looks whether a halted tunnel has come to rest, which takes a turn of the loop or two.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A worker's tunnels that move, on either side.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Still to be halted, the next one last.
    chosen: Vec<Key>,
    /// Halted and described to the other process.
    given: Vec<Key>,
    /// Taken over from another process, and not begun.
    parked: Vec<Tunnel>,
}

/// Which tunnels are to move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choose {
    /// Those that have been silent for a while: they will hardly notice.
    Quiet,
    All,
}

/// A halted tunnel, as the other process needs it.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) state: TunnelState,
    pub(crate) client: OwnedFd,
    pub(crate) upstream: OwnedFd,
    /// Bytes read from the client and from the upstream that the other end has not taken.
    pub(crate) held: [Vec<u8>; 2],
    /// Of its listener; the state has none yet.
    pub(crate) listener: Option<ListenerId>,
}

/// A tunnel of another process, in the terms of this one.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) state: TunnelState,
    pub(crate) client: OwnedFd,
    pub(crate) upstream: OwnedFd,
    pub(crate) held: [Vec<u8>; 2],
    pub(crate) listener: Option<ListenerId>,
    pub(crate) counted: Counted,
}

/// Chooses the tunnels that [`give`] gives from now on.
pub(crate) fn choose(worker: &Worker, choose: Choose) {
    let now = worker.uptime_seconds();
    let slots = worker.tunnels.slots.borrow();
    let mut chosen = slots.keys();
    chosen.retain(|key| {
        let tunnel = slots.get(*key).filter(|tunnel| !tunnel.moving && tunnel.may_move());
        tunnel.is_some_and(|tunnel| {
            choose == Choose::All || tunnel.silent_for(now) >= Duration::from_secs(QUIET_SECONDS)
        })
    });
    worker.tunnels.moves.borrow_mut().chosen = chosen;
}

/// Halts the next chosen tunnels and describes them. Empty: there are no more.
pub(crate) async fn give(worker: &Worker) -> Vec<Leaving> {
    let mut leaving = Vec::new();
    while leaving.is_empty() {
        let halted = halt_next(worker);
        if halted.is_empty() {
            break;
        }
        let deadline = worker.reactor.now() + HALT_TIMEOUT;
        while !at_rest(worker, &halted) && worker.reactor.now() < deadline {
            worker.reactor.sleep_until(worker.reactor.now() + LOOK_INTERVAL).await;
        }
        for key in halted {
            match describe(worker, key) {
                Some(described) => {
                    worker.tunnels.moves.borrow_mut().given.push(key);
                    leaving.push(described);
                }
                // It moves with a later round, or ends here.
                None => resume(worker, key),
            }
        }
    }
    leaving
}

/// Tunnels that no other process can take over.
pub(crate) fn count_staying(worker: &Worker) -> u64 {
    let slots = worker.tunnels.slots.borrow();
    slots.keys().into_iter().filter_map(|key| slots.get(key)).filter(|tunnel| !tunnel.may_move()).count()
        as u64
}

fn halt_next(worker: &Worker) -> Vec<Key> {
    let mut moves = worker.tunnels.moves.borrow_mut();
    let mut slots = worker.tunnels.slots.borrow_mut();
    let first = moves.chosen.len().saturating_sub(HANDOVER_TUNNELS_MAX);
    let mut next = moves.chosen.split_off(first);
    next.retain(|key| {
        let Some(tunnel) = slots.get_mut(*key) else { return false };
        tunnel.moving = true;
        tunnel.client.stop_chat(worker);
        tunnel.upstream.stop_chat(worker);
        true
    });
    next
}

fn at_rest(worker: &Worker, keys: &[Key]) -> bool {
    let slots = worker.tunnels.slots.borrow();
    keys.iter().all(|key| slots.get(*key).is_none_or(Tunnel::is_at_rest))
}

/// `None`: it has ended, does not come to rest, or cannot be described.
fn describe(worker: &Worker, key: Key) -> Option<Leaving> {
    let mut slots = worker.tunnels.slots.borrow_mut();
    let tunnel = slots.get_mut(key).filter(|tunnel| tunnel.is_at_rest())?;
    let held = [tunnel.client.bytes_held(worker).ok()?, tunnel.upstream.bytes_held(worker).ok()?];
    let end = |end: &End, held: &Vec<u8>| {
        Some(EndState { finished: end.finished, held: u32::try_from(held.len()).ok()? })
    };
    let (listener, client) = tunnel.entered().map_or((None, None), |entered| entered.of());
    let silent = tunnel.silent_for(worker.uptime_seconds()).as_secs();
    Some(Leaving {
        state: TunnelState {
            backend: tunnel.counted.backend(),
            listener: None,
            client,
            silent_seconds: u32::try_from(silent).unwrap_or(u32::MAX),
            of_client: end(&tunnel.client, &held[0])?,
            of_upstream: end(&tunnel.upstream, &held[1])?,
            client_first: tunnel.first_closed == Some(Side::Client),
            frames: tunnel.frames,
            tls: tunnel.kernel_session().map(KernelSession::state),
        },
        client: tunnel.client.fd.as_fd().try_clone_to_owned().ok()?,
        upstream: tunnel.upstream.fd.as_fd().try_clone_to_owned().ok()?,
        held,
        listener,
    })
}

/// Serves a halted tunnel on. Events that came meanwhile were not looked at, so both directions are.
fn resume(worker: &Worker, key: Key) {
    let (index, wait) = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.get_mut(key) else { return };
        tunnel.moving = false;
        let wait = worker.tunnels.wait_of(tunnel, worker.uptime_seconds());
        (key.index, wait.filter(|_| tunnel.timer.is_none()))
    };
    if let Some((wait, _)) = wait {
        arm(worker, index, wait);
    }
    drive(worker, index, &Side::BOTH);
}

/// The other process has failed: serves all tunnels on that were given to it.
pub(crate) fn keep(worker: &Worker) {
    let given = {
        let mut moves = worker.tunnels.moves.borrow_mut();
        moves.chosen = Vec::new();
        std::mem::take(&mut moves.given)
    };
    given.into_iter().for_each(|key| resume(worker, key));
}

/// The other process has the tunnels that were given to it: lets go of them.
pub(crate) fn let_go(worker: &Worker) {
    let given = std::mem::take(&mut worker.tunnels.moves.borrow_mut().given);
    given.into_iter().for_each(|key| close(worker, key.index, TunnelEnd::HandedOver));
}

/// Takes tunnels of another process in, without touching them.
///
/// # Errors
/// One cannot be watched; it is closed here.
pub(crate) fn park(worker: &Worker, arriving: Vec<Arriving>) -> io::Result<()> {
    for Arriving { state, client, upstream, held: [of_client, of_upstream], listener, counted } in arriving {
        let (client, upstream) = (watched(worker, client)?, watched(worker, upstream)?);
        let end = |socket, unread, finished| End {
            finished,
            ..End::new(Stream { unread, ..Stream::new(socket) }).0
        };
        let (client_finished, upstream_finished) = (state.of_client.finished, state.of_upstream.finished);
        let record = worker.access_log.as_ref().and_then(|log| {
            let address = rustix::net::getpeername(client.fd()).ok()??;
            let address = SocketAddr::try_from(address).ok()?.ip().to_canonical();
            log.begin_connection(worker, address, None)
        });
        let entered = admission::enter_again(worker, listener, state.client);
        let tls = state.tls.map(|state| Tls::Kernel(KernelSession::of(state)));
        let first = if state.client_first { Side::Client } else { Side::Upstream };
        let tunnel = Tunnel {
            client: end(client, of_client, client_finished),
            upstream: end(upstream, of_upstream, upstream_finished),
            counted,
            beside: (entered.is_some() || tls.is_some() || record.is_some()).then(|| {
                Box::new(Beside { entered, client: tls, upstream: None, told: Told::new(record, None) })
            }),
            first_closed: (client_finished || upstream_finished).then_some(first),
            timer: None,
            active_at: worker.uptime_seconds().wrapping_sub(state.silent_seconds),
            opened_at: worker.uptime_seconds(),
            frames: state.frames,
            farewell: Farewell::Open,
            moving: false,
        };
        worker.tunnels.moves.borrow_mut().parked.push(tunnel);
    }
    Ok(())
}

/// Watches a descriptor. Nothing is known of it, so nobody reads from it until there is something to read.
fn watched(worker: &Worker, fd: OwnedFd) -> io::Result<Socket> {
    let source = worker.reactor.register(fd.as_fd())?;
    Ok(Socket::from_parts(&worker.reactor, fd, source))
}

/// The parked tunnels are this process' own: serves them.
pub(crate) fn adopt(worker: &Worker) {
    let parked = std::mem::take(&mut worker.tunnels.moves.borrow_mut().parked);
    for tunnel in parked {
        let wait = worker.tunnels.wait_of(&tunnel, worker.uptime_seconds());
        let index = insert(worker, tunnel);
        if let Some((wait, _)) = wait {
            arm(worker, index, wait);
        }
        begin(worker, index);
    }
}

/// The parked tunnels stay the other process' own: lets go of them.
pub(crate) fn discard(worker: &Worker) {
    let parked = std::mem::take(&mut worker.tunnels.moves.borrow_mut().parked);
    for tunnel in parked {
        worker.shared.loads.release(tunnel.counted);
        tunnel.client.close(worker);
        tunnel.upstream.close(worker);
    }
}

impl Tunnel {
    /// Both connections can be served by another process as they are: neither has keys or counters of TLS in this one's
    /// memory, and it is not about to end.
    pub(super) fn may_move(&self) -> bool {
        self.farewell == Farewell::Open && !self.has_user_space_tls()
    }

    /// The TLS of its client, where the kernel has that.
    fn kernel_session(&self) -> Option<&KernelSession> {
        match self.beside.as_deref()?.client.as_ref()? {
            Tls::Kernel(session) => Some(session),
            Tls::UserSpace(_) => None,
        }
    }

    /// What the client's connection counts towards.
    fn entered(&self) -> Option<&Entered> {
        self.beside.as_ref()?.entered.as_deref()
    }

    /// Nobody is reading from it or writing to it.
    fn is_at_rest(&self) -> bool {
        [&self.client, &self.upstream].iter().all(|end| end.reading == Reading::Watched && !end.sending)
    }
}

impl End {
    /// A copy of the bytes that the other end has not taken. They are then held in memory, whatever held them.
    fn bytes_held(&mut self, worker: &Worker) -> io::Result<Vec<u8>> {
        if let Some(Held::Pipe { pipe, bytes }) = self.held.as_deref() {
            let mut emptied = vec![0; *bytes];
            let mut length = 0;
            while length < emptied.len() {
                match rustix::io::read(pipe.reader(), &mut emptied[length..])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    more => length += more,
                }
            }
            if let Some(Held::Pipe { pipe, .. }) = self.held.take().map(|held| *held) {
                worker.pipes.give_back(pipe);
            }
            self.hold(emptied, &[]);
        }
        Ok(match self.held.as_deref() {
            Some(Held::Spill { bytes, sent }) => bytes[*sent..].to_vec(),
            // A queue is held while a chunk is being sent, and not at rest.
            Some(Held::Pipe { .. } | Held::Queue(_)) => return Err(io::ErrorKind::ResourceBusy.into()),
            None => Vec::new(),
        })
    }
}
