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
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringbolt_core::affinity::{BackendId, Health, State};
use ringbolt_core::rate::Rate;

use crate::config::Config;
use crate::drain::Ending;
use crate::limits::BACKEND_IDS_MAX;
use crate::load::Loads;
use crate::metrics::BackendCounters;
use crate::queue::Gate;

mod kept;

/// Milliseconds since the process began, the same in all threads.
pub(crate) fn uptime_ms(now: Instant) -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // A moment before the first call counts as it.
    u64::try_from(now.saturating_duration_since(*BEGAN).as_millis()).unwrap_or(u64::MAX)
}

/// States that can be ordered.
const STATES: [State; 3] = [State::Up, State::Drain, State::Maintenance];

/// A backend over all configurations that name it. Whoever holds it may still begin something there.
///
/// Here is what all workers know of it. Most of it changes rarely or is touched only where it is configured.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: BackendId,
    /// What is shown of it.
    pub(crate) counters: BackendCounters,
    /// Who may connect, where that is bounded.
    pub(crate) gate: Gate,
    /// How fast it is given new sessions, where that is bounded.
    pub(crate) sessions: AtomicU64,
    /// Turns it has had, for `balance = "round-robin"`.
    turns: AtomicU64,
    /// Sessions and tunnels it was given since it came, for `slow_start`.
    given: AtomicU32,
    /// What an operator has ordered in place of the file's state: its number in [`STATES`], and one.
    ordered_state: AtomicU8,
    /// In place of the file's weight; 0: nothing.
    ordered_weight: AtomicU32,
    /// The drain that ends its polling sessions, if it was ordered to.
    ending: Mutex<Option<Ending>>,
    /// Orders there have been: who carries out one stops when there is another.
    orders: AtomicU32,
    /// Checks say that it is down.
    down: AtomicBool,
    /// Checks have said anything.
    checked: AtomicBool,
    /// Requests that failed in a row.
    failures: AtomicU32,
    /// Until then it is suspect, in milliseconds of [`uptime_ms`].
    suspect_until: AtomicU64,
    /// When it may be asked for sessions as often as at the beginning, in nanoseconds: the state of a [`Rate`].
    questions: AtomicU64,
    /// It has said of a sid that it does not know it.
    tells_sids_apart: AtomicBool,
}

impl Identity {
    /// `given`: 0 for one that comes to others that serve already.
    fn new(id: BackendId, given: u32) -> Self {
        Self {
            id,
            counters: BackendCounters::default(),
            gate: Gate::default(),
            sessions: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            given: AtomicU32::new(given),
            ordered_state: AtomicU8::new(0),
            ordered_weight: AtomicU32::new(0),
            ending: Mutex::new(None),
            orders: AtomicU32::new(0),
            down: AtomicBool::new(false),
            checked: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            suspect_until: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            tells_sids_apart: AtomicBool::new(false),
        }
    }

    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    pub(crate) fn take_turn(&self) {
        self.turns.fetch_add(1, Relaxed);
    }

    pub(crate) fn given(&self) -> u32 {
        self.given.load(Relaxed)
    }

    /// Counts a session or tunnel it was given, as far as that matters.
    pub(crate) fn give(&self, slow_start: u32) {
        if self.given() < slow_start {
            self.given.fetch_add(1, Relaxed);
        }
    }

    /// Its state, where the file says `configured`.
    pub(crate) fn state(&self, configured: State) -> State {
        match self.ordered_state.load(Relaxed) {
            0 => configured,
            ordered => STATES.get(usize::from(ordered) - 1).copied().unwrap_or(configured),
        }
    }

    /// Its weight, where the file says `configured`.
    pub(crate) fn weight(&self, configured: u32) -> u32 {
        match self.ordered_weight.load(Relaxed) {
            0 => configured,
            ordered => ordered,
        }
    }

    /// Something about it was ordered that the file, which says this, does not say.
    pub(crate) fn differs(&self, state: State, weight: u32) -> bool {
        self.state(state) != state || self.weight(weight) != weight
    }

