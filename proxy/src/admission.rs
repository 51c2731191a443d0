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
use crate::config::Config;
use crate::metrics::label;
use crate::snapshot::ListenerId;
use crate::worker::Worker;

/// A shard on cache lines of its own, so that two workers' locks do not share one.
#[derive(Debug)]
#[repr(align(128))]
struct Aligned(Mutex<ClientTable>);

/// The bounds of the process and what counts towards them.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Empty where no bound per client is configured.
    shards: Box<[Aligned]>,
    hasher: ClientHasher,
    bounds: ClientBounds,
    /// By listener.
    listeners: Box<[Listener]>,
    /// By route.
    routes: Box<[Option<RouteRate>]>,
    started: Instant,
}

#[derive(Debug)]
struct Listener {
    connections: AtomicU32,
    /// `None`: they are not counted.
    connections_max: Option<u32>,
}

/// Requests of one route, over all workers.
#[derive(Debug)]
struct RouteRate {
    rate: Rate,
    state: AtomicU64,
}

/// A connection that counts towards bounds, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    admission: Arc<Admission>,
    listener: Option<ListenerId>,
    client: Option<Place>,
}

impl Admission {
    /// The bounds of `config` over `shard_count` shards; `None` if it has none. `hash_key` is random.
    pub(crate) fn of(config: &Config, shard_count: usize, hash_key: [u8; 16]) -> Option<Arc<Self>> {
        let limits = &config.limits;
        let bounds = ClientBounds {
            connections: limits.connections_per_client,
            connection_rate: limits.connection_rate_per_client.map(Rate::per_second),
            session_rate: limits.session_rate_per_client.map(Rate::per_second),
            dry_run: limits.dry_run,
        };
        let none = ClientBounds { dry_run: limits.dry_run, ..ClientBounds::default() };
        let shard_count = if bounds == none { 0 } else { shard_count };
        let share = (limits.clients as usize).div_ceil(shard_count.max(1));
        let per_listener = config.listeners.iter().any(|listener| listener.connections.is_some());
        let per_route = config.routes.iter().any(|route| route.request_rate.is_some());
        if shard_count == 0 && !per_listener && !per_route {
            return None;
        }
        Some(Arc::new(Self {
            shards: (0..shard_count).map(|_| Aligned(Mutex::new(ClientTable::new(share)))).collect(),
            hasher: ClientHasher::new(hash_key),
            bounds,
            listeners: config
                .listeners
                .iter()
                .map(|listener| Listener {
                    connections: AtomicU32::new(0),
                    connections_max: listener.connections,
                })
                .collect(),
            routes: config
                .routes
                .iter()
                .map(|route| {
                    let rate = Rate::per_second(route.request_rate?);
                    Some(RouteRate { rate, state: AtomicU64::new(0) })
                })
                .collect(),
            started: Instant::now(),
        }))
    }

    fn now(&self, worker: &Worker) -> u64 {
        let elapsed = worker.reactor.now().saturating_duration_since(self.started);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The client's place and shard; `None` where no bound per client is configured.
    fn place(&self, client: IpAddr) -> Option<(Place, &Mutex<ClientTable>)> {
        if self.shards.is_empty() {
            return None;
        }
        let place = self.hasher.place(client.into());
        Some((place, &self.shards[place.shard(self.shards.len())].0))
    }

    /// Counts what is beyond a bound. `true`: it is refused for that.
    fn refuses(&self, worker: &Worker, limit: label::Limit) -> bool {
        worker.counters().limited.of(limit).add(1);
        !self.bounds.dry_run
    }

    /// Counts a connection in. `Err`: it is to be closed.
    fn enter(
        self: &Arc<Self>,
        worker: &Worker,
        id: ListenerId,
        client: IpAddr,
    ) -> Result<Option<Entered>, ()> {
        let mut entered = Entered { admission: Arc::clone(self), listener: None, client: None };
        let listener = &self.listeners[id.0];
        if let Some(most) = listener.connections_max {
            let others = listener.connections.fetch_add(1, Relaxed);
            entered.listener = Some(id);
            if others >= most && self.refuses(worker, label::Limit::ListenerConnections) {
                return Err(());
            }
        }
        // A trusted proxy's connections are those of many clients.
        let is_proxy = any_contains(&worker.snapshot().listener(id).trusted_proxies, client);
        if let Some((place, shard)) = self.place(client).filter(|_| !is_proxy) {
            let verdict = shard.lock().enter(place, &self.bounds, self.now(worker));
            if self.judge(worker, verdict) {
                return Err(());
            }
            entered.client = (verdict != Verdict::Unseen).then_some(place);
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

impl Drop for Entered {
    fn drop(&mut self) {
        let admission = &self.admission;
        if let Some(id) = self.listener {
            admission.listeners[id.0].connections.fetch_sub(1, Relaxed);
        }
        if let Some(place) = self.client {
            // A slot with a connection is in use at any time, so the time does not matter.
            admission.shards[place.shard(admission.shards.len())].0.lock().leave(place, 0);
        }
    }
}

/// Counts a new connection in. `false`: it is beyond a bound and to be closed.
pub(crate) fn enter(worker: &Worker, client: &mut Client) -> bool {
    let Some(admission) = &worker.shared.admission else { return true };
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

/// Whether one more Engine.IO session of this client may begin.
///
/// # Errors
/// 429 if not.
pub(crate) fn open_session(worker: &Worker, client: IpAddr) -> Result<(), Answer> {
    let Some(admission) = &worker.shared.admission else { return Ok(()) };
    let Some((place, shard)) = admission.place(client) else { return Ok(()) };
    let verdict = shard.lock().open_session(place, &admission.bounds, admission.now(worker));
    if admission.judge(worker, verdict) { Err(Answer::TOO_MANY_SESSIONS) } else { Ok(()) }
}

/// Whether one more request of this route may be served; routes are numbered as in the configuration.
///
/// # Errors
/// 503 if not.
pub(crate) fn request(worker: &Worker, route: usize) -> Result<(), Answer> {
    let Some(admission) = &worker.shared.admission else { return Ok(()) };
    let Some(Some(RouteRate { rate, state })) = admission.routes.get(route) else { return Ok(()) };
    let now = admission.now(worker);
    let admitted = state.fetch_update(Relaxed, Relaxed, |state| rate.admit(state, now));
    if admitted.is_err() && admission.refuses(worker, label::Limit::RouteRequestRate) {
        return Err(Answer::ROUTE_BUSY);
    }
    Ok(())
}
