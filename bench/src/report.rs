//! What a run found: its rows, and whether each reached its bar. Pure.
//!
//! Serialised it is the JSON file; `markdown.rs` makes the table of it, `plots.rs` the plots. A row in
//! which anything went wrong has no figures, only the reason.

use serde::Serialize;

use crate::measure::{Bar, Measure};
use crate::peer::Kind;
use crate::sample::Sample;
use crate::statistics::{self, Spread};

/// The whole of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) run: Run,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) rows: Vec<Row>,
}

/// Where and how it was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) kernel: String,
    /// Whether it is a namespace of the run's own, and if not, why.
    pub(crate) network: String,
    pub(crate) congestion_control: String,
    pub(crate) priority: String,
    pub(crate) rounds: usize,
    pub(crate) seconds_measured: f64,
    pub(crate) seconds_in_all: f64,
    /// Over one minute, before anything was started.
    pub(crate) load_average_before: Option<f64>,
    /// Part of the proxies' core that other programs took while something was measured.
    pub(crate) foreign: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// Where there were most of them at the end of a load.
    pub(crate) threads: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bar: Bar,
    /// None where there is no bar, or nothing to hold against it.
    pub(crate) reached: Option<bool>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// In the order of [`Kind::ALL`].
    Figures(Vec<Figures>),
    Refused(String),
}

/// One contestant's cells of a row, medians of all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) cost: Spread,
    /// What it cost in each round.
    pub(crate) rounds: Vec<f64>,
    pub(crate) p50_microseconds: Option<f64>,
    pub(crate) p99_microseconds: Option<f64>,
    pub(crate) p999_microseconds: Option<f64>,
    pub(crate) per_second: Option<f64>,
    pub(crate) proxy_busy: f64,
    pub(crate) load_busy: f64,
    pub(crate) foreign: f64,
}

/// All rounds of one contestant in one row.
pub(crate) type Rounds = Vec<Result<Sample, String>>;

impl Row {
    /// `rounds` in the order of [`Kind::ALL`].
    pub(crate) fn new(measure: &Measure, rounds: &[Rounds]) -> Self {
        let Measure { key, title, unit, bar } = *measure;
        let figures: Result<Vec<Figures>, String> = Kind::ALL
            .into_iter()
            .zip(rounds)
            .map(|(kind, rounds)| Figures::new(rounds).map_err(|fault| format!("{}: {fault}", kind.name())))
            .collect();
        let outcome = figures.map_or_else(Outcome::Refused, Outcome::Figures);
        let mut row = Self { key, title, unit: unit.name(), bar, reached: None, outcome };
        row.reached = row.is_reached();
        row
    }

    fn figures(&self, kind: Kind) -> Option<&Figures> {
        let Outcome::Figures(figures) = &self.outcome else { return None };
        Kind::ALL.into_iter().zip(figures).find(|(other, _)| *other == kind).map(|(_, figures)| figures)
    }

    /// Ringbolt's cost as a part of another's; `None` where there is nothing to divide by.
    pub(crate) fn ratio(&self, to: Kind) -> Option<f64> {
        self.figures(Kind::Ringbolt)?.ratio(self.figures(to)?)
    }

    fn is_reached(&self) -> Option<bool> {
        match self.bar {
            Bar::Ratio(most, to) => Some(self.ratio(to)? <= most),
            Bar::Figure(most) => Some(self.figures(Kind::Ringbolt)?.cost.median <= most),
            Bar::None => None,
        }
    }
}