    /// What the file says as well, which says this, is not ordered any more.
    pub(crate) fn settle_orders(&self, state: State, weight: u32) {
        if self.state(state) == state {
            self.ordered_state.store(0, Relaxed);
            if state == State::Up && self.ending.lock().take().is_some() {
                // The file has taken back a drain that it had said as well.
                self.orders.fetch_add(1, Relaxed);
            }
        }
        if self.weight(weight) == weight {
            self.ordered_weight.store(0, Relaxed);
        }
    }

    /// Orders a state, and that its polling sessions end meanwhile; returns the number of the order.
    pub(crate) fn order_state(&self, state: State, ending: Option<Ending>) -> u32 {
        *self.ending.lock() = ending;
        let number = STATES.iter().position(|known| *known == state).map_or(0, |index| index + 1);
        self.ordered_state.store(u8::try_from(number).unwrap_or(0), Relaxed);
        self.orders.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn order_weight(&self, weight: u32) {
        self.ordered_weight.store(weight, Relaxed);
    }

    /// What the file says holds again.
    pub(crate) fn forget_orders(&self) {
        *self.ending.lock() = None;
        self.ordered_state.store(0, Relaxed);
        self.ordered_weight.store(0, Relaxed);
        self.orders.fetch_add(1, Relaxed);
    }

    /// The number of the last order.
    pub(crate) fn last_order(&self) -> u32 {
        self.orders.load(Relaxed)
    }

    /// The drain that ends its polling sessions.
    pub(crate) fn ending(&self) -> Option<Ending> {
        // Looked at first: nearly always nothing was ever ordered, and every poll asks.
        if self.last_order() == 0 { None } else { *self.ending.lock() }
    }

    /// No other order has followed this one.
    pub(crate) fn is_last_order(&self, order: u32) -> bool {
        self.last_order() == order
    }

    /// What is known of it at this [`uptime_ms`].
    pub(crate) fn health(&self, uptime_ms: u64) -> Health {
        if self.is_down() {
            Health::Down
        } else if uptime_ms < self.suspect_until.load(Relaxed) {
            Health::Suspect
        } else {
            Health::Up
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.checked.load(Relaxed)
    }

    /// What checks say.
    pub(crate) fn set_checked(&self, up: bool) {
        self.checked.store(true, Relaxed);
        self.down.store(!up, Relaxed);
    }

    /// It is not checked any more.
    pub(crate) fn forget_checks(&self) {
        self.checked.store(false, Relaxed);
        self.down.store(false, Relaxed);
    }

    /// A request has got an answer from it.
    pub(crate) fn succeeded(&self) {
        // Looked at first: nearly always there is nothing to write.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.suspect_until.store(0, Relaxed);
        }
    }

    /// It could not be connected to, or closed without an answer. `true`: that makes it suspect, which it was not.
    pub(crate) fn failed(&self, failures_max: u32, pause: Duration, uptime_ms: u64) -> bool {
        if self.failures.fetch_add(1, Relaxed) + 1 < failures_max {
            return false;
        }
        let until = uptime_ms + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX / 2);
        self.suspect_until.swap(until, Relaxed) <= uptime_ms
    }

    /// Reserves one question to it, and returns how long to wait with that; `None`: longer than `patience`.
    pub(crate) fn reserve_question(&self, rate: Rate, now: Instant, patience: Duration) -> Option<Duration> {
        const NANOSECONDS_PER_MS: u64 = 1_000_000;
        let now_ns = uptime_ms(now) * NANOSECONDS_PER_MS;
        let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let mut wait = 0;
        let reserve = |state| {
            rate.reserve(state, now_ns, patience).map(|(state, later)| {
                wait = later;
                state
            })
        };
        self.questions.fetch_update(Relaxed, Relaxed, reserve).ok()?;
        Some(Duration::from_nanos(wait))
    }

    pub(crate) fn has_told_sids_apart(&self) -> bool {
        self.tells_sids_apart.load(Relaxed)
    }

