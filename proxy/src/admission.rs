//! Who may come in: bounds per listener, per client address and per route.
//!
//! The clients of all workers stand in one table, cut into shards with a lock each, as the sid table is:
//! SO_REUSEPORT spreads one client's connections over workers as chance will have it, so that shares of a
//! bound per worker would refuse some clients early and others late. Nothing here is looked at where nothing is
//! configured. What a bound means is decided in `ringbolt_core`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use ringbolt_core::clients::{ClientBounds, ClientHasher, ClientTable, Exceeded, Place, Verdict};
use ringbolt_core::http::Answer;
use ringbolt_core::network::any_contains;
use ringbolt_core::rate::Rate;

use crate::client::Client;
use crate::config::{self, Config};
use crate::identity::{Identity, uptime_ms};
use crate::metrics::label;
use crate::snapshot::{ListenerId, Snapshot};
use crate::worker::Worker;

/// A shard on cache lines of its own, so that two workers' locks do not share one.
#[derive(Debug)]
#[repr(align(128))]
struct Aligned(Mutex<ClientTable>);

/// The clients of the process.
#[derive(Debug)]
struct Clients {
    shards: Box<[Aligned]>,
    hasher: ClientHasher,
    started: Instant,
}

/// The bounds of one configuration and what counts towards them, which outlives it.
#[derive(Debug)]
pub(crate) struct Admission {
    /// `None` where no bound per client is configured.
    clients: Option<Arc<Clients>>,
    bounds: ClientBounds,
    listeners: Box<[Listener]>,
    /// By route.
    routes: Box<[Option<RouteRate>]>,
    /// New sessions of the process, over all workers.
    sessions: Option<(Rate, Arc<AtomicU64>)>,
    /// New sessions of each backend, which count with it.
    backend_sessions: Option<Rate>,
    started: Instant,
}

#[derive(Debug)]
struct Listener {
    id: ListenerId,
    connections: Arc<AtomicU32>,
    /// `None`: they are not counted.
    connections_max: Option<u32>,
}

/// Requests of one route, over all workers.
#[derive(Debug)]
struct RouteRate {
    host: Option<String>,
    path: String,
    rate: Rate,
    state: Arc<AtomicU64>,
}

/// A connection that counts towards bounds, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    listener: Option<(ListenerId, Arc<AtomicU32>)>,
    client: Option<(Arc<Clients>, Place)>,
}

impl Admission {
    /// The bounds of `config`, whose listeners have these numbers, over `shard_count` shards; `None` if it has none.
    ///
    /// What counts in `former` goes on to count. A table of clients keeps its size; a new one has the random
    /// `hash_key`.
    pub(crate) fn of(
        config: &Config,
        listeners: &[ListenerId],
        shard_count: usize,
        hash_key: [u8; 16],
        former: Option<&Self>,
    ) -> Option<Arc<Self>> {
        let limits = &config.limits;
        let bounds = ClientBounds {
            connections: limits.connections_per_client,
            connection_rate: limits.connection_rate_per_client.map(Rate::per_second),
            session_rate: limits.session_rate_per_client.map(Rate::per_second),
            dry_run: limits.dry_run,
        };
        let per_client = bounds != ClientBounds { dry_run: limits.dry_run, ..ClientBounds::default() };
        let per_listener = config.listeners.iter().any(|listener| listener.connections.is_some());
        let per_route = config.routes.iter().any(|route| route.request_rate.is_some());
        let per_process = limits.session_rate.is_some() || limits.session_rate_per_backend.is_some();
        if !per_client && !per_listener && !per_route && !per_process {
            return None;
        }
        let clients = per_client.then(|| match former.and_then(|former| former.clients.as_ref()) {
            Some(clients) => Arc::clone(clients),
            None => Arc::new(Clients::new(limits.clients as usize, shard_count, hash_key)),
        });
        let listeners = config.listeners.iter().zip(listeners);
        let sessions = limits.session_rate.map(|rate| {
            let former = former.and_then(|former| former.sessions.as_ref());
            (Rate::per_second(rate), former.map(|(_, state)| Arc::clone(state)).unwrap_or_default())
        });
        Some(Arc::new(Self {
            clients,
            bounds,
            listeners: listeners.map(|(listener, id)| Listener::new(listener, *id, former)).collect(),
            routes: config.routes.iter().map(|route| RouteRate::new(route, former)).collect(),
            sessions,
            backend_sessions: limits.session_rate_per_backend.map(Rate::per_second),
            started: former.map_or_else(Instant::now, |former| former.started),
        }))
    }

    fn now(&self, worker: &Worker) -> u64 {
        nanoseconds(self.started, worker)
    }

