//! Which backend issued a session: one shard of the table.
//!
//! A shard decides when a session is forgotten: after its time to live without a request, never while
//! one is in progress, soon after an upgrade that held. It knows neither locks nor the other shards, and
//! of a sid only its key. Every entry it holds counts in its backend's load, expired or not, until the
//! shard hands the backend back from `insert`, `remove` or `sweep`.

use std::fmt;
use std::time::Duration;

use hashbrown::HashTable;

use super::tick::ticks_of;
use super::{BackendId, SidKey, Tick};
use crate::limits::{SID_FULL_SCAN_ENTRIES, SID_SHRINK_ENTRIES_MIN, UPGRADE_MARGIN, UPGRADE_TIMEOUT};

#[cfg(test)]
mod tests;

/// One session. 32 bytes: half a cache line, and what a million of them cost is known.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: SidKey,
    backend: BackendId,
    /// When it is forgotten, while no request is in progress.
    expires: Tick,
    /// As many as connections: wider than a client could make it wrap.
    in_progress: u32,
    time_to_live_ticks: u16,
    /// A 101 was answered and its outcome is open.
    upgrading: bool,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    fn is_live(&self, now: Tick) -> bool {
        self.in_progress > 0 || now < self.expires
    }

    /// A request begins or ends: if that is later than an upgrade takes, the session polls on.
    fn settle_upgrade(&mut self, now: Tick) {
        if self.upgrading && now.after(ticks_of(UPGRADE_MARGIN)) >= self.expires {
            self.upgrading = false;
            self.expires = now.after(self.time_to_live_ticks);
        }
    }
}

/// The shard has no room: the new session must be refused (503), because a client that got its sid
/// would find nobody who knows it. Sessions that live are never given up for new ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// One worker's part of the sid table.
///
/// Entries lie densely in one vector, found through an index of their positions: no free list, a sweep
/// in memory order, and memory that can be given back.
pub struct Shard {
    entries: Vec<Entry>,
    index: HashTable<u32>,
    entries_max: u32,
    /// Where the sweep stands. It walks downwards: a removal fills its hole from the end, with an entry
    /// the sweep has already passed.
    cursor: usize,
}

impl Shard {
    /// An empty shard for at most `entries_max` sessions. Memory is taken as they come.
    #[must_use]
    pub const fn with_capacity_max(entries_max: u32) -> Self {
        Self { entries: Vec::new(), index: HashTable::new(), entries_max, cursor: 0 }
    }

    /// Binds a session to the backend that issued it, to be forgotten after `time_to_live` (at most two
    /// hours) without a request.
    ///
    /// A key that is known gets the new backend, and its requests in progress go on to count: netty
    /// servers let a client carry its sid to another backend. Returns the backend whose load falls by
    /// one: the former owner of the key, or the owner of an expired entry that made room.
    ///
    /// # Errors
    /// [`Full`] if the shard is full and no expired entry is at hand.
    pub fn insert(
        &mut self,
        key: SidKey,
        backend: BackendId,
        time_to_live: Duration,
        now: Tick,
    ) -> Result<Option<BackendId>, Full> {
        let time_to_live_ticks = ticks_of(time_to_live);
        let expires = now.after(time_to_live_ticks);
        if let Some(entry) = self.find(key) {
            let former = entry.backend;
            *entry = Entry { backend, expires, time_to_live_ticks, upgrading: false, ..*entry };
            return Ok(Some(former));
        }
        let released = if self.is_full() { Some(self.make_room(now).ok_or(Full)?) } else { None };
        let position = u32::try_from(self.entries.len()).map_err(|_| Full)?;
        self.entries.push(Entry {
            key,
            backend,
            expires,
            in_progress: 0,
            time_to_live_ticks,
            upgrading: false,
        });
        let Self { entries, index, .. } = self;
        index.insert_unique(key.index_hash(), position, |&at| entries[at as usize].key.index_hash());
        Ok(released)
    }

    /// Finds the session's backend and counts one more request in progress. `None`: unknown or expired.
    pub fn begin(&mut self, key: SidKey, now: Tick) -> Option<BackendId> {
        let entry = self.find(key).filter(|entry| entry.is_live(now))?;
        entry.settle_upgrade(now);
        entry.in_progress = entry.in_progress.saturating_add(1);
        Some(entry.backend)
    }

