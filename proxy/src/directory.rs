//! The shared directory: whose session a sid is, in a Redis or Valkey that all machines of a fleet look into.
//!
//! A worker never speaks to it by itself. It gives a job to the housekeeping thread (`service.rs`), which has a
//! connection, and waits for the answer for `directory.timeout` at most. Everything that can go wrong ends in
//! [`Listed::Nothing`]: then other evidence decides. What strangers can make of it is bounded: lookups by a rate over all
//! workers, one for each sid at a time, and none for a moment for a sid that the directory does not have.
//!
//! What stands there, under which key and for how long is decided in `ringbolt_core::affinity`, `directory.rs`.

mod client;
mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ringbolt_core::affinity::{BackendId, Entry, Listed, Role, Sid, directory_key, lifetime};
use ringbolt_core::rate::Rate;
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::identity::uptime_ms;
use crate::limits::DIRECTORY_JOBS_MAX;
use crate::lookups::{Joined, Lookups};
use crate::mac::Key;
use crate::metrics::HousekeepingCounters;
use crate::metrics::label;
use crate::route::Route;
use crate::search::{self, Unknown};
use crate::sids::Session;
use crate::worker::Worker;

pub(crate) use self::client::Client;
pub(crate) use self::service::Service;

/// The workers' way to the directory.
#[derive(Debug)]
pub(crate) struct Directory {
    prefix: Box<str>,
    mac: Key,
    timeout: Duration,
    rate: Option<Rate>,
    /// The state of `rate`.
    looked_up: AtomicU64,
    /// It answers; the service says so.
    answers: AtomicBool,
    jobs: mpsc::Sender<Job>,
    lookups: Lookups<Listed>,
}

/// What is to be done there. Whoever waits hears nothing if it cannot be.
#[derive(Debug)]
enum Job {
    Find { key: String, found: oneshot::Sender<Option<Vec<u8>>> },
    Store { key: String, entry: String, lifetime: Duration, stored: oneshot::Sender<()> },
    Remove { key: String },
}

/// The directory of the route's sessions; `None`: they are in none.
pub(crate) fn of<'a>(worker: &'a Worker, route: &Route) -> Option<&'a Directory> {
    worker.shared.directory.as_deref().filter(|_| route.upstream().directory)
}

/// What the directory says of a session, directly or through whoever looks for it already.
pub(crate) async fn find(worker: &Worker, route: &Route, unknown: &Unknown) -> Listed {
    let Some(directory) = of(worker, route) else { return Listed::Never };
    let deadline = worker.reactor.now() + directory.timeout;
    let key = worker.shared.sids.key(route.upstream().seed, &unknown.sid);
    let (label, listed) = match directory.lookups.join(&worker.reactor, key, deadline).await {
        Joined::Over(listed) => (label::Listing::Cached, listed),
        Joined::Told(listed) => (label::Listing::Joined, listed),
        Joined::Full => (label::Listing::Limited, Listed::Nothing),
        Joined::Late => (label::Listing::Failed, Listed::Nothing),
        Joined::Looking(lookup) => {
            let (label, listed) = directory.look_up(worker, route, unknown, deadline).await;
            lookup.finish(listed, label == label::Listing::Missing, worker.reactor.now());
            (label, listed)
        }
    };
    worker.counters().directory_lookups.of(label).add(1);
    listed
}

