//! Sids that are being looked for, and those of which it is known for a moment what came of it, over all workers.
//!
//! One lock for all of them: it is taken only for a sid that the table does not hold, for some hundred nanoseconds and
//! never across I/O.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use parking_lot::Mutex;
use ringbolt_core::affinity::SidKey;
use ringbolt_reactor::Reactor;
use tokio::sync::oneshot;

use crate::limits::{LOOKUP_WAITING_MAX, LOOKUPS_MAX, NOBODYS_SIDS_MAX, NOBODYS_TIME_TO_LIVE};

/// The table of lookups. `T`: what becomes known.
#[derive(Debug)]
pub(crate) struct Lookups<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    lookups: BTreeMap<SidKey, Lookup<T>>,
    /// Those of them that are under way.
    looking: usize,
    /// The others, in the order in which they are forgotten.
    remembered: VecDeque<(Instant, SidKey)>,
}

#[derive(Debug)]
enum Lookup<T> {
    /// Somebody looks; the others wait to be told.
    Looking(Vec<oneshot::Sender<T>>),
    /// What came of it a moment ago.
    Over(T),
}

/// What is to be done about a sid.
#[derive(Debug)]
pub(crate) enum Joined<'a, T: Copy> {
    /// The caller looks for it, and says what it found.
    Looking(Looker<'a, T>),
    /// Another one did, and this came of it.
    Told(T),
    /// Another one still does at the deadline.
    Late,
    /// This came of it a moment ago.
    Over(T),
    /// There are as many lookups as there may be.
    Full,
}

/// Whoever looks for a sid. If it is dropped another one of those who wait may.
#[derive(Debug)]
pub(crate) struct Looker<'a, T: Copy> {
    lookups: &'a Lookups<T>,
    key: SidKey,
}

impl<T> Default for Lookups<T> {
    fn default() -> Self {
        let (lookups, remembered) = (BTreeMap::new(), VecDeque::new());
        Self(Mutex::new(State { lookups, looking: 0, remembered }))
    }
}

impl<T: Copy> Lookups<T> {
    /// Joins the lookup of a sid until it ends, or begins it.
    pub(crate) async fn join(&self, reactor: &Reactor, key: SidKey, deadline: Instant) -> Joined<'_, T> {
        loop {
            let told = match self.enter(key, reactor.now()) {
                Ok(joined) => return joined,
                Err(told) => told,
            };
            match reactor.timeout_at(Some(deadline), told).await {
                Ok(Ok(found)) => return Joined::Told(found),
                // Whoever looked has gone away.
                Ok(Err(_)) => {}
                Err(_) => return Joined::Late,
            }
        }
    }

    /// An error: another one looks, and will tell, or go away.
    fn enter(&self, key: SidKey, now: Instant) -> Result<Joined<'_, T>, oneshot::Receiver<T>> {
        let mut state = self.0.lock();
        let State { lookups, looking, remembered } = &mut *state;
        while let Some((_, expired)) = remembered.pop_front_if(|(until, _)| *until <= now) {
            lookups.remove(&expired);
        }
        match lookups.entry(key) {
            Entry::Occupied(mut lookup) => match lookup.get_mut() {
                Lookup::Over(found) => Ok(Joined::Over(*found)),
                Lookup::Looking(waiting) if waiting.len() >= LOOKUP_WAITING_MAX => Ok(Joined::Full),
                Lookup::Looking(waiting) => {
                    let (teller, told) = oneshot::channel();
                    waiting.push(teller);
                    Err(told)
                }
            },
            Entry::Vacant(_) if *looking >= LOOKUPS_MAX => Ok(Joined::Full),
            Entry::Vacant(place) => {
                place.insert(Lookup::Looking(Vec::new()));
                *looking += 1;
                Ok(Joined::Looking(Looker { lookups: self, key }))
            }
        }
    }
}

impl<T: Copy> Looker<'_, T> {
    /// Tells all who wait, and those who come within a moment where it is `remembered`.
    pub(crate) fn finish(self, found: T, remembered: bool, now: Instant) {
        let waiting = {
            let mut state = self.lookups.0.lock();
            let waiting = state.end(self.key);
            if remembered && state.remembered.len() < NOBODYS_SIDS_MAX {
                state.lookups.insert(self.key, Lookup::Over(found));
                state.remembered.push_back((now + NOBODYS_TIME_TO_LIVE, self.key));
            }
            waiting
        };
        // Who has gone away needs no word.
        for teller in waiting {
            let _ = teller.send(found);
        }
    }
}

impl<T: Copy> Drop for Looker<'_, T> {
    fn drop(&mut self) {
        let waiting = self.lookups.0.lock().end(self.key);
        // Outside the lock: they wake up.
        drop(waiting);
    }
}

impl<T> State<T> {
    /// Ends a lookup, if it has not ended; returns those who wait for it.
    fn end(&mut self, key: SidKey) -> Vec<oneshot::Sender<T>> {
        match self.lookups.entry(key) {
            Entry::Occupied(lookup) if matches!(lookup.get(), Lookup::Looking(_)) => {
                self.looking -= 1;
                match lookup.remove() {
                    Lookup::Looking(waiting) => waiting,
                    Lookup::Over(_) => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}