    /// A request that [`Shard::begin`] counted has ended; after the last one the time to live begins anew.
    ///
    /// The entry may have been removed and inserted again meanwhile. A count that is then too low does no
    /// harm: the time to live is longer than any poll is held.
    pub fn end(&mut self, key: SidKey, now: Tick) {
        let Some(entry) = self.find(key) else { return };
        entry.settle_upgrade(now);
        entry.in_progress = entry.in_progress.saturating_sub(1);
        if !entry.upgrading {
            entry.expires = now.after(entry.time_to_live_ticks);
        }
    }

    /// A 101 was answered: if the upgrade holds, no request will carry the sid again. The session is
    /// forgotten [`UPGRADE_TIMEOUT`] and [`UPGRADE_MARGIN`] later, unless a request begins or ends after
    /// the first of them: then the upgrade has failed, and the session lives as before.
    pub fn upgraded(&mut self, key: SidKey, now: Tick) {
        if let Some(entry) = self.find(key) {
            entry.upgrading = true;
            entry.expires = now.after(ticks_of(UPGRADE_TIMEOUT + UPGRADE_MARGIN));
        }
    }

    /// Forgets a session at once: a close packet went through. Returns the backend whose load falls.
    pub fn remove(&mut self, key: SidKey) -> Option<BackendId> {
        let entries = &self.entries;
        let position = *self.index.find(key.index_hash(), |&at| entries[at as usize].key == key)?;
        Some(self.remove_at(position as usize))
    }

    /// Looks at up to `entries_max` entries, from where the last sweep ended, and removes the expired
    /// ones; `expired` gets the backend of each. Gives memory back when most of it is unused.
    pub fn sweep(&mut self, now: Tick, entries_max: usize, mut expired: impl FnMut(BackendId)) {
        for _ in 0..entries_max.min(self.entries.len()) {
            if let Some(backend) = self.sweep_one(now) {
                expired(backend);
            }
        }
        self.shrink();
    }

    /// Entries, expired ones that no sweep has met included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// There is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next insert needs an expired entry to make room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.entries.len() >= self.entries_max as usize
    }

    /// Visits every entry, expired ones that no sweep has met included.
    pub fn for_each(&self, mut visit: impl FnMut(SidKey, BackendId)) {
        for entry in &self.entries {
            visit(entry.key, entry.backend);
        }
    }

    fn find(&mut self, key: SidKey) -> Option<&mut Entry> {
        let entries = &self.entries;
        let position = *self.index.find(key.index_hash(), |&at| entries[at as usize].key == key)?;
        Some(&mut self.entries[position as usize])
    }

    /// Removes one expired entry, if a bounded search finds any.
    fn make_room(&mut self, now: Tick) -> Option<BackendId> {
        (0..SID_FULL_SCAN_ENTRIES).find_map(|_| self.sweep_one(now))
    }

    fn sweep_one(&mut self, now: Tick) -> Option<BackendId> {
        if self.cursor == 0 || self.cursor > self.entries.len() {
            self.cursor = self.entries.len();
        }
        self.cursor = self.cursor.checked_sub(1)?;
        if self.entries[self.cursor].is_live(now) { None } else { Some(self.remove_at(self.cursor)) }
    }

    /// Removes the entry at `position` and moves the last one there.
    fn remove_at(&mut self, position: usize) -> BackendId {
        let Self { entries, index, .. } = self;
        let removed = entries.swap_remove(position);
        if let Ok(found) = index.find_entry(removed.key.index_hash(), |&at| at as usize == position) {
            found.remove();
        }
        if let Some(moved) = entries.get(position) {
            let last = entries.len();
            if let Some(at) = index.find_mut(moved.key.index_hash(), |&at| at as usize == last)
                && let Ok(position) = u32::try_from(position)
            {
                *at = position;
            }
        }
        removed.backend
    }

    fn shrink(&mut self) {
        let Self { entries, index, .. } = self;
        let wanted = (entries.len() * 2).max(SID_SHRINK_ENTRIES_MIN);
        if entries.capacity() > wanted * 2 {
            entries.shrink_to(wanted);
            index.shrink_to(wanted, |&at| entries[at as usize].key.index_hash());
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shard")
            .field("len", &self.len())
            .field("entries_max", &self.entries_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the sid table is full")
    }
}

impl std::error::Error for Full {}
