//! Measurements of Ringbolt: `ringbolt-bench peers` runs it side by side with nginx and HAProxy.
//!
//! Processor time for each unit of work is the figure, never wall time: it says the same on a fast
//! and a slow machine, and little of what else runs. Start reading in `peers.rs`; `begun.rs` frames
//! a run, `load/` makes the load, `peer.rs` starts the proxies, `sample.rs` and `crowd.rs` measure, `report.rs` keeps what they
//! found, `markdown.rs` and `plots.rs` show it. `edges.rs` simulates fleets. `with.rs` lets another load tool have the proxies.
#![forbid(unsafe_code)]

mod begun;
mod budgets;
mod compared;
mod cores;
mod crowd;
mod edges;
mod load;
mod log;
mod machine;
mod markdown;
mod measure;
mod network;
mod peer;
mod peers;
mod plots;
mod proc;
mod report;
mod results;
mod runtimes;
mod sample;
mod scale;
mod statistics;
mod tls;
mod with;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use network::Surroundings;

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
    /// TLS side by side with nginx, HAProxy and hitch, interleaved in one run
    Tls(Tls),
    /// Draw the plots of the last tables again
    Plots(Plots),
    /// Run another load tool against each proxy in turn
    With(With),
    /// Ringbolt alone with more and more tunnels in one process, in a guest up to a million
    Scale(scale::Options),
    /// The part of it that runs in the guest
    #[command(hide = true)]
    ScaleSteps(scale::StepsOptions),
    /// The same byte relay on Ringbolt's reactor, monoio and tokio-uring, interleaved in one run
    Runtimes(Runtimes),
    Edges(edges::Options),
    /// What the access log costs: the proxy with and without one, interleaved in one run
    Log(Log),
    /// Instructions of each unit of work and the size of the proxy, held against their budgets
    Budgets(Budgets),
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
    /// Folder for `peers.md`, `peers.json` and `plots`
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
    #[command(flatten)]
    surroundings: Surroundings,
}

#[derive(Debug, clap::Args)]
struct Tls {
    /// About a minute: fewer and shorter rounds; the table goes to the screen only
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this; the table goes to the screen only
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the peers; the table goes to the screen only
    #[arg(long)]
    without_ringbolt: bool,
    /// The proxy to measure (default: the one built beside this program)
    #[arg(long, value_name = "FILE")]
    ringbolt: Option<PathBuf>,
    /// Folder for `tls.md`, `tls.json` and `plots`
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
    #[command(flatten)]
    surroundings: Surroundings,
}

#[derive(Debug, clap::Args)]
struct Plots {
    /// Folder of `peers.json` and `tls.json`; the plots go to `plots` in it
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
}

#[derive(Debug, clap::Args)]
struct With {
    /// The proxy to measure (default: the one built beside this program)
    #[arg(long, value_name = "FILE")]
    ringbolt: Option<PathBuf>,
    #[command(flatten)]
    surroundings: Surroundings,
    /// The program and its arguments; it finds NAME, ADDRESS, SID and PIDS in its environment
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct Runtimes {
    /// About a minute: fewer and shorter rounds; the table goes to the screen only
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this; the table goes to the screen only
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder for `runtimes.md` and `runtimes.json`
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
    #[command(flatten)]
    surroundings: Surroundings,
}

#[derive(Debug, clap::Args)]
struct Log {
    /// Half a minute: fewer and shorter rounds; the table goes to the screen only
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this; the table goes to the screen only
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The proxy to measure (default: the one built beside this program)
    #[arg(long, value_name = "FILE")]
    ringbolt: Option<PathBuf>,
    /// Folder for `log.md` and `log.json`
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
    #[command(flatten)]
    surroundings: Surroundings,
}

#[derive(Debug, clap::Args)]
struct Budgets {
    /// Leave out the size of the proxy's executable
    #[arg(long)]
    without_binary: bool,
    /// Where the release builds stand (default: beside this program)
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The budgets
    #[arg(long, value_name = "FILE", default_value = "bench/budgets.toml")]
    file: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Peers(options) => peers::run(&options),
        Command::Tls(options) => tls::run(&options),
        Command::Plots(options) => plots::draw(&options.results),
        Command::With(options) => with::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::ScaleSteps(options) => scale::run_steps(&options),
        Command::Runtimes(options) => runtimes::run(&options),
        Command::Edges(options) => edges::run(&options),
        Command::Log(options) => log::run(&options),
        Command::Budgets(options) => budgets::run(&options),
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