    /// It has said of a sid that it does not know it.
    pub(crate) fn tells_sids_apart(&self) {
        if !self.has_told_sids_apart() {
            self.tells_sids_apart.store(true, Relaxed);
        }
    }

    /// It comes, or comes back, to others: it starts slowly, and has as many turns behind it as they.
    pub(crate) fn join<'a>(&self, weight: u32, others: impl Iterator<Item = (&'a Self, u32)>) {
        self.given.store(0, Relaxed);
        let others = others.filter(|(other, _)| other.id != self.id);
        // Of the one that has had most for its weight, so that it owes nobody a turn.
        let turns =
            others.map(|(other, its_weight)| other.turns() * u64::from(weight) / u64::from(its_weight));
        self.turns.fetch_max(turns.max().unwrap_or(0), Relaxed);
    }
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
    /// There has been a configuration: what is new comes to others.
    started: bool,
}

impl Registry {
    pub(crate) fn new(loads: Arc<Loads>) -> Self {
        Self {
            loads,
            known: BTreeMap::new(),
            free: (0..BACKEND_IDS_MAX).map(BackendId).collect(),
            started: false,
        }
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
                        let identity = Arc::new(Identity::new(id, if self.started { 0 } else { u32::MAX }));
                        self.known.insert(name, Arc::clone(&identity));
                        identity
                    }
                };
                identities.push(identity);
            }
        }
        self.started = true;
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
                Ok(Arc::clone(place.insert(Arc::new(Identity::new(id, u32::MAX)))))
            }
        }
    }

    /// All that are known, by upstream and name.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, &str, &Identity)> {
        self.known.iter().map(|((upstream, name), identity)| (upstream.as_str(), name.as_str(), &**identity))
    }

    /// Takes back the numbers that nothing refers to.
    ///
    /// Without a snapshot that has the backend nothing new begins there, so its load only falls: once both are
    /// gone they stay gone.
    fn forget(&mut self) {
        let Self { loads, known, free, .. } = self;
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
    fn a_backend_is_suspect_after_failures_in_a_row_for_a_while() {
        let identity = Identity::new(BackendId(0), 0);
        let pause = Duration::from_secs(10);
        assert_eq!([1, 2].map(|now| identity.failed(3, pause, now)), [false, false]);
        identity.succeeded();
        assert_eq!([3, 4].map(|now| identity.failed(3, pause, now)), [false, false], "in a row");
        assert_eq!(identity.health(5), Health::Up);
        assert!(identity.failed(3, pause, 5));
        assert!(!identity.failed(3, pause, 6), "it was already");
        assert_eq!(
            [6, 10_005, 10_006].map(|now| identity.health(now)),
            [Health::Suspect, Health::Suspect, Health::Up]
        );
        assert!(identity.failed(3, pause, 20_000), "one failure is enough until one succeeds");
        identity.succeeded();
        assert_eq!(identity.health(20_001), Health::Up);
        identity.set_checked(false);
        assert_eq!(identity.health(20_001), Health::Down);
    }

    #[test]
    fn a_number_is_free_when_neither_snapshot_nor_load_refers_to_it() {
        let loads = Arc::new(Loads::new());
        let mut registry = Registry::new(Arc::clone(&loads));
        // The next free number is always the one that was given back.
        registry.free.truncate(1);
        let (x, y) = (config(&["x"]), config(&["y"]));
        let held = registry.identify(&x).unwrap();
        let tunnel = loads.count(held[0].id, None);
        assert_eq!(registry.identify(&y).err(), Some(Exhausted { removed: 1 }), "a snapshot has it");
        drop(held);
        assert_eq!(registry.identify(&y).err(), Some(Exhausted { removed: 1 }), "a tunnel goes there");
        assert_eq!(ids(&registry.identify(&x).unwrap()), [0], "it comes back and is the same");
        loads.release(tunnel);
        assert_eq!(ids(&registry.identify(&y).unwrap()), [0]);
    }
}
