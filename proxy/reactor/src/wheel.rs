//! A hierarchical timer wheel: many deadlines, constant cost to set and cancel one. Pure: time is a tick
//! number given by the caller, what a timer carries is the caller's.
//!
//! Level 0 has one bucket for each tick, each higher level's bucket spans a whole turn of the level below. A
//! timer sits in the level of the highest digit in which its tick differs from the wheel's, and moves down
//! when that digit's turn comes.

use std::num::NonZeroU32;

use crate::limits::EXPIRY_SCAN_MAX;
use crate::slab::{Key, Slab};

const LEVELS: usize = 7;
const BUCKETS: usize = 64;
const DIGIT_BITS: u32 = BUCKETS.trailing_zeros();
/// The list of timers whose time has come.
const DUE: u16 = 448;
const LISTS: usize = LEVELS * BUCKETS + 1;
const NIL: u32 = u32::MAX;
/// Deadlines further away are set to this many ticks: 69 years, in ticks of a millisecond. Half of what the
/// levels can hold, so that the highest digit does not wrap in the first 69 years of the wheel.
const SPAN: u64 = (1 << (DIGIT_BITS * 7 - 1)) - 1;

const _: () = assert!(DUE as usize == LISTS - 1 && LEVELS == 7);

/// Names a timer. One that has fired or was cancelled names nothing.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TimerId {
    index: u32,
    /// Never 0, so that an optional one takes no more room.
    generation: NonZeroU32,
}

impl TimerId {
    fn new(Key { index, generation }: Key) -> Self {
        let generation = NonZeroU32::new(generation).expect("generations run from 1");
        Self { index, generation }
    }

    fn key(self) -> Key {
        Key { index: self.index, generation: self.generation.get() }
    }
}

#[derive(Debug)]
struct Timer<T> {
    tick: u64,
    payload: T,
    before: u32,
    after: u32,
    list: u16,
}

