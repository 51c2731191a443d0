//! A run of the runtime contestants: the same byte relay on each, every row, every round, each in turn.
//!
//! The relays are the program `ringbolt-runtimes`, so that neither the proxy nor this load tool depends
//! on the runtimes. They pass HTTP on unread, so the load is that of the tunnels of `peers.rs`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::begun::Begun;
use crate::compared::{Row, Table};
use crate::cores::{self, Cores};
use crate::load::Stage;
use crate::load::bulk::Way;
use crate::measure::{Load, Unit};
use crate::peer::{self, Peer, Program};
use crate::report::{Contestant, Rounds};
use crate::sample::{self, Sample, Times};
use crate::{Runtimes, crowd, machine, results};

/// A relay: its name in the table, on the command line of `ringbolt-runtimes`, and the crate it stands on.
struct Relay {
    name: &'static str,
    word: &'static str,
    package: Option<&'static str>,
}

/// The first is what the others are compared with.
const RELAYS: [Relay; 5] = [
    Relay { name: "own, ring", word: "own-uring", package: None },
    Relay { name: "own, epoll", word: "own-epoll", package: None },
    Relay { name: "monoio, copy loop", word: "monoio-copy", package: Some("monoio") },
    Relay { name: "monoio, readable()", word: "monoio-readable", package: Some("monoio") },
    Relay { name: "tokio-uring, copy loop", word: "tokio-uring", package: Some("tokio-uring") },
];

/// A row and the load that makes it; none is memory of idle tunnels.
struct Measure {
    key: &'static str,
    title: &'static str,
    unit: Unit,
    load: Option<Load>,
}

const fn echo(key: &'static str, title: &'static str, tunnels: usize) -> Measure {
    let load = Some(Load::Echo { length: 64, tunnels });
    Measure { key, title, unit: Unit::CpuMicroseconds, load }
}

const fn bulk(key: &'static str, title: &'static str, tunnels: usize) -> Measure {
    let load = Some(Load::Bulk { tunnels, way: Way::Up });
    Measure { key, title, unit: Unit::CpuSecondsPerGib, load }
}

const MEASURES: [Measure; 6] = [
    echo("echo-64-200", "64 B message echoed, 200 tunnels", 200),
    echo("echo-64-2000", "64 B message echoed, 2,000 tunnels", 2000),
    bulk("bulk-1", "bulk to the origin, 1 tunnel", 1),
    bulk("bulk-32", "bulk to the origin, 32 tunnels", 32),
    Measure {
        key: "accept",
        title: "accept + connect + one exchange + close",
        unit: Unit::CpuMicroseconds,
        load: Some(Load::Upgrades),
    },
    Measure { key: "memory", title: "own memory of an idle tunnel, of 9,000", unit: Unit::Bytes, load: None },
];

/// How long closing thousands of tunnels may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    times: Times,
    memory_rounds: usize,
}

const FULL: Extent = Extent { rounds: 7, times: Times::of(200, 1000), memory_rounds: 3 };
const QUICK: Extent = Extent { rounds: 3, times: Times::of(100, 300), memory_rounds: 1 };

/// Measures, prints the table and writes it to the results folder.
pub(crate) fn run(options: &Runtimes) -> Result<(), String> {
    let begun = Begun::now(
        "runtimes",
        &options.surroundings,
        options.quick,
        options.only.as_deref(),
        &options.results,
    )?;
    let program = machine::beside_this_program("ringbolt-runtimes")?;
    if !program.is_file() {
        let path = program.display();
        return Err(format!("no relays at {path}; `cargo xtask bench runtimes` builds them"));
    }
    let extent = if options.quick { QUICK } else { FULL };
    let cores = Cores::choose()?;
    cores::pin(cores.load)?;
    let stage = Stage::new().map_err(|error| format!("cannot open the origin: {error}"))?;

    let mut bench = Bench { stage, program, cores, extent, threads: Default::default() };
    let mut rows = Vec::new();
    let mut foreign = Vec::new();
    for measure in &MEASURES {
        if options.only.as_ref().is_some_and(|text| !measure.key.contains(text.as_str())) {
            continue;
        }
        eprintln!("{} ...", measure.title);
        let rounds = bench.measure(measure)?;
        let timed = rounds.iter().flatten().flatten().filter(|sample| sample.seconds > 0.0);
        foreign.extend(timed.map(|sample| sample.foreign));
        rows.push(Row::new(measure.key, measure.title, measure.unit, &rounds));
    }

    let writes = begun.writes;
    let table = Table {
        title: "The same relay on each runtime",
        preface: "Written by the command below; [what the rows mean](../README.md#runtimes). One thread each, on a core of \
                  its own. Figures are medians.",
        run: begun.end(extent.rounds, extent.times.measured, &foreign),
        contestants: contestants(&bench.threads),
        rows,
    };
    publish(&table, options, writes)
}