    /// Counts what is beyond a bound. `true`: it is refused for that.
    fn refuses(&self, worker: &Worker, limit: label::Limit) -> bool {
        worker.counters().limited.of(limit).add(1);
        !self.bounds.dry_run
    }

    /// Counts a connection in. `Err`: it is to be closed.
    fn enter(&self, worker: &Worker, id: ListenerId, client: IpAddr) -> Result<Option<Entered>, ()> {
        let mut entered = Entered { listener: None, client: None };
        let snapshot = worker.snapshot();
        if let Some(listener) = self.listeners.iter().find(|listener| listener.id == id)
            && let Some(most) = listener.connections_max
        {
            let others = listener.connections.fetch_add(1, Relaxed);
            entered.listener = Some((id, Arc::clone(&listener.connections)));
            if others >= most && self.refuses(worker, label::Limit::ListenerConnections) {
                return Err(());
            }
        }
        // A trusted proxy's connections are those of many clients.
        let is_proxy =
            snapshot.listener(id).is_some_and(|listener| any_contains(&listener.trusted_proxies, client));
        if let Some(clients) = self.clients.as_ref().filter(|_| !is_proxy) {
            let (place, shard) = clients.place(client);
            let verdict = shard.lock().enter(place, &self.bounds, clients.now(worker));
            if self.judge(worker, verdict) {
                return Err(());
            }
            entered.client = (verdict != Verdict::Unseen).then(|| (Arc::clone(clients), place));
        }
        Ok((entered.listener.is_some() || entered.client.is_some()).then_some(entered))
    }

    /// Counts a verdict. `true`: what it is about is refused.
    fn judge(&self, worker: &Worker, verdict: Verdict) -> bool {
        let limit = match verdict {
            Verdict::Within => return false,
            Verdict::Unseen => {
                worker.counters().clients_unseen.add(1);
                return false;
            }
            Verdict::Beyond(Exceeded::Connections) => label::Limit::ClientConnections,
            Verdict::Beyond(Exceeded::ConnectionRate) => label::Limit::ClientConnectionRate,
            Verdict::Beyond(Exceeded::SessionRate) => label::Limit::ClientSessionRate,
        };
        self.refuses(worker, limit)
    }
}

impl Clients {
    fn new(slots: usize, shard_count: usize, hash_key: [u8; 16]) -> Self {
        let share = slots.div_ceil(shard_count.max(1));
        Self {
            shards: (0..shard_count).map(|_| Aligned(Mutex::new(ClientTable::new(share)))).collect(),
            hasher: ClientHasher::new(hash_key),
            started: Instant::now(),
        }
    }

    /// The client's place and shard.
    fn place(&self, client: IpAddr) -> (Place, &Mutex<ClientTable>) {
        let place = self.hasher.place(client.into());
        (place, self.shard(place))
    }

    fn shard(&self, place: Place) -> &Mutex<ClientTable> {
        &self.shards[place.shard(self.shards.len())].0
    }

    fn now(&self, worker: &Worker) -> u64 {
        nanoseconds(self.started, worker)
    }
}

impl Listener {
    fn new(listener: &config::Listener, id: ListenerId, former: Option<&Admission>) -> Self {
        let former = former.and_then(|former| former.listeners.iter().find(|listener| listener.id == id));
        let connections = former.map(|former| Arc::clone(&former.connections)).unwrap_or_default();
        Self { id, connections, connections_max: listener.connections }
    }
}

impl RouteRate {
    /// `None`: the route has no bound. A route is the same as long as its host and path are.
    fn new(route: &config::Route, former: Option<&Admission>) -> Option<Self> {
        let rate = Rate::per_second(route.request_rate?);
        let routes = former.map_or(&[][..], |former| &former.routes);
        let former =
            routes.iter().flatten().find(|former| former.host == route.host && former.path == route.path);
        let state = former.map(|former| Arc::clone(&former.state)).unwrap_or_default();
        Some(Self { host: route.host.clone(), path: route.path.clone(), rate, state })
    }
}

