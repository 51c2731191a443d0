//! The old process' part of a hand-over, on a thread of its own that waits for workers and the new process.
//!
//! Everything up to `Commit` can be taken back: descriptors are given as duplicates, and the tunnels they belong to
//! are only halted here. Once the new process has said `Committed` they are its own, and only then are they closed
//! here. A new process that dies before that, or is killed for being slow, leaves nothing behind.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_core::affinity::SidRecord;
use ringbolt_reactor::BoundListener;
use tokio::sync::oneshot;

use super::channel::{Broken, Channel};
use super::program::Program;
use super::wire::{LOWEST, Message, VERSION};
use super::{Crew, Failure};
use crate::limits::{
    HANDOVER_DESCRIPTORS_MAX, HANDOVER_HALT_MAX, HANDOVER_HELD_BYTES, HANDOVER_LATE_INTERVAL,
    HANDOVER_SIDS_MAX, HANDOVER_START_TIMEOUT, HANDOVER_STEP_TIMEOUT, MIRRORED_SIDS_MAX,
};
use crate::sids::Mirrored;
use crate::snapshot::ListenerId;
use crate::tunnel::moving::{Choose, Leaving};
use crate::worker::Move;

/// A process that has just failed may take this long to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// All that another process is to take over, but sessions and tunnels. `backends`: a `Backend` message each, with what
/// is kept of it, and those that were added and removed.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) crew: Crew,
    pub(super) backends: Vec<Message>,
    pub(super) listeners: Vec<(ListenerId, SocketAddr, Arc<[BoundListener]>)>,
    pub(super) admin: Option<(SocketAddr, OwnedFd)>,
    pub(super) socket: Option<(String, OwnedFd)>,
}

/// What another process has taken over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) pid: u32,
    pub(crate) tunnels: u64,
    pub(crate) sids: u64,
    /// Tunnels that only this process can serve, because it has the keys of their TLS.
    pub(crate) staying: u64,
    /// From the first tunnel that was halted to the moment all were the other process'.
    pub(crate) halted: Duration,
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, tunnels, sids, staying, halted } = self;
        let halted = halted.as_millis();
        write!(
            formatter,
            "upgraded; pid: {pid}, tunnels: {tunnels}, tunnels that stay until they end or are drained: {staying}, \
             sids: {sids}, halted for: {halted} ms"
        )
    }
}

struct Outgoing {
    will: Will,
    channel: Channel,
    child: Child,
    /// The process is to end, so nobody is to take over.
    abort: Arc<AtomicBool>,
    mirrored: Receiver<Mirrored>,
    halted_at: Option<Instant>,
    commit_sent: bool,
    sids: u64,
}

/// Hands over to a new process and tells how that went. Goes on with what the old one finishes.
pub(super) fn run(
    program: &Program,
    will: Will,
    abort: Arc<AtomicBool>,
    told: oneshot::Sender<Result<Given, String>>,
) {
    // Nobody may listen any more: the process ends.
    let mut outgoing = match Outgoing::start(program, will, abort) {
        Ok(outgoing) => outgoing,
        Err(error) => return drop(told.send(Err(format!("the new process cannot be started: {error}")))),
    };
    match outgoing.hand_over() {
        Ok(given) => {
            outgoing.close_sockets();
            outgoing.will.crew.ask_all(|| Move::Leave);
            let _ = told.send(Ok(given));
            outgoing.follow_up();
        }
        Err(failure) => {
            let cause = outgoing.take_back(&failure);
            let _ = told.send(Err(cause));
        }
    }
}

impl Outgoing {
    fn start(program: &Program, will: Will, abort: Arc<AtomicBool>) -> std::io::Result<Self> {
        let (channel, line) = Channel::pair()?;
        channel.set_timeout(Some(HANDOVER_START_TIMEOUT))?;
        let child = program.start(line)?;
        let (_, mirrored) = sync_channel(0);
        Ok(Self { will, channel, child, abort, mirrored, halted_at: None, commit_sent: false, sids: 0 })
    }

    fn hand_over(&mut self) -> Result<Given, Failure> {
        self.introduce()?;
        self.channel.expect(&Message::Started)?;
        self.channel.set_timeout(Some(HANDOVER_STEP_TIMEOUT)).map_err(Broken::from)?;
        self.copy_sids()?;
        let mut tunnels = 0;
        for choose in [Choose::Quiet, Choose::All] {
            tunnels += self.give_tunnels(choose)?;
        }
        let staying = self.count_staying()?;
        self.commit(tunnels, staying)?;
        let halted = self.halted_at.take().map_or(Duration::ZERO, |at| at.elapsed());
        Ok(Given { pid: self.child.id(), tunnels, sids: self.sids, staying, halted })
    }

