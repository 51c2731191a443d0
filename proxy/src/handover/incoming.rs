//! The new process' part of a hand-over.
//!
//! It starts as any other process does, but for sockets that are bound already, and its workers neither accept nor
//! touch a tunnel until it has said `Committed`. Whatever goes wrong before, it ends, and the other process serves
//! on as if nothing had been.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_core::affinity::{BackendId, SidRecord};
use ringbolt_reactor::BoundListener;

use super::channel::{Broken, Channel};
use super::program::VARIABLE;
use super::wire::{Kept, LOWEST, Message, TunnelState, VERSION};
use super::{Crew, EndState, Failure};
use crate::edits::{Edited, Edits};
use crate::identity::Identity;
use crate::limits::{
    HANDOVER_HALT_MAX, HANDOVER_HELD_BYTES_MAX, HANDOVER_START_TIMEOUT, HANDOVER_STEP_TIMEOUT,
};
use crate::listeners::Inherited;
use crate::metrics::HousekeepingCounters;
use crate::metrics::label::Handover;
use crate::queue;
use crate::server::{Inheritance, Server};
use crate::snapshot::ListenerId;
use crate::start::StartError;
use crate::tunnel::moving::Arriving;
use crate::worker::Move;

/// A backend as the other process knows it.
#[derive(Debug)]
struct Backend {
    number: BackendId,
    upstream: String,
    name: String,
    checked: Option<bool>,
    /// `None`: an older program does not say.
    kept: Option<Kept>,
}

/// What the other process has, as far as it matters to the start.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    hash_key: [u8; 16],
    backends: Vec<Backend>,
    edits: Edits,
    /// Its listeners, in its order.
    listeners: Inherited,
    admin: Option<(SocketAddr, OwnedFd)>,
    socket: Option<(String, OwnedFd)>,
}

/// This process, about to take over.
#[derive(Debug)]
pub(crate) struct Successor {
    channel: Channel,
    backends: Vec<Backend>,
    /// Configured addresses of the other process' listeners, in its order.
    listeners: Vec<SocketAddr>,
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TakenOver {
    pub(crate) tunnels: u64,
    pub(crate) sids: u64,
    /// Tunnels that the other process goes on to serve.
    pub(crate) staying: u64,
    /// From the first tunnel to the last.
    pub(crate) duration: Duration,
}

impl TakenOver {
    /// Counts and tells what this is.
    pub(crate) fn show(self, counters: &HousekeepingCounters) {
        let milliseconds = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        counters.handovers.of(Handover::TakenOver).add(1);
        counters.handover_tunnels.add(self.tunnels);
        counters.handover_sids.add(self.sids);
        counters.handover_durations.add(self.duration);
        counters.handover_tunnels_staying.set(self.staying);
        let Self { tunnels, sids, staying, .. } = self;
        tracing::info!(tunnels, sids, staying, milliseconds, "taken over");
    }
}

impl Successor {
    /// Hears what there is to take over. `None`: this process was started by nobody who has anything.
    ///
    /// # Errors
    /// The other process does not say, or not in a form that is understood.
    pub(crate) fn greet() -> Result<Option<(Self, Estate)>, StartError> {
        if env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let failed = |broken: Broken| StartError::new(format!("cannot take over: {broken}"));
        let channel = line().map(Channel::from_fd).map_err(|error| failed(error.into()))?;
        channel.set_timeout(Some(HANDOVER_START_TIMEOUT)).map_err(|error| failed(error.into()))?;
        let mut estate = hear(&channel).map_err(failed)?;
        let listeners = estate.listeners.iter().map(|(configured, _)| *configured).collect();
        let backends = std::mem::take(&mut estate.backends);
        Ok(Some((Self { channel, backends, listeners }, estate)))
    }

