//! Tunnels: bytes both ways after a 101, or in TCP mode, until both ends have closed.
//!
//! A tunnel is not a task (decision 2): it is one small slot in its worker's table, holding two
//! descriptors, counters and flags. An idle one owns no buffer, no pipe, no future and no timer. How
//! bytes move is in `tunnel/end.rs`; here is when, and how a tunnel begins and ends.

mod chat;
mod end;
pub(crate) mod farewell;
pub(crate) mod moving;
mod tls;
mod told;

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::time::Duration;

use ringbolt_core::frames::Frames;
use ringbolt_core::silence::Silence;
use ringbolt_reactor::{Ready, SinkToken, Slab, TimerId, shutdown_write};

use crate::access_log::TunnelRecord;
use crate::admission::Entered;
use crate::config::Timeouts;
use crate::limits::{KTLS_KEY_LOOK_SECONDS, TUNNELS_PER_WORKER_MAX};
use crate::load::Counted;
use crate::metrics::label::{Direction, DrainedBy, TunnelEnd};
use crate::stream::Stream;
use crate::worker::Worker;

use self::chat::Chat;
pub(crate) use self::chat::{quieten, received, sent};
use self::end::{End, Flow, Sessions};
use self::farewell::{Farewell, ToClient};
use self::moving::Moves;
use self::tls::Tls;
pub(crate) use self::told::Told;

