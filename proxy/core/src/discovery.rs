//! What answers about the backends of an upstream mean: which there are, which leave, and when to ask again.
//!
//! An answer replaces the last one. Whom it names no more drains for a while before it is gone: a server that ends
//! leaves DNS first, and some servers answer with another part of their list each time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::{LOOKUP_RETRY_FIRST, LOOKUP_RETRY_MAX};

/// A backend that an answer names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub address: SocketAddr,
    /// `None`: the answer does not tell.
    pub weight: Option<u32>,
    /// Others come before it.
    pub backup: bool,
}

/// A backend that was found, now or before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub found: Found,
    /// Since when no answer names it, as the caller counts time.
    pub gone: Option<Duration>,
}

/// What one source has named, by name.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Roster(BTreeMap<String, Entry>);

impl Roster {
    /// Takes an answer, in which somebody is named. True: that changes something.
    pub fn note(&mut self, answer: BTreeMap<String, Found>, now: Duration) -> bool {
        let mut changed = false;
        for (name, entry) in &mut self.0 {
            if !answer.contains_key(name) && entry.gone.is_none() {
                entry.gone = Some(now);
                changed = true;
            }
        }
        for (name, found) in answer {
            let entry = Entry { found, gone: None };
            changed |= self.0.insert(name, entry.clone()) != Some(entry);
        }
        changed
    }

    /// Removes who has been gone for `hold`. True: there was somebody.
    pub fn expire(&mut self, hold: Duration, now: Duration) -> bool {
        let before = self.0.len();
        self.0.retain(|_, entry| entry.gone.is_none_or(|gone| gone + hold > now));
        before != self.0.len()
    }

    /// When somebody has been gone for `hold`.
    #[must_use]
    pub fn next_expiry(&self, hold: Duration) -> Option<Duration> {
        self.0.values().filter_map(|entry| entry.gone).min().map(|gone| gone + hold)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The address that this name had last.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.0.get(name).map(|entry| entry.found.address)
    }

    /// The one that stands for all where all are one backend: of the smallest address that is still named.
    #[must_use]
    pub fn first(&self) -> Option<&Entry> {
        self.0.values().min_by_key(|entry| (entry.gone.is_some(), entry.found.address))
    }
}

/// Weight and backup of an SRV record's target, where `records` are the priorities and weights of the whole answer.
///
/// The lowest priority comes first and the others are backups: RFC 2782 has an order of priorities, backends know
/// two. Weights reach from 0, which still means a little, to 65,535; those of backends from 1 to `weight_max`.
#[must_use]
pub fn srv_standing(
    (priority, weight): (u16, u16),
    records: &[(u16, u16)],
    weight_max: u32,
) -> (Option<u32>, bool) {
    let lowest = records.iter().map(|(priority, _)| *priority).min().unwrap_or(priority);
    let most = records.iter().map(|(_, weight)| u32::from(*weight)).max().unwrap_or(0);
    let weight = u32::from(weight);
    let weight = if most > weight_max { weight * weight_max / most } else { weight };
    (Some(weight.max(1)), priority > lowest)
}

/// How long to wait before a source is asked again that has failed this often in a row.
#[must_use]
pub fn retry_pause(failures: u32) -> Duration {
    let factor = 1 << failures.saturating_sub(1).min(16);
    (LOOKUP_RETRY_FIRST * factor).min(LOOKUP_RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    fn answer(numbers: &[u8]) -> BTreeMap<String, Found> {
        let found = |number: &u8| {
            let address = SocketAddr::from(([10, 0, 0, *number], 3000));
            (address.to_string(), Found { address, weight: None, backup: false })
        };
        numbers.iter().map(found).collect()
    }

    fn named(roster: &Roster) -> Vec<(&str, bool)> {
        roster.iter().map(|(name, entry)| (name, entry.gone.is_some())).collect()
    }

    #[test]
    fn who_is_named_no_more_leaves_after_a_while() {
        let (mut roster, start) = (Roster::default(), Duration::from_secs(100));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(roster.note(answer(&[1, 2]), start));
        assert!(!roster.note(answer(&[2, 1]), at(1)), "the same");
        assert!(roster.note(answer(&[2]), at(5)));
        assert!(!roster.note(answer(&[2]), at(10)), "it is gone since the first time");
        assert_eq!(named(&roster), [("10.0.0.1:3000", true), ("10.0.0.2:3000", false)]);
        assert_eq!(roster.next_expiry(HOLD), Some(at(35)));
        assert!(!roster.expire(HOLD, at(34)));
        assert!(roster.expire(HOLD, at(35)));
        assert_eq!((named(&roster), roster.next_expiry(HOLD)), (vec![("10.0.0.2:3000", false)], None));
    }

    #[test]
    fn who_comes_back_in_time_has_never_been_away() {
        let (mut roster, start) = (Roster::default(), Duration::from_secs(100));
        roster.note(answer(&[1, 2]), start);
        roster.note(answer(&[2]), start);
        assert!(roster.note(answer(&[1]), start + HOLD / 2));
        assert!(!roster.expire(HOLD, start + HOLD));
        assert_eq!(named(&roster), [("10.0.0.1:3000", false), ("10.0.0.2:3000", true)]);
    }

    #[test]
    fn one_backend_of_many_addresses_is_at_the_smallest_that_is_named() {
        let (mut roster, start) = (Roster::default(), Duration::from_secs(100));
        assert_eq!(roster.first(), None);
        roster.note(answer(&[10, 9]), start);
        let first = |roster: &Roster| roster.first().map(|entry| entry.found.address.to_string());
        assert_eq!(first(&roster).as_deref(), Some("10.0.0.9:3000"), "as addresses, not as text");
        roster.note(answer(&[10]), start);
        assert_eq!(first(&roster).as_deref(), Some("10.0.0.10:3000"));
    }

    #[test]
    fn weights_and_priorities_of_srv_become_those_of_backends() {
        let records = [(1, 0), (1, 5), (2, 10)];
        let standings = records.map(|record| srv_standing(record, &records, 1000));
        assert_eq!(standings, [(Some(1), false), (Some(5), false), (Some(10), true)]);
        let large = [(0, 60_000), (0, 6_000), (0, 1)];
        let standings = large.map(|record| srv_standing(record, &large, 1000));
        assert_eq!(standings, [(Some(1000), false), (Some(100), false), (Some(1), false)]);
    }

    #[test]
    fn a_source_that_fails_is_asked_less_and_less() {
        let pauses: Vec<u64> = (1..=8).map(|failures| retry_pause(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(retry_pause(u32::MAX), LOOKUP_RETRY_MAX);
    }
}
