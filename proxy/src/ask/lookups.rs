//! Sids that are being asked for, and those that nobody knows, over all workers.
//!
//! One lock for all of them: it is taken only for a sid that the table does not hold, for some hundred nanoseconds and
//! never across I/O.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use parking_lot::Mutex;
use ringbolt_core::affinity::{BackendId, SidKey};
use tokio::sync::oneshot;

use crate::limits::{LOOKUP_WAITING_MAX, LOOKUPS_MAX, NOBODYS_SIDS_MAX, NOBODYS_TIME_TO_LIVE};
use crate::metrics::label;

/// What became known of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// This backend has it.
    Owner(BackendId),
    /// No backend has it.
    Nobody,
    /// None is known to have it; of this one that is open.
    Perhaps(BackendId),
    /// The backends may not be asked so often.
    Busy,
}

impl Found {
    /// As it is counted where the backends were asked.
    pub(super) fn label(self) -> label::Lookup {
        match self {
            Self::Owner(_) => label::Lookup::Found,
            Self::Nobody => label::Lookup::Nobody,
            Self::Perhaps(_) => label::Lookup::Unclear,
            Self::Busy => label::Lookup::Busy,
        }
    }
}

/// The table of lookups.
#[derive(Debug, Default)]
pub(crate) struct Lookups(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lookups: BTreeMap<SidKey, Lookup>,
    /// Those of them that are under way.
    asking: usize,
    /// The others, in the order in which they are forgotten.
    nobodys: VecDeque<(Instant, SidKey)>,
}

#[derive(Debug)]
enum Lookup {
    /// Somebody asks; the others wait to be told.
    Asking(Vec<oneshot::Sender<Found>>),
    /// Nobody has the session.
    Nobody,
}

/// What is to be done about a sid.
#[derive(Debug)]
pub(super) enum Joined<'a> {
    /// The caller asks, and says what it found.
    Asking(Asker<'a>),
    /// Another one asks, and will tell. An error: it has gone away.
    Waiting(oneshot::Receiver<Found>),
    /// Nobody has the session, as was found a moment ago.
    Nobody,
    /// There are as many lookups as there may be.
    Full,
}

/// Whoever asks for a sid. If it is dropped another one of those who wait may.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    lookups: &'a Lookups,
    key: SidKey,
}

impl Lookups {
    /// Joins the lookup of a sid, or begins it.
    pub(super) fn join(&self, key: SidKey, now: Instant) -> Joined<'_> {
        let mut state = self.0.lock();
        let State { lookups, asking, nobodys } = &mut *state;
        while let Some((_, expired)) = nobodys.pop_front_if(|(until, _)| *until <= now) {
            lookups.remove(&expired);
        }
        match lookups.entry(key) {
            Entry::Occupied(mut lookup) => match lookup.get_mut() {
                Lookup::Nobody => Joined::Nobody,
                Lookup::Asking(waiting) if waiting.len() >= LOOKUP_WAITING_MAX => Joined::Full,
                Lookup::Asking(waiting) => {
                    let (teller, told) = oneshot::channel();
                    waiting.push(teller);
                    Joined::Waiting(told)
                }
            },
            Entry::Vacant(_) if *asking >= LOOKUPS_MAX => Joined::Full,
            Entry::Vacant(place) => {
                place.insert(Lookup::Asking(Vec::new()));
                *asking += 1;
                Joined::Asking(Asker { lookups: self, key })
            }
        }
    }
}

impl Asker<'_> {
    /// Tells all who wait.
    pub(super) fn finish(self, found: Found, now: Instant) {
        let waiting = {
            let mut state = self.lookups.0.lock();
            let waiting = state.end(self.key);
            if found == Found::Nobody && state.nobodys.len() < NOBODYS_SIDS_MAX {
                state.lookups.insert(self.key, Lookup::Nobody);
                state.nobodys.push_back((now + NOBODYS_TIME_TO_LIVE, self.key));
            }
            waiting
        };
        // Who has gone away needs no word.
        for teller in waiting {
            let _ = teller.send(found);
        }
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let waiting = self.lookups.0.lock().end(self.key);
        // Outside the lock: they wake up.
        drop(waiting);
    }
}

impl State {
    /// Ends a lookup, if it has not ended; returns those who wait for it.
    fn end(&mut self, key: SidKey) -> Vec<oneshot::Sender<Found>> {
        match self.lookups.entry(key) {
            Entry::Occupied(lookup) if matches!(lookup.get(), Lookup::Asking(_)) => {
                self.asking -= 1;
                match lookup.remove() {
                    Lookup::Asking(waiting) => waiting,
                    Lookup::Nobody => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}
