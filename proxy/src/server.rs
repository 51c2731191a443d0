//! The worker threads: started, given their configurations, told to drain.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use ringbolt_reactor::{
    BoundListener, Engine, EngineChoice, Reactor, RingRefusal, available_cores, mailbox, pin_to_core,
};
use tokio::sync::oneshot;

use crate::accept;
use crate::admission::Admission;
use crate::config::{self, Config};
use crate::descriptors;
use crate::identity::Registry;
use crate::limits::COMMANDS_MAX;
use crate::listeners::Listeners;
use crate::load::Loads;
use crate::metrics::Counters;
use crate::metrics::label::EngineInUse;
use crate::privileges;
use crate::sids::SidTable;
use crate::snapshot::{ListenerId, Revision, Snapshot};
use crate::start::StartError;
use crate::tls;
use crate::worker::{Adoption, Command, Shared, Worker};

/// The running workers and what the process has bound to its configuration.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) engine: Engine,
    /// Why there is no ring, where one was asked for and refused.
    pub(crate) refusal: Option<RingRefusal>,
    commands: Vec<mailbox::Sender<Command>>,
    shared: Arc<Shared>,
    backends: Registry,
    listeners: Listeners,
    tls: Arc<tls::Current>,
    revision: Arc<Revision>,
}

/// What a worker thread reports once it serves.
type Started = io::Result<(Engine, Option<RingRefusal>)>;

/// What a worker thread begins with.
struct Setup {
    id: usize,
    core: Option<usize>,
    revision: Arc<Revision>,
    shared: Arc<Shared>,
    counters: Counters,
    bound: Vec<(ListenerId, BoundListener)>,
    commands: mailbox::Receiver<Command>,
    /// Dropped at the end: the last one to go tells that all workers have ended.
    ended: Arc<oneshot::Sender<()>>,
}

/// Binds every listener once a worker and starts one worker for each of `counters`.
///
/// `ended` is dropped when the last worker has ended.
///
/// # Errors
/// The address that cannot be bound, or what a worker lacked. The process is to end then.
pub(crate) fn start(
    config: &Arc<Config>,
    tls: &Arc<tls::Current>,
    connections_max: u32,
    counters: &Counters,
    ended: oneshot::Sender<()>,
) -> Result<Server, StartError> {
    let count = counters.workers();
    let loads = Arc::new(Loads::new());
    let hash_key = random_key()?;
    let mut backends = Registry::new(Arc::clone(&loads));
    let (listeners, mut bound) = Listeners::default().changed(config, count)?;
    let revision = Arc::new(Revision {
        config: Arc::clone(config),
        backends: backends.identify(config).map_err(|error| StartError::new(error.to_string()))?,
        admission: Admission::of(config, &listeners.ids(), count, random_key()?, None),
        tls: tls.get(),
        listeners: listeners.ids(),
    });
    let shared = Arc::new(Shared {
        sids: SidTable::new(count, config.limits.sids, hash_key, Arc::clone(&loads)),
        loads,
        connections: AtomicUsize::new(0),
        connections_max: AtomicUsize::new(connections_max as usize),
    });
    privileges::drop_all(config)?;
    let cores = available_cores().map_err(|error| no_worker(&error))?;
    let (report, reports) = mpsc::channel();
    let ended = Arc::new(ended);
    let mut commands = Vec::new();
    for (id, bound) in bound.drain(..).enumerate() {
        let (sender, receiver) = mailbox::new(COMMANDS_MAX);
        commands.push(sender);
        let setup = Setup {
            id,
            core: config.workers.pin.then(|| cores[id % cores.len()]),
            revision: Arc::clone(&revision),
            shared: Arc::clone(&shared),
            counters: counters.clone(),
            bound,
            commands: receiver,
            ended: Arc::clone(&ended),
        };
        let report = report.clone();
        let thread = thread::Builder::new().name(format!("worker-{id}")).spawn(move || run(setup, &report));
        thread.map_err(|error| no_worker(&error))?;
    }
    let (mut engine, mut refusal) = (Engine::Epoll, None);
    for started in reports.iter().take(count) {
        let (of_worker, refused) = started.map_err(|error| no_worker(&error))?;
        engine = of_worker;
        refusal = refusal.or(refused);
    }
    Ok(Server { engine, refusal, commands, shared, tls: Arc::clone(tls), backends, listeners, revision })
}

