//! What of a backend goes along to a process that takes over, beside its names and what checks say of it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Identity, STATES, uptime_ms};
use crate::drain::Ending;
use crate::handover::Kept;

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Identity {
    /// What is kept of it.
    pub(crate) fn kept(&self, now: Instant) -> Kept {
        let state = usize::from(self.ordered_state.load(Relaxed)).checked_sub(1);
        let suspect_ms = self.suspect_until.load(Relaxed).saturating_sub(uptime_ms(now));
        let ending = self.ending().map(|Ending { began, over }| {
            (milliseconds(now.saturating_duration_since(began)), milliseconds(over))
        });
        Kept {
            state: state.and_then(|state| STATES.get(state).copied()),
            weight: Some(self.ordered_weight.load(Relaxed)).filter(|weight| *weight != 0),
            given: self.given(),
            failures: self.failures.load(Relaxed),
            suspect_ms: u32::try_from(suspect_ms).unwrap_or(u32::MAX),
            ending,
        }
    }

    /// Goes on as another process has left it.
    pub(crate) fn restore(&self, kept: &Kept, now: Instant) {
        let Kept { state, weight, given, failures, suspect_ms, ending } = *kept;
        if let Some(state) = state {
            self.order_state(state, None);
        }
        if let Some((since_ms, over_ms)) = ending {
            let began = now.checked_sub(Duration::from_millis(since_ms.into())).unwrap_or(now);
            let over = Duration::from_millis(over_ms.into());
            *self.ending.lock() = Some(Ending { began, over });
            self.orders.fetch_add(1, Relaxed);
        }
        self.order_weight(weight.unwrap_or(0));
        self.given.store(given, Relaxed);
        self.failures.store(failures, Relaxed);
        self.suspect_until.store(uptime_ms(now) + u64::from(suspect_ms), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use ringbolt_core::affinity::{BackendId, Health, State};

    use super::*;

    #[test]
    fn a_backend_goes_on_in_another_process_as_it_was() {
        let (before, after) = (Identity::new(BackendId(0), 5), Identity::new(BackendId(1), u32::MAX));
        let seconds = Duration::from_secs;
        // The process' clock begins when it is first asked.
        uptime_ms(Instant::now());
        let began = Instant::now();
        before.order_state(State::Drain, Some(Ending { began, over: seconds(9) }));
        before.order_weight(7);
        assert!(before.failed(1, seconds(4), uptime_ms(began)));
        let kept = before.kept(began + seconds(1));
        let (state, weight, ending) = (Some(State::Drain), Some(7), Some((1000, 9000)));
        assert_eq!(kept, Kept { state, weight, given: 5, failures: 1, suspect_ms: 3000, ending });
        // Some time later, by a clock that began with it.
        let now = began + seconds(100);
        after.restore(&kept, now);
        assert_eq!((after.state(State::Up), after.weight(1), after.given()), (State::Drain, 7, 5));
        let health = [2, 4].map(|later| after.health(uptime_ms(now + seconds(later))));
        assert_eq!(health, [Health::Suspect, Health::Up]);
        assert_eq!(after.kept(now), kept);
        before.forget_orders();
        assert_eq!(before.kept(now), Kept { given: 5, failures: 1, ..Kept::default() });
    }
}
