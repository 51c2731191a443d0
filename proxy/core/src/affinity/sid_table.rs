//! Which backend issued a session: one shard of the table.
//!
//! A shard decides when a session is forgotten: after its time to live without a request, never while
//! one is in progress, soon after an upgrade that held. It knows neither locks nor the other shards, and
//! of a sid only its key. Every entry it holds counts in its backend's load, expired or not, until the
//! shard hands it back as `Gone` from `insert`, `remove` or `sweep`.

use std::fmt;
use std::time::Duration;

use segment::Segment;

use super::tick::{duration_of, ticks_of};
use super::{BackendId, SidKey, Tick};
use crate::limits::{
    SID_FULL_SCAN_ENTRIES, SID_SEGMENT_ENTRIES, SID_SEGMENTS_MAX, UPGRADE_MARGIN, UPGRADE_TIMEOUT,
};

mod segment;
#[cfg(test)]
mod tests;

/// One session. 32 bytes: half a cache line, and what a million of them cost is known.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: SidKey,
    backend: BackendId,
    /// When it was stored.
    began: Tick,
    /// When it is forgotten, while no request is in progress.
    expires: Tick,
    time_to_live_ticks: u16,
    requests: Requests,
    state: SessionState,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    fn is_live(&self, now: Tick) -> bool {
        self.requests.count() > 0 || now < self.expires
    }

    fn record(&self, now: Tick) -> SidRecord {
        let Self { key, backend, time_to_live_ticks, .. } = *self;
        let whole = self.requests.count() > 0 && self.state != SessionState::Upgrading;
        let left_ticks = if whole { time_to_live_ticks } else { self.expires.since(now) };
        SidRecord { key, backend, time_to_live_ticks, left_ticks }
    }

    /// A request begins or ends: if that is later than an upgrade takes, the session polls on.
    fn settle_upgrade(&mut self, now: Tick) {
        if self.state == SessionState::Upgrading && now.after(ticks_of(UPGRADE_MARGIN)) >= self.expires {
            self.state = SessionState::Polling;
            self.expires = now.after(self.time_to_live_ticks);
        }
    }

    fn gone(&self, now: Tick) -> Gone {
        let Self { key, backend, state, .. } = *self;
        Gone { key, backend, age: now.age(self.began), state }
    }
}

/// How a session was seen last, and so why it ends if nothing is heard of it any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// It polls, or falls silent.
    Polling,
    /// A 101 was answered and its outcome is open. Forgotten like this, it has gone on as a tunnel.
    Upgrading,
    /// Its client has broken a request off.
    ClientLeft,
    /// Its backend could not be reached, or has broken an answer off.
    BackendLost,
    /// Its backend has refused a request: mostly because it does not know the sid any more.
    Refused,
}

/// A session that the table holds no longer, or no longer for this backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// As it was stored.
    pub key: SidKey,
    /// Whose load falls by one.
    pub backend: BackendId,
    /// How long it was stored.
    pub age: Duration,
    /// How it was seen last.
    pub state: SessionState,
}

/// The number of the half time to live that this moment is in.
fn half_of(now: Tick, time_to_live_ticks: u16) -> u8 {
    let [low, ..] = now.part(time_to_live_ticks / 2).to_le_bytes();
    low
}

/// Requests in progress, and in which half of the time to live the last one began, in one byte: six bits and two.
///
/// Two or three requests at once are usual. Of more than 63 some are not counted: that shortens nobody's session but that
/// of the client who sends them. No two requests of a living session are four halves apart.
#[derive(Clone, Copy, Debug)]
struct Requests(u8);

impl Requests {
    const COUNT: u8 = 63;

    fn new(half: u8) -> Self {
        Self(half << 6)
    }

    fn count(self) -> u8 {
        self.0 & Self::COUNT
    }

    /// `true`: the half is another one than before.
    fn enter(&mut self, half: u8) -> bool {
        let before = self.0;
        self.0 = half << 6 | self.count();
        self.0 != before
    }

    fn begin(&mut self) {
        self.0 += u8::from(self.count() < Self::COUNT);
    }

    fn end(&mut self) {
        self.0 -= u8::from(self.count() > 0);
    }
}

/// What another process needs to know to go on with a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SidRecord {
    /// Of the sid and its upstream, made with the secret of the process that first stored it.
    pub key: SidKey,
    /// Who issued it.
    pub backend: BackendId,
    /// Its time to live, in eighths of a second.
    pub time_to_live_ticks: u16,
    /// What is left of that, in eighths of a second.
    pub left_ticks: u16,
}

/// A live session, for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SidStanding {
    pub key: SidKey,
    /// Who issued it.
    pub backend: BackendId,
    /// Requests in progress, 255 at most.
    pub in_progress: u8,
    /// How it was seen last.
    pub state: SessionState,
    /// How long it has been stored.
    pub age: Duration,
    /// When it is forgotten without another request, whole where one is in progress.
    pub left: Duration,
}

