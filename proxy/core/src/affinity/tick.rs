//! Coarse time of the sid table.
//!
//! Four bytes an entry instead of sixteen. The clock is the caller's.

use std::time::Duration;

/// Ticks in a second. An eighth is far below every timeout of a session, and 32 bits of them are 17
/// years.
const PER_SECOND: u64 = 8;

/// Nanoseconds of one tick.
const TICK_NANOSECONDS: u32 = 125_000_000;

/// A moment, in eighths of a second since a start that all users of one table share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tick(u32);

impl Tick {
    /// The moment `since_start` after the start. Stays at the last tick after 17 years.
    #[must_use]
    pub fn from_duration(since_start: Duration) -> Self {
        Self(u32::try_from(whole_ticks(since_start)).unwrap_or(u32::MAX))
    }

    /// Ticks from `earlier` to this moment; 0 if it is not later.
    pub(super) fn since(self, earlier: Self) -> u16 {
        u16::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u16::MAX)
    }

    /// The number of the part of all time that it is in, of parts with this many ticks.
    pub(super) fn part(self, ticks: u16) -> u32 {
        self.0 / u32::from(ticks.max(1))
    }

    /// How long ago `earlier` was at this moment.
    pub(super) fn age(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::from(TICK_NANOSECONDS)) * self.0.saturating_sub(earlier.0)
    }

    /// The moment this many ticks later.
    pub(super) const fn after(self, ticks: u16) -> Self {
        Self(self.0.saturating_add(ticks as u32))
    }
}

/// Ticks that last at least `duration`, and no more than 16 bits of them (over two hours).
pub(super) fn ticks_of(duration: Duration) -> u16 {
    // Two more: for the part of a tick that was cut off, and because the current tick has already begun.
    u16::try_from(whole_ticks(duration).saturating_add(2)).unwrap_or(u16::MAX)
}

/// How long so many ticks last.
pub(super) fn duration_of(ticks: u16) -> Duration {
    Duration::from_nanos(u64::from(TICK_NANOSECONDS)) * ticks.into()
}

fn whole_ticks(duration: Duration) -> u64 {
    let part = u64::from(duration.subsec_nanos() / TICK_NANOSECONDS);
    duration.as_secs().saturating_mul(PER_SECOND).saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        for milliseconds in [0, 1, 124, 125, 126, 999, 5000, 45_000] {
            let begin = Duration::from_millis(1_124);
            let timeout = Duration::from_millis(milliseconds);
            let deadline = Tick::from_duration(begin).after(ticks_of(timeout));
            assert!(Tick::from_duration(begin + timeout - Duration::from_millis(1)) < deadline);
            assert!(Tick::from_duration(begin + timeout + Duration::from_millis(375)) >= deadline);
        }
    }

    #[test]
    fn far_ends_saturate() {
        assert_eq!(Tick::from_duration(Duration::MAX), Tick(u32::MAX));
        assert_eq!(Tick::from_duration(Duration::MAX).after(u16::MAX), Tick(u32::MAX));
        assert_eq!(ticks_of(Duration::MAX), u16::MAX);
    }
}
