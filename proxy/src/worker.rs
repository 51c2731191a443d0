//! One worker: a thread on a core of its own, with its listeners, connections, tunnels and shard.
//!
//! Workers share the sid table, the load counters and nothing else (decision D4). Everything here is
//! used by one thread only.

mod command;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Instant;

use ringbolt_core::affinity::{Candidate, Member, key_of_bytes};
use ringbolt_core::detect::Protocol;
use ringbolt_core::http::{RequestHead, ResponseHead};
use ringbolt_reactor::{
    BoundListener, Chunk, Either, Reactor, Ready, Received, Rooms, Sink, SinkToken, mailbox, select,
};

use crate::accept;
use crate::access_log::AccessLog;
use crate::ask::Found;
use crate::client::Client;
use crate::date::{DATE_BYTES, DateCache};
use crate::directory::Directory;
use crate::downgrades::Downgrades;
use crate::drain::{self, Ending};
use crate::hot_buffer::HotBuffer;
use crate::limits::CLOSING_TURN;
use crate::load::{InFlight, Loads};
use crate::lookups::Lookups;
use crate::memory::Memory;
use crate::metrics::{Counters, WorkerCounters};
use crate::outputs::Queues;
use crate::pipes::Pipes;
use crate::pool::Pool;
use crate::request_ids::RequestIds;
use crate::response::Final;
use crate::sids::SidTable;
use crate::snapshot::{ListenerId, Snapshot};
use crate::spare::{Buffers, Spares};
use crate::tls::Records;
use crate::traces::Traces;
use crate::tunnel::farewell::{self, Shed};
use crate::tunnel::moving;
use crate::tunnel::{self, TunnelTable};

pub(crate) use self::command::{Adoption, Command, Move, Shedding, shed};

/// What all workers of the process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sids: SidTable,
    /// Sids that backends are asked for.
    pub(crate) lookups: Lookups<Found>,
    /// What other machines know of sids; `None`: nobody does.
    pub(crate) directory: Option<Arc<Directory>>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) downgrades: Arc<Downgrades>,
    /// Client connections of the process, tunnels included.
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_max: AtomicUsize,
    /// The ways to where lines of the access log and spans go.
    pub(crate) queues: Queues,
}

/// The state of one worker thread.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number, which is also that of its shard.
    pub(crate) id: usize,
    /// The core whose connections it is to be given.
    pub(crate) steered_core: Option<u32>,
    pub(crate) reactor: Reactor,
    pub(crate) shared: Arc<Shared>,
    all_counters: Counters,
    pub(crate) memory: Memory,
    pub(crate) hot: HotBuffer,
    /// What the hot buffer is to plaintext, this is to TLS records.
    pub(crate) records: Records,
    pub(crate) request_heads: Spares<RequestHead>,
    pub(crate) response_heads: Spares<ResponseHead>,
    /// Memory of answers under way, of bytes to be sent, and of requests as a whole.
    pub(crate) answers: Spares<Final>,
    pub(crate) buffers: Buffers,
    pub(crate) rooms: Rooms,
    pub(crate) pool: Pool,
    pub(crate) tunnels: TunnelTable,
    pub(crate) pipes: Pipes,
    pub(crate) in_flight: InFlight,
    /// Memory for placing one request; empty between two.
    pub(crate) placement: RefCell<(Vec<Member>, Vec<Candidate>)>,
    pub(crate) request_ids: RequestIds,
    /// `None`: nothing is written.
    pub(crate) access_log: Option<AccessLog>,
    /// `None`: nothing is exported.
    pub(crate) traces: Option<Traces>,
    date: DateCache,
    rotation: Cell<usize>,
    random: Cell<u64>,
    snapshot: RefCell<Rc<Snapshot>>,
    started: Instant,
    connections: Cell<usize>,
    draining: Cell<bool>,
    /// Until then a drain waits for the last request of an idle connection.
    pub(crate) last_requests_until: Cell<Option<Instant>>,
    /// The drain of the process, as far as it ends polling sessions.
    pub(crate) ending: Cell<Option<Ending>>,
    /// Another process serves.
    leaving: Cell<bool>,
    /// Connections that wait for a request, for that process.
    idle: RefCell<Vec<(ListenerId, OwnedFd)>>,
    /// Woken when the last connection of a draining worker ends.
    emptied: RefCell<Option<Waker>>,
}

