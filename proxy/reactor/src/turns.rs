//! How long the turns of an event loop take: from the moment it has its events to the next wait.
//!
//! What is done in a turn keeps everything else of its thread waiting, so it is the turns' tail that shows as
//! latency.

use std::time::Duration;

/// Upper bounds of the classes of [`TurnTimes`], in microseconds.
pub const TURN_BOUNDS_MICROS: [u64; 8] = [50, 100, 250, 1_000, 5_000, 25_000, 100_000, 500_000];

/// The turns there have been, by how long they took.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct TurnTimes {
    /// By [`TURN_BOUNDS_MICROS`], each without the shorter ones; the last are those above all bounds.
    pub counts: [u64; TURN_BOUNDS_MICROS.len() + 1],
    /// All of them together.
    pub busy: Duration,
}

impl TurnTimes {
    pub(crate) fn note(&mut self, turn: Duration) {
        let class = TURN_BOUNDS_MICROS.iter().position(|bound| turn <= Duration::from_micros(*bound));
        self.counts[class.unwrap_or(TURN_BOUNDS_MICROS.len())] += 1;
        self.busy += turn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_counted_in_the_first_class_that_holds_it() {
        let mut times = TurnTimes::default();
        for micros in [0, 50, 51, 1_000, 600_000] {
            times.note(Duration::from_micros(micros));
        }
        assert_eq!(times.counts, [2, 1, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(times.busy, Duration::from_micros(601_101));
    }
}
