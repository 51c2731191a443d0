//! Where something new goes that nothing binds: the configured policy of an upstream.
//!
//! A policy is a rule over candidates and their loads; who counts those, and over what, is the caller's affair.

use super::mix::mix;
use super::{Candidate, choose_bounded, least_connections};

/// A policy of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Rendezvous hashing of the client's address, with bounded load.
    Rendezvous,
    /// The one with the fewest sessions and tunnels for its weight.
    LeastTunnels,
    /// By turns: as [`Balance::LeastTunnels`], where the load is the number of turns a candidate has had. Turns are
    /// smooth (a heavy one's are spread) and the same for all who count them together.
    RoundRobin,
    /// Of two at random by weight the one that carries less: nearly as even as the least of all, and a
    /// candidate whose load is known late is not chosen by everybody at once.
    RandomTwo,
}

/// What a placement goes by.
#[derive(Clone, Copy, Debug)]
pub struct Placing {
    /// The client's key for rendezvous hashing.
    pub key: u64,
    /// A number the caller counts up, for taking turns among equals.
    pub rotation: usize,
    /// A random number.
    pub random: u64,
}

/// Index of the candidate for something new; `None` if none accepts anything new.
#[must_use]
pub fn place(balance: Balance, placing: &Placing, candidates: &[Candidate]) -> Option<usize> {
    match balance {
        Balance::Rendezvous => choose_bounded(placing.key, candidates),
        Balance::LeastTunnels | Balance::RoundRobin => least_connections(candidates, placing.rotation),
        Balance::RandomTwo => random_two(placing.random, candidates),
    }
}

/// The one of two candidates, drawn by weight, that would carry less for its weight with one more.
fn random_two(random: u64, candidates: &[Candidate]) -> Option<usize> {
    let first = drawn(random, None, candidates)?;
    let Some(second) = drawn(mix(random.wrapping_add(1)), Some(first), candidates) else {
        return Some(first);
    };
    let two = [candidates[first], candidates[second]];
    least_connections(&two, 0).map(|index| [first, second][index])
}

/// A usable candidate by weight, other than `except`.
fn drawn(random: u64, except: Option<usize>, candidates: &[Candidate]) -> Option<usize> {
    let usable = || {
        candidates.iter().enumerate().filter(move |(index, one)| one.is_usable() && Some(*index) != except)
    };
    let total: u64 = usable().map(|(_, candidate)| u64::from(candidate.weight)).sum();
    // A fraction of 2^64, times the sum: even, and without a division.
    let (_, mut point) = random.carrying_mul(total, 0);
    for (index, candidate) in usable() {
        let weight = u64::from(candidate.weight);
        if point < weight {
            return Some(index);
        }
        point -= weight;
    }
    None
}

/// Whether a candidate that has been given `given` of its first `slow_start` takes part in this placement.
///
/// It takes part in a share of them that grows with what it has been given, a tenth at first: so it is filled over
/// several times as many placements, though it may be the emptiest all the while.
#[must_use]
pub fn takes_part(given: u32, slow_start: u32, random: u64) -> bool {
    let (_, drawn) = random.carrying_mul(slow_start.into(), 0);
    given >= slow_start || drawn < u64::from(given.max(slow_start.div_ceil(10)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::affinity::BackendId;

    const ALL: [Balance; 4] =
        [Balance::Rendezvous, Balance::LeastTunnels, Balance::RoundRobin, Balance::RandomTwo];

    fn candidates(loads_and_weights: &[(u32, u32)]) -> Vec<Candidate> {
        let candidate = |(id, &(load, weight))| Candidate {
            id: BackendId(id),
            seed: mix(id.into()),
            weight,
            accepts_new: true,
            serves: true,
            load,
        };
        (0..).zip(loads_and_weights).map(candidate).collect()
    }

    fn placing(number: u64) -> Placing {
        Placing { key: mix(number), rotation: 0, random: mix(number ^ 7) }
    }

    #[test]
    fn turns_are_smooth_and_by_weight() {
        let mut backends = candidates(&[(0, 5), (0, 1), (0, 1)]);
        let turns: Vec<usize> = (0..14)
            .map(|number| {
                let index = place(Balance::RoundRobin, &placing(number), &backends).unwrap();
                backends[index].load += 1;
                index
            })
            .collect();
        assert_eq!([0, 1, 2].map(|index| turns.iter().filter(|turn| **turn == index).count()), [10, 2, 2]);
        assert!(turns[..7].contains(&1) && turns[..7].contains(&2), "{turns:?}");
    }

    #[test]
    fn two_at_random_avoid_the_busiest_and_reach_everybody() {
        let mut backends = candidates(&[(0, 1), (0, 1), (0, 2), (9999, 1)]);
        for number in 0..4000 {
            let index = place(Balance::RandomTwo, &placing(number), &backends).unwrap();
            assert_ne!(index, 3, "one of the other two is always less busy");
            backends[index].load += 1;
        }
        for (backend, share) in backends.iter().zip([1000, 1000, 2000]) {
            assert!(backend.load.abs_diff(share) < share / 20, "{backends:?}");
        }
    }

    #[test]
    fn a_slow_start_takes_a_tenth_at_first_and_everything_in_the_end() {
        let share = |given| (0..1000).filter(|number| takes_part(given, 100, mix(*number))).count();
        assert!((70..130).contains(&share(0)), "{}", share(0));
        assert!((450..550).contains(&share(50)), "{}", share(50));
        assert_eq!((share(100), share(u32::MAX)), (1000, 1000));
    }

    proptest! {
        #[test]
        fn a_policy_gives_to_whoever_may_have_it_and_to_somebody_if_anybody_may(
            shape in prop::collection::vec((any::<u32>(), 0..4_u32, any::<bool>()), 0..9),
            key: u64, rotation: usize, random: u64,
        ) {
            let loads_and_weights: Vec<_> = shape.iter().map(|(load, weight, _)| (*load, *weight)).collect();
            let mut backends = candidates(&loads_and_weights);
            for (backend, (.., accepts_new)) in backends.iter_mut().zip(&shape) {
                backend.accepts_new = *accepts_new;
            }
            for balance in ALL {
                match place(balance, &Placing { key, rotation, random }, &backends) {
                    Some(index) => prop_assert!(backends[index].is_usable()),
                    None => prop_assert!(!backends.iter().any(Candidate::is_usable)),
                }
            }
        }
    }
}
