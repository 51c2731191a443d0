//! What the tour has seen of the catalogue so far.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::Ringbolt;

const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The metrics of `docs/metrics.md`, which is made from the program, with their types.
pub(crate) fn catalogue() -> BTreeMap<String, String> {
    let document = include_str!("../../docs/metrics.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").expect("a name");
        (name.to_owned(), rest.split(' ').next().expect("a type").to_owned())
    })
    .collect()
}

/// See the file's head.
pub(crate) struct Tour {
    catalogue: BTreeMap<String, String>,
    pub(crate) seen: BTreeSet<String>,
}

impl Tour {
    pub(crate) fn begin() -> Self {
        Self { catalogue: catalogue(), seen: BTreeSet::new() }
    }

    /// Notes every metric that is not 0. Nothing may be on the page that is not documented, or the reverse.
    pub(crate) fn look(&mut self, ringbolt: &Ringbolt) {
        for (series, value) in ringbolt.metrics() {
            let name = series.split('{').next().expect("a name");
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let histogram =
                of_histogram.filter(|name| self.catalogue.get(*name).is_some_and(|kind| kind == "histogram"));
            let name = histogram.unwrap_or(name);
            assert!(self.catalogue.contains_key(name), "{name} is not documented");
            if value != 0.0 {
                self.seen.insert(name.to_owned());
            }
        }
    }

    /// Does something until these have been seen.
    pub(crate) fn until(&mut self, ringbolt: &Ringbolt, names: &[&str], mut act: impl FnMut()) {
        let deadline = Instant::now() + LIMIT;
        loop {
            act();
            self.look(ringbolt);
            let missing: Vec<_> = names.iter().filter(|name| !self.seen.contains(**name)).collect();
            if missing.is_empty() {
                return;
            }
            let log = || ringbolt.process().output();
            assert!(Instant::now() < deadline, "waited {LIMIT:?} for {missing:?}:\n{}", log());
            thread::sleep(PAUSE);
        }
    }

    pub(crate) fn missing(&self) -> BTreeSet<&str> {
        self.catalogue.keys().filter(|name| !self.seen.contains(*name)).map(String::as_str).collect()
    }
}
