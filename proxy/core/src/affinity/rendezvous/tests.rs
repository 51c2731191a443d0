//! Placement is stable, fair and bounded, on every machine alike.
//!
//! A changed golden value means that every client of a running proxy is placed anew by the next version.
//! They were computed by an independent implementation in another language, with exact fractions.

use proptest::prelude::*;

use super::*;
use crate::affinity::BackendId;

fn candidate(id: u32, seed: u64, weight: u32) -> Candidate {
    Candidate { id: BackendId(id), seed, weight, accepts_new: true, serves: true, load: 0 }
}

fn named(names_and_weights: &[(&str, u32)]) -> Vec<Candidate> {
    (0..)
        .zip(names_and_weights)
        .map(|(id, &(name, weight))| candidate(id, seed_of_name(name), weight))
        .collect()
}

fn seeded(seeds: impl IntoIterator<Item = u64>) -> Vec<Candidate> {
    (0..).zip(seeds).map(|(id, seed)| candidate(id, seed, 1)).collect()
}

fn five() -> Vec<Candidate> {
    named(&[("10.0.0.1:3000", 1), ("10.0.0.2:3000", 1), ("10.0.0.3:3000", 2), ("b", 3), ("blue", 1)])
}

#[test]
fn golden_keys_and_seeds() {
    assert_eq!(mix(1), 0x5692_161d_100b_05e5);
    assert_eq!(key_of_bytes(b""), 0x5e41_ab08_7439_611e);
    assert_eq!(key_of_bytes(b"a"), 0x015c_9c43_5e7e_5013);
    assert_eq!(key_of_bytes(b"alice"), 0xa77d_1ad6_2808_75e3);
    assert_eq!(key_of_address("10.0.0.1".parse().unwrap()), 0x0488_8a2c_e407_c7e8);
    assert_eq!(key_of_address("2001:db8:0:1::5".parse().unwrap()), 0x7b57_afea_ad42_6a0f);
    assert_eq!(seed_of_name("10.0.0.1:3000"), 0xadb4_5b07_9cf7_acbd);
    assert_eq!(seed_of_name("10.0.0.2:3000"), 0x6da2_d39a_5ea4_5cad);
    assert_eq!(seed_of_name("b"), 0xb85a_2579_2974_caaa);
}

#[test]
fn golden_logarithms() {
    for (value, golden) in [
        (3, 17_568_271_226_504_234),
        (1 << 32, 9_007_199_254_740_992),
        (0xb504_f333_f9de_6484, 140_737_545_847_044),
        (0xc000_0000_0000_0001, 116_822_670_443_562),
        (0xfedc_ba98_7654_3210, 1_808_990_054_801),
    ] {
        assert_eq!(negative_log2(value), golden, "{value:x}");
    }
}

#[test]
fn golden_choices() {
    let backends = five();
    let chosen: Vec<_> = (0..24)
        .map(|client| choose(key_of_bytes(format!("client-{client}").as_bytes()), &backends).unwrap())
        .collect();
    assert_eq!(chosen, [3, 4, 0, 3, 4, 3, 0, 2, 3, 4, 2, 2, 0, 0, 0, 4, 1, 4, 3, 0, 1, 3, 2, 3]);
    let mut out = vec![9];
    order(key_of_bytes(b"alice"), &backends, &mut out);
    assert_eq!(out, [3, 2, 0, 4, 1]);
    order(key_of_address("10.0.0.1".parse().unwrap()), &backends, &mut out);
    assert_eq!(out, [3, 1, 2, 4, 0]);
}