impl Worker {
    pub(crate) fn new(
        id: usize,
        steered_core: Option<u32>,
        reactor: Reactor,
        snapshot: Snapshot,
        shared: Arc<Shared>,
        all_counters: Counters,
    ) -> Self {
        Self {
            id,
            steered_core,
            started: reactor.now(),
            reactor,
            memory: Memory::new(snapshot.memory_bytes_max, all_counters.workers()),
            all_counters,
            hot: HotBuffer::new(),
            records: Records::new(),
            request_heads: Spares::default(),
            response_heads: Spares::default(),
            answers: Spares::default(),
            buffers: Buffers::default(),
            rooms: Rooms::default(),
            pool: Pool::new(&snapshot),
            pipes: Pipes::default(),
            tunnels: TunnelTable::new(&snapshot.timeouts),
            in_flight: InFlight::default(),
            placement: RefCell::default(),
            request_ids: RequestIds::new(),
            access_log: shared.queues.access_log.as_ref().map(AccessLog::new),
            traces: shared.queues.traces.as_ref().map(Traces::new),
            date: DateCache::new(),
            rotation: Cell::new(id),
            random: Cell::new(key_of_bytes(&id.to_le_bytes())),
            snapshot: RefCell::new(Rc::new(snapshot)),
            connections: Cell::new(0),
            draining: Cell::new(false),
            last_requests_until: Cell::new(None),
            ending: Cell::new(None),
            leaving: Cell::new(false),
            idle: RefCell::default(),
            emptied: RefCell::new(None),
            shared,
        }
    }

    /// What this worker counts.
    pub(crate) fn counters(&self) -> &WorkerCounters {
        self.all_counters.worker(self.id)
    }

    /// What all workers count.
    pub(crate) fn all_counters(&self) -> &Counters {
        &self.all_counters
    }

    /// A number that grows with each call, for taking turns.
    pub(crate) fn next_rotation(&self) -> usize {
        let rotation = self.rotation.get();
        self.rotation.set(rotation.wrapping_add(1));
        rotation
    }

    /// A number that looks random, for draws that no client gains by guessing.
    pub(crate) fn random(&self) -> u64 {
        self.random.set(key_of_bytes(&self.random.get().wrapping_add(1).to_le_bytes()));
        self.random.get()
    }

    /// The configuration new requests are served by.
    pub(crate) fn snapshot(&self) -> Rc<Snapshot> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// Value of the Date field of what is answered now.
    pub(crate) fn date(&self) -> [u8; DATE_BYTES] {
        self.date.get(self.reactor.now())
    }

