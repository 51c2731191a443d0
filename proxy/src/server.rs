//! The worker threads: bound, started, told to drain, joined.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use ringbolt_reactor::{
    BoundListener, Engine, EngineChoice, Listener, Reactor, RingRefusal, available_cores, mailbox,
    pin_to_core,
};
use tokio::sync::oneshot;

use crate::accept;
use crate::admission::Admission;
use crate::config::{self, Config};
use crate::limits::{COMMANDS_MAX, LISTEN_BACKLOG, SOCKET_OPTIONS};
use crate::load::Loads;
use crate::metrics::Counters;
use crate::metrics::label::EngineInUse;
use crate::sids::SidTable;
use crate::snapshot::{ListenerId, Snapshot};
use crate::start::{self, StartError};
use crate::tls;
use crate::worker::{Command, Shared, Worker};

/// The running workers.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where each listener listens: the port the kernel chose where the configuration says 0.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) engine: Engine,
    /// Why there is no ring, where one was asked for and refused.
    pub(crate) refusal: Option<RingRefusal>,
    commands: Vec<mailbox::Sender<Command>>,
}

/// What a worker thread reports once it serves.
type Started = io::Result<(Engine, Option<RingRefusal>)>;

/// What a worker thread begins with.
struct Setup {
    id: usize,
    core: Option<usize>,
    config: Arc<Config>,
    shared: Arc<Shared>,
    tls: Arc<tls::Setup>,
    counters: Counters,
    listeners: Vec<BoundListener>,
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
    tls: &Arc<tls::Setup>,
    connections_max: u32,
    counters: &Counters,
    ended: oneshot::Sender<()>,
) -> Result<Server, StartError> {
    let count = counters.workers();
    let loads = Arc::new(Loads::new());
    let hash_key = random_key().map_err(|error| no_worker(&error))?;
    let shared = Arc::new(Shared {
        sids: SidTable::new(count, config.limits.sids, hash_key, Arc::clone(&loads)),
        loads,
        admission: Admission::of(config, count, random_key().map_err(|error| no_worker(&error))?),
        connections: AtomicUsize::new(0),
        connections_max: connections_max as usize,
    });
    let (mut by_worker, addresses) = bind(config, count)?;
    let cores = available_cores().map_err(|error| no_worker(&error))?;
    let (report, reports) = mpsc::channel();
    let ended = Arc::new(ended);
    let mut commands = Vec::new();
    for (id, listeners) in by_worker.drain(..).enumerate() {
        let (sender, receiver) = mailbox::new(COMMANDS_MAX);
        commands.push(sender);
        let setup = Setup {
            id,
            core: config.workers.pin.then(|| cores[id % cores.len()]),
            config: Arc::clone(config),
            shared: Arc::clone(&shared),
            tls: Arc::clone(tls),
            counters: counters.clone(),
            listeners,
            commands: receiver,
            ended: Arc::clone(&ended),
        };
        let report = report.clone();
        let thread = thread::Builder::new().name(format!("worker-{id}")).spawn(move || run(setup, &report));
        thread.map_err(|error| no_worker(&error))?;
    }
    let mut server = Server { addresses, engine: Engine::Epoll, refusal: None, commands };
    for started in reports.iter().take(count) {
        let (engine, refusal) = started.map_err(|error| no_worker(&error))?;
        server.engine = engine;
        server.refusal = server.refusal.or(refusal);
    }
    Ok(server)
}

impl Server {
    /// Tells every worker to accept no more, and to end when empty or at `deadline`.
    pub(crate) fn drain(&self, deadline: Instant) {
        for commands in &self.commands {
            // A full mailbox holds this very command already; a closed one belongs to an ended worker.
            let _ = commands.try_send(Command::Drain { deadline });
        }
    }
}

/// One socket for each listener and worker: SO_REUSEPORT lets the kernel spread connections.
fn bind(config: &Config, workers: usize) -> Result<(Vec<Vec<BoundListener>>, Vec<SocketAddr>), StartError> {
    let mut by_worker: Vec<Vec<BoundListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in &config.listeners {
        start::claim("listener.address", listener.address)?;
        let mut address = listener.address;
        for bound in &mut by_worker {
            let socket = Listener::bind(address, LISTEN_BACKLOG, true)
                .and_then(|socket| SOCKET_OPTIONS.apply(socket.fd()).map(|()| socket))
                .map_err(|error| StartError::bind("listener.address", address, &error))?;
            // Where the first was given a port by the kernel, the others share it.
            address = socket.local_addr();
            bound.push(socket);
        }
        addresses.push(address);
    }
    Ok((by_worker, addresses))
}

/// The whole life of a worker thread. Reports once: that it serves, or why it does not.
fn run(setup: Setup, report: &mpsc::Sender<Started>) {
    let Setup { id, core, config, shared, tls, counters, listeners, commands, ended } = setup;
    if let Some(core) = core
        && let Err(error) = pin_to_core(core)
    {
        tracing::warn!(worker = id, core, %error, "cannot pin the worker to its core");
    }
    let (reactor, refusal) = match Reactor::new(choice(config.workers.engine)) {
        Ok(started) => started,
        Err(error) => return drop(report.send(Err(error))),
    };
    let snapshot = match Snapshot::new(&config, &tls) {
        Ok(snapshot) => snapshot,
        Err(error) => return drop(report.send(Err(io::Error::other(error)))),
    };
    let worker = Rc::new(Worker::new(id, reactor.clone(), snapshot, shared, counters));
    for (index, bound) in listeners.into_iter().enumerate() {
        match Listener::register(&reactor, bound) {
            Ok(listener) => reactor.spawn(accept::run(Rc::clone(&worker), listener, ListenerId(index))),
            Err(error) => return drop(report.send(Err(error))),
        }
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
fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    Ok(key)
}