/// The end a byte comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Upstream,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Client, Self::Upstream];

    /// The way of bytes from this end.
    fn direction(self) -> Direction {
        match self {
            Self::Client => Direction::ClientToUpstream,
            Self::Upstream => Direction::UpstreamToClient,
        }
    }

    /// How a tunnel ends whose connection at this end has failed.
    fn reset(self) -> TunnelEnd {
        match self {
            Self::Client => TunnelEnd::ClientReset,
            Self::Upstream => TunnelEnd::UpstreamReset,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

#[derive(Debug)]
struct Tunnel {
    client: End,
    upstream: End,
    counted: Counted,
    /// What few tunnels have.
    beside: Option<Box<Beside>>,
    first_closed: Option<Side>,
    timer: Option<TimerId>,
    /// The worker's uptime in seconds when bytes last moved; wrapped around where that was in another process.
    active_at: u32,
    /// The same when it was opened, or taken over from another process.
    opened_at: u32,
    /// Where the stream of frames is that the client has been sent; lost where it is none.
    frames: Frames,
    farewell: Farewell,
    /// On its way to another process: nothing is read or written.
    moving: bool,
}

/// What a tunnel has with a bounded listener, with TLS at one of its ends, or with an access log.
#[derive(Debug)]
struct Beside {
    /// What the client's connection counts towards until the end.
    entered: Option<Box<Entered>>,
    client: Option<Tls>,
    upstream: Option<Tls>,
    told: Told,
}

/// What a million idle tunnels cost is this, a slot's bookkeeping, and two sources of the reactor.
const _: () = assert!(size_of::<Tunnel>() <= 128);

/// The tunnels of one worker.
#[derive(Debug)]
pub(crate) struct TunnelTable {
    slots: RefCell<Slab<Tunnel>>,
    /// Directions that chat, or did until lately.
    chats: RefCell<Vec<Chat>>,
    moves: RefCell<Moves>,
    silence: RefCell<Silence>,
    half_closed: Cell<Duration>,
    idle: Cell<Option<Duration>>,
    max_age: Cell<Option<Duration>>,
}

impl TunnelTable {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self {
            slots: RefCell::new(Slab::new(u32::MAX)),
            chats: RefCell::default(),
            moves: RefCell::default(),
            silence: RefCell::default(),
            half_closed: Cell::new(timeouts.tunnel_half_closed),
            idle: Cell::new(timeouts.tunnel_idle),
            max_age: Cell::new(timeouts.tunnel_max_age),
        }
    }

    /// New timeouts. A tunnel that was opened without either stays without.
    pub(crate) fn adopt(&self, timeouts: &Timeouts) {
        self.half_closed.set(timeouts.tunnel_half_closed);
        self.idle.set(timeouts.tunnel_idle);
        self.max_age.set(timeouts.tunnel_max_age);
    }

    /// How much longer a tunnel may go on like this, at an uptime of the worker, and why no longer; `None`: for ever.
    fn wait_of(&self, tunnel: &Tunnel, uptime_seconds: u32) -> Option<(Duration, TunnelEnd)> {
        let (silence, reason) = match tunnel.first_closed {
            Some(_) => (Some(self.half_closed.get()), TunnelEnd::HalfClosedTimeout),
            None => (self.idle.get(), TunnelEnd::IdleTimeout),
        };
        let age = Duration::from_secs(u64::from(uptime_seconds.wrapping_sub(tunnel.opened_at)));
        let silence = silence.map(|most| (most.saturating_sub(tunnel.silent_for(uptime_seconds)), reason));
        let age = self.max_age.get().map(|most| (most.saturating_sub(age), TunnelEnd::MaxAge));
        silence.into_iter().chain(age).min_by_key(|(wait, _)| *wait)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Memory of the slots.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.borrow().bytes()
    }

    /// How many have been silent for long, at an uptime of the worker.
    pub(crate) fn idle(&self, uptime_seconds: u32) -> u32 {
        self.silence.borrow_mut().idle(uptime_seconds)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= TUNNELS_PER_WORKER_MAX
    }
}

impl Tunnel {
    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    /// How long nothing has moved, at an uptime of the worker.
    fn silent_for(&self, uptime_seconds: u32) -> Duration {
        Duration::from_secs(u64::from(uptime_seconds.wrapping_sub(self.active_at)))
    }

    /// The end `from` reads and the end it writes to.
    fn ends(&mut self, from: Side) -> (&mut End, &mut End) {
        match from {
            Side::Client => (&mut self.client, &mut self.upstream),
            Side::Upstream => (&mut self.upstream, &mut self.client),
        }
    }

    /// Moves bytes that `from` has sent to the other end, as many as both allow.
    fn pump(&mut self, worker: &Worker, from: Side) -> Result<Flow, TunnelEnd> {
        let sent = worker.counters().tunnel_bytes.of(from.direction()).get();
        let (client, upstream, record) = match self.beside.as_deref_mut() {
            None => (None, None, None),
            Some(beside) => (beside.client.as_mut(), beside.upstream.as_mut(), beside.told.record.as_mut()),
        };
        let (source, target, tls) = match from {
            Side::Client => (&mut self.client, &self.upstream, Sessions { source: client, target: upstream }),
            Side::Upstream => {
                (&mut self.upstream, &self.client, Sessions { source: upstream, target: client })
            }
        };
        let to_client = ToClient { frames: &mut self.frames, farewell: &mut self.farewell };
        let to_client = (from == Side::Upstream).then_some(to_client);
        let flow = source.pump(target, tls, to_client, from, worker);
        if let Some(record) = record {
            // Nobody else has counted meanwhile, so the difference is this tunnel's.
            let counter = worker.counters().tunnel_bytes.of(from.direction());
            record.add(from.direction(), counter.get().wrapping_sub(sent));
        }
        let flow = flow?;
        if flow == Flow::Finished {
            self.finish(from)?;
        }
        Ok(flow)
    }

    /// What is to be logged of it.
    fn record(&mut self) -> Option<&mut TunnelRecord> {
        self.beside.as_deref_mut()?.told.record.as_deref_mut()
    }

    /// Tells TLS ends that this is the end, as far as their sockets take it at once.
    fn say_goodbye(&mut self) {
        let Some(beside) = self.beside.as_deref_mut() else { return };
        for (tls, end) in [(&mut beside.client, &self.client), (&mut beside.upstream, &self.upstream)] {
            if let Some(tls) = tls {
                let _ = tls.say_goodbye(end.fd.as_fd());
            }
        }
    }

    /// Bytes on one of the sockets are not those of the tunnel.
    fn has_user_space_tls(&self) -> bool {
        self.beside.as_deref().is_some_and(|beside| {
            [&beside.client, &beside.upstream].into_iter().flatten().any(Tls::is_user_space)
        })
    }

    /// Something moves. About once a minute of that, looks after a key that the kernel has.
    fn note_active(&mut self, worker: &Worker) -> Result<(), TunnelEnd> {
        let now = worker.uptime_seconds();
        let before = std::mem::replace(&mut self.active_at, now);
        if before != now {
            worker.tunnels.silence.borrow_mut().moved(before, now);
        }
        match self.beside.as_deref_mut() {
            Some(Beside { client: Some(tls), .. })
                if before / KTLS_KEY_LOOK_SECONDS != now / KTLS_KEY_LOOK_SECONDS =>
            {
                tls.look_after_key(self.client.fd.as_fd()).map_err(|_| TunnelEnd::KeyUsedUp)
            }
            _ => Ok(()),
        }
    }

    /// `from` has sent its last byte: passes the FIN on. The other direction goes on.
    fn finish(&mut self, from: Side) -> Result<(), TunnelEnd> {
        let (source, target) = self.ends(from);
        let both = source.finished && target.finished;
        if !both {
            // Fails only when the far end is gone already, which its own event tells. The second FIN
            // goes out with the close, which follows at once.
            let _ = shutdown_write(target.fd.as_fd());
        }
        let first = *self.first_closed.get_or_insert(from);
        match (both, first) {
            (false, _) => Ok(()),
            (true, Side::Client) => Err(TunnelEnd::ClientClosed),
            (true, Side::Upstream) => Err(TunnelEnd::UpstreamClosed),
        }
    }
}

/// Makes a tunnel of two connections: a 101 has been forwarded, or nothing but bytes is to come.
///
/// Bytes already read from either end go through first, in order. `frames`: what comes from the upstream.
pub(crate) fn open(
    worker: &Worker,
    client: Stream,
    (entered, told): (Option<Box<Entered>>, Told),
    upstream: Stream,
    mut frames: Frames,
    counted: Counted,
) {
    frames.follow(&upstream.unread);
    let ((client, client_session), (upstream, upstream_session)) = (End::new(client), End::new(upstream));
    let client_tls = match client_session.map(|session| Tls::client(session, &client, worker)) {
        None => None,
        Some(Some(tls)) => Some(tls),
        Some(None) => {
            worker.shared.loads.release(counted);
            told.tell(worker, TunnelEnd::ClientReset);
            client.close(worker);
            return upstream.close(worker);
        }
    };
    let upstream_tls = upstream_session.map(Tls::UserSpace);
    let is_needed = entered.is_some() || !told.is_nothing() || client_tls.is_some() || upstream_tls.is_some();
    let beside =
        is_needed.then(|| Box::new(Beside { entered, client: client_tls, upstream: upstream_tls, told }));
    let tunnel = Tunnel {
        client,
        upstream,
        counted,
        beside,
        first_closed: None,
        timer: None,
        active_at: worker.uptime_seconds(),
        opened_at: worker.uptime_seconds(),
        frames,
        farewell: Farewell::Open,
        moving: false,
    };
    worker.counters().tunnels.add(1);
    let wait = worker.tunnels.wait_of(&tunnel, worker.uptime_seconds());
    let index = insert(worker, tunnel);
    if let Some((wait, _)) = wait {
        arm(worker, index, wait);
    }
    begin(worker, index);
}

/// Gives a tunnel its slot.
fn insert(worker: &Worker, tunnel: Tunnel) -> u32 {
    worker.connection_began();
    worker.counters().tunnels_active.add(1);
    worker.tunnels.silence.borrow_mut().began(tunnel.active_at, worker.uptime_seconds());
    worker.tunnels.slots.borrow_mut().insert(tunnel).index
}

/// From now on its events are served.
fn begin(worker: &Worker, index: u32) {
    let ends = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.at(index) else { return };
        [&tunnel.client, &tunnel.upstream].map(|end| (end.source, end.is_blocked()))
    };
    for (side, (source, _)) in Side::BOTH.into_iter().zip(ends) {
        worker.reactor.assign(source, token(index, side));
    }
    // No event announces bytes that have been read already; all others are told by the sources' first event.
    for (side, (_, unread)) in Side::BOTH.into_iter().zip(ends) {
        if unread {
            drive(worker, index, &[side]);
        }
    }
}

