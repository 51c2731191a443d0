//! A run beside the peers: every row, every round, every contestant in turn.
//!
//! Contestants take turns within a round and the order turns with the round, so that what disturbs
//! the machine for a while disturbs all of them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cores::{self, Cores};
use crate::load::Stage;
use crate::measure::{CROWDED, LOADED, Load, Measure};
use crate::peer::{Kind, Peer, Programs};
use crate::report::{Contestant, Report, Rounds, Row, Run};
use crate::sample::{self, Sample, Times};
use crate::{Peers, crowd, proc};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rounds: usize,
    times: Times,
    crowd_rounds: usize,
    crowd_times: Times,
}

const fn times(warm_up: u64, measured: u64) -> Times {
    Times { warm_up: Duration::from_millis(warm_up), measured: Duration::from_millis(measured) }
}

const FULL: Extent =
    Extent { rounds: 5, times: times(200, 1000), crowd_rounds: 3, crowd_times: times(200, 2500) };
const QUICK: Extent =
    Extent { rounds: 3, times: times(100, 300), crowd_rounds: 1, crowd_times: times(100, 1000) };

/// Measures, prints the table and writes it to the results folder.
pub(crate) fn run(options: &Peers) -> Result<(), String> {
    let began = Instant::now();
    let load_average_before = proc::load_average();
    let programs = Programs::find(match &options.ringbolt {
        Some(path) => path.clone(),
        None => beside_this_program("ringbolt")?,
    })?;
    let writes = !options.quick && options.only.is_none();
    if writes && !options.results.is_dir() {
        return Err(format!("no folder {}; run this in the workspace's folder", options.results.display()));
    }
    let extent = if options.quick { QUICK } else { FULL };
    let wanted =
        |measure: &Measure| options.only.as_ref().is_none_or(|text| measure.key.contains(text.as_str()));
    let cores = Cores::choose()?;
    cores::pin(cores.load)?;
    let mut stage = Stage::new().map_err(|error| format!("cannot open the origin: {error}"))?;

    let mut table = Table::default();
    let loaded: Vec<_> = LOADED.into_iter().filter(|(measure, _)| wanted(measure)).collect();
    measure_loaded(&mut stage, &programs, extent, cores, &loaded, &mut table)?;
    let crowded: Vec<_> = CROWDED.into_iter().filter(wanted).collect();
    if !crowded.is_empty() {
        measure_crowds(&mut stage, &programs, extent, cores, &crowded, &mut table);
    }

    let contestants = Kind::ALL.into_iter().zip(table.threads).map(|(kind, threads)| Contestant {
        name: kind.name(),
        version: programs.version(kind),
        threads,
    });
    let report = Report {
        run: Run {
            command: command_line(options),
            commit: commit(),
            machine: machine(),
            kernel: setting("kernel/osrelease"),
            congestion_control: setting("net/ipv4/tcp_congestion_control"),
            priority: proc::priority(),
            rounds: extent.rounds,
            seconds_measured: extent.times.measured.as_secs_f64(),
            seconds_in_all: began.elapsed().as_secs_f64(),
            load_average_before,
            foreign: mean(&table.foreign),
        },
        contestants: contestants.collect(),
        rows: table.rows,
    };
    publish(&report, options, writes)
}

/// What has been measured so far.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// In the order of [`Kind::ALL`].
    threads: [Vec<String>; 3],
    /// Of every sample.
    foreign: Vec<f64>,
}

impl Table {
    /// `rounds` in the order of [`Kind::ALL`].
    fn add(&mut self, measure: &Measure, rounds: &[Rounds]) {
        self.foreign.extend(rounds.iter().flatten().flatten().map(|sample| sample.foreign));
        self.rows.push(Row::new(measure, rounds));
    }
}

/// Rows of saturating load: all contestants run at once, and those whose turn it is not are idle.
fn measure_loaded(
    stage: &mut Stage,
    programs: &Programs,
    extent: Extent,
    cores: Cores,
    measures: &[(Measure, Load)],
    table: &mut Table,
) -> Result<(), String> {
    if measures.is_empty() {
        return Ok(());
    }
    let origin = stage.origin.address();
    let mut peers = Vec::new();
    for kind in Kind::ALL {
        peers.push(Peer::start(kind, programs, origin, cores)?);
    }
    for (measure, load) in measures {
        eprintln!("{} ...", measure.title);
        let mut rounds: [Rounds; 3] = Default::default();
        for round in 0..extent.rounds {
            for turn in 0..peers.len() {
                let index = (round + turn) % peers.len();
                rounds[index].push(sample::take(stage, &peers[index], *load, extent.times, cores));
                if !peers[index].is_alive() {
                    return Err(format!(
                        "{} ended in the middle of {}",
                        peers[index].kind.name(),
                        measure.title
                    ));
                }
            }
        }
        table.add(measure, &rounds);
    }
    Ok(())
}

/// Rows of idle connections: a fresh process each time, because memory that was used before hides growth.
fn measure_crowds(
    stage: &mut Stage,
    programs: &Programs,
    extent: Extent,
    cores: Cores,
    measures: &[Measure],
    table: &mut Table,
) {
    let mut samples: [Vec<(Measure, Result<Sample, String>)>; 3] = Default::default();
    for round in 0..extent.crowd_rounds {
        for turn in 0..Kind::ALL.len() {
            let index = (round + turn) % Kind::ALL.len();
            let kind = Kind::ALL[index];
            eprintln!("9,000 idle connections of {} ...", kind.name());
            match crowd::take(stage, kind, programs, extent.crowd_times, cores) {
                Ok((rows, threads)) => {
                    samples[index].extend(rows);
                    table.threads[index] = threads;
                }
                Err(reason) => {
                    samples[index].extend(measures.iter().map(|measure| (*measure, Err(reason.clone()))));
                }
            }
        }
    }
    for measure in measures {
        let rounds = samples.each_ref().map(|samples| {
            samples
                .iter()
                .filter(|(other, _)| other.key == measure.key)
                .map(|(_, sample)| sample.clone())
                .collect()
        });
        table.add(measure, &rounds);
    }
}

fn publish(report: &Report, options: &Peers, writes: bool) -> Result<(), String> {
    let markdown = report.markdown();
    println!("{markdown}");
    if writes {
        let json =
            serde_json::to_string_pretty(report).map_err(|error| format!("cannot write JSON: {error}"))?;
        for (name, text) in [("peers.md", markdown), ("peers.json", json + "\n")] {
            let path = options.results.join(name);
            fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    match report.refused() {
        0 => Ok(()),
        count => Err(format!("{count} rows could not be measured, see above")),
    }
}

fn beside_this_program(name: &str) -> Result<std::path::PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    Ok(own.with_file_name(name))
}

fn command_line(options: &Peers) -> String {
    let mut text = String::from("cargo xtask bench peers");
    if options.quick {
        text.push_str(" --quick");
    }
    if let Some(only) = &options.only {
        text.push_str(&format!(" --only {only}"));
    }
    text
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn setting(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned()
}

/// The commit that is checked out, and whether the tree differs from it.
fn commit() -> String {
    let output =
        Command::new("git").args(["describe", "--always", "--abbrev=10", "--dirty", "--exclude=*"]).output();
    let text =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// Model and number of processors, and memory.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let model = value(&processors, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{count} cores of {model}, {} of memory", value(&memory, "MemTotal").unwrap_or_default())
}