    /// What the new process needs before it can start its workers.
    fn introduce(&self) -> Result<(), Failure> {
        let version = match self.channel.receive()?.0 {
            Message::Hello { lowest, highest } if lowest <= VERSION && highest >= LOWEST => {
                highest.min(VERSION)
            }
            Message::Hello { lowest, highest } => {
                return Err(Failure::Other(format!(
                    "the new process speaks versions {lowest} to {highest} of the hand-over, this one {LOWEST} to \
                     {VERSION}"
                )));
            }
            other => return Err(Broken::Unexpected(other).into()),
        };
        let Will { crew, backends, listeners, admin, socket } = &self.will;
        self.channel.send(&Message::Begin { hash_key: crew.shared.sids.hash_key() })?;
        // An older program knows nothing of orders: there they end with this process.
        for backend in backends.iter().filter(|backend| backend.version() <= version) {
            self.channel.send(backend)?;
        }
        for (_, configured, sockets) in listeners {
            let fds: Vec<_> = sockets.iter().map(BoundListener::fd).collect();
            for fds in fds.chunks(HANDOVER_DESCRIPTORS_MAX) {
                self.channel.send_with(&Message::Listener { configured: *configured }, fds)?;
            }
        }
        if let Some((configured, fd)) = admin {
            self.channel.send_with(&Message::Admin { configured: *configured }, &[fd.as_fd()])?;
        }
        if let Some((path, fd)) = socket {
            self.channel.send_with(&Message::AdminSocket { path: path.clone() }, &[fd.as_fd()])?;
        }
        Ok(self.channel.send(&Message::Inherited)?)
    }

