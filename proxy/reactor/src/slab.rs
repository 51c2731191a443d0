//! A table with stable indexes whose memory follows its use: chunks are allocated when needed, never moved,
//! and freed when empty. Every entry has a generation, so an index kept too long finds nothing.

use crate::limits::SLAB_CHUNK_SLOTS;

/// No free slot follows.
const END: u16 = u16::MAX;

/// Names one entry of a slab for as long as it lives.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Key {
    /// Its place, which a later entry may take over.
    pub index: u32,
    /// Tells it from the other entries of its place.
    pub generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Vacant { next: u16 },
    Occupied(T),
}

#[derive(Debug)]
struct Chunk<T> {
    slots: Box<[Slot<T>]>,
    free: u16,
    used: u16,
}

impl<T> Chunk<T> {
    fn new() -> Self {
        let slots = (1..=SLAB_CHUNK_SLOTS)
            .map(|next| {
                let next = if next == SLAB_CHUNK_SLOTS { END } else { u16::try_from(next).unwrap_or(END) };
                Slot { generation: 0, content: Content::Vacant { next } }
            })
            .collect();
        Self { slots, free: 0, used: 0 }
    }
}

/// See the file's head.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Option<Chunk<T>>>,
    /// One bit for each chunk: it has a free slot, or is not allocated.
    room: Vec<u64>,
    /// No word of `room` before this one has a bit set.
    room_from: usize,
    /// Counts insertions, so that a slot's generation differs from that of all earlier entries.
    generation: u32,
    generation_max: u32,
    len: usize,
    /// Empty chunks kept, at most one, so that a load swinging around a chunk border does not allocate.
    spare: Option<usize>,
}

impl<T> Slab<T> {
    /// An empty slab. Generations run from 1 to `generation_max`, then start again.
    pub fn new(generation_max: u32) -> Self {
        Self {
            chunks: Vec::new(),
            room: Vec::new(),
            room_from: 0,
            generation: 0,
            generation_max,
            len: 0,
            spare: None,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory of the table, whatever of it is in use.
    pub fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        chunks * SLAB_CHUNK_SLOTS * size_of::<Slot<T>>()
            + self.chunks.capacity() * size_of::<Option<Chunk<T>>>()
    }

    /// There is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores `value` in the lowest chunk with room.
    pub fn insert(&mut self, value: T) -> Key {
        let position = self.find_room();
        let chunk = self.chunks[position].get_or_insert_with(Chunk::new);
        let offset = usize::from(chunk.free);
        let slot = &mut chunk.slots[offset];
        let Content::Vacant { next } = slot.content else {
            unreachable!("the free list holds vacant slots only");
        };
        self.generation = if self.generation >= self.generation_max { 1 } else { self.generation + 1 };
        *slot = Slot { generation: self.generation, content: Content::Occupied(value) };
        chunk.free = next;
        chunk.used += 1;
        self.len += 1;
        if next == END {
            self.set_room(position, false);
        }
        if self.spare == Some(position) {
            self.spare = None;
        }
        let index =
            u32::try_from(position * SLAB_CHUNK_SLOTS + offset).expect("a slab has below 2^32 entries");
        Key { index, generation: self.generation }
    }

    /// The entry, if it still is the one `key` was made for.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (position, offset) = split(key.index);
        let slot = &self.chunks.get(position)?.as_ref()?.slots[offset];
        match &slot.content {
            Content::Occupied(value) if slot.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry, if it still is the one `key` was made for.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (position, offset) = split(key.index);
        let slot = &mut self.chunks.get_mut(position)?.as_mut()?.slots[offset];
        match &mut slot.content {
            Content::Occupied(value) if slot.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry at `index`, for lists that run through the slab and hold live indexes only.
    pub fn at(&mut self, index: u32) -> Option<&mut T> {
        let (position, offset) = split(index);
        match &mut self.chunks.get_mut(position)?.as_mut()?.slots[offset].content {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// The full key of the entry at `index`.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let (position, offset) = split(index);
        let slot = &self.chunks.get(position)?.as_ref()?.slots[offset];
        matches!(slot.content, Content::Occupied(_)).then_some(Key { index, generation: slot.generation })
    }

    /// Takes the entry out, if it still is the one `key` was made for.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (position, offset) = split(key.index);
        let chunk = self.chunks[position].as_mut()?;
        let vacant = Content::Vacant { next: chunk.free };
        let content = std::mem::replace(&mut chunk.slots[offset].content, vacant);
        chunk.free = u16::try_from(offset).unwrap_or(END);
        chunk.used -= 1;
        let empty = chunk.used == 0;
        self.len -= 1;
        self.set_room(position, true);
        if empty {
            self.keep_one_spare(position);
        }
        match content {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// Keys of all entries.
    pub fn keys(&self) -> Vec<Key> {
        let last =
            u32::try_from(self.chunks.len() * SLAB_CHUNK_SLOTS).expect("a slab has below 2^32 entries");
        (0..last).filter_map(|index| self.key_at(index)).collect()
    }

    #[cfg(test)]
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.iter().flatten().count()
    }

    /// Memory of one entry.
    pub(crate) const SLOT_BYTES: usize = size_of::<Slot<T>>();

    /// Frees an empty chunk, keeping the lower of two as the spare.
    fn keep_one_spare(&mut self, position: usize) {
        match self.spare {
            None => self.spare = Some(position),
            Some(spare) => {
                self.chunks[spare.max(position)] = None;
                self.spare = Some(spare.min(position));
            }
        }
    }

    fn find_room(&mut self) -> usize {
        while let Some(word) = self.room.get(self.room_from) {
            if *word != 0 {
                return self.room_from * 64 + word.trailing_zeros() as usize;
            }
            self.room_from += 1;
        }
        self.chunks.push(None);
        let position = self.chunks.len() - 1;
        self.set_room(position, true);
        position
    }

    fn set_room(&mut self, position: usize, room: bool) {
        let (word, bit) = (position / 64, 1_u64 << (position % 64));
        if word == self.room.len() {
            self.room.push(0);
        }
        if room {
            self.room[word] |= bit;
            self.room_from = self.room_from.min(word);
        } else {
            self.room[word] &= !bit;
        }
    }
}

fn split(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / SLAB_CHUNK_SLOTS, index % SLAB_CHUNK_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_in_a_reused_slot() {
        let mut slab = Slab::new(u32::MAX);
        let old = slab.insert("old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert("new");
        assert_eq!(new.index, old.index, "the slot is reused");
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&"new"));
    }

    #[test]
    fn generations_stay_in_their_range() {
        let mut slab = Slab::new(3);
        for _ in 0..10 {
            let key = slab.insert(());
            assert!((1..=3).contains(&key.generation));
            slab.remove(key);
        }
    }

    #[test]
    fn memory_follows_use() {
        let mut slab = Slab::new(u32::MAX);
        let keys: Vec<Key> = (0..10 * SLAB_CHUNK_SLOTS).map(|value| slab.insert(value)).collect();
        assert_eq!(slab.chunk_count(), 10);
        for key in &keys {
            assert!(slab.remove(*key).is_some());
        }
        assert_eq!((slab.chunk_count(), slab.len()), (1, 0), "one spare chunk remains");
        let again = slab.insert(1);
        assert_eq!((again.index, slab.chunk_count()), (again.index, 1), "the spare is used first");
        assert!(keys.iter().all(|key| slab.get(*key).is_none()), "old keys miss in freed chunks");
    }
}