fn nanoseconds(since: Instant, worker: &Worker) -> u64 {
    let elapsed = worker.reactor.now().saturating_duration_since(since);
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

impl Entered {
    /// What it counts towards: the bound of this listener, those of this client.
    pub(crate) fn of(&self) -> (Option<ListenerId>, Option<IpAddr>) {
        let client = self.client.as_ref().map(|(_, place)| place.client().into());
        (self.listener.as_ref().map(|(id, _)| *id), client)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some((_, connections)) = &self.listener {
            connections.fetch_sub(1, Relaxed);
        }
        if let Some((clients, place)) = &self.client {
            // A slot with a connection is in use at any time, so the time does not matter.
            clients.shard(*place).lock().leave(*place, 0);
        }
    }
}

/// Counts a new connection in. `false`: it is beyond a bound and to be closed.
pub(crate) fn enter(worker: &Worker, client: &mut Client) -> bool {
    let Some(admission) = &worker.snapshot().admission else { return true };
    match admission.enter(worker, client.listener, client.address.ip()) {
        Ok(entered) => {
            client.entered = entered.map(Box::new);
            true
        }
        Err(()) => {
            worker.counters().connections_refused.of(label::RefusedConnection::Limit).add(1);
            false
        }
    }
}

/// Counts a connection in that another process had let in, whatever the bounds are.
pub(crate) fn enter_again(
    worker: &Worker,
    listener: Option<ListenerId>,
    client: Option<IpAddr>,
) -> Option<Box<Entered>> {
    let snapshot = worker.snapshot();
    let admission = snapshot.admission.as_ref()?;
    let listener = admission.listeners.iter().find(|known| Some(known.id) == listener);
    let listener = listener.filter(|listener| listener.connections_max.is_some()).map(|listener| {
        listener.connections.fetch_add(1, Relaxed);
        (listener.id, Arc::clone(&listener.connections))
    });
    let client = client.zip(admission.clients.as_ref()).and_then(|(client, clients)| {
        let (place, shard) = clients.place(client);
        // Without a bound nobody is beyond one, and is only counted.
        let verdict = shard.lock().enter(place, &ClientBounds::default(), clients.now(worker));
        (verdict == Verdict::Within).then(|| (Arc::clone(clients), place))
    });
    (listener.is_some() || client.is_some()).then(|| Box::new(Entered { listener, client }))
}

/// Whether one more Engine.IO session of this client may begin, in this process.
///
/// # Errors
/// 429 if not of this client, 503 if not of anybody.
pub(crate) fn open_session(worker: &Worker, snapshot: &Snapshot, client: IpAddr) -> Result<(), Answer> {
    let Some(admission) = &snapshot.admission else { return Ok(()) };
    if let Some(clients) = &admission.clients {
        let (place, shard) = clients.place(client);
        let verdict = shard.lock().open_session(place, &admission.bounds, clients.now(worker));
        if admission.judge(worker, verdict) {
            return Err(Answer::TOO_MANY_SESSIONS);
        }
    }
    let Some((rate, state)) = &admission.sessions else { return Ok(()) };
    let is_one_too_many = !take(*rate, state, worker);
    if is_one_too_many && admission.refuses(worker, label::Limit::SessionRate) {
        return Err(Answer::TOO_MANY_OPENING);
    }
    Ok(())
}

/// Whether one more Engine.IO session may begin at this backend.
///
/// # Errors
/// 503 if not.
pub(crate) fn open_session_at(
    worker: &Worker,
    snapshot: &Snapshot,
    backend: &Identity,
) -> Result<(), Answer> {
    let Some(admission) = &snapshot.admission else { return Ok(()) };
    let Some(rate) = admission.backend_sessions else { return Ok(()) };
    let is_one_too_many = !take(rate, &backend.sessions, worker);
    if is_one_too_many && admission.refuses(worker, label::Limit::BackendSessionRate) {
        return Err(Answer::BACKEND_OPENING);
    }
    Ok(())
}

/// The backend would be given sessions faster than it may be: others come first.
pub(crate) fn opens_too_fast(worker: &Worker, snapshot: &Snapshot, backend: &Identity) -> bool {
    let rate = snapshot.admission.as_ref().and_then(|admission| admission.backend_sessions);
    rate.is_some_and(|rate| rate.admit(backend.sessions.load(Relaxed), uptime_ns(worker)).is_none())
}

/// Takes a token of a rate that all workers share. `false`: there is none.
fn take(rate: Rate, state: &AtomicU64, worker: &Worker) -> bool {
    let now = uptime_ns(worker);
    state.fetch_update(Relaxed, Relaxed, |state| rate.admit(state, now)).is_ok()
}

/// A clock that outlives configurations.
fn uptime_ns(worker: &Worker) -> u64 {
    uptime_ms(worker.reactor.now()).saturating_mul(1_000_000)
}

/// Whether one more request of this route may be served; routes are numbered as in the snapshot's configuration.
///
/// # Errors
/// 503 if not.
pub(crate) fn request(worker: &Worker, snapshot: &Snapshot, route: usize) -> Result<(), Answer> {
    let Some(admission) = &snapshot.admission else { return Ok(()) };
    let Some(Some(RouteRate { rate, state, .. })) = admission.routes.get(route) else { return Ok(()) };
    let now = admission.now(worker);
    let admitted = state.fetch_update(Relaxed, Relaxed, |state| rate.admit(state, now));
    if admitted.is_err() && admission.refuses(worker, label::Limit::RouteRequestRate) {
        return Err(Answer::ROUTE_BUSY);
    }
    Ok(())
}