impl Server {
    /// Where each listener listens: the port the kernel chose where the configuration says 0.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// The configuration that is served.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.revision.config
    }

    /// Makes every worker serve by `config`, in which nothing differs that holds until the process ends.
    ///
    /// New addresses are bound before anything else changes. Returns what resolves when all workers serve by it.
    ///
    /// # Errors
    /// What cannot be bound or served. Nothing has changed then.
    pub(crate) fn adopt(&mut self, config: Arc<Config>) -> Result<oneshot::Receiver<()>, StartError> {
        let count = self.commands.len();
        let connections = |config: &Config| (config.limits.connections, config.listeners.len());
        // Not each time: a limit that the descriptors do not allow is warned of.
        let connections_max = if connections(&config) == connections(self.config()) {
            self.shared.connections_max.load(Relaxed)
        } else {
            let reserve = descriptors::reserve(count, config.listeners.len());
            descriptors::prepare(config.limits.connections, reserve)? as usize
        };
        let followed = self.tls.get().followed_by(&config);
        let tls = Arc::new(followed.map_err(|problems| StartError::new(problems.join("; ")))?);
        let (listeners, bound) = self.listeners.changed(&config, count)?;
        let former = self.revision.admission.as_deref();
        let revision = Arc::new(Revision {
            backends: self.backends.identify(&config).map_err(|error| StartError::new(error.to_string()))?,
            admission: Admission::of(&config, &listeners.ids(), count, random_key()?, former),
            listeners: listeners.ids(),
            tls: Arc::clone(&tls),
            config,
        });
        Snapshot::new(&revision).map_err(|error| StartError::new(error.to_string()))?;
        self.shared.connections_max.store(connections_max, Relaxed);
        let (done, all_done) = oneshot::channel();
        let done = Arc::new(done);
        for (commands, bound) in self.commands.iter().zip(bound) {
            let adoption = Adoption { revision: Arc::clone(&revision), bound, done: Arc::clone(&done) };
            // One configuration is on its way at a time, so there is room; a closed mailbox is an ended worker's.
            let _ = commands.try_send(Command::Adopt(Box::new(adoption)));
        }
        self.listeners = listeners;
        self.revision = revision;
        self.tls.set(tls);
        self.tls.reload();
        Ok(all_done)
    }

    /// Tells every worker to accept no more, and to end when empty or at `deadline`.
    pub(crate) fn drain(&self, deadline: Instant) {
        for commands in &self.commands {
            // A full mailbox holds this very command already; a closed one belongs to an ended worker.
            let _ = commands.try_send(Command::Drain { deadline });
        }
    }
}

/// The whole life of a worker thread. Reports once: that it serves, or why it does not.
fn run(setup: Setup, report: &mpsc::Sender<Started>) {
    let Setup { id, core, revision, shared, counters, bound, commands, ended } = setup;
    if let Some(core) = core
        && let Err(error) = pin_to_core(core)
    {
        tracing::warn!(worker = id, core, %error, "cannot pin the worker to its core");
    }
    let (reactor, refusal) = match Reactor::new(choice(revision.config.workers.engine)) {
        Ok(started) => started,
        Err(error) => return drop(report.send(Err(error))),
    };
    let snapshot = match Snapshot::new(&revision) {
        Ok(snapshot) => snapshot,
        Err(error) => return drop(report.send(Err(io::Error::other(error)))),
    };
    let worker = Rc::new(Worker::new(id, reactor.clone(), snapshot, shared, counters));
    drop(revision);
    if let Err(error) = accept::listen(&worker, bound) {
        return drop(report.send(Err(error)));
    }
    worker.counters().engine_info.of(EngineInUse::of(reactor.engine())).add(1);
    worker.counters().ring_fallbacks.add(refusal.is_some().into());
    let sweeper = Rc::clone(&worker);
    reactor.spawn(async move { sweeper.sweep().await });
    // Fails only when the start was given up, and then the process ends.
    let _ = report.send(Ok((reactor.engine(), refusal)));
    if let Err(error) = reactor.run(worker.run(commands), &*worker) {
        tracing::error!(worker = id, %error, "the event loop failed");
    }
    if let Err(error) = reactor.drop_tasks() {
        tracing::error!(worker = id, %error, "the event loop failed while closing");
    }
    drop(ended);
}

fn choice(engine: config::Engine) -> EngineChoice {
    match engine {
        config::Engine::Auto => EngineChoice::Auto,
        config::Engine::Uring => EngineChoice::Uring,
        config::Engine::Epoll => EngineChoice::Epoll,
    }
}

fn no_worker(error: &io::Error) -> StartError {
    StartError::new(format!("a worker cannot start: {error}"))
}

/// 128 random bits from the kernel.
fn random_key() -> Result<[u8; 16], StartError> {
    let mut key = [0; 16];
    let random = rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty());
    random.map(|_| key).map_err(|error| no_worker(&error.into()))
}
