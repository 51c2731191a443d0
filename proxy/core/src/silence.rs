//! How many of many have been silent for long, without a look at each of them.
//!
//! Whoever has them says when one begins, moves or ends, and for that needs to know in which second each last moved.
//! A second in which one moves again costs nothing more. Time is a number of seconds that never falls.

use crate::limits::IDLE_AFTER_SECONDS;

const SECONDS: usize = IDLE_AFTER_SECONDS as usize;

/// Seconds of a process before this one lie before the clock's 0, and must find their places too.
const _: () = assert!(IDLE_AFTER_SECONDS.is_power_of_two());

/// How many have moved when.
#[derive(Debug)]
pub struct Silence {
    /// By the second, over and over.
    recent: [u32; SECONDS],
    /// All others.
    idle: u32,
    now: u32,
}

impl Default for Silence {
    fn default() -> Self {
        Self { recent: [0; SECONDS], idle: 0, now: 0 }
    }
}

impl Silence {
    /// There is one more, which has last moved at `moved`.
    pub fn began(&mut self, moved: u32, now: u32) {
        self.pass(now);
        let place = self.place(moved);
        *place = place.saturating_add(1);
    }

    /// One that had last moved at `before` moves now.
    pub fn moved(&mut self, before: u32, now: u32) {
        self.ended(before, now);
        self.began(now, now);
    }

    /// One that has last moved at `moved` is no more.
    pub fn ended(&mut self, moved: u32, now: u32) {
        self.pass(now);
        let place = self.place(moved);
        *place = place.saturating_sub(1);
    }

    /// How many have not moved for [`IDLE_AFTER_SECONDS`].
    pub fn idle(&mut self, now: u32) -> u32 {
        self.pass(now);
        self.idle
    }

    /// Those become idle whose time it is.
    fn pass(&mut self, now: u32) {
        let passed = now.wrapping_sub(self.now).min(IDLE_AFTER_SECONDS);
        for second in 1..=passed {
            let place = self.now.wrapping_add(second) % IDLE_AFTER_SECONDS;
            let since_then = std::mem::take(&mut self.recent[place as usize]);
            self.idle = self.idle.saturating_add(since_then);
        }
        self.now = now;
    }

    fn place(&mut self, moved: u32) -> &mut u32 {
        if self.now.wrapping_sub(moved) < IDLE_AFTER_SECONDS {
            &mut self.recent[(moved % IDLE_AFTER_SECONDS) as usize]
        } else {
            &mut self.idle
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u32),
        /// Silent for so long already, in another process.
        Begin(u32),
        Move(usize),
        End(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..200_u32).prop_map(Step::Wait),
            (0..200_u32).prop_map(Step::Begin),
            any::<usize>().prop_map(Step::Move),
            any::<usize>().prop_map(Step::End),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn it_counts_as_a_look_at_each_would(steps in steps()) {
            let (mut silence, mut all, mut now) = (Silence::default(), Vec::<u32>::new(), 0_u32);
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::Begin(silent) => {
                        all.push(now.wrapping_sub(silent));
                        silence.began(now.wrapping_sub(silent), now);
                    }
                    Step::Move(which) | Step::End(which) if !all.is_empty() => {
                        let which = which % all.len();
                        if matches!(step, Step::Move(_)) {
                            silence.moved(std::mem::replace(&mut all[which], now), now);
                        } else {
                            silence.ended(all.swap_remove(which), now);
                        }
                    }
                    Step::Move(_) | Step::End(_) => {}
                }
                let idle = all.iter().filter(|moved| now.wrapping_sub(**moved) >= IDLE_AFTER_SECONDS).count();
                prop_assert_eq!(silence.idle(now) as usize, idle, "at {}: {:?}", now, all);
            }
        }
    }
}
