//! The wheel against a naive model: a sorted map of ticks. Fails when a timer fires early or late, when a
//! cancelled one fires, or when the thread would be told to sleep beyond a timer.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert { distance: u64 },
    Cancel { choice: usize },
    Advance { ticks: u64 },
    AdvanceToNext,
}

fn step() -> impl Strategy<Value = Step> {
    // Distances of every magnitude, so that all levels and their borders are met.
    let magnitude = (0_u32..38, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1));
    prop_oneof![
        4 => magnitude.clone().prop_map(|distance| Step::Insert { distance }),
        2 => any::<usize>().prop_map(|choice| Step::Cancel { choice }),
        2 => magnitude.prop_map(|ticks| Step::Advance { ticks }),
        3 => Just(Step::AdvanceToNext),
    ]
}

struct Model {
    wheel: Wheel<u64>,
    now: u64,
    /// By number of the timer: the first tick at which it may fire, the first at which it must have, and its id.
    set: BTreeMap<u64, (u64, u64, TimerId)>,
    gone: Vec<TimerId>,
}

impl Model {
    fn advance(&mut self, now: u64) {
        self.now = now;
        self.wheel.advance(now);
        while let Some(number) = self.wheel.pop_due() {
            let (tick, _, id) = self.set.remove(&number).expect("a fired timer was set and not cancelled");
            assert!(tick <= now, "timer of tick {tick} fired early, at {now}");
            self.gone.push(id);
        }
        let late = self.set.values().find(|(_, tick, _)| *tick <= now);
        assert!(late.is_none(), "timer {late:?} did not fire by {now}");
    }

    fn apply(&mut self, step: &Step, number: u64) {
        match *step {
            Step::Insert { distance } => {
                let tick = self.now + distance;
                let id = self.wheel.insert(tick, number);
                // A deadline that has passed may wait for the next tick.
                self.set.insert(number, (tick, tick.max(self.now + 1), id));
            }
            Step::Cancel { choice } => {
                let Some(number) = self.set.keys().nth(choice % self.set.len().max(1)).copied() else {
                    return;
                };
                let (_, _, id) = self.set.remove(&number).expect("just found");
                assert_eq!(self.wheel.cancel(id), Some(number));
                self.gone.push(id);
            }
            Step::Advance { ticks } => self.advance(self.now + ticks),
            Step::AdvanceToNext => {
                if let Some(next) = self.wheel.next_expiry() {
                    self.advance(next.max(self.now));
                }
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(self.wheel.len(), self.set.len());
        let earliest = self.set.values().map(|(_, tick, _)| *tick).min();
        match (self.wheel.next_expiry(), earliest) {
            (Some(next), Some(earliest)) => {
                assert!(next <= earliest, "would sleep to {next}, past {earliest}")
            }
            (None, Some(earliest)) => panic!("would sleep for ever, past {earliest}"),
            (_, None) => {}
        }
        for id in &self.gone {
            assert_eq!(self.wheel.cancel(*id), None, "a stale id finds nothing");
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_map(start in 0_u64..1 << 37, steps in prop::collection::vec(step(), 1..120)) {
        let mut model =
            Model { wheel: Wheel::new(), now: 0, set: BTreeMap::new(), gone: Vec::new() };
        model.advance(start);
        for (step, number) in steps.iter().zip(0..) {
            model.apply(step, number);
            model.check();
        }
    }
}

#[test]
fn a_passed_deadline_set_while_timers_fire_waits_for_the_next_turn() {
    let mut wheel = Wheel::new();
    wheel.insert(5, "first");
    wheel.advance(10);
    assert_eq!(wheel.pop_due(), Some("first"));
    wheel.insert(3, "second");
    assert_eq!(wheel.pop_due(), None, "or a callback that sets such a timer would loop for ever");
    wheel.advance(11);
    assert_eq!(wheel.pop_due(), Some("second"));
}

#[test]
fn a_lone_timer_needs_one_wake() {
    for distance in [1, 63, 64, 4_095, 100_000, 86_400_000] {
        let mut wheel = Wheel::new();
        wheel.advance(77);
        wheel.insert(78, "first");
        wheel.insert(78 + distance, "second");
        wheel.advance(78);
        assert_eq!(wheel.pop_due(), Some("first"));
        assert_eq!(wheel.next_expiry(), Some(78 + distance), "the exact tick, not a bucket's start");
    }
}

#[test]
fn many_far_timers_need_few_wakes() {
    let mut wheel = Wheel::new();
    for number in 0..10_000_u64 {
        wheel.insert(60_000 + number % 3, number);
    }
    let (mut wakes, mut fired) = (0, 0);
    while let Some(next) = wheel.next_expiry() {
        wheel.advance(next);
        wakes += 1;
        fired += std::iter::from_fn(|| wheel.pop_due()).count();
    }
    assert_eq!(fired, 10_000);
    assert!(wakes <= 8, "{wakes} wakes");
}
