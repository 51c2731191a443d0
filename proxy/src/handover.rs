//! The binary of a running process is replaced and no tunnel notices (decision 13).
//!
//! The old process starts the new one and describes to it what it has: listening sockets, sessions, tunnels. Until
//! the new process says that they are its own, the old one can serve all of them on, whatever happens to the new
//! one; from then on it finishes the exchanges it has begun and ends. `outgoing` is the old process' part, `incoming`
//! the new one's, `wire` what they say.

mod channel;
mod incoming;
mod outgoing;
mod program;
mod upgrade;
mod wire;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ringbolt_reactor::mailbox;

use crate::worker::{Command, Move, Shared};

use self::channel::Broken;
pub(crate) use self::incoming::{Estate, Successor};
pub(crate) use self::program::Program;
pub(crate) use self::upgrade::{AdminSockets, Requests, Upgrader};
pub(crate) use self::wire::{EndState, Kept, TunnelState};

/// Why a hand-over does not go on, on either side.
#[derive(Debug)]
enum Failure {
    Broken(Broken),
    Other(String),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => write!(formatter, "{broken}"),
            Self::Other(cause) => formatter.write_str(cause),
        }
    }
}

/// The workers, as a hand-over sees them.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    pub(crate) commands: Vec<mailbox::Sender<Command>>,
    pub(crate) shared: Arc<Shared>,
}

impl Crew {
    fn len(&self) -> usize {
        self.commands.len()
    }

    /// Asks a worker for a step. `false`: it has ended, or does not empty its mailbox.
    fn ask(&self, worker: usize, step: Move) -> bool {
        self.commands[worker].try_send(Command::Move(step)).is_ok()
    }

    fn ask_all(&self, step: impl Fn() -> Move) {
        for worker in 0..self.len() {
            // One that has ended has nothing to do.
            let _ = self.ask(worker, step());
        }
    }

    /// Asks a worker for a step that is answered. `None`: it has ended.
    ///
    /// # Errors
    /// It does not answer in time.
    fn ask_for<T>(
        &self,
        worker: usize,
        timeout: Duration,
        step: impl FnOnce(SyncSender<T>) -> Move,
    ) -> io::Result<Option<T>> {
        let (reply, answer): (_, Receiver<T>) = sync_channel(1);
        if !self.ask(worker, step(reply)) {
            return Ok(None);
        }
        match answer.recv_timeout(timeout) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::other(format!("worker {worker} does not answer")))
            }
        }
    }
}