/// An event of one of the tunnel's descriptors.
pub(crate) fn ready(worker: &Worker, token: SinkToken, ready: Ready) {
    let (index, side) = place(token);
    let unblocks = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.at(index) else { return };
        tunnel.end(side).note(ready);
        ready.writable() && tunnel.end(side.other()).is_blocked()
    };
    // A socket is nearly always writable, so that alone is no reason to read from the other end.
    let readable = ready.readable() || ready.read_closed() || ready.closed() || ready.error();
    match (readable, unblocks) {
        (true, true) => drive(worker, index, &[side, side.other()]),
        (true, false) => drive(worker, index, &[side]),
        (false, true) => drive(worker, index, &[side.other()]),
        (false, false) => {}
    }
}

/// The tunnel's timer has fired: closes it if its time is over, else waits on.
pub(crate) fn expired(worker: &Worker, token: SinkToken) {
    let (index, _) = place(token);
    let now = worker.uptime_seconds();
    let verdict = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.at(index) else { return };
        tunnel.timer = None;
        if tunnel.moving {
            return;
        }
        let wait = match tunnel.farewell {
            Farewell::Open => worker.tunnels.wait_of(tunnel, now),
            Farewell::Due | Farewell::Said => Some((Duration::ZERO, TunnelEnd::Drained)),
        };
        let Some((wait, reason)) = wait else { return };
        if wait.is_zero() { Err(reason) } else { Ok(wait) }
    };
    match verdict {
        Ok(wait) => arm(worker, index, wait),
        Err(reason) => close(worker, index, reason),
    }
}

