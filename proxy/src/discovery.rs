//! Backends that the configuration does not name: found by DNS or in a file, on the housekeeping thread.
//!
//! One task for each source looks again and again and keeps what it has found on the [`Board`]. Whatever fails, what was
//! found last stays. The configuration that is served is the file's with the board's backends in it, so that a
//! change of theirs is served exactly as a reload that changes the file's.

#[cfg(feature = "dns")]
mod lookup;
#[cfg(not(feature = "dns"))]
#[path = "discovery/without_dns.rs"]
mod lookup;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringbolt_core::discovery::{Entry, Found, Roster, retry_pause};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use self::lookup::{Answer, Lookup};
use crate::config::{self, Backend, BackendState, Config, Place, Source};
use crate::identity::uptime_ms;
use crate::limits::{
    DISCOVERED_PER_SOURCE_MAX, DISCOVERY_GATHER, DISCOVERY_RETRY, DISCOVERY_START_TIMEOUT, LOOKUP_TIMEOUT,
    LOOKUPS_AT_ONCE_MAX,
};
use crate::metrics::{HousekeepingCounters, label};
use crate::reload::Watch;

/// A source, by its upstream and its place.
type Key = (String, Place);

fn keys(config: &Config) -> impl Iterator<Item = Key> {
    config.upstreams.iter().flat_map(|(name, upstream)| {
        upstream.sources.iter().map(move |source| (name.clone(), source.place.clone()))
    })
}

/// The tasks that look for backends, and what they have found.
#[derive(Debug)]
pub(crate) struct Discovery {
    board: Arc<Board>,
    permits: Arc<Semaphore>,
    tasks: BTreeMap<Key, AbortHandle>,
}

/// What was found, for all sources.
#[derive(Debug)]
pub(crate) struct Board {
    sources: Mutex<BTreeMap<Key, Listed>>,
    /// Something else was found, or a first look is over.
    changed: Notify,
    counters: Arc<HousekeepingCounters>,
}

/// What is known of one source.
#[derive(Default, Debug)]
struct Listed {
    list: List,
    /// A look is over, whatever it found.
    is_looked_at: bool,
    /// Why the last look found nothing; `None`: it did.
    failure: Option<String>,
}

/// What was found at one source.
#[derive(Debug)]
enum List {
    Named(Roster),
    Written(Vec<Backend>),
}

impl Default for List {
    fn default() -> Self {
        Self::Named(Roster::default())
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl Discovery {
    pub(crate) fn new(counters: Arc<HousekeepingCounters>) -> Self {
        let board = Board { sources: Mutex::default(), changed: Notify::new(), counters };
        let permits = Arc::new(Semaphore::new(LOOKUPS_AT_ONCE_MAX));
        Self { board: Arc::new(board), permits, tasks: BTreeMap::new() }
    }

    /// Looks where `config` says, at once and from now on. What was found before stays until something else is. Needs
    /// the runtime.
    pub(crate) fn begin(&mut self, config: &Config) {
        let lookup = OnceCell::new();
        for key in keys(config) {
            self.board.sources.lock().entry(key.clone()).or_default();
            let board = Arc::clone(&self.board);
            let task = match &key.1 {
                Place::File(path) => tokio::spawn(attend_file(board, key.clone(), path.clone())),
                Place::Host(..) | Place::Srv(_) => {
                    let new = || Arc::new(Lookup::new(&config.discovery, Arc::clone(&self.permits)));
                    let lookup = Arc::clone(lookup.get_or_init(new));
                    let settings = config.discovery.clone();
                    tokio::spawn(Asking { board, key: key.clone(), lookup, settings }.run())
                }
            };
            if let Some(former) = self.tasks.insert(key, task.abort_handle()) {
                former.abort();
            }
        }
    }

    /// Looks no more where `config` does not say so, and forgets what was found there.
    pub(crate) fn keep(&mut self, config: &Config) {
        let keys: Vec<Key> = keys(config).collect();
        for (_, task) in self.tasks.extract_if(.., |key, _| !keys.contains(key)) {
            task.abort();
        }
        let mut sources = self.board.sources.lock();
        sources.retain(|key, _| keys.contains(key));
        self.board.count_failing(&sources);
    }

    /// Resolves when every source has been looked at, or has had its time.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let board = Arc::clone(&self.board);
        async move {
            let settled = async {
                while !board.sources.lock().values().all(|listed| listed.is_looked_at) {
                    board.changed.notified().await;
                }
            };
            // Who has not answered by now may do so while others are served.
            let _ = tokio::time::timeout(DISCOVERY_START_TIMEOUT, settled).await;
        }
    }

    /// Resolves when something else is found, and what came with it.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + use<> {
        let board = Arc::clone(&self.board);
        async move {
            board.changed.notified().await;
            tokio::time::sleep(DISCOVERY_GATHER).await;
        }
    }

