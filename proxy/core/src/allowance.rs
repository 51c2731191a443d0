//! How long an end of a transfer may keep the other waiting: silence up to a timeout, and a least rate.
//!
//! An allowance of waiting time is used up by waits and comes back with bytes, at a rate, but never beyond
//! its start. So whoever is silent may be so for the whole of it, and whoever sends is held to the rate over every
//! stretch that is longer than it: a byte now and then, each within the timeout, does not help. A pause after
//! much has come is not held against anybody. Only waits count, so that a slow end is not blamed for the other's.

use std::time::Duration;

/// The waiting time that one end of a transfer has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    left_ms: u32,
    most_ms: u32,
    /// 0: any byte brings all of it back.
    bytes_per_second: u32,
}

impl Allowance {
    /// Silence of at most `timeout`, and from then on `bytes_per_second` on average; `None`: any rate.
    #[must_use]
    pub fn new(timeout: Duration, bytes_per_second: Option<u32>) -> Self {
        let most_ms = milliseconds(timeout);
        Self { left_ms: most_ms, most_ms, bytes_per_second: bytes_per_second.unwrap_or(0) }
    }

    /// How long the next wait may last.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.left_ms.into())
    }

    /// The end was waited for.
    pub fn waited(&mut self, duration: Duration) {
        self.left_ms = self.left_ms.saturating_sub(milliseconds(duration));
    }

    /// It has moved `bytes`.
    pub fn moved(&mut self, bytes: usize) {
        self.left_ms = match self.bytes_per_second {
            _ if bytes == 0 => self.left_ms,
            0 => self.most_ms,
            rate => {
                let earned_ms = (bytes as u64).saturating_mul(1000) / u64::from(rate);
                let earned_ms = u32::try_from(earned_ms).unwrap_or(u32::MAX);
                self.left_ms.saturating_add(earned_ms).min(self.most_ms)
            }
        };
    }
}

/// Rounded down, waits as well as what pays for them; 49 days at most.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Seconds until an end that moves `bytes` every `every` milliseconds is given up; `None`: it is not
    /// within a day.
    fn given_up_after(rate: Option<u32>, bytes: usize, every: u64) -> Option<u64> {
        let mut allowance = Allowance::new(TIMEOUT, rate);
        let wait = Duration::from_millis(every);
        let mut elapsed = Duration::ZERO;
        while elapsed < Duration::from_secs(86_400) {
            if allowance.left() < wait {
                return Some((elapsed + allowance.left()).as_secs());
            }
            allowance.waited(wait);
            allowance.moved(bytes);
            elapsed += wait;
        }
        None
    }

    #[test]
    fn a_byte_now_and_then_is_no_way_to_stay() {
        for every in [29_999, 29_000, 10_000, 1_000, 100] {
            let after = given_up_after(Some(240), 1, every).expect("given up");
            assert!((29..=33).contains(&after), "a byte every {every} ms is given up after {after} s");
        }
        // Without a rate it is: which is what the rate is for.
        assert_eq!(given_up_after(None, 1, 29_000), None);
    }

    #[test]
    fn slow_and_jerky_is_fine() {
        assert_eq!(given_up_after(Some(240), 240, 1_000), None, "just the rate");
        assert_eq!(given_up_after(Some(240), 1_400, 5_800), None, "a packet now and then");
        assert_eq!(given_up_after(Some(240), 16_384, 29_900), None, "long stalls, then many");
    }

    #[test]
    fn silence_ends_with_the_timeout_whatever_came_before() {
        let mut allowance = Allowance::new(TIMEOUT, Some(240));
        allowance.moved(1 << 40);
        assert_eq!(allowance.left(), TIMEOUT);
    }

    proptest! {
        #[test]
        fn whoever_stays_has_kept_the_rate(
            rate in 1_u32..1_000_000,
            steps in prop::collection::vec((0_u64..40_000, 0_usize..1_000_000), 1..200),
        ) {
            let mut allowance = Allowance::new(TIMEOUT, Some(rate));
            let (mut waited, mut moved) = (Duration::ZERO, 0_u64);
            for (wait, bytes) in steps {
                let wait = Duration::from_millis(wait);
                if wait > allowance.left() {
                    break;
                }
                allowance.waited(wait);
                allowance.moved(bytes);
                waited += wait;
                moved += bytes as u64;
                let earned = Duration::from_nanos(moved.saturating_mul(1_000_000_000) / u64::from(rate));
                prop_assert!(waited <= TIMEOUT + earned, "{waited:?} for {moved} bytes");
                prop_assert!(allowance.left() <= TIMEOUT);
            }
        }
    }
}