struct Bench {
    stage: Stage,
    program: PathBuf,
    cores: Cores,
    extent: Extent,
    /// Names of each relay's threads, in the order of [`RELAYS`], after the load that made the most.
    threads: [Vec<String>; RELAYS.len()],
}

impl Bench {
    /// All rounds of one row, in the order of [`RELAYS`]. The order of turns turns with the round.
    fn measure(&mut self, measure: &Measure) -> Result<[Rounds; RELAYS.len()], String> {
        let mut rounds: [Rounds; RELAYS.len()] = Default::default();
        let Some(load) = measure.load else {
            for round in 0..self.extent.memory_rounds {
                for turn in 0..RELAYS.len() {
                    let index = (round + turn) % RELAYS.len();
                    rounds[index].push(self.memory(index));
                }
            }
            return Ok(rounds);
        };
        let mut peers = (0..RELAYS.len()).map(|index| self.start(index)).collect::<Result<Vec<_>, _>>()?;
        for round in 0..self.extent.rounds {
            for turn in 0..RELAYS.len() {
                let index = (round + turn) % RELAYS.len();
                let peer = &mut peers[index];
                let taken = sample::take(&mut self.stage, peer, load, self.extent.times, self.cores);
                if let Ok(sample) = &taken
                    && sample.threads.len() > self.threads[index].len()
                {
                    self.threads[index].clone_from(&sample.threads);
                }
                if !peer.is_alive() {
                    return Err(format!("{} ended in the middle of {}", peer.program.name, measure.title));
                }
                rounds[index].push(taken);
            }
        }
        Ok(rounds)
    }

    /// Of a fresh process, because memory that was used before hides growth.
    fn memory(&mut self, index: usize) -> Result<Sample, String> {
        let peer = self.start(index)?;
        let memory = crowd::open_tunnels(&mut self.stage, &peer).and_then(|idle| idle.memory);
        // What could not be opened in full is closed with the process.
        drop(peer);
        sample::close_tunnels(&mut self.stage, CLOSE_TIMEOUT)?;
        self.stage.take_faults();
        memory
    }

    fn start(&self, index: usize) -> Result<Peer, String> {
        let relay = &RELAYS[index];
        let program = Program { name: relay.name, threads: 1, bulk_apart: false, has_children: false };
        Peer::launch(program, self.stage.origin.address(), self.cores, |places| {
            let mut command = peer::bound_to_this(&self.program);
            command.arg(relay.word);
            command.args(["--listen", &places.address.to_string(), "--origin", &places.origin.to_string()]);
            Ok(command)
        })
    }
}

fn contestants(threads: &[Vec<String>; RELAYS.len()]) -> Vec<Contestant> {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = |relay: &Relay| match relay.package {
        None => "this commit".to_owned(),
        Some(package) => {
            format!("{package} {}", locked_version(&lock, package).unwrap_or("of unknown version"))
        }
    };
    RELAYS
        .iter()
        .zip(threads)
        .map(|(relay, threads)| Contestant {
            name: relay.name,
            version: version(relay),
            threads: threads.clone(),
        })
        .collect()
}

/// The version of a package in the text of `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, behind) = lock.split_once(&format!("\nname = \"{package}\"\nversion = \""))?;
    behind.split('"').next()
}

fn publish(table: &Table, options: &Runtimes, writes: bool) -> Result<(), String> {
    let markdown = table.markdown();
    println!("{markdown}");
    if writes { results::keep(&options.results, "runtimes", &markdown, table) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"monoio-macros\"\nversion = \"9.9.9\"\n\n\
            [[package]]\nname = \"monoio\"\nversion = \"0.2.4\"\n";
        assert_eq!(locked_version(lock, "monoio"), Some("0.2.4"));
        assert_eq!(locked_version(lock, "tokio-uring"), None);
        let own = include_str!("../../Cargo.lock");
        for package in RELAYS.iter().filter_map(|relay| relay.package) {
            assert!(locked_version(own, package).is_some(), "{package}");
        }
    }
}
