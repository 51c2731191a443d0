//! When a service that others can do without is left aside, because it does not answer.
//!
//! Knows neither what is asked of it nor time: the caller says how each request ended, and when it is tried again.

use crate::limits::CIRCUIT_FAILURES_MAX;

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With an answer.
    Answered,
    /// With none in time, or with a refusal.
    Failed,
    /// Its connection is gone, and so are the next ones' answers.
    Lost,
}

/// A service that is asked.
#[derive(Clone, Copy, Default, Debug)]
pub struct Circuit {
    failures: u32,
}

impl Circuit {
    /// Takes note of a request's end. `true`: the service is to be left aside.
    #[must_use]
    pub fn note(&mut self, outcome: Outcome) -> bool {
        self.failures = match outcome {
            Outcome::Answered => 0,
            Outcome::Failed => self.failures + 1,
            Outcome::Lost => CIRCUIT_FAILURES_MAX,
        };
        self.failures >= CIRCUIT_FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_forgiven_and_silence_is_not() {
        use Outcome::{Answered, Failed, Lost};
        let opens = |outcomes: &[Outcome]| {
            let mut circuit = Circuit::default();
            outcomes.iter().any(|outcome| circuit.note(*outcome))
        };
        assert!(!opens(&[Failed, Failed, Answered, Failed, Failed, Answered]));
        assert!(opens(&[Answered, Failed, Failed, Failed]));
        assert!(opens(&[Answered, Lost]));
    }
}
