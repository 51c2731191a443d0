//! Counters that one thread writes and another reads.
//!
//! A worker is the only writer of its cells, so adding is a load and a store, without the locked
//! instruction a shared counter needs and without a cache line travelling between cores.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::names::Metric;

/// What is shown of a metric to whoever sums up: the label's value, if it has one, and the number.
pub(super) type See<'a> = dyn FnMut(&'static Metric, Option<&'static str>, u64) + 'a;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the worker that owns the counter may call this: two writers would lose
    /// counts, though nothing else.
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Takes over what was counted elsewhere. Only the owner may call this, and the total only grows.
    pub(crate) fn raise(&self, total: u64) {
        self.0.store(total, Relaxed);
    }

    /// What has been counted.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A worker's share of a number that goes up and down.
///
/// What one worker adds another may take away, so a share may be negative; the sum over all workers
/// is not.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `amount`. Only the owning worker may call this.
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Sets this share. Only its owner may call this.
    pub(crate) fn set(&self, share: u64) {
        self.0.store(share, Relaxed);
    }

    /// This share.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Takes `amount` away. Only the owning worker may call this.
    pub(crate) fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(amount), Relaxed);
    }
}

/// A label with a fixed set of values. Implemented by `labels!` only.
pub(crate) trait Label: Copy {
    /// One counter for each value.
    type Counters: AsRef<[Counter]> + Default + std::fmt::Debug;
    /// Name of the label.
    const KEY: &'static str;
    /// Its values, in the order of `index`.
    const VALUES: &'static [&'static str];
    fn index(self) -> usize;
}

/// A counter for each value of a label.
#[derive(Debug)]
pub(crate) struct PerLabel<L: Label>(L::Counters);

impl<L: Label> Default for PerLabel<L> {
    fn default() -> Self {
        Self(L::Counters::default())
    }
}

impl<L: Label> PerLabel<L> {
    /// The counter of one value.
    pub(crate) fn of(&self, value: L) -> &Counter {
        &self.0.as_ref()[value.index()]
    }

    /// Sets this share of one value, of a gauge. Only its owner may call this.
    pub(crate) fn set(&self, value: L, share: u64) {
        self.of(value).raise(share);
    }

    /// Over all values.
    pub(crate) fn total(&self) -> u64 {
        self.0.as_ref().iter().map(Counter::get).fold(0, u64::wrapping_add)
    }
}

/// Something a worker counts in.
pub(super) trait Cell {
    fn show(&self, metric: &'static Metric, see: &mut See<'_>);
}

impl Cell for Counter {
    fn show(&self, metric: &'static Metric, see: &mut See<'_>) {
        see(metric, None, self.0.load(Relaxed));
    }
}

impl Cell for Gauge {
    fn show(&self, metric: &'static Metric, see: &mut See<'_>) {
        see(metric, None, self.0.load(Relaxed));
    }
}

impl<L: Label> Cell for PerLabel<L> {
    fn show(&self, metric: &'static Metric, see: &mut See<'_>) {
        for (value, counter) in L::VALUES.iter().zip(self.0.as_ref()) {
            see(metric, Some(value), counter.0.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::label::Direction;
    use crate::metrics::names;

    fn shown(cell: &dyn Cell) -> Vec<(Option<&'static str>, u64)> {
        let mut shown = Vec::new();
        cell.show(&names::CONNECTIONS_ACCEPTED, &mut |_, label, value| shown.push((label, value)));
        shown
    }

    #[test]
    fn a_labelled_counter_counts_each_value_alone() {
        let bytes = PerLabel::<Direction>::default();
        bytes.of(Direction::ClientToUpstream).add(3);
        bytes.of(Direction::UpstreamToClient).add(4);
        bytes.of(Direction::UpstreamToClient).add(1);
        assert_eq!(shown(&bytes), [(Some("client_to_upstream"), 3), (Some("upstream_to_client"), 5)]);
    }

    #[test]
    fn shares_of_a_gauge_add_up_though_one_is_negative() {
        let (here, there) = (Gauge::default(), Gauge::default());
        here.add(3);
        there.sub(2);
        let sum = shown(&here)[0].1.wrapping_add(shown(&there)[0].1);
        assert_eq!(sum, 1);
    }
}
