//! How often something may happen: the generic cell rate algorithm (ITU-T I.371), a token bucket that needs
//! one number for its state.
//!
//! A bucket holds the tokens of one second, so a full second's worth may come at once after a quiet one, and
//! a refused event can be repeated a second later at most. Times are nanoseconds since any fixed instant.

use crate::limits::RATE_MAX;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A bound on events per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Time in which one token comes.
    interval: u64,
    /// Time in which an empty bucket becomes full: a second and less than a microsecond.
    bucket: u64,
}

impl Rate {
    /// `count` events a second, at least 1 and at most a million.
    #[must_use]
    pub fn per_second(count: u32) -> Self {
        // Rounded up: never more than `count` in the long run.
        let count = u64::from(count.clamp(1, RATE_MAX));
        let interval = SECOND.div_ceil(count);
        Self { interval, bucket: interval * count }
    }

    /// The state after one more event at `now`, or `None` if it comes too soon.
    ///
    /// `full_at` is the state before: when the bucket is full again. 0 is that of a full one.
    #[must_use]
    pub fn admit(self, full_at: u64, now: u64) -> Option<u64> {
        self.reserve(full_at, now, 0).map(|(full_at, _)| full_at)
    }

    /// The state after one more event, and how long after `now` that may happen; `None` if that is later than
    /// `patience`.
    #[must_use]
    pub fn reserve(self, full_at: u64, now: u64, patience: u64) -> Option<(u64, u64)> {
        let full_at = full_at.max(now).saturating_add(self.interval);
        let wait = (full_at - now).saturating_sub(self.bucket);
        (wait <= patience).then_some((full_at, wait))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of `times` are admitted.
    fn admitted(rate: Rate, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut state = 0;
        let admit = |now: &u64| rate.admit(state, *now).map(|next| state = next).is_some();
        times.into_iter().filter(admit).collect()
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_one_by_one() {
        let rate = Rate::per_second(10);
        assert_eq!(admitted(rate, [0; 50]).len(), 10);
        let tenths = (0..50).map(|_| 0).chain((1..=20).map(|tenth| tenth * SECOND / 10));
        assert_eq!(admitted(rate, tenths).len(), 30);
        assert_eq!(admitted(rate, [0, SECOND / 2, SECOND - 1, SECOND].map(|time| time + 7)).len(), 4);
        assert_eq!(
            admitted(Rate::per_second(1), [0, SECOND - 1, SECOND, SECOND, 2 * SECOND]),
            [0, SECOND, 2 * SECOND]
        );
    }

    #[test]
    fn who_waits_is_let_in_at_the_rate() {
        let rate = Rate::per_second(10);
        let (mut state, mut waits) = (0, Vec::new());
        while let Some((next, wait)) = rate.reserve(state, 5, SECOND / 2) {
            state = next;
            waits.push(wait);
        }
        let expected = [0; 10].into_iter().chain((1..=5).map(|tenth| tenth * SECOND / 10));
        assert_eq!(waits, expected.collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_its_share(
            count in 1_u32..2000, steps in prop::collection::vec(0_u64..SECOND / 10, 1..400),
        ) {
            let rate = Rate::per_second(count);
            let mut now = 0;
            let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
            let admitted = admitted(rate, times);
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let share = u128::from(to - from) * u128::from(count) / u128::from(SECOND);
                    prop_assert!((last - first + 1) as u128 <= share + 1 + u128::from(count));
                }
            }
        }

        #[test]
        fn exactly_as_many_as_configured_may_come_at_once(count in 1_u32..10_000) {
            let rate = Rate::per_second(count);
            prop_assert_eq!(admitted(rate, std::iter::repeat_n(5, count as usize + 2)).len(), count as usize);
            let millisecond_late = 5 + SECOND + SECOND / 1000;
            prop_assert!(rate.admit(rate.bucket + 5, millisecond_late).is_some());
        }

        #[test]
        fn a_full_bucket_comes_back_after_a_second(count in 1_u32..1000, full_at in 0..10 * SECOND, now in 0..10 * SECOND) {
            let rate = Rate::per_second(count);
            if rate.admit(full_at, now).is_none() {
                prop_assert!(rate.admit(full_at, full_at).is_some());
            }
            prop_assert!(rate.admit(u64::MAX, now).is_none());
        }
    }
}
