//! The worker threads: started, given their configurations, told to drain.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use ringbolt_core::affinity::BackendId;
use ringbolt_reactor::{
    BoundListener, Engine, EngineChoice, Reactor, RingRefusal, available_cores, mailbox, pin_to_core,
};
use tokio::sync::oneshot;

use crate::accept;
use crate::admission::Admission;
use crate::config::{self, BackendState, Config};
use crate::descriptors;
use crate::directory::Directory;
use crate::downgrades::Downgrades;
use crate::drain::Ending;
use crate::handover::Crew;
use crate::identity::{Identity, Registry};
use crate::lifecycle::Lifecycle;
use crate::limits::COMMANDS_MAX;
use crate::listeners::{Inherited, Listeners, Listening};
use crate::load::Loads;
use crate::lookups::Lookups;
use crate::metrics::Counters;
use crate::metrics::label::EngineInUse;
use crate::orders::Orders;
use crate::outputs::Outputs;
use crate::privileges;
use crate::reload::Requests;
use crate::served::Served;
use crate::sids::SidTable;
use crate::snapshot::{ListenerId, Revision, Snapshot};
use crate::start::StartError;
use crate::status::{Collector, Sources};
use crate::tls;
use crate::worker::{Adoption, Command, Move, Shared, Shedding, Worker, shed};

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
    /// Sockets that no worker has yet: another process still accepts on them.
    waiting: Vec<Vec<(ListenerId, BoundListener)>>,
    served: Arc<Served>,
    tls: Arc<tls::Current>,
    outputs: Outputs,
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
/// `ended` is dropped when the last worker has ended. Workers that take over do not accept before [`Server::accept`].
///
/// # Errors
/// The address that cannot be bound, or what a worker lacked. The process is to end then.
pub(crate) fn start(
    config: &Arc<Config>,
    tls: &Arc<tls::Current>,
    connections_max: u32,
    counters: &Counters,
    ended: oneshot::Sender<()>,
    inheritance: Inheritance,
    directory: Option<Arc<Directory>>,
) -> Result<Server, StartError> {
    let count = counters.workers();
    let loads = Arc::new(Loads::new());
    let Inheritance { listeners: mut inherited, hash_key } = inheritance;
    let takes_over = hash_key.is_some();
    let mut backends = Registry::new(Arc::clone(&loads));
    let (listeners, bound) = Listeners::default().changed(config, count, &mut inherited)?;
    for (address, _) in inherited.drain(..) {
        tracing::info!(%address, "a socket that is bound already belongs to no listener and is closed");
    }
    let revision = Arc::new(Revision {
        config: Arc::clone(config),
        backends: backends.identify(config).map_err(|error| StartError::new(error.to_string()))?,
        admission: Admission::of(config, &listeners.ids(), count, random_key()?, None),
        tls: tls.get(),
        listeners: listeners.ids(),
    });
    privileges::drop_all(config)?;
    let (outputs, queues) = Outputs::start(config, counters)?;
    let shared = Arc::new(Shared {
        sids: SidTable::new(
            count,
            config.limits.sids,
            hash_key.map_or_else(random_key, Ok)?,
            Arc::clone(&loads),
            config.access_log.as_ref().is_some_and(|log| log.events.sessions),
        ),
        lookups: Lookups::default(),
        directory,
        loads,
        downgrades: Arc::new(Downgrades::new()),
        connections: AtomicUsize::new(0),
        connections_max: AtomicUsize::new(connections_max as usize),
        queues,
    });
    let cores = available_cores().map_err(|error| no_worker(&error))?;
    let (report, reports) = mpsc::channel();
    let ended = Arc::new(ended);
    let mut commands = Vec::new();
    let none = || (0..count).map(|_| Vec::new()).collect();
    let (waiting, bound) = if takes_over { (bound, none()) } else { (none(), bound) };
    for (id, bound) in bound.into_iter().enumerate() {
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
    let served = Arc::new(Served::new(revision, Arc::clone(&shared.loads)));
    let tls = Arc::clone(tls);
    Ok(Server { engine, refusal, commands, shared, backends, listeners, waiting, served, tls, outputs })
}

/// What a process begins with that others have left to it.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// Sockets of a service manager, or of the process that this one takes over from.
    pub(crate) listeners: Inherited,
    /// Of that process' sid table; `None`: there is no such process.
    pub(crate) hash_key: Option<[u8; 16]>,
}