impl Figures {
    pub(crate) fn new(rounds: &Rounds) -> Result<Self, String> {
        let samples: Vec<&Sample> =
            rounds.iter().map(|round| round.as_ref().map_err(Clone::clone)).collect::<Result<_, _>>()?;
        let all = |of: &dyn Fn(&Sample) -> Option<f64>| -> Option<Spread> {
            let values: Vec<f64> = samples.iter().filter_map(|sample| of(sample)).collect();
            statistics::spread(&values)
        };
        let median = |of: &dyn Fn(&Sample) -> Option<f64>| all(of).map(|spread| spread.median);
        Ok(Self {
            rounds: samples.iter().map(|sample| sample.figure).collect(),
            cost: all(&|sample| Some(sample.figure)).ok_or("was not measured")?,
            p50_microseconds: median(&|sample| Some(sample.latency?.p50)),
            p99_microseconds: median(&|sample| Some(sample.latency?.p99)),
            p999_microseconds: median(&|sample| Some(sample.latency?.p999)),
            per_second: median(&|sample| sample.per_second),
            proxy_busy: median(&|sample| Some(sample.proxy_busy)).unwrap_or_default(),
            load_busy: median(&|sample| Some(sample.load_busy)).unwrap_or_default(),
            foreign: median(&|sample| Some(sample.foreign)).unwrap_or_default(),
        })
    }

    /// Its cost as a part of another's, round by round; `None` where there is nothing to divide by.
    pub(crate) fn ratio(&self, to: &Self) -> Option<f64> {
        statistics::ratio(&self.rounds, &to.rounds)
    }
}

impl Report {
    /// How many rows could not be measured.
    pub(crate) fn refused(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Refused(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{CROWDED, LOADED, Unit};
    use crate::sample::Latency;

    fn rounds(figures: &[f64]) -> Rounds {
        figures.iter().map(|figure| Ok(Sample { figure: *figure, ..Sample::default() })).collect()
    }

    #[test]
    fn a_row_compares_round_by_round_and_holds_its_bar() {
        let (own, nginx) = (rounds(&[7.0, 8.0, 90.0]), rounds(&[10.0, 10.0, 100.0]));
        let row = Row::new(&LOADED[0].cost, &[own, nginx, rounds(&[14.0, 16.0, 10.0])]);
        assert_eq!((row.ratio(Kind::Nginx), row.ratio(Kind::Haproxy)), (Some(0.8), Some(0.5)));
        assert_eq!(row.reached, Some(false), "the bar is 0.75");
    }

    #[test]
    fn one_fault_in_one_round_refuses_the_row() {
        let mut faulty = rounds(&[1.0, 1.0]);
        faulty.push(Err("2 faults; first: status 502".to_owned()));
        let row = Row::new(&LOADED[0].cost, &[rounds(&[1.0]), faulty, rounds(&[1.0])]);
        assert_eq!((row.ratio(Kind::Nginx), row.reached), (None, None));
        assert!(
            matches!(row.outcome, Outcome::Refused(text) if text == "nginx: 2 faults; first: status 502")
        );
    }

    #[test]
    fn figures_without_another_proxys_are_held_to_a_number() {
        let memory = CROWDED.iter().find(|measure| measure.key == "memory-tunnel").unwrap();
        let row = Row::new(memory, &[rounds(&[250.0]), rounds(&[0.0]), rounds(&[5000.0])]);
        assert_eq!((row.reached, row.ratio(Kind::Nginx)), (Some(true), None));
    }

    #[test]
    fn the_latency_of_a_fixed_rate_is_a_row_with_a_bar() {
        let paced = LOADED.iter().find(|loaded| loaded.cost.key == "echo-rate-64-200").unwrap();
        let p99 = paced.second.unwrap();
        let sample = |p99| {
            let latency = Some(Latency { p50: 1.0, p99, p999: 9000.0 });
            vec![Sample { figure: 20.0, latency, ..Sample::default() }.seen_as(Unit::P99Microseconds)]
        };
        let row = |own| Row::new(&p99, &[sample(own), sample(200.0), sample(100.0)]);
        assert_eq!((row(200.0).reached, row(201.0).reached), (Some(true), Some(false)));
        assert_eq!(row(150.0).ratio(Kind::Nginx), Some(0.75));
        assert!(Sample::default().seen_as(Unit::P99Microseconds).is_err(), "no latency is not a good one");
    }
}
