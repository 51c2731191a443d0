//! Least connections: for requests that belong to nobody.

use super::Candidate;

/// Index of the candidate that would carry least for its weight with one more; `None` if none accepts
/// anything new.
///
/// Among equals the first from `rotation` on is taken, so a caller that counts it up spreads requests
/// over idle backends.
#[must_use]
pub fn least_connections(candidates: &[Candidate], rotation: usize) -> Option<usize> {
    let first = rotation.checked_rem(candidates.len())?;
    let mut best: Option<(usize, &Candidate)> = None;
    for index in (first..candidates.len()).chain(0..first) {
        let candidate = &candidates[index];
        if candidate.is_usable() && best.is_none_or(|(_, best)| carries_less(candidate, best)) {
            best = Some((index, candidate));
        }
    }
    best.map(|(index, _)| index)
}

/// Compares (load + 1) / weight without the division.
fn carries_less(candidate: &Candidate, other: &Candidate) -> bool {
    let ours = (u128::from(candidate.load) + 1) * u128::from(other.weight);
    let theirs = (u128::from(other.load) + 1) * u128::from(candidate.weight);
    ours < theirs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::affinity::BackendId;

    fn candidates(loads_and_weights: &[(u32, u32)]) -> Vec<Candidate> {
        (0..)
            .zip(loads_and_weights)
            .map(|(id, &(load, weight))| Candidate {
                id: BackendId(id),
                seed: 0,
                weight,
                accepts_new: true,
                serves: true,
                load,
            })
            .collect()
    }

    #[test]
    fn requests_that_stay_fill_backends_by_weight() {
        let mut backends = candidates(&[(0, 1), (0, 2), (0, 3)]);
        for rotation in 0..600 {
            let index = least_connections(&backends, rotation).unwrap();
            backends[index].load += 1;
        }
        assert_eq!([100, 200, 300], [0, 1, 2].map(|index: usize| backends[index].load));
    }

    #[test]
    fn equals_take_turns_and_the_unusable_are_passed_over() {
        let mut backends = candidates(&[(0, 1), (0, 1), (0, 1), (0, 0)]);
        backends[1].accepts_new = false;
        let taken: Vec<_> = (0..6).map(|rotation| least_connections(&backends, rotation).unwrap()).collect();
        assert_eq!(taken, [0, 2, 2, 0, 0, 2]);
        assert_eq!(least_connections(&[], 3), None);
        assert_eq!(least_connections(&backends[3..], 3), None);
    }

    proptest! {
        #[test]
        fn nobody_would_carry_less(
            shape in prop::collection::vec((any::<u32>(), 1_u32..), 1..12),
            rotation: usize,
        ) {
            let backends = candidates(&shape);
            let index = least_connections(&backends, rotation).unwrap();
            prop_assert!(backends.iter().all(|other| !carries_less(other, &backends[index])));
        }
    }
}