/// Renews the entry of a session that the table knows, where that is due. Returns its sid, if it stands in the directory: the
/// request may end it.
pub(crate) fn renew(
    worker: &Worker,
    route: &Route,
    role: Option<&Role>,
    known: Option<&(BackendId, Session<'_>)>,
) -> Option<Box<Sid>> {
    let directory = of(worker, route)?;
    let (Some(Role::Session(sid)), (owner, session)) = (role, known?) else { return None };
    if session.is_due() {
        // Nobody waits for that.
        drop(directory.store(worker, route, sid, *owner, session.time_to_live()));
    }
    Some(Box::new(*sid))
}

impl Directory {
    /// The directory of this configuration, and the service that has to run for it; `None`: there is none.
    ///
    /// # Errors
    /// Its CA file cannot be used.
    pub(crate) fn open(
        config: &config::Config,
        counters: Arc<HousekeepingCounters>,
    ) -> Result<Option<(Arc<Self>, Service)>, String> {
        let Some(settings) = &config.directory else { return Ok(None) };
        let (jobs, received) = mpsc::channel(DIRECTORY_JOBS_MAX);
        let directory = Arc::new(Self {
            prefix: settings.prefix.as_str().into(),
            mac: Key::new(settings.secret.as_ref().map_or(&[], |secret| &secret.content.0)),
            timeout: settings.timeout,
            rate: settings.rate.map(Rate::per_second),
            looked_up: AtomicU64::new(0),
            answers: AtomicBool::new(false),
            jobs,
            lookups: Lookups::default(),
        });
        let service = Service::new(Client::new(settings)?, received, Arc::clone(&directory), counters);
        Ok(Some((directory, service)))
    }

    /// Writes down whose session it is, or that it still lives. What this returns resolves when that is done, in vain or
    /// not; `None`: it cannot be.
    pub(crate) fn store(
        &self,
        worker: &Worker,
        route: &Route,
        sid: &Sid,
        backend: BackendId,
        time_to_live: Duration,
    ) -> Option<oneshot::Receiver<()>> {
        let backend = route.upstream().backends.iter().find(|one| one.id == backend)?;
        let entry = Entry { time_to_live, backend: backend.name.clone() }.text();
        let (stored, is_stored) = oneshot::channel();
        let (key, lifetime) = (self.key(route, sid), lifetime(time_to_live));
        self.send(worker, Job::Store { key, entry, lifetime, stored }).then_some(is_stored)
    }

    /// Takes a session out that has ended.
    pub(crate) fn remove(&self, worker: &Worker, route: &Route, sid: &Sid) {
        self.send(worker, Job::Remove { key: self.key(route, sid) });
    }

    /// When a new session's entry is waited for no longer.
    pub(crate) fn deadline(&self, worker: &Worker) -> Instant {
        worker.reactor.now() + self.timeout
    }

    /// `false`: there is no room, or nobody answers.
    fn send(&self, worker: &Worker, job: Job) -> bool {
        let result = match self.answers.load(Relaxed) {
            false => label::Written::Away,
            true if self.jobs.try_send(job).is_ok() => label::Written::Sent,
            true => label::Written::Dropped,
        };
        worker.counters().directory_writes.of(result).add(1);
        result == label::Written::Sent
    }

    /// Looks the session up, and stores in the table what is found.
    async fn look_up(
        &self,
        worker: &Worker,
        route: &Route,
        unknown: &Unknown,
        deadline: Instant,
    ) -> (label::Listing, Listed) {
        if !self.answers.load(Relaxed) {
            return (label::Listing::Away, Listed::Nothing);
        }
        let (found, is_found) = oneshot::channel();
        let job = Job::Find { key: self.key(route, &unknown.sid), found };
        if !self.admits(worker.reactor.now()) || self.jobs.try_send(job).is_err() {
            return (label::Listing::Limited, Listed::Nothing);
        }
        let Ok(Ok(found)) = worker.reactor.timeout_at(Some(deadline), is_found).await else {
            return (label::Listing::Failed, Listed::Nothing);
        };
        let Some(text) = found else { return (label::Listing::Missing, Listed::Nothing) };
        let Some(entry) = Entry::parse(&text) else { return (label::Listing::Foreign, Listed::Nothing) };
        let Some(backend) = route.upstream().backends.iter().find(|one| one.name == entry.backend) else {
            return (label::Listing::Stranger, Listed::Stranger);
        };
        search::learn(worker, route, unknown, backend.id, entry.time_to_live, deadline).await;
        (label::Listing::Found, Listed::Owner(backend.id))
    }

    /// Whether one more lookup may be made now.
    fn admits(&self, now: Instant) -> bool {
        const NANOSECONDS_PER_MS: u64 = 1_000_000;
        let Some(rate) = self.rate else { return true };
        let now_ns = uptime_ms(now) * NANOSECONDS_PER_MS;
        self.looked_up.fetch_update(Relaxed, Relaxed, |state| rate.admit(state, now_ns)).is_ok()
    }

    fn key(&self, route: &Route, sid: &Sid) -> String {
        let digits = directory_key(&self.mac, route.upstream().seed, sid);
        [&*self.prefix, str::from_utf8(&digits).unwrap_or_default()].concat()
    }
}

#[cfg(test)]
mod tests {
    use ringbolt_core::affinity::seed_of_name;

    use super::*;

    #[test]
    fn the_key_is_the_same_on_every_machine_of_a_fleet() {
        let key = |secret: &[u8]| {
            let sid = Sid::new(b"Ek3yLmC0yr0OhBMbAAAA").unwrap();
            String::from_utf8(directory_key(&Key::new(secret), seed_of_name("chat"), &sid).to_vec()).unwrap()
        };
        assert_eq!(key(b""), "82a2faf3d26bbbaccfe8116c4c532abd");
        assert_eq!(key(&[b's'; 32]), "4485291402213e3472e08dc1a5298bbe");
    }
}
