//! What edges have in common: the key of tags, the directory, and what is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use ringbolt_core::affinity::{
    Mac, Sid, SidHasher, SidKey, Tag, TaggedBackend, Tagging, key_of_bytes, tagged,
};

use super::report::{Chapter, Counts};
use super::{Event, Mode};

/// The seed of the upstream's name.
const UPSTREAM: u64 = 7;

pub(super) struct Shared {
    pub(super) mode: Mode,
    pub(super) counts: Counts,
    pub(super) directory_is_away: bool,
    hasher: SidHasher,
    tagging: Tagging<Toy>,
    /// Names of backends, by their seeds, as long as their sessions live.
    directory: BTreeMap<SidKey, u64>,
    /// Questions to each backend in each second of the chapter.
    questions: BTreeMap<(usize, u64), u64>,
}

/// Not a MAC to rely on: what matters here is what tags say, not that nobody else can make them.
#[derive(Clone, Copy)]
struct Toy;

impl Mac for Toy {
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let folded = parts.iter().fold(0, |folded: u64, part| key_of_bytes(part) ^ folded.rotate_left(17));
        let mut mac = [0; 32];
        for (number, word) in (0..).zip(mac.chunks_exact_mut(8)) {
            word.copy_from_slice(&key_of_bytes(&(folded ^ number).to_le_bytes()).to_le_bytes());
        }
        mac
    }

    fn is_same(&self, first: &[u8], second: &[u8]) -> bool {
        first == second
    }
}

impl Shared {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            counts: Counts::default(),
            directory_is_away: false,
            hasher: SidHasher::new(*b"a secret of 16 B"),
            tagging: Tagging { upstream: UPSTREAM, key_id: 1, mac: Toy },
            directory: BTreeMap::new(),
            questions: BTreeMap::new(),
        }
    }

    pub(super) fn key(&self, sid: &Sid) -> SidKey {
        self.hasher.key(UPSTREAM, sid)
    }

    /// The sid that the client gets.
    pub(super) fn issued(&self, own: Sid, seed: u64, now: Duration) -> Sid {
        if self.mode != Mode::Tags {
            return own;
        }
        let now = u32::try_from(now.as_secs()).expect("a short history");
        let tag = self.tagging.seal(own.as_bytes(), TaggedBackend::of_seed(seed), now);
        tagged(&own, &tag).expect("a short sid")
    }

    pub(super) fn tag_of(&self, sid: &Sid) -> Option<TaggedBackend> {
        let (own, tag) = Tag::split(sid).filter(|_| self.mode == Mode::Tags)?;
        self.tagging.open(own, &tag).map(|opened| opened.backend)
    }

    /// Writes the handshake to the directory, if there is one.
    pub(super) fn announce(&mut self, key: SidKey, seed: u64) {
        if self.mode == Mode::Directory && !self.directory_is_away {
            self.directory.insert(key, seed);
        }
    }

    /// What the directory says of a sid.
    pub(super) fn looked_up(&mut self, key: SidKey) -> Option<u64> {
        if self.mode != Mode::Directory || self.directory_is_away {
            return None;
        }
        self.counts.directory_reads += 1;
        self.directory.get(&key).copied()
    }

    /// A session is over: its entry expires.
    pub(super) fn forget(&mut self, sid: &Sid) {
        self.directory.remove(&self.key(sid));
    }

    pub(super) fn count_question(&mut self, backend: usize, now: Duration) {
        self.counts.questions += 1;
        *self.questions.entry((backend, now.as_secs())).or_default() += 1;
    }

    /// What was counted since the last call.
    pub(super) fn end_chapter(
        &mut self,
        event: Event,
        edges: usize,
        sessions: usize,
        guesses_miss: Option<u64>,
        spread: f64,
    ) -> Chapter {
        let busiest_second = std::mem::take(&mut self.questions).into_values().max().unwrap_or(0);
        let counts = std::mem::take(&mut self.counts);
        Chapter { event, mode: self.mode, edges, sessions, counts, busiest_second, guesses_miss, spread }
    }
}