    fn copy_sids(&mut self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.will.crew.shared);
        // First, so that every session is in the copy or told. Not earlier: its client waits for the new process.
        let (mirror, mirrored) = sync_channel(MIRRORED_SIDS_MAX);
        self.mirrored = mirrored;
        shared.sids.set_mirror(Some(mirror));
        let mut records = Vec::new();
        for part in shared.sids.parts() {
            shared.sids.copy(part, Instant::now(), &mut records);
            if records.len() >= HANDOVER_SIDS_MAX {
                self.send_sids(&records)?;
                records.clear();
            }
            self.pass_mirrored_on()?;
        }
        self.send_sids(&records)
    }

    fn send_sids(&mut self, records: &[SidRecord]) -> Result<(), Failure> {
        for records in records.chunks(HANDOVER_SIDS_MAX) {
            self.channel.send(&Message::Sids(records.to_vec()))?;
            self.channel.expect(&Message::Taken)?;
            self.sids += records.len() as u64;
        }
        Ok(())
    }

    /// Tells the new process the sessions that have begun meanwhile; their clients wait for it.
    fn pass_mirrored_on(&mut self) -> Result<(), Failure> {
        let (records, known): (Vec<_>, Vec<_>) =
            self.mirrored.try_iter().map(|mirrored| (mirrored.record, mirrored.known)).unzip();
        self.send_sids(&records)?;
        drop(known);
        Ok(())
    }

    /// Halts tunnels of all workers and describes them to the new process; returns how many.
    fn give_tunnels(&mut self, choose: Choose) -> Result<u64, Failure> {
        let mut count = 0;
        for worker in 0..self.will.crew.len() {
            if !self.will.crew.ask(worker, Move::Choose(choose)) {
                continue;
            }
            loop {
                let leaving = self.will.crew.ask_for(worker, HANDOVER_STEP_TIMEOUT, Move::Give);
                let leaving = leaving.map_err(|error| Failure::Other(error.to_string()))?.unwrap_or_default();
                if leaving.is_empty() {
                    break;
                }
                let halted_at = *self.halted_at.get_or_insert_with(Instant::now);
                count += leaving.len() as u64;
                self.give(leaving)?;
                self.pass_mirrored_on()?;
                if halted_at.elapsed() > HANDOVER_HALT_MAX {
                    return Err(Failure::Other("the new process takes too long".to_owned()));
                }
            }
        }
        Ok(count)
    }

    fn give(&self, mut leaving: Vec<Leaving>) -> Result<(), Failure> {
        for tunnel in &mut leaving {
            tunnel.state.listener = tunnel.listener.and_then(|listener| self.place(listener));
        }
        let states = leaving.iter().map(|tunnel| tunnel.state.clone()).collect();
        let fds: Vec<BorrowedFd<'_>> =
            leaving.iter().flat_map(|tunnel| [tunnel.client.as_fd(), tunnel.upstream.as_fd()]).collect();
        self.channel.send_with(&Message::Tunnels(states), &fds)?;
        for (tunnel, Leaving { held, .. }) in (0..).zip(&leaving) {
            for (by_upstream, held) in [false, true].into_iter().zip(held) {
                for bytes in held.chunks(HANDOVER_HELD_BYTES) {
                    self.channel.send(&Message::Held { tunnel, by_upstream, bytes: bytes.to_vec() })?;
                }
            }
        }
        Ok(self.channel.expect(&Message::Taken)?)
    }

    fn count_staying(&self) -> Result<u64, Failure> {
        let mut count = 0;
        for worker in 0..self.will.crew.len() {
            let of_worker = self.will.crew.ask_for(worker, HANDOVER_STEP_TIMEOUT, Move::CountStaying);
            count += of_worker.map_err(|error| Failure::Other(error.to_string()))?.unwrap_or(0);
        }
        Ok(count)
    }

    /// Makes the tunnels the new process' own.
    fn commit(&mut self, tunnels: u64, staying: u64) -> Result<(), Failure> {
        self.channel.send(&Message::Prepare { tunnels, staying })?;
        self.channel.expect(&Message::Prepared)?;
        self.pass_mirrored_on()?;
        if self.abort.load(Relaxed) {
            return Err(Failure::Other("this process is to end".to_owned()));
        }
        self.commit_sent = true;
        self.channel.send(&Message::Commit)?;
        self.channel.expect(&Message::Committed)?;
        self.commit_sent = false;
        self.will.crew.ask_all(|| Move::LetGo);
        Ok(())
    }

    /// The new process has failed: sees to its end and serves on. Returns the cause for people.
    fn take_back(&mut self, failure: &Failure) -> String {
        let deadline = Instant::now() + END_TIMEOUT;
        let ended_by_itself = loop {
            match self.child.try_wait() {
                Ok(None)
                    if matches!(failure, Failure::Broken(Broken::Closed)) && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                ended => break ended.ok().flatten(),
            }
        };
        if ended_by_itself.is_none() {
            // Fails only for a process that has ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.will.crew.shared.sids.set_mirror(None);
        // Between the two words it may have begun to serve. Then its tunnels have died with it: what it has read is
        // lost, and going on behind a gap would be worse than an end.
        if self.commit_sent && self.channel.expect(&Message::Committed).is_ok() {
            self.will.crew.ask_all(|| Move::LetGo);
        } else {
            self.will.crew.ask_all(|| Move::Keep);
        }
        match ended_by_itself {
            Some(status) => format!("the new process has ended: {status}"),
            None => format!("the new process has failed: {failure}"),
        }
    }

    /// The ports are the other process' to close.
    fn close_sockets(&mut self) {
        let Will { listeners, admin, socket, .. } = &mut self.will;
        // Their numbers are still needed.
        listeners.iter_mut().for_each(|(_, _, sockets)| *sockets = Arc::default());
        (*admin, *socket) = (None, None);
    }

    /// Hands over what becomes a session or a tunnel of the exchanges that this process finishes.
    fn follow_up(&mut self) {
        let failure = loop {
            let followed = match self.mirrored.recv_timeout(HANDOVER_LATE_INTERVAL) {
                Ok(Mirrored { record, known }) => self.send_sids(&[record]).map(|()| drop(known)),
                Err(RecvTimeoutError::Timeout) => {
                    self.give_connections().and_then(|()| self.give_late_tunnels())
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(failure) = followed {
                break failure;
            }
        };
        tracing::warn!(
            "the process that took over has failed, what is left here ends with the drain: {failure}"
        );
        self.will.crew.shared.sids.set_mirror(None);
        self.will.crew.ask_all(|| Move::Keep);
    }

    /// Connections that wait for a request. They are the new process' as soon as it has them: this one has not read
    /// from them, and will not.
    fn give_connections(&self) -> Result<(), Failure> {
        for worker in 0..self.will.crew.len() {
            let idle = self.will.crew.ask_for(worker, HANDOVER_STEP_TIMEOUT, Move::GiveIdle);
            let idle = idle.map_err(|error| Failure::Other(error.to_string()))?.unwrap_or_default();
            for idle in idle.chunks(HANDOVER_DESCRIPTORS_MAX) {
                let place = |id| self.place(id).unwrap_or(u16::MAX);
                let listeners = idle.iter().map(|(listener, _)| place(*listener)).collect();
                let fds: Vec<_> = idle.iter().map(|(_, fd)| fd.as_fd()).collect();
                self.channel.send_with(&Message::Connections(listeners), &fds)?;
                self.channel.expect(&Message::Taken)?;
            }
        }
        Ok(())
    }

    /// Of a listener, among those that the new process was told.
    fn place(&self, listener: ListenerId) -> Option<u16> {
        let place = self.will.listeners.iter().position(|(known, ..)| *known == listener);
        place.and_then(|place| place.try_into().ok())
    }

    fn give_late_tunnels(&mut self) -> Result<(), Failure> {
        match self.give_tunnels(Choose::All)? {
            0 => Ok(()),
            tunnels => {
                self.halted_at = None;
                let staying = self.count_staying()?;
                self.commit(tunnels, staying)
            }
        }
    }
}