/// With a payload of one word, as the reactor's is.
const _: () = assert!(Slab::<Timer<std::num::NonZeroU64>>::SLOT_BYTES <= 40);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// All timers up to this tick are due.
    elapsed: u64,
    timers: Slab<Timer<T>>,
    heads: Box<[u32; LISTS]>,
    /// One bit for each bucket that is not empty.
    occupied: [u64; LEVELS],
    /// Not later than the earliest timer; may be earlier after a cancel.
    next: Option<u64>,
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            elapsed: 0,
            timers: Slab::new(u32::MAX),
            heads: Box::new([NIL; LISTS]),
            occupied: [0; LEVELS],
            next: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.timers.bytes() + size_of_val(&*self.heads)
    }

    /// Sets a timer. One whose tick has passed is due when the wheel is advanced next.
    pub(crate) fn insert(&mut self, tick: u64, payload: T) -> TimerId {
        let tick = tick.clamp(self.elapsed + 1, self.elapsed + SPAN);
        let key = self.timers.insert(Timer { tick, payload, before: NIL, after: NIL, list: DUE });
        self.place(key.index, tick);
        self.next = Some(self.next.map_or(tick, |next| next.min(tick)));
        TimerId::new(key)
    }

    /// Takes a timer out; `None` when it has fired or was cancelled.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.timers.get(id.key())?;
        self.unlink(id.index);
        let timer = self.timers.remove(id.key())?;
        if self.timers.is_empty() {
            self.next = None;
        }
        Some(timer.payload)
    }

    /// What a timer carries, while it is set.
    pub(crate) fn payload_mut(&mut self, id: TimerId) -> Option<&mut T> {
        self.timers.get_mut(id.key()).map(|timer| &mut timer.payload)
    }

    /// The tick by which [`Self::advance`] must be called again: never later than the earliest timer.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.next
    }

    /// Moves the wheel to `now`. What became due is handed out by [`Self::pop_due`].
    pub(crate) fn advance(&mut self, now: u64) {
        if self.next.is_none_or(|next| next > now) {
            // Nothing can be due. The wheel must still turn before a bucket's digit passes, which the exact
            // `next` guarantees: no timer lies between here and `now`.
            if self.timers.is_empty() {
                self.elapsed = self.elapsed.max(now);
            }
            return;
        }
        while let Some((level, bucket, start)) = self.first_bucket() {
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            self.empty_bucket(level, bucket);
        }
        self.elapsed = self.elapsed.max(now);
        self.next = self.earliest();
    }

    /// A timer that is due, in no promised order among those due together.
    pub(crate) fn pop_due(&mut self) -> Option<T> {
        let index = self.heads[usize::from(DUE)];
        if index == NIL {
            return None;
        }
        let key = self.timers.key_at(index)?;
        self.unlink(index);
        let timer = self.timers.remove(key)?;
        if self.heads[usize::from(DUE)] == NIL {
            self.next = self.earliest();
        }
        Some(timer.payload)
    }

    /// The occupied bucket whose time comes first: its level, number, and first tick.
    fn first_bucket(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|buckets| *buckets != 0)?;
        let bucket = self.occupied[level].trailing_zeros() as usize;
        let shift = DIGIT_BITS * u32::try_from(level).ok()?;
        let turn = (self.elapsed >> shift) & !(BUCKETS as u64 - 1);
        Some((level, bucket, (turn | bucket as u64) << shift))
    }

    /// The exact earliest tick, or the start of a bucket too full to look through.
    fn earliest(&mut self) -> Option<u64> {
        if self.heads[usize::from(DUE)] != NIL {
            return Some(self.elapsed);
        }
        let (level, bucket, start) = self.first_bucket()?;
        if level == 0 {
            return Some(start);
        }
        let mut index = self.heads[level * BUCKETS + bucket];
        let mut earliest = u64::MAX;
        for _ in 0..EXPIRY_SCAN_MAX {
            let Some(timer) = self.timers.at(index) else { break };
            earliest = earliest.min(timer.tick);
            index = timer.after;
        }
        Some(if index == NIL { earliest } else { start })
    }

    /// Moves the timers of a bucket down a level or to the due list.
    fn empty_bucket(&mut self, level: usize, bucket: usize) {
        let list = level * BUCKETS + bucket;
        let mut index = std::mem::replace(&mut self.heads[list], NIL);
        self.occupied[level] &= !(1 << bucket);
        while let Some(timer) = self.timers.at(index) {
            let (tick, after) = (timer.tick, timer.after);
            self.place(index, tick);
            index = after;
        }
    }

    fn place(&mut self, index: u32, tick: u64) {
        let list = if tick <= self.elapsed {
            DUE
        } else {
            let digit = (tick ^ self.elapsed).ilog2() / DIGIT_BITS;
            let level = (digit as usize).min(LEVELS - 1);
            let bucket = usize::try_from((tick >> (DIGIT_BITS * digit)) % BUCKETS as u64).unwrap_or(0);
            self.occupied[level] |= 1 << bucket;
            u16::try_from(level * BUCKETS + bucket).unwrap_or(DUE)
        };
        let head = std::mem::replace(&mut self.heads[usize::from(list)], index);
        if let Some(next) = self.timers.at(head) {
            next.before = index;
        }
        if let Some(timer) = self.timers.at(index) {
            (timer.before, timer.after, timer.list) = (NIL, head, list);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(timer) = self.timers.at(index) else { return };
        let (before, after, list) = (timer.before, timer.after, usize::from(timer.list));
        if let Some(next) = self.timers.at(after) {
            next.before = before;
        }
        if let Some(previous) = self.timers.at(before) {
            previous.after = after;
            return;
        }
        self.heads[list] = after;
        if after == NIL && list < usize::from(DUE) {
            self.occupied[list / BUCKETS] &= !(1 << (list % BUCKETS));
        }
    }
}

#[cfg(test)]
mod tests;
