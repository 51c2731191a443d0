//! Does one unit of work many times, for callgrind to count its instructions.
//!
//!     ringbolt-micro           prints how many units a run does, then every unit's name
//!     ringbolt-micro NAME      does them
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ringbolt_micro::{SUBJECTS, Subject, Work};

/// So many that setting up the first of them is no part of the figure.
const UNITS: u64 = 10_000;

/// Callgrind is told to count in this function only, by its name: see `bench/src/budgets.rs`.
#[inline(never)]
fn counted_by_callgrind(work: &mut Work) {
    work();
}

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        println!("{UNITS}");
        for subject in SUBJECTS {
            println!("{}", subject.name);
        }
        return ExitCode::SUCCESS;
    };
    let Some(subject) = Subject::find(&name) else {
        eprintln!("ringbolt-micro: no unit of work is called {name:?}");
        return ExitCode::FAILURE;
    };
    counted_by_callgrind(&mut subject.prepare(UNITS));
    ExitCode::SUCCESS
}