impl Server {
    /// Where each listener listens: the port the kernel chose where the configuration says 0.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// The configuration that is served.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.served.revision().config)
    }

    /// The same, for other threads and later.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    /// Where lines of the access log and spans go, for whoever looks after them.
    pub(crate) fn take_outputs(&mut self) -> Outputs {
        std::mem::take(&mut self.outputs)
    }

    /// What hops around the proxy break.
    pub(crate) fn downgrades(&self) -> Arc<Downgrades> {
        Arc::clone(&self.shared.downgrades)
    }

    /// What the status page shows.
    pub(crate) fn collector(&self, counters: Counters, lifecycle: Arc<Lifecycle>) -> Collector {
        let (served, shared) = (self.served(), Arc::clone(&self.shared));
        let (engine, tls) = (self.engine, Arc::clone(&self.tls));
        Collector::new(Sources { counters, served, shared, lifecycle, engine, tls })
    }

    /// What orders need.
    pub(crate) fn orders(&self, counters: Counters, lifecycle: Arc<Lifecycle>, requests: Requests) -> Orders {
        Orders {
            served: self.served(),
            shared: Arc::clone(&self.shared),
            commands: self.commands.clone(),
            counters,
            lifecycle,
            engine: self.engine,
            requests,
        }
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
        let connections_max = if connections(&config) == connections(&self.config()) {
            self.shared.connections_max.load(Relaxed)
        } else {
            let reserve = descriptors::reserve(count, config.listeners.len());
            descriptors::prepare(config.limits.connections, reserve)? as usize
        };
        let followed = self.tls.get().followed_by(&config);
        let tls = Arc::new(followed.map_err(|problems| StartError::new(problems.join("; ")))?);
        let (listeners, bound) = self.listeners.changed(&config, count, &mut Inherited::new())?;
        let served = self.served.revision();
        let former = served.admission.as_deref();
        let revision = Arc::new(Revision {
            backends: self.backends.identify(&config).map_err(|error| StartError::new(error.to_string()))?,
            admission: Admission::of(&config, &listeners.ids(), count, random_key()?, former),
            listeners: listeners.ids(),
            tls: Arc::clone(&tls),
            config,
        });
        Snapshot::new(&revision).map_err(|error| StartError::new(error.to_string()))?;
        join(&served, &revision);
        self.shared.connections_max.store(connections_max, Relaxed);
        let (done, all_done) = oneshot::channel();
        let done = Arc::new(done);
        for (commands, bound) in self.commands.iter().zip(bound) {
            let adoption = Adoption { revision: Arc::clone(&revision), bound, done: Arc::clone(&done) };
            // One configuration is on its way at a time, so there is room; a closed mailbox is an ended worker's.
            let _ = commands.try_send(Command::Adopt(Box::new(adoption)));
        }
        self.listeners = listeners;
        self.served.replace(revision);
        self.tls.set(tls);
        Ok(all_done)
    }

    /// Loads the files of TLS again.
    pub(crate) fn reload_tls(&self) {
        self.tls.reload();
    }

    /// Makes the workers accept that have waited for another process.
    pub(crate) fn accept(&mut self) {
        for (commands, bound) in self.commands.iter().zip(self.waiting.drain(..)) {
            // The mailbox is empty at the start.
            let _ = commands.try_send(Command::Move(Move::Listen(bound)));
        }
    }

    /// Resolves when every worker has had a turn of its loop.
    pub(crate) fn prove(&self) -> oneshot::Receiver<()> {
        let (turned, all_turned) = oneshot::channel();
        let turned = Arc::new(turned);
        for commands in &self.commands {
            // A closed mailbox is an ended worker's; a full one's turns come.
            let _ = commands.try_send(Command::Prove(Arc::clone(&turned)));
        }
        all_turned
    }

    /// What the workers of a process need that hands over, or takes over.
    pub(crate) fn crew(&self) -> Crew {
        Crew { commands: self.commands.clone(), shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listening> {
        self.listeners.iter()
    }

    /// Every backend that a session or tunnel may refer to, by upstream and name.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (&str, &str, &Identity)> {
        self.backends.known()
    }

    /// The backend of these names, which another process' sessions and tunnels refer to. Where it is checked here
    /// too, it is what that process' checks have found until ours find something else.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn identify(
        &mut self,
        upstream: String,
        name: String,
        checked: Option<bool>,
    ) -> Result<Arc<Identity>, StartError> {
        let is_checked =
            self.config().upstreams.get(&upstream).is_some_and(|known| known.health.check.is_some());
        let identity = self.backends.identify_one(upstream, name);
        let identity = identity.map_err(|error| StartError::new(error.to_string()))?;
        if let Some(up) = checked.filter(|_| is_checked) {
            identity.set_checked(up);
        }
        Ok(identity)
    }

    /// Client connections open now, tunnels included.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Backends of the configuration that the other process did not have, which knows `known`, come to the others.
    pub(crate) fn join_unknown(&self, known: &BTreeMap<BackendId, Arc<Identity>>) {
        let revision = self.served.revision();
        for identity in &revision.backends {
            if !known.values().any(|known| known.id == identity.id) {
                revision.join(identity);
            }
        }
    }

    /// What the file says as well as an order is the file's.
    pub(crate) fn settle_orders(&self) {
        for (_, _, backends) in self.served.revision().upstreams() {
            backends.for_each(|(backend, identity)| identity.settle_orders(backend.state, backend.weight));
        }
    }

    /// Goes on with a drain that closes the tunnels to a backend over some time, if there is one.
    pub(crate) fn close_tunnels(&self, identity: &Arc<Identity>) {
        let Some(Ending { began, over }) = identity.ending() else { return };
        let (identity, order) = (Arc::clone(identity), identity.last_order());
        let over = over.saturating_sub(began.elapsed());
        // Mailboxes have hardly anything in them yet; an operator sees tunnels that stay, and orders it again.
        let _ = shed(&self.commands, &Shedding { identity, order, over });
    }

    /// Tells every worker to accept no more, and to end when empty or at `deadline`.
    pub(crate) fn drain(&mut self, deadline: Instant) {
        self.listeners.let_go();
        for commands in &self.commands {
            // A full mailbox holds this very command already; a closed one belongs to an ended worker.
            let _ = commands.try_send(Command::Drain { deadline });
        }
    }
}

/// Backends that may be given sessions by `new` and could not by `former` come to the others.
fn join(former: &Revision, new: &Revision) {
    let serves = |revision: &Revision, identity: &Identity| {
        let configured = revision.configured(identity.id);
        configured.is_some_and(|backend| identity.state(backend.state) == BackendState::Up)
    };
    for identity in &new.backends {
        if serves(new, identity) && !serves(former, identity) {
            new.join(identity);
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
    let steers = revision.config.workers.steer;
    let steered_core = core.filter(|_| steers).and_then(|core| u32::try_from(core).ok());
    let worker = Rc::new(Worker::new(id, steered_core, reactor.clone(), snapshot, shared, counters));
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
    worker.shared.sids.end(&worker);
    worker.flush_logs();
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