    /// What was found could not be served: another attempt is due after a while.
    pub(crate) fn try_again(&self) {
        let board = Arc::clone(&self.board);
        tokio::spawn(async move {
            tokio::time::sleep(DISCOVERY_RETRY).await;
            board.changed.notify_one();
        });
    }

    /// The sources that have not named anybody yet.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        let sources = self.board.sources.lock();
        let unanswered = sources.iter().filter(|(_, listed)| listed.list.len() == 0);
        unanswered.map(|((upstream, place), _)| format!("{upstream}: {place}")).collect()
    }

    /// `file` with what was found in it.
    pub(crate) fn complete(&self, file: &Config) -> Config {
        let mut config = file.clone();
        let sources = self.board.sources.lock();
        let mut room = config::BACKENDS_MAX;
        for (name, upstream) in &mut config.upstreams {
            for source in &upstream.sources {
                let Some(listed) = sources.get(&(name.clone(), source.place.clone())) else { continue };
                for backend in listed.list.backends(source) {
                    let is_new = upstream.backends.iter().all(|known| known.name != backend.name);
                    if is_new && upstream.backends.len() < room {
                        upstream.backends.push(backend);
                    }
                }
            }
            room = room.saturating_sub(upstream.backends.len());
        }
        config
    }
}

impl List {
    fn len(&self) -> usize {
        match self {
            Self::Named(roster) => roster.iter().count(),
            Self::Written(backends) => backends.len(),
        }
    }

    /// The backends it stands for, as `source` wants them.
    fn backends(&self, source: &Source) -> Vec<Backend> {
        let backend = |name: &str, entry: &Entry| {
            let Found { address, weight, backup } = entry.found;
            let mut backend = source.backend(name.to_owned(), address);
            backend.weight = weight.unwrap_or(backend.weight);
            backend.backup |= backup;
            if entry.gone.is_some() && backend.state == BackendState::Up {
                backend.state = BackendState::Drain;
            }
            backend
        };
        match (self, &source.name) {
            (Self::Named(roster), Some(name)) => {
                roster.first().map(|entry| backend(name, entry)).into_iter().collect()
            }
            (Self::Named(roster), None) => roster.iter().map(|(name, entry)| backend(name, entry)).collect(),
            (Self::Written(backends), _) => backends
                .iter()
                .map(|backend| Backend { tls: backend.tls || source.tls, ..backend.clone() })
                .collect(),
        }
    }
}

impl Board {
    /// A look is over that found something, and `change` says whether something else than before.
    fn found(&self, key: &Key, change: impl FnOnce(&mut List) -> bool) {
        let mut sources = self.sources.lock();
        let Some(listed) = sources.get_mut(key) else { return };
        self.counters.looks.of(label::Look::Found).add(1);
        let is_first = !std::mem::replace(&mut listed.is_looked_at, true);
        if listed.failure.take().is_some() {
            tracing::info!(upstream = key.0, source = %key.1, "backends are found again");
        }
        if change(&mut listed.list) || is_first {
            let backends = listed.list.len();
            tracing::info!(upstream = key.0, source = %key.1, backends, "backends found");
            self.changed.notify_one();
        }
        self.count_failing(&sources);
    }

    /// A look is over that found nothing.
    fn failed(&self, key: &Key, label: label::Look, cause: String) {
        let mut sources = self.sources.lock();
        let Some(listed) = sources.get_mut(key) else { return };
        self.counters.looks.of(label).add(1);
        if listed.failure.as_ref() != Some(&cause) {
            let kept = listed.list.len();
            tracing::warn!(upstream = key.0, source = %key.1, cause, kept, "no backends found, the last ones stay");
            listed.failure = Some(cause);
        }
        if !std::mem::replace(&mut listed.is_looked_at, true) {
            self.changed.notify_one();
        }
        self.count_failing(&sources);
    }

