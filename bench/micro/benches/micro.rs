//! The time of every unit of work, by criterion.
#![forbid(unsafe_code)]

use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use ringbolt_micro::{SUBJECTS, Work, connect_contended};

/// Fewer at once would show what comes once a run, as the turns of the reactor in which timers expire.
const UNITS_MIN: u64 = 10_000;

fn time_all(criterion: &mut Criterion) {
    for subject in SUBJECTS {
        time(criterion, subject.name, |units| subject.prepare(units));
    }
    // Two threads in one shard: no figure that could be the same in every run, so no subject.
    time(criterion, "client-connection-contended", connect_contended);
}

fn time(criterion: &mut Criterion, name: &str, prepare: impl Fn(u64) -> Work) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|units| {
            let done = units.max(UNITS_MIN);
            let mut work = prepare(done);
            let began = Instant::now();
            work();
            began.elapsed().mul_f64(units as f64 / done as f64)
        });
    });
}

criterion_group!(benches, time_all);
criterion_main!(benches);
