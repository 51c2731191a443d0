//! How long things took: counts by duration, in buckets that are fixed when the program is built.
//!
//! As with the other cells one thread writes and another reads. A scrape may see a duration in a bucket and not yet in the
//! sum: the next one does.

use std::time::Duration;

use ringbolt_reactor::TurnTimes;

use super::cell::{Cell, Counter, See};
use super::names::Metric;

/// The upper bounds of buckets. Implemented by `bounds!` only.
pub(crate) trait Bounds {
    /// One counter for each bucket, and one for what is above all bounds.
    type Counters: AsRef<[Counter]> + Default + std::fmt::Debug;
    /// In microseconds, and as the page shows them, in seconds.
    const BOUNDS: &'static [(u64, &'static str)];
}

/// Defines bounds.
macro_rules! bounds {
    ($( $(#[$doc:meta])* $name:ident { $( $micros:literal = $seconds:literal ),+ $(,)? } )+) => { $(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Bounds for $name {
            type Counters = [Counter; Self::BOUNDS.len() + 1];
            const BOUNDS: &'static [(u64, &'static str)] = &[$(($micros, $seconds)),+];
        }
    )+ };
}

bounds! {
    /// Of what a client waits for.
    Waits {
        500 = "0.0005", 1_000 = "0.001", 2_500 = "0.0025", 5_000 = "0.005", 10_000 = "0.01", 25_000 = "0.025",
        50_000 = "0.05", 100_000 = "0.1", 250_000 = "0.25", 500_000 = "0.5", 1_000_000 = "1", 2_500_000 = "2.5",
        5_000_000 = "5", 10_000_000 = "10", 30_000_000 = "30", 60_000_000 = "60", 120_000_000 = "120",
    }
    /// Of what lives for minutes to days.
    Lives {
        1_000_000 = "1", 10_000_000 = "10", 60_000_000 = "60", 300_000_000 = "300", 1_800_000_000 = "1800",
        3_600_000_000 = "3600", 21_600_000_000 = "21600", 86_400_000_000 = "86400", 604_800_000_000 = "604800",
    }
    /// Of turns of an event loop, as `ringbolt_reactor` counts them.
    Turns {
        50 = "0.00005", 100 = "0.0001", 250 = "0.00025", 1_000 = "0.001", 5_000 = "0.005", 25_000 = "0.025",
        100_000 = "0.1", 500_000 = "0.5",
    }
}

/// Durations by bucket, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram<B: Bounds> {
    buckets: B::Counters,
    micros: Counter,
}

impl<B: Bounds> Default for Histogram<B> {
    fn default() -> Self {
        Self { buckets: B::Counters::default(), micros: Counter::default() }
    }
}

impl<B: Bounds> Histogram<B> {
    /// Counts a duration. Only the worker that owns the histogram may call this.
    pub(crate) fn add(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = B::BOUNDS.iter().position(|(bound, _)| micros <= *bound).unwrap_or(B::BOUNDS.len());
        self.buckets.as_ref()[bucket].add(1);
        self.micros.add(micros);
    }
}

impl Histogram<Turns> {
    /// Takes over what was counted elsewhere. Only the owner may call this.
    pub(crate) fn raise(&self, times: &TurnTimes) {
        self.buckets.iter().zip(times.counts).for_each(|(bucket, count)| bucket.raise(count));
        self.micros.raise(u64::try_from(times.busy.as_micros()).unwrap_or(u64::MAX));
    }
}

/// What stands for the sum where the other numbers have their bounds.
pub(super) const SUM: &str = "sum";

/// The bound of the last bucket.
pub(super) const NO_BOUND: &str = "+Inf";

impl<B: Bounds> Cell for Histogram<B> {
    fn show(&self, metric: &'static Metric, see: &mut See<'_>) {
        let bounds = B::BOUNDS.iter().map(|(_, seconds)| *seconds).chain([NO_BOUND]);
        for (bound, counter) in bounds.zip(self.buckets.as_ref()) {
            see(metric, Some(bound), counter.get());
        }
        see(metric, Some(SUM), self.micros.get());
    }
}

#[cfg(test)]
mod tests {
    use ringbolt_reactor::TURN_BOUNDS_MICROS;

    use super::*;
    use crate::metrics::names;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let lives = Histogram::<Lives>::default();
        for seconds in [1, 2, 10, 1_000_000] {
            lives.add(Duration::from_secs(seconds));
        }
        let mut shown = Vec::new();
        lives.show(&names::TUNNEL_DURATION, &mut |_, label, value| shown.push((label.unwrap(), value)));
        let of = |label: &str| shown.iter().find(|(shown, _)| *shown == label).unwrap().1;
        assert_eq!(["1", "10", "60", NO_BOUND, SUM].map(of), [1, 2, 0, 1, 1_000_013_000_000]);
    }

    #[test]
    fn turns_have_the_bounds_they_are_counted_by() {
        assert!(Turns::BOUNDS.iter().map(|(micros, _)| micros).eq(&TURN_BOUNDS_MICROS));
    }

    #[test]
    fn bounds_grow_and_say_what_they_are() {
        for bounds in [Waits::BOUNDS, Lives::BOUNDS, Turns::BOUNDS] {
            assert!(bounds.windows(2).all(|pair| pair[0].0 < pair[1].0));
            for (micros, seconds) in bounds {
                let seconds: f64 = seconds.parse().unwrap();
                assert!((seconds * 1e6 - *micros as f64).abs() < 0.5, "{seconds}");
            }
        }
    }
}
