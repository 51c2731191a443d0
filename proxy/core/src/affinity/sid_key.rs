//! What the sid table stores instead of a sid.
//!
//! A keyed hash, so that nobody outside can choose sids that collide, and of 128 bits, so that two
//! sessions never do by chance: a table needs no second look at the sid itself. SipHash 1-3 is enough
//! where outputs are never shown.

use std::fmt;
use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::{Sid, key_of_bytes};

/// The key of one session in the sid table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SidKey {
    /// Chooses shard and segment.
    high: u64,
    /// Finds the entry within the segment, so that its entries do not share these bits.
    low: u64,
}

impl SidKey {
    /// The key in a form that can be handed to another process, which must use the same secret.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// A key that [`SidKey::to_words`] gave.
    #[must_use]
    pub const fn from_words([high, low]: [u64; 2]) -> Self {
        Self { high, low }
    }

    /// A short name of the session for people: the same each time, and of no use for finding sids that collide, because
    /// three quarters of the key are lost in it.
    #[must_use]
    pub fn digest(self) -> u32 {
        let mixed = key_of_bytes(&[self.high.to_le_bytes(), self.low.to_le_bytes()].concat());
        u32::try_from(mixed >> 32).unwrap_or(0)
    }

    /// The shard of `shard_count` that holds this key. Always 0 if there is but one, or none.
    #[must_use]
    pub fn shard(self, shard_count: usize) -> usize {
        // A fraction of 2^64, times the count: even, and without a division.
        let (_, scaled) = self.high.carrying_mul(shard_count as u64, 0);
        usize::try_from(scaled).unwrap_or(0)
    }

    /// The moment within `time` that is this session's own: all workers find the same, and over many sessions they are even.
    #[must_use]
    pub fn moment(self, time: Duration) -> Duration {
        // A fraction of 2^64, as in `shard`, of the half that does not choose one.
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (_, scaled) = self.low.carrying_mul(nanoseconds, 0);
        Duration::from_nanos(scaled)
    }

    /// The segment of `segment_count`, a power of two, within its shard.
    pub(super) fn segment(self, segment_count: usize) -> usize {
        // The low bits of this half: `shard` has used the high ones.
        usize::try_from(self.high & (segment_count as u64 - 1)).unwrap_or(0)
    }

    /// The hash by which a segment finds the key.
    pub(super) const fn index_hash(self) -> u64 {
        self.low
    }
}

/// Makes the keys of one process.
#[derive(Clone, Copy)]
pub struct SidHasher(SipHasher13);

impl SidHasher {
    /// A hasher with this secret key, which must be random.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&key))
    }

    /// The key of `sid` within `upstream`: two upstreams may issue the same sid.
    ///
    /// `upstream` is the seed of its name ([`super::seed_of_name`]), which a reload does not change.
    #[must_use]
    pub fn key(&self, upstream: u64, sid: &Sid) -> SidKey {
        let mut hasher = self.0;
        hasher.write(&upstream.to_le_bytes());
        hasher.write(sid.as_bytes());
        let hash = hasher.finish128();
        SidKey { high: hash.h1, low: hash.h2 }
    }
}

impl fmt::Debug for SidHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SidHasher(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(text: &str) -> Sid {
        Sid::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_depend_on_secret_upstream_and_sid() {
        let hasher = SidHasher::new([1; 16]);
        let key = hasher.key(1, &sid("a"));
        assert_eq!(key, hasher.key(1, &sid("a")));
        assert_ne!(key, hasher.key(1, &sid("b")));
        assert_ne!(key, hasher.key(2, &sid("a")));
        assert_ne!(key, SidHasher::new([2; 16]).key(1, &sid("a")));
        assert_eq!(format!("{hasher:?}"), "SidHasher(secret)");
    }

    #[test]
    fn a_digest_names_a_session_and_shows_nothing_of_its_key() {
        let hasher = SidHasher::new([7; 16]);
        let digests: std::collections::BTreeSet<u32> =
            (0..1000).map(|number| hasher.key(1, &sid(&number.to_string())).digest()).collect();
        assert_eq!(digests.len(), 1000);
        let key = hasher.key(1, &sid("a"));
        let [high, low] = key.to_words();
        let parts = [high >> 32, high & 0xffff_ffff, low >> 32, low & 0xffff_ffff];
        assert!(parts.iter().all(|part| *part != u64::from(key.digest())));
    }

    #[test]
    fn moments_are_within_the_time_and_even() {
        let hasher = SidHasher::new([7; 16]);
        let time = Duration::from_secs(6);
        let mut filled = [0_u32; 6];
        for number in 0..6000 {
            let moment = hasher.key(0, &sid(&number.to_string())).moment(time);
            filled[usize::try_from(moment.as_secs()).unwrap()] += 1;
        }
        assert!(filled.iter().all(|&count| count.abs_diff(1000) < 200), "{filled:?}");
        let last = SidKey { high: 0, low: u64::MAX };
        assert!(last.moment(time) < time);
        assert_eq!(last.moment(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn shards_are_filled_evenly_and_none_is_beyond_the_last() {
        let hasher = SidHasher::new([7; 16]);
        for shard_count in [1, 2, 3, 7] {
            let mut filled = vec![0_u32; shard_count];
            for number in 0..7000 {
                filled[hasher.key(0, &sid(&number.to_string())).shard(shard_count)] += 1;
            }
            let share = 7000 / u32::try_from(shard_count).unwrap();
            assert!(filled.iter().all(|&count| count.abs_diff(share) < share / 5 + 1), "{filled:?}");
        }
        let last = SidKey { high: u64::MAX, low: 0 };
        assert_eq!(last.shard(3), 2);
        assert_eq!(last.shard(0), 0);
    }
}
