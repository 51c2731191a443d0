//! Whether bytes come in bulk: large pieces, many of them.
//!
//! Splicing saves the copy to user memory and back, which pays for large pieces only; for small ones
//! it costs up to 15 % more than reading and writing. The verdict is taken over a window, and leaving
//! bulk takes a quarter of the rate that entering takes, so that a steady stream does not flap.

use crate::limits::{BULK_BYTES_PER_WINDOW, BULK_PIECE_BYTES_MIN, BULK_WINDOW_MS};

/// The recent pace of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pace {
    /// When the window began, in milliseconds of the caller's clock.
    since_ms: u32,
    bytes: u32,
    pieces: u16,
    bulk: bool,
}

impl Pace {
    /// Notes that a piece of this many bytes moved at `now_ms`, a clock that may wrap around.
    pub fn add(&mut self, bytes: usize, now_ms: u32) {
        let elapsed_ms = now_ms.wrapping_sub(self.since_ms);
        if elapsed_ms >= BULK_WINDOW_MS {
            // Nothing for a whole window more is silence, which is not bulk.
            self.bulk &= elapsed_ms < 2 * BULK_WINDOW_MS && self.is_fast(BULK_BYTES_PER_WINDOW / 4);
            *self = Self { since_ms: now_ms, bulk: self.bulk, ..Self::default() };
        }
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.pieces = self.pieces.saturating_add(1);
        self.bulk |= self.is_fast(BULK_BYTES_PER_WINDOW);
    }

    /// The direction is worth a pipe.
    #[must_use]
    pub const fn is_bulk(&self) -> bool {
        self.bulk
    }

    fn is_fast(&self, bytes: u32) -> bool {
        self.bytes >= bytes && self.bytes >= u32::from(self.pieces) * BULK_PIECE_BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The verdicts on pieces of `bytes` that come every `every_ms`, for `duration_ms`.
    fn verdicts(pace: &mut Pace, from_ms: u32, duration_ms: u32, every_ms: u32, bytes: usize) -> Vec<bool> {
        (0..duration_ms / every_ms)
            .map(|piece| {
                pace.add(bytes, from_ms.wrapping_add(piece * every_ms));
                pace.is_bulk()
            })
            .collect()
    }

    #[test]
    fn a_burst_is_bulk_within_a_window_and_silence_ends_it() {
        let mut pace = Pace::default();
        assert!(verdicts(&mut pace, 0, 64, 1, 65_536).contains(&true));
        assert!(pace.is_bulk());
        pace.add(100, 10_000);
        assert!(!pace.is_bulk(), "one small message after ten seconds");
    }

    #[test]
    fn many_small_messages_are_not_bulk() {
        let mut pace = Pace::default();
        for now_ms in 0..500 {
            for _ in 0..200 {
                pace.add(512, now_ms);
            }
        }
        assert!(!pace.is_bulk(), "100 MB/s in messages of 512 bytes");
    }

    #[test]
    fn a_stream_that_slows_down_leaves_bulk() {
        let mut pace = Pace::default();
        verdicts(&mut pace, 0, 200, 1, 65_536);
        assert!(pace.is_bulk());
        verdicts(&mut pace, 200, 200, 20, 16_384);
        assert!(!pace.is_bulk(), "0.8 MB/s");
    }

    #[test]
    fn the_clock_may_wrap_around() {
        let mut pace = Pace::default();
        assert!(verdicts(&mut pace, u32::MAX - 100, 200, 1, 65_536).last() == Some(&true));
    }

    proptest! {
        #[test]
        fn a_steady_stream_never_flaps(every_ms in 1_u32..40, bytes in 1_usize..200_000) {
            let verdicts = verdicts(&mut Pace::default(), 0, 4_000, every_ms, bytes);
            let changes = verdicts.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert!(changes <= 1, "{changes} changes");
        }
    }
}