/// The shard has no room: the new session must be refused (503), because a client that got its sid
/// would find nobody who knows it. Sessions that live are never given up for new ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// One worker's part of the sid table.
///
/// It is cut into segments by the key, because a table that grows moves all it holds: a million
/// entries at once would stop every worker that waits for the shard's lock for 80 ms.
pub struct Shard {
    segments: Box<[Segment]>,
    len: usize,
    entries_max: u32,
    /// Where the sweep stands: a segment, and the entries of it that are still to be looked at. It walks
    /// downwards: a removal fills its hole from the end, with an entry the sweep has already passed.
    swept_segment: usize,
    swept_to: usize,
}

/// A session of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Who issued it.
    pub backend: BackendId,
    /// How long it lives without a request, and so the longest that its server may hold a poll.
    pub time_to_live: Duration,
    /// It is the first request in another half of that: who else keeps a note of the session is to renew it.
    pub is_due: bool,
}

impl Shard {
    /// An empty shard for at most `entries_max` sessions. Their memory is taken as they come.
    #[must_use]
    pub fn with_capacity_max(entries_max: u32) -> Self {
        let segments = (entries_max as usize / SID_SEGMENT_ENTRIES).next_power_of_two().min(SID_SEGMENTS_MAX);
        let segments = (0..segments).map(|_| Segment::default()).collect();
        Self { segments, len: 0, entries_max, swept_segment: 0, swept_to: 0 }
    }

    /// Binds a session to the backend that issued it, to be forgotten after `time_to_live` (at most two
    /// hours) without a request.
    ///
    /// A key that is known gets the new backend, and its requests in progress go on to count: netty
    /// servers let a client carry its sid to another backend. Returns what the entry took the place of: the
    /// former binding of the key, or an expired session that made room.
    ///
    /// # Errors
    /// [`Full`] if the shard is full and no expired entry is at hand.
    pub fn insert(
        &mut self,
        key: SidKey,
        backend: BackendId,
        time_to_live: Duration,
        now: Tick,
    ) -> Result<Option<Gone>, Full> {
        let time_to_live_ticks = ticks_of(time_to_live);
        let expires = now.after(time_to_live_ticks);
        let half = half_of(now, time_to_live_ticks);
        if let Some(entry) = self.find(key) {
            let former = entry.gone(now);
            entry.requests.enter(half);
            *entry = Entry { backend, expires, time_to_live_ticks, state: SessionState::Polling, ..*entry };
            return Ok(Some(former));
        }
        let gone = if self.is_full() { Some(self.make_room(now).ok_or(Full)?) } else { None };
        let (began, state, requests) = (now, SessionState::Polling, Requests::new(half));
        let entry = Entry { key, backend, began, expires, time_to_live_ticks, requests, state };
        self.segments[key.segment(self.segments.len())].push(entry);
        self.len += 1;
        Ok(gone)
    }

    /// Binds a session as another process knew it, with what is left of its time to live. Otherwise as
    /// [`Shard::insert`].
    ///
    /// # Errors
    /// As [`Shard::insert`].
    pub fn restore(&mut self, record: &SidRecord, now: Tick) -> Result<Option<Gone>, Full> {
        let SidRecord { key, backend, time_to_live_ticks, left_ticks } = *record;
        let gone = self.insert(key, backend, Duration::ZERO, now)?;
        if let Some(entry) = self.find(key) {
            entry.time_to_live_ticks = time_to_live_ticks;
            entry.expires = now.after(left_ticks);
            entry.requests.enter(half_of(now, time_to_live_ticks).wrapping_sub(1));
        }
        Ok(gone)
    }

    /// What is known of one session, now that it begins.
    #[must_use]
    pub fn record(&mut self, key: SidKey, now: Tick) -> Option<SidRecord> {
        self.find(key).map(|entry| entry.record(now))
    }

    /// Parts that [`Shard::copy`] takes, one at a time.
    #[must_use]
    pub const fn part_count(&self) -> usize {
        self.segments.len()
    }

    /// Memory of the entries of one part, in use or not.
    #[must_use]
    pub fn part_bytes(&self, part: usize) -> usize {
        self.segments.get(part).map_or(0, Segment::bytes)
    }

    /// Appends what is known of the live sessions of one part. A session never moves to another part, so
    /// whoever copies all of them misses none that was there at the beginning and still is.
    ///
    /// A session with a request in progress has its whole time to live left, and one that is being upgraded what
    /// the upgrade leaves it.
    pub fn copy(&self, part: usize, now: Tick, records: &mut Vec<SidRecord>) {
        let entries = self.segments.get(part).map_or(&[][..], Segment::entries);
        records.extend(entries.iter().filter(|entry| entry.is_live(now)).map(|entry| entry.record(now)));
    }

    /// Visits the live sessions of one part, as [`Shard::copy`] takes them.
    pub fn visit(&self, part: usize, now: Tick, mut visit: impl FnMut(SidStanding)) {
        let entries = self.segments.get(part).map_or(&[][..], Segment::entries);
        for entry in entries.iter().filter(|entry| entry.is_live(now)) {
            let Entry { key, backend, requests, state, began, .. } = *entry;
            let left = duration_of(entry.record(now).left_ticks);
            let (in_progress, age) = (requests.count(), now.age(began));
            visit(SidStanding { key, backend, in_progress, state, age, left });
        }
    }