    /// Takes everything over from the other process, and serves.
    ///
    /// # Errors
    /// The other process has given up, or this one cannot: it must end then.
    pub(crate) fn take_over(self, server: &mut Server) -> Result<TakenOver, StartError> {
        let mut numbers = BTreeMap::new();
        for Backend { number, upstream, name, checked, kept } in self.backends {
            let identity = server.identify(upstream, name, checked)?;
            if let Some(kept) = kept {
                identity.restore(&kept, Instant::now());
            }
            numbers.insert(number, identity);
        }
        server.settle_orders();
        server.join_unknown(&numbers);
        let mut known: Vec<_> = server.listeners().map(|known| (known.configured, known.id)).collect();
        // Of several on port 0 each is found once, in order.
        let mut listener = |configured| {
            let place = known.iter().position(|(known, _)| *known == configured);
            place.map(|place| known.remove(place).1)
        };
        let mut incoming = Incoming {
            channel: self.channel,
            crew: server.crew(),
            numbers,
            listeners: self.listeners.into_iter().map(&mut listener).collect(),
            next_worker: 0,
            first_tunnel_at: None,
            taken: TakenOver::default(),
        };
        let failed = |cause: Failure| StartError::new(format!("cannot take over: {cause}"));
        incoming.start().map_err(|broken| failed(broken.into()))?;
        incoming.take_round().map_err(failed)?;
        stage::reach("committed");
        server.accept();
        incoming.numbers.values().for_each(|identity| server.close_tunnels(identity));
        let taken = incoming.taken;
        // What the other process finishes may still become a session or a tunnel.
        thread::Builder::new()
            .name("handover".to_owned())
            .spawn(move || incoming.take_late())
            .map_err(|error| StartError::new(format!("a thread cannot start: {error}")))?;
        Ok(taken)
    }
}

impl Estate {
    /// What the workers begin with.
    pub(crate) fn inheritance(&mut self) -> Inheritance {
        Inheritance { listeners: std::mem::take(&mut self.listeners), hash_key: Some(self.hash_key) }
    }

    /// The backends that were added and removed.
    pub(crate) fn edits(&mut self) -> Edits {
        std::mem::take(&mut self.edits)
    }

    /// The admin address' socket, if it is configured there too.
    pub(crate) fn admin(&mut self, configured: SocketAddr) -> Option<TcpListener> {
        self.admin.take_if(|(address, _)| *address == configured).map(|(_, fd)| fd.into())
    }

    /// The admin socket, if it is configured there too.
    pub(crate) fn socket(&mut self, configured: &Path) -> Option<UnixListener> {
        self.socket.take_if(|(path, _)| Path::new(path) == configured).map(|(_, fd)| fd.into())
    }
}

/// The line to the other process, which is our standard input; that is empty from now on.
fn line() -> io::Result<OwnedFd> {
    let line = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(line)
}

/// Everything up to `Inherited`.
fn hear(channel: &Channel) -> Result<Estate, Broken> {
    channel.send(&Message::Hello { lowest: LOWEST, highest: VERSION })?;
    let mut estate = Estate::default();
    match channel.receive()?.0 {
        Message::Begin { hash_key } => estate.hash_key = hash_key,
        other => return Err(Broken::Unexpected(other)),
    }
    loop {
        let (message, mut fds) = channel.receive()?;
        match message {
            Message::Backend { number, upstream, name, checked } => {
                estate.backends.push(Backend { number, upstream, name, checked, kept: None });
            }
            Message::Kept { number, kept } => match estate.backends.last_mut() {
                Some(backend) if backend.number == number => backend.kept = Some(kept),
                _ => return Err(Broken::Unexpected(Message::Kept { number, kept })),
            },
            Message::Added { upstream, backend } => {
                estate.edits.restore(upstream, backend.name.clone(), Edited::Added(backend));
            }
            Message::Removed { upstream, name } => estate.edits.restore(upstream, name, Edited::Removed),
            Message::Listener { configured } => {
                let sockets = fds.into_iter().map(BoundListener::from_fd).collect::<io::Result<Vec<_>>>()?;
                let same = |(known, of_it): &&mut (SocketAddr, Vec<BoundListener>)| {
                    // Listeners on port 0 have one configured address, and different ones in truth.
                    let address = |sockets: &[BoundListener]| sockets.first().map(BoundListener::local_addr);
                    *known == configured && address(of_it) == address(&sockets)
                };
                match estate.listeners.iter_mut().find(same) {
                    Some((_, of_it)) => of_it.extend(sockets),
                    None => estate.listeners.push((configured, sockets)),
                }
            }
            Message::Admin { configured } => estate.admin = fds.pop().map(|fd| (configured, fd)),
            Message::AdminSocket { path } => estate.socket = fds.pop().map(|fd| (path, fd)),
            Message::Inherited => return Ok(estate),
            other => return Err(Broken::Unexpected(other)),
        }
    }
}

struct Incoming {
    channel: Channel,
    crew: Crew,
    /// Backends by their numbers there. Held, because a tunnel may still come that refers to one.
    numbers: BTreeMap<BackendId, Arc<Identity>>,
    /// By their places there.
    listeners: Vec<Option<ListenerId>>,
    next_worker: usize,
    first_tunnel_at: Option<Instant>,
    taken: TakenOver,
}

impl Incoming {
    fn start(&self) -> Result<(), Broken> {
        stage::reach("started");
        self.channel.send(&Message::Started)?;
        // The other process halts tunnels no longer than this.
        self.channel.set_timeout(Some(HANDOVER_HALT_MAX + HANDOVER_STEP_TIMEOUT))?;
        Ok(())
    }