    /// Removes from a source who has been gone for long enough; when to do so next.
    fn expire(&self, key: &Key, hold: Duration, now: Duration) -> Option<Duration> {
        let mut sources = self.sources.lock();
        let List::Named(roster) = &mut sources.get_mut(key)?.list else { return None };
        if roster.expire(hold, now) {
            self.changed.notify_one();
        }
        roster.next_expiry(hold)
    }

    fn count_failing(&self, sources: &BTreeMap<Key, Listed>) {
        let failing = sources.values().filter(|listed| listed.failure.is_some()).count();
        self.counters.sources_failing.set(failing as u64);
    }
}

/// Time as rosters count it.
fn uptime() -> Duration {
    Duration::from_millis(uptime_ms(Instant::now()))
}

/// What the task of a source of DNS works with.
struct Asking {
    board: Arc<Board>,
    key: Key,
    lookup: Arc<Lookup>,
    settings: config::Discovery,
}

impl Asking {
    /// Asks until aborted.
    async fn run(self) {
        let config::Discovery { ttl_min, ttl_max, hold, .. } = self.settings;
        let mut failures = 0;
        loop {
            let pause = match self.ask().await {
                Ok(ttl) => {
                    failures = 0;
                    ttl.clamp(ttl_min, ttl_max)
                }
                Err((label, cause)) => {
                    failures += 1;
                    self.board.failed(&self.key, label, cause);
                    retry_pause(failures).max(ttl_min)
                }
            };
            let next = uptime() + pause;
            loop {
                let now = uptime();
                let expiry = self.board.expire(&self.key, hold, now);
                if now >= next {
                    break;
                }
                let wake = expiry.map_or(next, |expiry| expiry.min(next));
                // Uptime is of whole milliseconds: not a moment too early.
                tokio::time::sleep(wake.saturating_sub(now) + Duration::from_millis(1)).await;
            }
        }
    }

    /// One look; how long the answer holds.
    async fn ask(&self) -> Result<Duration, (label::Look, String)> {
        let known = |name: &str| {
            let sources = self.board.sources.lock();
            let List::Named(roster) = &sources.get(&self.key)?.list else { return None };
            roster.address(name)
        };
        let (upstream, place) = (&self.key.0, &self.key.1);
        let late = |_| Err(format!("no answer within {LOOKUP_TIMEOUT:?}"));
        let answer =
            tokio::time::timeout(LOOKUP_TIMEOUT, self.lookup.ask(place, known)).await.unwrap_or_else(late);
        let Answer { mut found, ttl } = answer.map_err(|cause| (label::Look::Failed, cause))?;
        // Names stand in metrics and logs, and whoever answers is a stranger.
        found.retain(|name, _| config::backend_name(name).is_ok());
        if found.is_empty() {
            return Err((label::Look::Empty, "the answer names nobody".to_owned()));
        }
        if found.len() > DISCOVERED_PER_SOURCE_MAX {
            let named = found.len();
            tracing::warn!(upstream, source = %place, named, "more than {DISCOVERED_PER_SOURCE_MAX} are not used");
            found = found.into_iter().take(DISCOVERED_PER_SOURCE_MAX).collect();
        }
        self.board.found(&self.key, |list| match list {
            List::Named(roster) => roster.note(found, uptime()),
            // Its place is one of DNS.
            List::Written(_) => false,
        });
        Ok(ttl)
    }
}

/// Reads a file of backends whenever it has changed, until aborted.
async fn attend_file(board: Arc<Board>, key: Key, path: PathBuf) {
    let mut watch = Watch::new(Some(&path), None);
    loop {
        watch.see();
        read_file(&board, &key, &path);
        watch.changed(|| true).await;
    }
}

fn read_file(board: &Board, key: &Key, path: &Path) {
    match config::read_backends(path) {
        Ok(backends) => board.found(key, |list| match list {
            List::Written(known) if *known == backends => false,
            list => {
                *list = List::Written(backends);
                true
            }
        }),
        Err(refused) => board.failed(key, label::Look::Failed, refused.to_string()),
    }
}