    /// Seconds since the worker began, as of this turn.
    pub(crate) fn uptime_seconds(&self) -> u32 {
        let seconds = self.reactor.now().saturating_duration_since(self.started).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// As [`Self::uptime_seconds`], in less memory; wraps around after 18 hours.
    #[expect(clippy::cast_possible_truncation, reason = "it wraps around")]
    pub(crate) fn uptime_seconds_wrapping(&self) -> u16 {
        self.uptime_seconds() as u16
    }

    /// Milliseconds since the worker began, as of this turn; wraps around after 49 days.
    pub(crate) fn uptime_ms(&self) -> u32 {
        let elapsed = self.reactor.now().saturating_duration_since(self.started);
        u32::try_from(elapsed.as_millis() & u128::from(u32::MAX)).unwrap_or(0)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Another process serves.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Nothing new is to begin on connections of this listener: it was removed, or the worker drains.
    pub(crate) fn is_closing(&self, listener: ListenerId) -> bool {
        self.is_draining() || self.snapshot.borrow().listener(listener).is_none()
    }

    /// A connection that waits for a request is to be closed: nothing new is to begin on it, and whoever closes an idle
    /// connection at once may cut a request that is on its way.
    pub(crate) fn ends_idle(&self, listener: ListenerId) -> bool {
        let waits = self.last_requests_until.get().is_some_and(|until| self.reactor.now() < until);
        self.is_closing(listener) && !waits
    }

    /// A connection is to be closed on which nothing has come. If another process serves it goes there instead:
    /// its next request may be on its way already.
    pub(crate) fn give_away(&self, client: &Client) {
        // There it begins anew, which only a connection can that began with a request.
        let begins_anew = self
            .snapshot
            .borrow()
            .listener(client.listener)
            .is_some_and(|known| !known.proxy_protocol && known.protocols.is_only(Protocol::Http));
        let Client { stream, listener, .. } = client;
        let is_silent = stream.unread.is_empty() && !stream.socket.is_read_closed();
        if self.leaving.get() && self.is_draining() && begins_anew && is_silent {
            // Out of descriptors it is closed, as in any drain.
            if let Ok(fd) = stream.socket.fd().try_clone_to_owned() {
                self.connection_began();
                self.idle.borrow_mut().push((*listener, fd));
            }
        }
    }

    /// Runs `future` unless the listener closes first.
    pub(crate) async fn unless_closing<T>(
        &self,
        listener: ListenerId,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.is_closing(listener) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Counts a connection in, unless the process has as many as it may.
    pub(crate) fn admit(&self) -> bool {
        if self.shared.connections.fetch_add(1, Relaxed) >= self.shared.connections_max.load(Relaxed) {
            self.shared.connections.fetch_sub(1, Relaxed);
            return false;
        }
        self.connections.set(self.connections.get() + 1);
        self.counters().connections_active.add(1);
        true
    }

    /// Counts a connection in that replaces one that is about to end.
    pub(crate) fn connection_began(&self) {
        self.shared.connections.fetch_add(1, Relaxed);
        self.connections.set(self.connections.get() + 1);
        self.counters().connections_active.add(1);
    }

    pub(crate) fn connection_ended(&self) {
        self.shared.connections.fetch_sub(1, Relaxed);
        self.connections.set(self.connections.get() - 1);
        self.counters().connections_active.sub(1);
        if self.connections.get() == 0
            && let Some(waker) = self.emptied.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Serves until told to drain and done with that: the worker's whole life.
    pub(crate) async fn run(self: &Rc<Self>, mut commands: mailbox::Receiver<Command>) {
        let deadline = loop {
            match commands.recv().await {
                Some(Command::Adopt(adoption)) => self.adopt(*adoption),
                Some(Command::Shed(Shedding { identity, order, over })) => {
                    let worker = Rc::clone(self);
                    // Held polls look when they are polled whether their sessions are to end.
                    self.reactor.wake_all();
                    self.reactor.spawn(async move {
                        let goes_on = || identity.is_last_order(order);
                        let which = Shed::To(identity.id);
                        farewell::shed(&worker, which, over, || worker.random(), goes_on).await;
                    });
                }
                Some(Command::Move(step)) => self.take_part(step).await,
                Some(Command::Prove(turned)) => drop(turned),
                Some(Command::Drain { deadline }) => break deadline,
                // Without a sender there is nobody left to serve for either.
                None => return,
            }
        };
        self.draining.set(true);
        self.pool.clear();
        drain::begin(self, deadline);
        let emptied = poll_fn(|context| {
            if self.connections.get() == 0 {
                return Poll::Ready(());
            }
            *self.emptied.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        });
        // What ends as a tunnel may still move.
        let moving = async {
            while let Some(command) = commands.recv().await {
                if let Command::Move(step) = command {
                    self.take_part(step).await;
                }
            }
            std::future::pending::<()>().await;
        };
        let emptied = self.reactor.timeout_at(Some(deadline), emptied);
        if let Either::Left(Err(_)) = select(emptied, moving).await {
            tracing::info!(
                worker = self.id,
                connections = self.connections.get(),
                "drain deadline passed, closing the rest"
            );
            farewell::close_all(self);
        }
    }

    async fn take_part(self: &Rc<Self>, step: Move) {
        // Whoever asked may have given up.
        match step {
            Move::Choose(choose) => moving::choose(self, choose),
            Move::Give(reply) => {
                if let Err(error) = reply.try_send(moving::give(self).await) {
                    drop(error);
                    moving::keep(self);
                }
            }
            Move::CountStaying(reply) => drop(reply.try_send(moving::count_staying(self))),
            Move::Keep => moving::keep(self),
            Move::LetGo => moving::let_go(self),
            Move::Leave => self.leaving.set(true),
            Move::GiveIdle(reply) => {
                let idle = self.idle.take();
                // They were counted in as connections, for the worker to stay until they are given.
                idle.iter().for_each(|_| self.connection_ended());
                let _ = reply.try_send(idle);
            }
            Move::Admit(connections, reply) => {
                connections.into_iter().for_each(|(listener, fd)| accept::admit_again(self, fd, listener));
                let _ = reply.try_send(Ok(()));
            }
            Move::Listen(bound) => self.listen(bound),
            Move::Restore(records, reply) => {
                self.shared.sids.restore(self, &records);
                let _ = reply.try_send(Ok(()));
            }
            Move::Park(arriving, reply) => drop(reply.try_send(moving::park(self, arriving))),
            Move::Adopt => moving::adopt(self),
            Move::Discard => moving::discard(self),
        }
    }

    fn listen(self: &Rc<Self>, bound: Vec<(ListenerId, BoundListener)>) {
        if let Err(error) = accept::listen(self, bound) {
            tracing::error!(worker = self.id, %error, "a new listener cannot be watched, other workers serve it");
        }
    }

    /// Serves by another configuration from now on. What is under way goes on by the one it began with.
    fn adopt(self: &Rc<Self>, Adoption { revision, bound, done }: Adoption) {
        match Snapshot::new(&revision) {
            Ok(snapshot) => {
                self.pool.adopt(&snapshot);
                self.tunnels.adopt(&snapshot.timeouts);
                let former = self.snapshot.replace(Rc::new(snapshot));
                if !self.snapshot().keeps_listeners_of(&former) {
                    // Listeners and idle connections look when they are polled whether theirs is still there.
                    self.reactor.wake_all();
                    // The kernel lets go of a port at the end of a turn, and the next reload may want it.
                    let (worker, done) = (Rc::clone(self), Arc::clone(&done));
                    self.reactor.spawn(async move {
                        worker.reactor.sleep_until(worker.reactor.now() + CLOSING_TURN).await;
                        drop(done);
                    });
                }
            }
            // It was built once before it was sent.
            Err(error) => tracing::error!(worker = self.id, %error, "the new configuration cannot be served"),
        }
        self.listen(bound);
        drop(done);
    }

    /// Gives what there is of the access log to its writer, and of spans to their exporter.
    pub(crate) fn flush_logs(&self) {
        if let Some(log) = &self.access_log {
            log.flush(self.counters());
        }
        if let Some(traces) = &self.traces {
            traces.flush(self.counters());
        }
    }
}

impl Sink for Worker {
    fn ready(&self, token: SinkToken, ready: Ready) {
        tunnel::ready(self, token, ready);
    }

    fn expired(&self, token: SinkToken) {
        tunnel::expired(self, token);
    }

    fn received(&self, token: SinkToken, received: Received) {
        tunnel::received(self, token, received);
    }

    fn sent(&self, token: SinkToken, chunk: Chunk, result: io::Result<usize>) {
        tunnel::sent(self, token, &chunk, result);
    }
}
