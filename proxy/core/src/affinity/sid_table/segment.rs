//! Where entries lie: densely in a vector, found through an index of their positions.
//!
//! No free list, a sweep in memory order, memory that is given back. Knows nothing of time or sessions.

use hashbrown::HashTable;

use super::Entry;
use crate::affinity::SidKey;

/// Room for so many entries is only given back with the last of them: less is not worth the work.
const KEPT_ENTRIES: usize = 16;

/// One part of a shard, small enough to grow or shrink at once.
#[derive(Default)]
pub(super) struct Segment {
    entries: Vec<Entry>,
    index: HashTable<u32>,
}

impl Segment {
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn position(&self, key: SidKey) -> Option<usize> {
        let found = self.index.find(key.index_hash(), |&at| self.entries[at as usize].key == key);
        found.map(|&at| at as usize)
    }

    pub(super) fn find(&mut self, key: SidKey) -> Option<&mut Entry> {
        self.position(key).map(|position| &mut self.entries[position])
    }

    /// Adds an entry whose key is not here yet.
    ///
    /// # Panics
    /// At 2^32 entries, which the 32 bits of a shard's bound rule out.
    pub(super) fn push(&mut self, entry: Entry) {
        let Self { entries, index } = self;
        let position = u32::try_from(entries.len()).expect("a shard's bound has 32 bits");
        entries.push(entry);
        index.insert_unique(entry.key.index_hash(), position, |&at| entries[at as usize].key.index_hash());
    }

    /// Removes the entry at `position` and moves the last one there.
    pub(super) fn remove_at(&mut self, position: usize) -> Entry {
        let Self { entries, index } = self;
        let removed = entries.swap_remove(position);
        if let Ok(found) = index.find_entry(removed.key.index_hash(), |&at| at as usize == position) {
            let (number, _) = found.remove();
            let last = entries.len();
            if let Some(moved) = entries.get(position)
                && let Some(at) = index.find_mut(moved.key.index_hash(), |&at| at as usize == last)
            {
                *at = number;
            }
        }
        self.shrink();
        removed
    }

    /// Gives memory back when three quarters are unused, and keeps as much again as is in use, so that
    /// the work is paid by as many removals.
    fn shrink(&mut self) {
        let Self { entries, index } = self;
        if entries.is_empty() {
            *self = Self::default();
        } else if entries.capacity() > (entries.len() * 4).max(KEPT_ENTRIES) {
            let wanted = entries.len() * 2;
            entries.shrink_to(wanted);
            index.shrink_to(wanted, |&at| entries[at as usize].key.index_hash());
        }
    }

    /// Entries there is room for in vector and index.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> (usize, usize) {
        (self.entries.capacity(), self.index.capacity())
    }
}
