//! Rendezvous hashing: every backend scores every key, and the best score has it.
//!
//! A backend's score depends on its name and weight alone. So when one is added or removed only the
//! keys it gains or held move, and where it stands in the configuration does not matter. With a fair
//! share bound, one key (a NAT address) spreads over several backends, best score first.
//!
//! A score is -log(u) / weight with u uniform from the hash of key and name: then each backend has the
//! best score for its weight's share of keys. Scores are compared as exact fractions of integers, so
//! that all processors agree.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::Candidate;
use super::mix::{hash, mix, negative_log2};
use crate::limits::PLACEMENT_LOAD_PERCENT;

#[cfg(test)]
mod tests;

/// Keeps keys apart from seeds: a header value may equal a backend's name.
const KEY_DOMAIN: u64 = 1;
const SEED_DOMAIN: u64 = 2;

/// The key of a header or cookie value, as it is.
#[must_use]
pub fn key_of_bytes(bytes: &[u8]) -> u64 {
    hash(KEY_DOMAIN, bytes)
}

/// The key of a client address: all of an IPv4 address, the first 64 bits of an IPv6 address.
///
/// Hosts change the rest of an IPv6 address at will (RFC 8981), even between two connections, and a
/// client's network is rarely smaller than that. An IPv4 address in IPv6 form is the same client.
#[must_use]
pub fn key_of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => key_of_bytes(&address.octets()),
        IpAddr::V6(address) => key_of_bytes(&address.octets()[..8]),
    }
}

/// The place of a backend of this name in rendezvous hashing.
#[must_use]
pub fn seed_of_name(name: &str) -> u64 {
    hash(SEED_DOMAIN, name.as_bytes())
}

/// Index of the candidate with the best score for `key`; `None` if none accepts anything new.
///
/// Removing a candidate moves only the keys it had (property `removal_moves_only_its_keys`).
#[must_use]
pub fn choose(key: u64, candidates: &[Candidate]) -> Option<usize> {
    best(key, candidates, Candidate::is_usable)
}

/// Index of the candidate with the best score for `key` among those whose load is below
/// [`PLACEMENT_LOAD_PERCENT`] of their fair share by weight; `None` if none accepts anything new.
///
/// The share is that of all load including the new one, rounded up, so some candidate is always below.
#[must_use]
pub fn choose_bounded(key: u64, candidates: &[Candidate]) -> Option<usize> {
    let usable = || candidates.iter().filter(|candidate| candidate.is_usable());
    let load: u128 = usable().map(|candidate| u128::from(candidate.load)).sum();
    let weight: u128 = usable().map(|candidate| u128::from(candidate.weight)).sum();
    let bounded = u128::from(PLACEMENT_LOAD_PERCENT) * (load + 1);
    best(key, candidates, |candidate| {
        candidate.is_usable()
            && u128::from(candidate.load) < (bounded * u128::from(candidate.weight)).div_ceil(100 * weight)
    })
}

/// Fills `out` with the indexes of all candidates, best score for `key` first, whether they accept
/// anything new or not: the order in which a request is offered, or a sid asked for.
pub fn order(key: u64, candidates: &[Candidate], out: &mut Vec<usize>) {
    out.clear();
    out.extend(0..candidates.len());
    out.sort_unstable_by(|&first, &second| {
        let score = |index: usize| Score::of(key, &candidates[index]);
        score(second).cmp(&score(first)).then(first.cmp(&second))
    });
}

/// Index of the best score among those `eligible`; the first if two are the same, which only two of one
/// name and weight can be.
pub(super) fn best(
    key: u64,
    candidates: &[Candidate],
    eligible: impl Fn(&Candidate) -> bool,
) -> Option<usize> {
    let mut best: Option<(usize, Score)> = None;
    for (index, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| eligible(candidate)) {
        let score = Score::of(key, candidate);
        if best.as_ref().is_none_or(|(_, best)| score > *best) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// How well a candidate suits a key. Greater is better.
#[derive(PartialEq, Eq)]
struct Score {
    /// -log2(u), to be divided by `weight`; less is better.
    cost: u64,
    weight: u32,
    /// u itself, where the logarithm is too coarse.
    uniform: u64,
    seed: u64,
}

impl Score {
    fn of(key: u64, candidate: &Candidate) -> Self {
        let uniform = mix(mix(key).wrapping_add(candidate.seed));
        Self { cost: negative_log2(uniform), weight: candidate.weight, uniform, seed: candidate.seed }
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // cost / weight against cost / weight, without the division. Weight 0 costs more than any other.
        let ours = u128::from(self.cost) * u128::from(other.weight);
        let theirs = u128::from(other.cost) * u128::from(self.weight);
        theirs
            .cmp(&ours)
            .then(self.uniform.cmp(&other.uniform))
            .then(self.seed.cmp(&other.seed))
            .then(self.weight.cmp(&other.weight))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