#[test]
fn one_client_has_one_key() {
    let key = |text: &str| key_of_address(text.parse().unwrap());
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn shares_are_those_of_the_weights() {
    let backends = five();
    let mut counts = [0_u32; 5];
    for number in 0..80_000_u32 {
        counts[choose(key_of_bytes(&number.to_le_bytes()), &backends).unwrap()] += 1;
    }
    // Chi square with four degrees of freedom: 18.5 is exceeded by chance once in a thousand.
    let chi_square: f64 = counts
        .iter()
        .zip(&backends)
        .map(|(&count, backend)| {
            let expected = f64::from(backend.weight) * 10_000.0;
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    assert!(chi_square < 18.5, "{counts:?}: {chi_square}");
}

#[test]
fn one_address_fills_backends_up_to_the_bound() {
    let mut backends = five();
    let key = key_of_address("203.0.113.7".parse().unwrap());
    for total in 1..=2000_u32 {
        let index = choose_bounded(key, &backends).unwrap();
        backends[index].load += 1;
        for backend in &backends {
            let bound = (f64::from(total) * 1.25 * f64::from(backend.weight) / 8.0).ceil();
            // The bound of the moment it was given its last.
            assert!(f64::from(backend.load) <= bound, "{backends:?}");
        }
    }
    // Four of five at their bound leave the last one in order little or nothing; other addresses have
    // other orders.
    assert_eq!(backends.iter().filter(|backend| backend.load > 0).count(), 4);
}

#[test]
fn extremes_are_chosen_from() {
    let full = |id: u32, weight| Candidate { load: u32::MAX, ..candidate(id, u64::from(id), weight) };
    let backends = [full(0, u32::MAX), full(1, 1), full(2, u32::MAX)];
    assert!(choose_bounded(5, &backends).is_some());
    assert_eq!(choose_bounded(5, &[]), None);
    assert_eq!(choose(5, &[candidate(0, 1, 0)]), None);
    let twins = [candidate(0, 1, 1), candidate(1, 1, 1)];
    assert_eq!(choose(5, &twins), Some(0));
}

prop_compose! {
    fn any_candidates()(
        shape in prop::collection::vec((any::<u64>(), 0..20_u32, any::<bool>(), 0..1000_u32), 0..16),
    ) -> Vec<Candidate> {
        (0..).zip(shape).map(|(id, (seed, weight, accepts_new, load))| {
            Candidate { id: BackendId(id), seed, weight, accepts_new, serves: true, load }
        }).collect()
    }
}

proptest! {
    #[test]
    fn removal_moves_only_its_keys(key: u64, backends in any_candidates(), gone: prop::sample::Index) {
        prop_assume!(!backends.is_empty());
        let gone = backends[gone.index(backends.len())].id;
        let rest: Vec<_> = backends.iter().copied().filter(|backend| backend.id != gone).collect();
        let before = choose(key, &backends).map(|index| backends[index].id);
        let after = choose(key, &rest).map(|index| rest[index].id);
        prop_assert!(before == Some(gone) || before == after);
        // To drain it is to remove it.
        let drained: Vec<_> = backends
            .iter()
            .map(|backend| Candidate { accepts_new: backend.accepts_new && backend.id != gone, ..*backend })
            .collect();
        prop_assert_eq!(choose(key, &drained).map(|index| drained[index].id), after);
    }

    #[test]
    fn a_choice_does_not_depend_on_positions(key: u64, backends in any_candidates(), shift: prop::sample::Index) {
        prop_assume!(!backends.is_empty());
        let mut moved = backends.clone();
        moved.rotate_left(shift.index(backends.len()));
        let ids = |list: &[Candidate], index: Option<usize>| index.map(|index| list[index].id);
        prop_assert_eq!(ids(&backends, choose(key, &backends)), ids(&moved, choose(key, &moved)));
        prop_assert_eq!(ids(&backends, choose_bounded(key, &backends)), ids(&moved, choose_bounded(key, &moved)));
    }

    #[test]
    fn more_weight_only_attracts(key: u64, mut backends in any_candidates(), which: prop::sample::Index) {
        prop_assume!(!backends.is_empty());
        let which = which.index(backends.len());
        let before = choose(key, &backends);
        backends[which].weight += 1;
        let after = choose(key, &backends);
        prop_assert!(after == before || after == Some(which));
    }

    #[test]
    fn equal_weights_order_by_the_hash_alone(key: u64, seeds in prop::collection::vec(any::<u64>(), 1..20)) {
        let backends = seeded(seeds);
        let by_hash = |seed: u64| mix(mix(key).wrapping_add(seed));
        let best = backends.iter().map(|backend| by_hash(backend.seed)).max().unwrap();
        prop_assert_eq!(by_hash(backends[choose(key, &backends).unwrap()].seed), best);
    }

    #[test]
    fn the_order_is_what_repeated_choice_gives(key: u64, backends in any_candidates()) {
        let mut ordered = Vec::new();
        order(key, &backends, &mut ordered);
        let mut left: Vec<_> = backends.iter().map(|backend| Candidate { accepts_new: true, ..*backend }).collect();
        for &index in ordered.iter().filter(|&&index| backends[index].weight > 0) {
            prop_assert_eq!(choose(key, &left), Some(index));
            left[index].accepts_new = false;
        }
        prop_assert_eq!(choose(key, &left), None);
        ordered.sort_unstable();
        prop_assert_eq!(ordered, (0..backends.len()).collect::<Vec<_>>());
    }

    #[test]
    fn the_bound_is_kept_and_always_leaves_someone(key: u64, backends in any_candidates()) {
        let usable: Vec<_> = backends.iter().filter(|backend| backend.is_usable()).collect();
        let Some(index) = choose_bounded(key, &backends) else {
            prop_assert!(usable.is_empty());
            return Ok(());
        };
        let load: u32 = usable.iter().map(|backend| backend.load).sum();
        let weight: u32 = usable.iter().map(|backend| backend.weight).sum();
        let below = |backend: &Candidate| {
            f64::from(backend.load) < (1.25 * f64::from(load + 1) * f64::from(backend.weight) / f64::from(weight)).ceil()
        };
        prop_assert!(backends[index].is_usable());
        prop_assert!(below(&backends[index]));
        let mut ordered = Vec::new();
        order(key, &backends, &mut ordered);
        let first = ordered.into_iter().find(|&at| backends[at].is_usable() && below(&backends[at]));
        prop_assert_eq!(Some(index), first);
    }
}
