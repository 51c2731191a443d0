//! A run that has begun: what must be seen before anything is measured, and what is said of it at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::network::Surroundings;
use crate::report::Run;
use crate::statistics::mean;
use crate::{machine, proc};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Begun {
    command: String,
    network: String,
    began: Instant,
    load_average_before: Option<f64>,
    /// Whether its table is kept.
    pub(crate) writes: bool,
}

impl Begun {
    /// Arranges the surroundings of `cargo xtask bench NAME` and begins. A whole table is kept in `results`.
    pub(crate) fn now(
        name: &str,
        surroundings: &Surroundings,
        quick: bool,
        only: Option<&str>,
        results: &Path,
    ) -> Result<Self, String> {
        let network = surroundings.enter()?;
        let writes = !quick && only.is_none();
        if writes && !results.is_dir() {
            return Err(format!("no folder {}; run this in the workspace's folder", results.display()));
        }
        let mut command = format!("cargo xtask bench {name}");
        if quick {
            command.push_str(" --quick");
        }
        if let Some(only) = only {
            command.push_str(&format!(" --only {only}"));
        }
        let load_average_before = proc::load_average();
        Ok(Self { command, network, began: Instant::now(), load_average_before, writes })
    }

    /// The run, after so many rounds of this length in which others took these parts of the proxies' core.
    pub(crate) fn end(self, rounds: usize, measured: Duration, foreign: &[f64]) -> Run {
        Run {
            command: self.command,
            commit: machine::commit(),
            machine: machine::processors_and_memory(),
            kernel: machine::setting("kernel/osrelease"),
            network: self.network,
            congestion_control: machine::setting("net/ipv4/tcp_congestion_control"),
            priority: proc::priority(),
            rounds,
            seconds_measured: measured.as_secs_f64(),
            seconds_in_all: self.began.elapsed().as_secs_f64(),
            load_average_before: self.load_average_before,
            foreign: mean(foreign),
        }
    }
}