    /// Finds the session and counts one more request in progress. `None`: unknown or expired.
    pub fn begin(&mut self, key: SidKey, now: Tick) -> Option<Known> {
        let entry = self.find(key).filter(|entry| entry.is_live(now))?;
        entry.settle_upgrade(now);
        if entry.state != SessionState::Upgrading {
            entry.state = SessionState::Polling;
        }
        let is_due = entry.requests.enter(half_of(now, entry.time_to_live_ticks));
        entry.requests.begin();
        let time_to_live = duration_of(entry.time_to_live_ticks);
        Some(Known { backend: entry.backend, time_to_live, is_due })
    }

    /// The session's backend, without counting anything. `None`: unknown or expired.
    #[must_use]
    pub fn owner(&self, key: SidKey, now: Tick) -> Option<BackendId> {
        let segment = &self.segments[key.segment(self.segments.len())];
        let entry = &segment.entries()[segment.position(key)?];
        entry.is_live(now).then_some(entry.backend)
    }

    /// A request that [`Shard::begin`] counted has ended; after the last one the time to live begins anew.
    ///
    /// The entry may have been removed and inserted again meanwhile. A count that is then too low does no
    /// harm: the time to live is longer than any poll is held.
    pub fn end(&mut self, key: SidKey, now: Tick) {
        let Some(entry) = self.find(key) else { return };
        entry.settle_upgrade(now);
        entry.requests.end();
        if entry.state != SessionState::Upgrading {
            entry.expires = now.after(entry.time_to_live_ticks);
        }
    }

    /// A 101 was answered: if the upgrade holds, no request will carry the sid again. The session is
    /// forgotten [`UPGRADE_TIMEOUT`] and [`UPGRADE_MARGIN`] later, unless a request begins or ends after
    /// the first of them: then the upgrade has failed, and the session lives as before.
    pub fn upgraded(&mut self, key: SidKey, now: Tick) {
        if let Some(entry) = self.find(key) {
            entry.state = SessionState::Upgrading;
            entry.expires = now.after(ticks_of(UPGRADE_TIMEOUT + UPGRADE_MARGIN));
        }
    }

    /// Notes what a request in progress has come to, for as long as no other begins.
    pub fn note(&mut self, key: SidKey, state: SessionState) {
        if let Some(entry) = self.find(key).filter(|entry| entry.state != SessionState::Upgrading) {
            entry.state = state;
        }
    }

    /// Forgets a session at once: a close packet went through.
    pub fn remove(&mut self, key: SidKey, now: Tick) -> Option<Gone> {
        let segment = key.segment(self.segments.len());
        let position = self.segments[segment].position(key)?;
        Some(self.remove_at(segment, position).gone(now))
    }

    /// Looks at up to `entries_max` entries, from where the last sweep ended, and removes the expired
    /// ones, each of which is given to `expired`.
    pub fn sweep(&mut self, now: Tick, entries_max: usize, mut expired: impl FnMut(Gone)) {
        for _ in 0..entries_max.min(self.len) {
            if let Some(gone) = self.sweep_one(now) {
                expired(gone);
            }
        }
    }

    /// The session is stored, or has expired and no sweep has met it.
    #[must_use]
    pub fn holds(&self, key: SidKey) -> bool {
        self.segments[key.segment(self.segments.len())].position(key).is_some()
    }

    /// Entries, expired ones that no sweep has met included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next insert needs an expired entry to make room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len >= self.entries_max as usize
    }

    /// Visits every entry, expired ones that no sweep has met included.
    pub fn for_each(&self, mut visit: impl FnMut(SidKey, BackendId)) {
        for entry in self.segments.iter().flat_map(Segment::entries) {
            visit(entry.key, entry.backend);
        }
    }

    fn find(&mut self, key: SidKey) -> Option<&mut Entry> {
        self.segments[key.segment(self.segments.len())].find(key)
    }

    /// Removes one expired entry, if a bounded search finds any.
    fn make_room(&mut self, now: Tick) -> Option<Gone> {
        (0..SID_FULL_SCAN_ENTRIES).find_map(|_| self.sweep_one(now))
    }

    /// Looks at the next entry, if there is any, and removes it if it has expired.
    fn sweep_one(&mut self, now: Tick) -> Option<Gone> {
        if self.is_empty() {
            return None;
        }
        loop {
            let entries = self.segments[self.swept_segment].entries();
            let left = &entries[..self.swept_to.min(entries.len())];
            if let Some(entry) = left.last() {
                self.swept_to = left.len() - 1;
                let is_live = entry.is_live(now);
                return match is_live {
                    true => None,
                    false => Some(self.remove_at(self.swept_segment, self.swept_to).gone(now)),
                };
            }
            self.swept_segment = (self.swept_segment + 1) % self.segments.len();
            self.swept_to = self.segments[self.swept_segment].len();
        }
    }

    fn remove_at(&mut self, segment: usize, position: usize) -> Entry {
        self.len -= 1;
        self.segments[segment].remove_at(position)
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