    /// Takes what comes until it is this process' own.
    fn take_round(&mut self) -> Result<(), Failure> {
        let mut parked = 0;
        loop {
            let (message, fds) = self.channel.receive()?;
            match message {
                Message::Sids(records) => self.take_sids(records)?,
                Message::Tunnels(states) => {
                    self.first_tunnel_at.get_or_insert_with(Instant::now);
                    parked += states.len() as u64;
                    self.take_tunnels(states, fds)?;
                    stage::reach("taken");
                    self.channel.send(&Message::Taken)?;
                }
                Message::Connections(places) => {
                    let listener = |place| self.listeners.get(usize::from(place)).copied().flatten();
                    // One whose listener is gone is closed.
                    let connections = places.into_iter().zip(fds);
                    let connections =
                        connections.filter_map(|(place, fd)| Some((listener(place)?, fd))).collect();
                    self.give_to_worker(|reply| Move::Admit(connections, reply))?;
                    self.channel.send(&Message::Taken)?;
                }
                Message::Prepare { tunnels, staying } if tunnels == parked => {
                    self.taken.staying = staying;
                    stage::reach("prepared");
                    self.channel.send(&Message::Prepared)?;
                }
                // Only in a later round: this process accepts.
                Message::Serve => self.channel.send(&Message::Taken)?,
                Message::Commit => break,
                other => return Err(Broken::Unexpected(other).into()),
            }
        }
        stage::reach("commit");
        // From here on the other process does not serve them any more, and not before may this one.
        self.channel.send(&Message::Committed)?;
        self.crew.ask_all(|| Move::Adopt);
        self.taken.tunnels += parked;
        let began = self.first_tunnel_at.take();
        self.taken.duration = began.map_or(Duration::ZERO, |began| began.elapsed());
        Ok(())
    }

    fn take_sids(&mut self, mut records: Vec<SidRecord>) -> Result<(), Failure> {
        for record in &mut records {
            record.backend = self.backend(record.backend)?.id;
        }
        self.taken.sids += records.len() as u64;
        self.give_to_worker(|reply| Move::Restore(records, reply))?;
        Ok(self.channel.send(&Message::Taken)?)
    }

