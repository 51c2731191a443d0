//! A run beside the peers: every row, every round, every contestant in turn.
//!
//! Contestants take turns within a round and the order turns with the round, so that what disturbs
//! the machine for a while disturbs all of them.

use crate::begun::Begun;
use crate::cores::{self, Cores};
use crate::load::Stage;
use crate::measure::{CROWDED, LOADED, Loaded, Measure, THREADS};
use crate::peer::{Kind, Peer, Programs};
use crate::report::{Contestant, Report, Rounds, Row};
use crate::sample::{self, Sample, Times};
use crate::{Peers, crowd, markdown, plots, results};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rounds: usize,
    times: Times,
    crowd_rounds: usize,
    crowd_times: Times,
}

const FULL: Extent =
    Extent { rounds: 5, times: Times::of(200, 1000), crowd_rounds: 3, crowd_times: Times::of(200, 2500) };
const QUICK: Extent =
    Extent { rounds: 2, times: Times::of(100, 250), crowd_rounds: 1, crowd_times: Times::of(100, 1000) };

/// Measures, prints the table and writes it to the results folder.
pub(crate) fn run(options: &Peers) -> Result<(), String> {
    let begun =
        Begun::now("peers", &options.surroundings, options.quick, options.only.as_deref(), &options.results)?;
    let programs = Programs::find(options.ringbolt.clone())?;
    let extent = if options.quick { QUICK } else { FULL };
    let cores = Cores::choose()?;
    cores::pin(cores.load)?;
    let mut stage = Stage::new().map_err(|error| format!("cannot open the origin: {error}"))?;

    let mut table = Table { only: options.only.clone(), ..Table::default() };
    measure_loaded(&mut stage, &programs, extent, cores, &mut table)?;
    if CROWDED.iter().any(|measure| table.wants(measure)) {
        measure_crowds(&mut stage, &programs, extent, cores, &mut table);
    }
    table.add_threads();

    let contestants = Kind::ALL.into_iter().zip(table.threads).map(|(kind, threads)| Contestant {
        name: kind.name(),
        version: programs.version(kind),
        threads,
    });
    let writes = begun.writes;
    let report = Report {
        run: begun.end(extent.rounds, extent.times.measured, &table.foreign),
        contestants: contestants.collect(),
        rows: table.rows,
    };
    publish(&report, options, writes)
}

/// What has been measured so far. Arrays are in the order of [`Kind::ALL`].
#[derive(Default)]
struct Table {
    /// Part of the keys of the wanted rows.
    only: Option<String>,
    rows: Vec<Row>,
    /// The most that were seen.
    threads: [Vec<String>; 3],
    /// Of every sample that took time.
    foreign: Vec<f64>,
}

impl Table {
    fn wants(&self, measure: &Measure) -> bool {
        self.only.as_ref().is_none_or(|text| measure.key.contains(text.as_str()))
    }

    fn add(&mut self, measure: &Measure, rounds: &[Rounds]) {
        if self.wants(measure) {
            self.rows.push(Row::new(measure, rounds));
        }
    }

    /// Notes what is not of one row only.
    fn note(&mut self, index: usize, sample: &Sample) {
        if sample.seconds > 0.0 {
            self.foreign.push(sample.foreign);
        }
        if sample.threads.len() > self.threads[index].len() {
            self.threads[index].clone_from(&sample.threads);
        }
    }

    fn add_threads(&mut self) {
        if self.threads.iter().any(Vec::is_empty) {
            return;
        }
        let rounds: Vec<Rounds> = Kind::ALL
            .into_iter()
            .zip(&self.threads)
            .map(|(kind, threads)| {
                let figure = threads.len().saturating_sub(kind.threads()) as f64;
                vec![Ok(Sample { figure, ..Sample::default() })]
            })
            .collect();
        self.rows.push(Row::new(&THREADS, &rounds));
    }
}

