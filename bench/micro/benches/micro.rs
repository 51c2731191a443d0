//! The time of every unit of work, by criterion.
#![forbid(unsafe_code)]

use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use ringbolt_micro::SUBJECTS;

/// Fewer at once would show what comes once a run, as the turns of the reactor in which timers expire.
const UNITS_MIN: u64 = 10_000;

fn time_all(criterion: &mut Criterion) {
    for subject in SUBJECTS {
        criterion.bench_function(subject.name, |bencher| {
            bencher.iter_custom(|units| {
                let done = units.max(UNITS_MIN);
                let mut work = subject.prepare(done);
                let began = Instant::now();
                work();
                began.elapsed().mul_f64(units as f64 / done as f64)
            });
        });
    }
}

criterion_group!(benches, time_all);
criterion_main!(benches);
