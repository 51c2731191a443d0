//! Which backend is which over all configurations of the process.
//!
//! A backend is the same as long as its upstream and its name are: its sessions, tunnels, load and pooled
//! connections are known by a number, which is its own until nothing refers to it any more. Snapshots refer to
//! it by holding its [`Identity`], sids and tunnels by counting in its load. A number that was given to a
//! second backend too early would send sessions of the first to it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use ringbolt_core::affinity::BackendId;

use crate::config::Config;
use crate::limits::BACKEND_IDS_MAX;
use crate::load::Loads;

/// A backend over all configurations that name it. Whoever holds it may still begin something there.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: BackendId,
}

/// All numbers are in use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// Backends that are not configured any more and still have sessions or tunnels.
    removed: usize,
}

/// Every backend that anything refers to.
#[derive(Debug)]
pub(crate) struct Registry {
    loads: Arc<Loads>,
    /// By upstream and name.
    known: BTreeMap<(String, String), Arc<Identity>>,
    /// Numbers that nothing refers to; the next one is that which was given back first.
    free: VecDeque<BackendId>,
}

impl Registry {
    pub(crate) fn new(loads: Arc<Loads>) -> Self {
        Self { loads, known: BTreeMap::new(), free: (0..BACKEND_IDS_MAX).map(BackendId).collect() }
    }

    /// The backends of `config`, upstream by upstream in the order of names: those known from before by their
    /// old numbers.
    ///
    /// # Errors
    /// There is no number left for a new one.
    pub(crate) fn identify(&mut self, config: &Config) -> Result<Vec<Arc<Identity>>, Exhausted> {
        self.forget();
        let mut identities = Vec::new();
        for (upstream, settings) in &config.upstreams {
            for backend in &settings.backends {
                let name = (upstream.clone(), backend.name.clone());
                let identity = match self.known.get(&name) {
                    Some(identity) => Arc::clone(identity),
                    None => {
                        let id = self.free.pop_front().ok_or_else(|| self.exhausted(config))?;
                        let identity = Arc::new(Identity { id });
                        self.known.insert(name, Arc::clone(&identity));
                        identity
                    }
                };
                identities.push(identity);
            }
        }
        Ok(identities)
    }

    /// The backend of these names, configured or not: something that another process began refers to it.
    ///
    /// # Errors
    /// There is no number left for it.
    pub(crate) fn identify_one(
        &mut self,
        upstream: String,
        name: String,
    ) -> Result<Arc<Identity>, Exhausted> {
        let known_count = self.known.len();
        match self.known.entry((upstream, name)) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(place) => {
                let id = self.free.pop_front().ok_or(Exhausted { removed: known_count })?;
                Ok(Arc::clone(place.insert(Arc::new(Identity { id }))))
            }
        }
    }

    /// All that are known: number, upstream and name.
    pub(crate) fn names(&self) -> impl Iterator<Item = (BackendId, &str, &str)> {
        self.known.iter().map(|((upstream, name), identity)| (identity.id, upstream.as_str(), name.as_str()))
    }

    /// Takes back the numbers that nothing refers to.
    ///
    /// Without a snapshot that has the backend nothing new begins there, so its load only falls: once both are
    /// gone they stay gone.
    fn forget(&mut self) {
        let Self { loads, known, free } = self;
        known.retain(|_, identity| {
            // Unlike a look at the count, this sees all that former holders did before they let go.
            let is_held = Arc::get_mut(identity).is_none();
            let is_referred_to = is_held || loads.get(identity.id) > 0;
            if !is_referred_to {
                free.push_back(identity.id);
            }
            is_referred_to
        });
    }

    fn exhausted(&self, config: &Config) -> Exhausted {
        let is_configured = |(upstream, name): &&(String, String)| {
            let upstream = config.upstreams.get(upstream);
            upstream.is_some_and(|upstream| upstream.backends.iter().any(|backend| backend.name == *name))
        };
        Exhausted { removed: self.known.keys().filter(|key| !is_configured(key)).count() }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "upstream: no number is left for a new backend: {} removed ones still have sessions or tunnels; \
             try again when these have ended",
            self.removed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backends: &[&str]) -> Config {
        let list: Vec<_> = backends
            .iter()
            .map(|name| format!("{{ name = \"{name}\", address = \"127.0.0.1:1\" }}"))
            .collect();
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [{}]\n",
            list.join(",")
        );
        Config::parse("test", &text).unwrap()
    }

    fn ids(identities: &[Arc<Identity>]) -> Vec<u32> {
        identities.iter().map(|identity| identity.id.0).collect()
    }

    #[test]
    fn a_backend_keeps_its_number_wherever_it_stands() {
        let mut registry = Registry::new(Arc::new(Loads::new()));
        let first = registry.identify(&config(&["x", "y"])).unwrap();
        assert_eq!(ids(&first), [0, 1]);
        assert_eq!(ids(&registry.identify(&config(&["new", "y", "x"])).unwrap()), [2, 1, 0]);
    }

    #[test]
    fn a_number_is_free_when_neither_snapshot_nor_load_refers_to_it() {
        let loads = Arc::new(Loads::new());
        let mut registry = Registry::new(Arc::clone(&loads));
        // The next free number is always the one that was given back.
        registry.free.truncate(1);
        let (x, y) = (config(&["x"]), config(&["y"]));
        let held = registry.identify(&x).unwrap();
        let tunnel = loads.count(held[0].id);
        assert_eq!(registry.identify(&y).err(), Some(Exhausted { removed: 1 }), "a snapshot has it");
        drop(held);
        assert_eq!(registry.identify(&y).err(), Some(Exhausted { removed: 1 }), "a tunnel goes there");
        assert_eq!(ids(&registry.identify(&x).unwrap()), [0], "it comes back and is the same");
        loads.release(tunnel);
        assert_eq!(ids(&registry.identify(&y).unwrap()), [0]);
    }
}
