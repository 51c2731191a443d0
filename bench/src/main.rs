//! Measurements of Ringbolt: `ringbolt-bench peers` runs it side by side with nginx and HAProxy.
//!
//! Processor time for each unit of work is the figure, never wall time: it says the same on a fast
//! and a slow machine, and little of what else runs. Start reading in `peers.rs`; `load/` makes the
//! load, `peer.rs` starts the proxies, `sample.rs` and `crowd.rs` measure, `report.rs` writes.
#![forbid(unsafe_code)]

mod cores;
mod crowd;
mod load;
mod machine;
mod measure;
mod peer;
mod peers;
mod proc;
mod report;
mod sample;
mod scale;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure Ringbolt.
#[derive(Debug, Parser)]
#[command(name = "ringbolt-bench", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Side by side with nginx and HAProxy, interleaved in one run
    Peers(Peers),
    /// Ringbolt alone with more and more tunnels in one process, in a guest up to a million
    Scale(scale::Options),
    /// The part of it that runs in the guest
    #[command(hide = true)]
    ScaleSteps(scale::StepsOptions),
}

#[derive(Debug, clap::Args)]
struct Peers {
    /// Less than two minutes: fewer and shorter rounds; the table goes to the screen only
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this; the table goes to the screen only
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The proxy to measure (default: the one built beside this program)
    #[arg(long, value_name = "FILE")]
    ringbolt: Option<PathBuf>,
    /// Folder for `peers.md` and `peers.json`
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Peers(options) => peers::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::ScaleSteps(options) => scale::run_steps(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("ringbolt-bench: {text}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        super::Options::command().debug_assert();
    }
}