/// Moves what can be moved in the given directions and closes the tunnel if that ended it.
fn drive(worker: &Worker, index: u32, from: &[Side]) {
    let mut ended;
    {
        let mut slots = worker.tunnels.slots.borrow_mut();
        let Some(tunnel) = slots.at(index).filter(|tunnel| !tunnel.moving) else { return };
        let was_half_closed = tunnel.first_closed.is_some();
        ended = tunnel.note_active(worker).err();
        for &side in if ended.is_none() { from } else { &[] } {
            match tunnel.pump(worker, side) {
                Ok(Flow::Waiting) => chat::consider(tunnel, worker, index, side),
                Ok(Flow::Finished) => {}
                Ok(Flow::Again) => worker.reactor.again(tunnel.end(side).source),
                Err(reason) => {
                    ended = Some(reason);
                    break;
                }
            }
        }
        let goes_on = ended.is_none() && tunnel.farewell == Farewell::Open;
        if goes_on && !was_half_closed && tunnel.first_closed.is_some() {
            if let Some(idle_timer) = tunnel.timer.take() {
                worker.reactor.cancel_timer(idle_timer);
            }
            let wait = worker.tunnels.wait_of(tunnel, worker.uptime_seconds());
            tunnel.timer = wait.map(|(wait, _)| {
                worker.reactor.set_timer(worker.reactor.now() + wait, token(index, Side::Client))
            });
        }
    }
    if let Some(reason) = ended {
        close(worker, index, reason);
    }
}

fn arm(worker: &Worker, index: u32, wait: Duration) {
    let timer = worker.reactor.set_timer(worker.reactor.now() + wait, token(index, Side::Client));
    if let Some(tunnel) = worker.tunnels.slots.borrow_mut().at(index) {
        tunnel.timer = Some(timer);
    }
}

fn close(worker: &Worker, index: u32, reason: TunnelEnd) {
    let removed = {
        let mut slots = worker.tunnels.slots.borrow_mut();
        slots.key_at(index).and_then(|key| slots.remove(key))
    };
    let Some(mut tunnel) = removed else { return };
    // Whichever end is faster then.
    let reason = if tunnel.farewell == Farewell::Open { reason } else { TunnelEnd::Drained };
    if reason == TunnelEnd::Drained && tunnel.farewell != Farewell::Said {
        worker.counters().tunnels_drained.of(DrainedBy::Fin).add(1);
    }
    if reason.is_orderly() {
        tunnel.say_goodbye();
    }
    let Tunnel { client, upstream, counted, timer, beside, opened_at, active_at, .. } = tunnel;
    worker.tunnels.silence.borrow_mut().ended(active_at, worker.uptime_seconds());
    let life = worker.uptime_seconds().wrapping_sub(opened_at);
    worker.counters().tunnel_durations.add(Duration::from_secs(life.into()));
    if let Some(timer) = timer {
        worker.reactor.cancel_timer(timer);
    }
    // Counted first, so that who has seen the end finds it counted.
    worker.shared.loads.release(counted);
    worker.counters().tunnels_closed.of(reason).add(1);
    worker.counters().tunnels_active.sub(1);
    if let Some(beside) = beside {
        beside.told.tell(worker, reason);
    }
    client.close(worker);
    upstream.close(worker);
    worker.connection_ended();
}

/// A token is the slot's index and, in the lowest bit, the side.
fn token(index: u32, side: Side) -> SinkToken {
    SinkToken(index << 1 | u32::from(side == Side::Upstream))
}

fn place(token: SinkToken) -> (u32, Side) {
    let side = if token.0 & 1 == 1 { Side::Upstream } else { Side::Client };
    (token.0 >> 1, side)
}