    fn take_tunnels(&mut self, states: Vec<TunnelState>, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        let mut held = vec![[Vec::new(), Vec::new()]; states.len()];
        for ((tunnel, state), held) in (0..).zip(&states).zip(&mut held) {
            self.take_held((tunnel, false), state.of_client, &mut held[0])?;
            self.take_held((tunnel, true), state.of_upstream, &mut held[1])?;
        }
        let mut arriving: Vec<Vec<Arriving>> = (0..self.crew.len()).map(|_| Vec::new()).collect();
        let mut fds = fds.into_iter();
        for (state, held) in states.into_iter().zip(held) {
            let (Some(client), Some(upstream)) = (fds.next(), fds.next()) else { break };
            let backend = self.backend(state.backend)?;
            let counted = self.crew.shared.loads.count(backend.id, Some(queue::enter_again(backend)));
            let listener = state.listener.and_then(|place| self.listeners.get(usize::from(place)).copied());
            let listener = listener.flatten();
            arriving[self.next_worker].push(Arriving { state, client, upstream, held, listener, counted });
            self.next_worker = (self.next_worker + 1) % self.crew.len();
        }
        for (worker, arriving) in
            arriving.into_iter().enumerate().filter(|(_, arriving)| !arriving.is_empty())
        {
            self.give_to(worker, |reply| Move::Park(arriving, reply))?;
        }
        Ok(())
    }

    /// The bytes that one end has sent and the other not taken, in as many messages as they need.
    fn take_held(&self, of: (u16, bool), end: EndState, held: &mut Vec<u8>) -> Result<(), Failure> {
        let length = usize::try_from(end.held).unwrap_or(usize::MAX);
        if length > HANDOVER_HELD_BYTES_MAX {
            return Err(Failure::Other(format!("a tunnel with {length} bytes held")));
        }
        while held.len() < length {
            match self.channel.receive()?.0 {
                Message::Held { tunnel, by_upstream, bytes }
                    if (tunnel, by_upstream) == of
                        && !bytes.is_empty()
                        && held.len() + bytes.len() <= length =>
                {
                    held.extend_from_slice(&bytes);
                }
                other => return Err(Broken::Unexpected(other).into()),
            }
        }
        Ok(())
    }

    fn backend(&self, there: BackendId) -> Result<&Arc<Identity>, Failure> {
        self.numbers.get(&there).ok_or_else(|| Failure::Other("a backend that was not named".to_owned()))
    }

    fn give_to_worker(
        &mut self,
        step: impl FnOnce(std::sync::mpsc::SyncSender<io::Result<()>>) -> Move,
    ) -> Result<(), Failure> {
        self.next_worker = (self.next_worker + 1) % self.crew.len();
        self.give_to(self.next_worker, step)
    }

    fn give_to(
        &self,
        worker: usize,
        step: impl FnOnce(std::sync::mpsc::SyncSender<io::Result<()>>) -> Move,
    ) -> Result<(), Failure> {
        match self.crew.ask_for(worker, HANDOVER_STEP_TIMEOUT, step) {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(error))) | Err(error) => Err(Failure::Other(error.to_string())),
            Ok(None) => Err(Failure::Other(format!("worker {worker} has ended"))),
        }
    }

    /// Sessions and tunnels that the other process' last exchanges become, until it ends.
    fn take_late(mut self) {
        if let Err(error) = self.channel.set_timeout(None) {
            tracing::warn!(%error, "what the former process finishes cannot be taken over");
            return;
        }
        let before = self.taken;
        let failure = loop {
            if let Err(failure) = self.take_round() {
                break failure;
            }
        };
        self.crew.ask_all(|| Move::Discard);
        let (tunnels, sids) = (self.taken.tunnels - before.tunnels, self.taken.sids - before.sids);
        match failure {
            Failure::Broken(Broken::Closed) => {
                tracing::info!(tunnels, sids, "the former process has ended")
            }
            failure => {
                tracing::warn!(tunnels, sids, "the former process is not heard any more: {failure}")
            }
        }
    }
}

/// Where a test lets this process die, to see that nothing is lost.
mod stage {
    /// Ends the process here, if a test has named this stage in the file that the variable names.
    #[cfg(debug_assertions)]
    pub(super) fn reach(stage: &str) {
        let Some(file) = std::env::var_os("RINGBOLT_TEST_DIES_AT") else { return };
        if std::fs::read_to_string(file).is_ok_and(|named| named.trim() == stage) {
            std::process::abort();
        }
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn reach(_stage: &str) {}
}
