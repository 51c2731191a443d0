//! When the process is upgraded: by SIGUSR2 or an order, one at a time, and never while it reloads or drains.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::outgoing::{self, Given, Will};
use super::program::Program;
use super::wire::Message;
use crate::edits::Edited;
use crate::lifecycle::{Lifecycle, Phase};
use crate::limits::RELOADS_WAITING_MAX;
use crate::metrics::HousekeepingCounters;
use crate::metrics::label::Handover;
use crate::reload::Reloader;
use crate::signals::Repeated;

/// For which a process that was upgraded goes on as before, to say so to whoever has ordered it.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// What an upgrade came to, or why the process serves on.
pub(crate) type Outcome = Result<Given, String>;

/// Where an upgrade is asked for, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Requests(mpsc::Sender<oneshot::Sender<Outcome>>);

impl Requests {
    /// Asks for an upgrade and waits for what it comes to.
    ///
    /// # Errors
    /// Why the process serves on.
    pub(crate) async fn upgrade(&self) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(reply).map_err(|_| "too many upgrades are waiting already".to_owned())?;
        outcome.await.unwrap_or_else(|_| Err("the process is ending".to_owned()))
    }
}

/// Second descriptors of the admin address and the admin socket, with what is configured.
#[derive(Debug, Default)]
pub(crate) struct AdminSockets {
    address: Option<(SocketAddr, OwnedFd)>,
    socket: Option<(PathBuf, OwnedFd)>,
}

impl AdminSockets {
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn of(
        address: Option<(SocketAddr, &TcpListener)>,
        socket: Option<&(UnixListener, PathBuf)>,
    ) -> io::Result<Self> {
        let address =
            address.map(|(address, of)| Ok::<_, io::Error>((address, of.as_fd().try_clone_to_owned()?)));
        let socket =
            socket.map(|(of, path)| Ok::<_, io::Error>((path.clone(), of.as_fd().try_clone_to_owned()?)));
        Ok(Self { address: address.transpose()?, socket: socket.transpose()? })
    }
}

/// What the process has beside its workers that another one takes over.
#[derive(Debug)]
pub(crate) struct Upgrader {
    program: Arc<Program>,
    admin: RefCell<AdminSockets>,
    lifecycle: Arc<Lifecycle>,
    counters: Arc<HousekeepingCounters>,
    /// Set when the process is to end.
    abort: Arc<AtomicBool>,
    requests: Requests,
    requested: RefCell<Option<mpsc::Receiver<oneshot::Sender<Outcome>>>>,
    /// The thread of the last upgrade.
    outgoing: RefCell<Option<JoinHandle<()>>>,
}

impl Upgrader {
    pub(crate) fn new(
        program: Program,
        admin: AdminSockets,
        lifecycle: Arc<Lifecycle>,
        counters: Arc<HousekeepingCounters>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(RELOADS_WAITING_MAX);
        Self {
            program: Arc::new(program),
            admin: RefCell::new(admin),
            lifecycle,
            counters,
            abort: Arc::default(),
            requests: Requests(sender),
            requested: RefCell::new(Some(receiver)),
            outgoing: RefCell::default(),
        }
    }

    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// The process is to end: nobody takes over any more.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Relaxed);
    }

    /// The workers have ended: waits until the other process has what they gave last. No longer than the other
    /// process may take for its answer.
    pub(crate) fn finish(&self, reloader: &Reloader) {
        // What ends the thread.
        reloader.server().crew().shared.sids.set_mirror(None);
        if let Some(outgoing) = self.outgoing.take() {
            // It does not panic.
            let _ = outgoing.join();
        }
    }

    /// Upgrades whenever it is asked for. `handed_over` becomes true when another process serves. Never ends, and
    /// is run once.
    pub(crate) async fn attend(
        &self,
        reloader: &Reloader,
        mut signals: Repeated,
        handed_over: watch::Sender<bool>,
    ) {
        let Some(mut requested) = self.requested.take() else { return };
        loop {
            let reply = tokio::select! {
                () = signals.next() => None,
                Some(reply) = requested.recv() => Some(reply),
            };
            let outcome = self.upgrade(reloader).await;
            match &outcome {
                Ok(Given { pid, tunnels, sids, staying, halted }) => {
                    let halted_ms = u64::try_from(halted.as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(
                        pid,
                        tunnels,
                        sids,
                        staying,
                        halted_ms,
                        "upgraded, another process serves"
                    );
                    reloader.notify().main_process_is(*pid);
                    drop(self.admin.take());
                }
                Err(cause) => {
                    self.counters.handovers.of(Handover::Failed).add(1);
                    tracing::error!("not upgraded, this process serves on: {cause}");
                }
            }
            let is_done = outcome.is_ok();
            if let Some(reply) = reply {
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
                // The answer is written by another task of this thread, and behind the next line the process may end.
                tokio::time::sleep(ANSWER_TIME).await;
            }
            if is_done {
                let _ = handed_over.send(true);
            }
        }
    }

    async fn upgrade(&self, reloader: &Reloader) -> Outcome {
        let mut is_handed_over = reloader.changing().lock().await;
        if self.lifecycle.phase() == Phase::Draining {
            return Err("the process is draining".to_owned());
        }
        let will = self.will(reloader).map_err(|error| error.to_string())?;
        let (told, outcome) = oneshot::channel();
        let (program, abort) = (Arc::clone(&self.program), Arc::clone(&self.abort));
        tracing::info!("upgrading");
        let outgoing = thread::Builder::new()
            .name("handover".to_owned())
            .spawn(move || outgoing::run(&program, will, abort, told))
            .map_err(|error| format!("a thread cannot start: {error}"))?;
        self.outgoing.replace(Some(outgoing));
        let outcome = outcome.await.unwrap_or_else(|_| Err("the hand-over ended without a word".to_owned()));
        *is_handed_over = outcome.is_ok();
        outcome
    }

    fn will(&self, reloader: &Reloader) -> io::Result<Will> {
        let server = reloader.server();
        let now = Instant::now();
        let backends = server.backends().flat_map(|(upstream, name, identity)| {
            let (number, checked) = (identity.id, identity.is_checked().then(|| !identity.is_down()));
            let (upstream, name) = (upstream.to_owned(), name.to_owned());
            [
                Message::Backend { number, upstream, name, checked },
                Message::Kept { number, kept: identity.kept(now) },
            ]
        });
        let edits = reloader.edits();
        let edits = edits.iter().map(|(upstream, name, edited)| match (upstream.to_owned(), edited) {
            (upstream, Edited::Added(backend)) => Message::Added { upstream, backend: backend.clone() },
            (upstream, Edited::Removed) => Message::Removed { upstream, name: name.to_owned() },
        });
        let listeners = server.listeners();
        let admin = self.admin.borrow();
        let AdminSockets { address, socket } = &*admin;
        let address = address.as_ref().map(|(address, fd)| Ok::<_, io::Error>((*address, fd.try_clone()?)));
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let socket = socket.as_ref().map(|(at, fd)| Ok::<_, io::Error>((path(at), fd.try_clone()?)));
        Ok(Will {
            crew: server.crew(),
            backends: backends.chain(edits).collect(),
            listeners: listeners.map(|one| (one.id, one.configured, Arc::clone(&one.sockets))).collect(),
            admin: address.transpose()?,
            socket: socket.transpose()?,
        })
    }
}
