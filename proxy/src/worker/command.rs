//! What the threads beside the workers ask of one.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ringbolt_core::affinity::SidRecord;
use ringbolt_reactor::{BoundListener, mailbox};
use tokio::sync::oneshot;

use crate::identity::Identity;
use crate::snapshot::{ListenerId, Revision};
use crate::tunnel::moving::{Arriving, Choose, Leaving};

/// What the housekeeping thread may ask of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve by this configuration from now on.
    Adopt(Box<Adoption>),
    /// Close the tunnels to a backend over some time.
    Shed(Shedding),
    /// Accept no more, finish what is in flight, close what is left at the deadline, end.
    Drain { deadline: Instant },
    /// Take part in a hand-over.
    Move(Move),
    /// Drop this: the worker turns.
    Prove(Arc<oneshot::Sender<()>>),
}

/// A step of a hand-over to another process, or from one.
#[derive(Debug)]
pub(crate) enum Move {
    /// Choose the tunnels that the next ones give.
    Choose(Choose),
    /// Halt and describe some of them; none: there are no more.
    Give(SyncSender<Vec<Leaving>>),
    /// How many tunnels no other process can take over.
    CountStaying(SyncSender<u64>),
    /// Serve on what was given.
    Keep,
    /// Let go of what was given.
    LetGo,
    /// Another process serves: keep connections that wait for a request for it.
    Leave,
    /// Give these connections.
    GiveIdle(SyncSender<Vec<(ListenerId, OwnedFd)>>),
    /// Take such connections in.
    Admit(Vec<(ListenerId, OwnedFd)>, SyncSender<io::Result<()>>),
    /// Accept on these listeners.
    Listen(Vec<(ListenerId, BoundListener)>),
    Restore(Vec<SidRecord>, SyncSender<io::Result<()>>),
    /// Take tunnels in, and do not touch them.
    Park(Vec<Arriving>, SyncSender<io::Result<()>>),
    /// Serve the parked tunnels.
    Adopt,
    /// Let go of the parked tunnels.
    Discard,
}

/// A configuration for one worker.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) revision: Arc<Revision>,
    /// This worker's sockets of listeners that are new.
    pub(crate) bound: Vec<(ListenerId, BoundListener)>,
    /// Dropped when this is done: the last worker's tells that all are.
    pub(crate) done: Arc<oneshot::Sender<()>>,
}

/// An order to close the tunnels to a backend.
#[derive(Clone, Debug)]
pub(crate) struct Shedding {
    pub(crate) identity: Arc<Identity>,
    /// The number of the order: another one ends it.
    pub(crate) order: u32,
    pub(crate) over: Duration,
}

/// Gives the order to every worker. `false`: one has too many commands before it.
pub(crate) fn shed(commands: &[mailbox::Sender<Command>], shedding: &Shedding) -> bool {
    commands.iter().all(|commands| commands.try_send(Command::Shed(shedding.clone())).is_ok())
}
