//! What of a backend goes along to a process that takes over, beside its names and what checks say of it.

use std::sync::atomic::Ordering::Relaxed;

use super::{Identity, STATES};
use crate::handover::Kept;

impl Identity {
    /// What is kept of it, at this [`super::uptime_ms`].
    pub(crate) fn kept(&self, uptime_ms: u64) -> Kept {
        let left = |until: u64| u32::try_from(until.saturating_sub(uptime_ms)).unwrap_or(u32::MAX);
        let state = usize::from(self.ordered_state.load(Relaxed)).checked_sub(1);
        Kept {
            state: state.and_then(|state| STATES.get(state).copied()),
            weight: Some(self.ordered_weight.load(Relaxed)).filter(|weight| *weight != 0),
            given: self.given(),
            failures: self.failures.load(Relaxed),
            suspect_ms: left(self.suspect_until.load(Relaxed)),
            closing_ms: left(self.closing_until.load(Relaxed)),
        }
    }

    /// Goes on as another process has left it, at this [`super::uptime_ms`].
    pub(crate) fn restore(&self, kept: &Kept, uptime_ms: u64) {
        let Kept { state, weight, given, failures, suspect_ms, closing_ms: _ } = *kept;
        if let Some(state) = state {
            self.order_state(state);
        }
        self.order_weight(weight.unwrap_or(0));
        self.given.store(given, Relaxed);
        self.failures.store(failures, Relaxed);
        self.suspect_until.store(uptime_ms + u64::from(suspect_ms), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringbolt_core::affinity::{BackendId, Health, State};

    use super::*;

    #[test]
    fn a_backend_goes_on_in_another_process_as_it_was() {
        let (before, after) = (Identity::new(BackendId(0), 5), Identity::new(BackendId(1), u32::MAX));
        before.order_state(State::Drain);
        before.order_weight(7);
        before.close_until(9000);
        assert!(before.failed(1, Duration::from_secs(4), 1000));
        let kept = before.kept(2000);
        let expected = Kept {
            state: Some(State::Drain),
            weight: Some(7),
            given: 5,
            failures: 1,
            suspect_ms: 3000,
            closing_ms: 7000,
        };
        assert_eq!(kept, expected);
        // Its clock began with it.
        after.restore(&kept, 10);
        assert_eq!((after.state(State::Up), after.weight(1), after.given()), (State::Drain, 7, 5));
        assert_eq!([3009, 3010].map(|now| after.health(now)), [Health::Suspect, Health::Up]);
        after.close_until(7010);
        assert_eq!(after.kept(10), kept);
        before.forget_orders();
        assert_eq!(before.kept(6000), Kept { given: 5, failures: 1, ..Kept::default() });
    }
}