/// Rows of load: all contestants run at once, and those whose turn it is not are idle.
fn measure_loaded(
    stage: &mut Stage,
    programs: &Programs,
    extent: Extent,
    cores: Cores,
    table: &mut Table,
) -> Result<(), String> {
    let wanted =
        |loaded: &Loaded| [Some(loaded.cost), loaded.second].iter().flatten().any(|row| table.wants(row));
    let loads: Vec<Loaded> = LOADED.into_iter().filter(wanted).collect();
    if loads.is_empty() {
        return Ok(());
    }
    let origin = stage.origin.address();
    let mut peers = Vec::new();
    for kind in Kind::ALL {
        peers.push(Peer::start(kind, programs, origin, cores)?);
    }
    for Loaded { load, cost, second } in loads {
        eprintln!("{} ...", cost.title);
        let mut rounds: [Rounds; 3] = Default::default();
        for round in 0..extent.rounds {
            for turn in 0..peers.len() {
                let index = (round + turn) % peers.len();
                let sample = sample::take(stage, &peers[index], load, extent.times, cores);
                if !peers[index].is_alive() {
                    return Err(format!(
                        "{} ended in the middle of {}",
                        peers[index].program.name, cost.title
                    ));
                }
                sample.iter().for_each(|sample| table.note(index, sample));
                rounds[index].push(sample);
            }
        }
        table.add(&cost, &rounds);
        if let Some(second) = second {
            let seen = |rounds: &Rounds| -> Rounds {
                rounds
                    .iter()
                    .map(|round| round.as_ref().map_err(Clone::clone)?.seen_as(second.unit))
                    .collect()
            };
            table.add(&second, &rounds.each_ref().map(seen));
        }
    }
    Ok(())
}

/// Rows of idle connections: a fresh process each time, because memory that was used before hides growth.
fn measure_crowds(stage: &mut Stage, programs: &Programs, extent: Extent, cores: Cores, table: &mut Table) {
    let mut samples: [Vec<(Measure, Result<Sample, String>)>; 3] = Default::default();
    for round in 0..extent.crowd_rounds {
        for turn in 0..Kind::ALL.len() {
            let index = (round + turn) % Kind::ALL.len();
            let kind = Kind::ALL[index];
            eprintln!("9,000 idle connections of {} ...", kind.name());
            let rows =
                crowd::take(stage, kind, programs, extent.crowd_times, cores).unwrap_or_else(|reason| {
                    CROWDED.into_iter().map(|measure| (measure, Err(reason.clone()))).collect()
                });
            rows.iter().flat_map(|(_, sample)| sample).for_each(|sample| table.note(index, sample));
            samples[index].extend(rows);
        }
    }
    for measure in &CROWDED {
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
    let markdown = markdown::document(report);
    println!("{markdown}");
    if writes {
        results::keep(&options.results, "peers", &markdown, report)?;
        plots::draw(&options.results)?;
    }
    match report.refused() {
        0 => Ok(()),
        count => Err(format!("{count} rows could not be measured, see above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_the_kernel_under_one_load_misses_the_bar() {
        let threads = |names: &[&str]| {
            let threads = names.iter().map(|name| (*name).to_owned()).collect();
            Sample { threads, ..Sample::default() }
        };
        let mut table = Table::default();
        table.add_threads();
        assert!(table.rows.is_empty(), "nothing was seen");
        for (index, names) in
            [&["ringbolt", "worker-0"][..], &["nginx", "nginx"], &["haproxy"]].iter().enumerate()
        {
            table.note(index, &threads(names));
        }
        table.add_threads();
        table.note(0, &threads(&["iou-wrk-7", "ringbolt", "worker-0"]));
        table.note(0, &threads(&["ringbolt", "worker-0"]));
        table.add_threads();
        let reached: Vec<Option<bool>> = table.rows.iter().map(|row| row.reached).collect();
        assert_eq!(reached, [Some(true), Some(false)]);
    }
}
