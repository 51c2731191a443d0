//! The configuration that is served, and how its backends stand, for the threads beside the workers.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use ringbolt_core::affinity::{Health, State};
use serde::Serialize;

use crate::config;
use crate::identity::Identity;
use crate::load::Loads;
use crate::metrics::BackendCounts;
use crate::snapshot::Revision;

/// The revision that is served. Workers have their own snapshots of it.
#[derive(Debug)]
pub(crate) struct Served {
    revision: Mutex<Arc<Revision>>,
    loads: Arc<Loads>,
}

/// How one backend stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) upstream: String,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// One of [`STATES`].
    pub(crate) state: &'static str,
    pub(crate) weight: u32,
    pub(crate) backup: bool,
    /// Sessions and tunnels.
    pub(crate) load: u32,
    #[serde(skip)]
    pub(crate) tunnels: u32,
    /// Requests that wait for it.
    #[serde(skip)]
    pub(crate) queue: usize,
    #[serde(skip)]
    pub(crate) counts: BackendCounts,
    /// An operator has ordered what the file does not say.
    pub(crate) ordered: bool,
    /// How it came to be there.
    pub(crate) origin: &'static str,
}

/// States of a backend, as metrics name them.
pub(crate) const STATES: [&str; 5] = ["up", "suspect", "down", "drain", "maintenance"];

impl Served {
    pub(crate) fn new(revision: Arc<Revision>, loads: Arc<Loads>) -> Self {
        Self { revision: Mutex::new(revision), loads }
    }

    /// A configuration that nobody serves.
    #[cfg(test)]
    pub(crate) fn of(config: &config::Config) -> Self {
        let loads = Arc::new(Loads::new());
        let backends = crate::identity::Registry::new(Arc::clone(&loads)).identify(config).unwrap();
        let config = Arc::new(config.clone());
        let (listeners, tls) = (Vec::new(), Arc::default());
        Self::new(Arc::new(Revision { config, backends, listeners, admission: None, tls }), loads)
    }

    pub(crate) fn revision(&self) -> Arc<Revision> {
        Arc::clone(&self.revision.lock())
    }

    pub(crate) fn load(&self, identity: &Identity) -> u32 {
        self.loads.get(identity.id)
    }

    pub(crate) fn replace(&self, revision: Arc<Revision>) {
        let former = std::mem::replace(&mut *self.revision.lock(), revision);
        // Outside the lock: it may be the last one.
        drop(former);
    }

    /// Every backend, upstream by upstream, at this [`crate::identity::uptime_ms`].
    pub(crate) fn standings(&self, uptime_ms: u64) -> Vec<Standing> {
        let revision = self.revision();
        let mut standings = Vec::new();
        for (upstream, _, backends) in revision.upstreams() {
            standings.extend(backends.map(|(backend, identity)| Standing {
                upstream: upstream.to_owned(),
                name: backend.name.clone(),
                address: backend.address,
                state: state(backend, identity, uptime_ms),
                weight: identity.weight(backend.weight),
                backup: backend.backup,
                ordered: identity.differs(backend.state, backend.weight)
                    || backend.origin == config::Origin::Order,
                tunnels: self.loads.tunnels(identity.id),
                queue: identity.gate.waiting(),
                counts: identity.counters.now(),
                origin: backend.origin.name(),
                load: self.load(identity),
            }));
        }
        standings
    }
}

fn state(backend: &config::Backend, identity: &Identity, uptime_ms: u64) -> &'static str {
    match (identity.state(backend.state), identity.health(uptime_ms)) {
        (State::Maintenance, _) => name_of(State::Maintenance),
        (_, Health::Down) => "down",
        (State::Up, Health::Suspect) => "suspect",
        (state, _) => name_of(state),
    }
}

/// What is written for a state that is configured or ordered.
pub(crate) fn name_of(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Drain => "drain",
        State::Maintenance => "maintenance",
    }
}
