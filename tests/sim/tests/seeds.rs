//! No history of clients, workers and failing backends breaks a promise of affinity.
//!
//! Fails with sessions that reach a backend which does not know them, a table that grows or leaks, or
//! loads that drift until placement is wrong. A failure prints its seed; `RINGBOLT_SIM_SEED=N` plays that
//! history alone, `RINGBOLT_SIM_SECONDS=N` plays further ones for so long.
#![forbid(unsafe_code)]

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use ringbolt_sim::{Fault, Report, run};

/// Histories that are always played: the same ones on every machine.
const SEEDS: u64 = 200;
/// By so few each mistake is noticed.
const SEEDS_TO_NOTICE: u64 = 20;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Names the seed where a history fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of RINGBOLT_SIM_SEED={} broke a promise", self.0);
        }
    }
}

fn play(seed: u64) -> Report {
    let _named = Named(seed);
    run(seed, Fault::None)
}

#[test]
fn no_history_breaks_a_promise() {
    if let Some(seed) = number("RINGBOLT_SIM_SEED") {
        println!("{:?}", play(seed));
        return;
    }
    let limit = Duration::from_secs(number("RINGBOLT_SIM_SECONDS").unwrap_or(0));
    let began = Instant::now();
    let mut all = Report::default();
    for seed in (1..).take_while(|seed| *seed <= SEEDS || began.elapsed() < limit) {
        let report = play(seed);
        all.sessions += report.sessions;
        all.followed += report.followed;
        all.refused += report.refused;
        all.unknown += report.unknown;
        all.tunnels += report.tunnels;
    }
    println!("{all:?}");
    let reached = [all.sessions, all.followed, all.refused, all.unknown, all.tunnels];
    assert!(reached.iter().all(|count| *count > 0), "the histories are too tame: {all:?}");
}

#[test]
fn a_history_is_the_same_each_time() {
    assert_eq!(play(3), play(3));
    assert_ne!(play(3), play(4));
}

/// A simulation that notices no mistake proves nothing.
#[test]
fn every_mistake_is_noticed() {
    for fault in [Fault::LoadLeaks, Fault::TableIgnored, Fault::Unbounded, Fault::BoundLate] {
        let noticed = (1..=SEEDS_TO_NOTICE).any(|seed| catch_unwind(|| run(seed, fault)).is_err());
        assert!(noticed, "{fault:?} breaks no promise in {SEEDS_TO_NOTICE} histories");
    }
}
