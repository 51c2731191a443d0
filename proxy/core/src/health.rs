//! Whether a backend is up, from what checks and requests show of it.
//!
//! Checks that are made for nothing else decide over up and down. Requests that fail only make a backend suspect for
//! a while: they fail for other reasons as well, and all of them at once.

use std::time::Duration;

use crate::limits::STARTING_CHECKS;

/// A backend that is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    rise: u32,
    fall: u32,
    up: bool,
    /// Results in a row that speak against what it is.
    against: u32,
    /// Checks for which it may still be starting: it has not been seen up.
    starting: u32,
}

/// A change that a check has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Up,
    Down,
}

impl Checked {
    /// Up after `rise` passed checks in a row, down after `fall` failed ones. It counts as `up` at first; one that has
    /// not been checked before (`is_new`) is down with its first failed check.
    #[must_use]
    pub fn new(rise: u32, fall: u32, up: bool, is_new: bool) -> Self {
        let against = if is_new && up { fall.saturating_sub(1) } else { 0 };
        Self { rise, fall, up, against, starting: if is_new { STARTING_CHECKS } else { 0 } }
    }

    /// Notes the result of a check.
    pub fn note(&mut self, passed: bool) -> Option<Change> {
        self.starting = if passed { 0 } else { self.starting.saturating_sub(1) };
        if passed == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if self.up { self.fall } else { self.rise } {
            return None;
        }
        self.up = !self.up;
        self.against = 0;
        Some(if self.up { Change::Up } else { Change::Down })
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The last result speaks against what it is, or it may still be starting: the next check should come soon.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.against > 0 || self.starting > 0
    }
}

/// `interval` and up to a tenth more or less by `random`, so that the checks of many proxies and backends do not come
/// all at once.
#[must_use]
pub fn with_jitter(interval: Duration, random: u64) -> Duration {
    // A whole number from 900 to 1100.
    let (_, drawn) = random.carrying_mul(201, 0);
    interval / 1000 * (900 + u32::try_from(drawn).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_takes_as_many_in_a_row_as_configured() {
        let mut checked = Checked::new(2, 3, true, false);
        let changes: Vec<_> = [false, false, true, false, false, false, true, false, true, true, false]
            .map(|passed| (checked.note(passed), checked.is_changing()))
            .into();
        let (none, soon) = ((None, false), (None, true));
        let (down, up) = ((Some(Change::Down), false), (Some(Change::Up), false));
        assert_eq!(changes, [soon, soon, none, soon, soon, down, soon, none, soon, up, soon]);
    }

    #[test]
    fn one_that_was_never_checked_is_down_at_once() {
        let mut new = Checked::new(2, 3, true, true);
        assert!(new.is_changing(), "it is checked soon");
        assert_eq!(new.note(false), Some(Change::Down));
        let soon = (1..).take_while(|_| new.is_changing() && new.note(false).is_none()).count();
        assert_eq!(soon, STARTING_CHECKS as usize - 1, "it may be starting, but not for ever");
        let mut new = Checked::new(2, 3, true, true);
        assert_eq!([true, false, false].map(|passed| new.note(passed)), [None; 3]);
    }

    #[test]
    fn jitter_is_a_tenth() {
        let interval = Duration::from_secs(10);
        assert_eq!(with_jitter(interval, 0), Duration::from_secs(9));
        assert_eq!(with_jitter(interval, u64::MAX), Duration::from_secs(11));
    }

    proptest! {
        #[test]
        fn it_changes_exactly_when_the_last_results_agree_against_it(
            rise in 1..5_u32, fall in 1..5_u32, results in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut checked = Checked::new(rise, fall, true, false);
            let mut since_change: Vec<bool> = Vec::new();
            for passed in results {
                let was_up = checked.is_up();
                since_change.push(passed);
                let needed = if was_up { fall } else { rise } as usize;
                let against = since_change.iter().rev().take_while(|passed| **passed != was_up).count();
                let changed = checked.note(passed).is_some();
                prop_assert_eq!(changed, against >= needed);
                prop_assert_eq!(checked.is_up() != was_up, changed);
                if changed {
                    since_change.clear();
                }
            }
        }
    }
}
