//! What the access log costs: the proxy with each form of it beside the proxy without, every round, each in turn.
//!
//! All threads of the process count, so the log's writer does; and every request has its line, in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::begun::Begun;
use crate::compared::{Row, Table};
use crate::cores::{self, Cores};
use crate::load::Stage;
use crate::measure::{Load, Unit};
use crate::peer::{self, Peer, Program};
use crate::report::{Contestant, Rounds};
use crate::sample::{self, Sample, Times};
use crate::{Log, machine, results};

/// A proxy: its name in the table, and its log; none: it writes none.
struct Setting {
    name: &'static str,
    /// Of `[access_log]`, beside its file.
    log: Option<&'static str>,
}

/// The first is what the others are compared with.
const SETTINGS: [Setting; 4] = [
    Setting { name: "no log", log: None },
    Setting { name: "combined", log: Some("format = \"combined\"") },
    Setting { name: "JSON", log: Some("format = \"json\"") },
    Setting {
        name: "JSON, sessions too",
        log: Some("format = \"json\"\nevents = [\"request\", \"tunnel\", \"session\"]"),
    },
];

/// A row and the load that makes it.
struct Measure {
    key: &'static str,
    title: &'static str,
    load: Load,
}

const MEASURES: [Measure; 2] = [
    Measure { key: "polls", title: "poll on 64 open connections", load: Load::Polls { connections: 64 } },
    Measure { key: "visits", title: "poll on a new connection", load: Load::Visits },
];

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    times: Times,
}

const FULL: Extent = Extent { rounds: 15, times: Times::of(200, 1000) };
const QUICK: Extent = Extent { rounds: 3, times: Times::of(100, 300) };

/// Measures, prints the table and writes it to the results folder.
pub(crate) fn run(options: &Log) -> Result<(), String> {
    let only = options.only.as_deref();
    let begun = Begun::now("log", &options.surroundings, options.quick, only, &options.results)?;
    let program = match &options.ringbolt {
        Some(program) => program.clone(),
        None => machine::beside_this_program("ringbolt")?,
    };
    let extent = if options.quick { QUICK } else { FULL };
    let cores = Cores::choose()?;
    cores::pin(cores.load)?;
    let stage = Stage::new().map_err(|error| format!("cannot open the origin: {error}"))?;
    let logs =
        TempDir::with_prefix("ringbolt-bench-").map_err(|error| format!("no temporary folder: {error}"))?;

    let mut bench = Bench { stage, program, logs, cores, extent, threads: Default::default() };
    let (mut rows, mut foreign) = (Vec::new(), Vec::new());
    for measure in MEASURES.iter().filter(|measure| only.is_none_or(|text| measure.key.contains(text))) {
        eprintln!("{} ...", measure.title);
        let rounds = bench.measure(measure)?;
        foreign.extend(rounds.iter().flatten().flatten().map(|sample| sample.foreign));
        rows.push(Row::new(measure.key, measure.title, Unit::CpuMicroseconds, &rounds));
    }
    let writes = begun.writes;
    let version = peer::first_line(&bench.program, "--version");
    let table = Table {
        title: "The access log",
        preface: "Written by the command below; [what is compared](../README.md#access-log). One worker on a core of its \
                  own, and the log's writer on the same. Figures are medians.",
        run: begun.end(extent.rounds, extent.times.measured, &foreign),
        contestants: SETTINGS
            .iter()
            .zip(bench.threads)
            .map(|(setting, threads)| Contestant { name: setting.name, version: version.clone(), threads })
            .collect(),
        rows,
    };
    let markdown = table.markdown();
    println!("{markdown}");
    if writes { results::keep(&options.results, "log", &markdown, &table) } else { Ok(()) }
}

struct Bench {
    stage: Stage,
    program: PathBuf,
    logs: TempDir,
    cores: Cores,
    extent: Extent,
    /// Names of each proxy's threads, in the order of [`SETTINGS`].
    threads: [Vec<String>; SETTINGS.len()],
}

impl Bench {
    /// All rounds of one row, in the order of [`SETTINGS`]. The order of turns turns with the round.
    fn measure(&mut self, measure: &Measure) -> Result<[Rounds; SETTINGS.len()], String> {
        let mut rounds: [Rounds; SETTINGS.len()] = Default::default();
        let mut peers = (0..SETTINGS.len()).map(|index| self.start(index)).collect::<Result<Vec<_>, _>>()?;
        for round in 0..self.extent.rounds {
            for turn in 0..SETTINGS.len() {
                let index = (round + turn) % SETTINGS.len();
                let sample = self.sample(index, &mut peers[index], measure);
                if !peers[index].is_alive() {
                    return Err(format!("{} ended in the middle of {}", SETTINGS[index].name, measure.title));
                }
                rounds[index].push(sample);
            }
        }
        Ok(rounds)
    }

    fn sample(&mut self, index: usize, peer: &mut Peer, measure: &Measure) -> Result<Sample, String> {
        let sample = sample::take(&mut self.stage, peer, measure.load, self.extent.times, self.cores)?;
        self.threads[index].clone_from(&sample.threads);
        if SETTINGS[index].log.is_some() {
            let wanted = sample.per_second.unwrap_or_default() * sample.seconds;
            let path = self.log(index);
            let file = File::options().write(true).open(&path);
            let file = file.map_err(|error| format!("no log at {}: {error}", path.display()))?;
            let length = file.metadata().map_err(|error| format!("the log's length: {error}"))?.len();
            // Every line has more bytes than this.
            if (length as f64) < wanted * 50.0 {
                return Err(format!("{length} bytes of log for {wanted:.0} requests"));
            }
            // It is appended to, so it goes on from the start.
            file.set_len(0).map_err(|error| format!("the log cannot be emptied: {error}"))?;
        }
        Ok(sample)
    }

    fn start(&self, index: usize) -> Result<Peer, String> {
        let Setting { name, log } = &SETTINGS[index];
        let threads = if log.is_some() { 3 } else { 2 };
        let program = Program { name, threads, bulk_apart: false, has_children: false };
        let origin = self.stage.origin.address();
        Peer::launch(program, origin, self.cores, |places| {
            let path = self.logs.path().join(format!("{index}.toml"));
            let mut text = format!(
                "[[listener]]\naddress = \"{}\"\n[upstream.origin]\nbackends = [\"{origin}\"]\n\
                 [workers]\ncount = 1\n[admin]\naddress = \"off\"\n[log]\nlevel = \"warn\"\n",
                places.address
            );
            if let Some(log) = log {
                text.push_str(&format!("[access_log]\noutput = \"{}\"\n{log}\n", self.log(index).display()));
            }
            write(&path, &text)?;
            let mut command = peer::bound_to_this(&self.program);
            command.args(["run", "-c"]).arg(path);
            Ok(command)
        })
    }

    fn log(&self, index: usize) -> PathBuf {
        self.logs.path().join(format!("{index}.log"))
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
