//! The table of a run: as JSON for programs, as Markdown for people. Pure.
//!
//! A row in which anything went wrong has no figures, only the reason.

use std::fmt::Write;

use serde::Serialize;

use crate::measure::{Bar, Measure};
use crate::peer::Kind;
use crate::sample::Sample;
use crate::statistics::{self, Spread, three_figures};

/// The whole of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) run: Run,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) rows: Vec<Row>,
}

/// Where and how it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) kernel: String,
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
    /// With 9,000 tunnels open.
    pub(crate) threads: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    #[serde(skip)]
    pub(crate) bar: Bar,
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
    pub(crate) p50_microseconds: Option<f64>,
    pub(crate) p99_microseconds: Option<f64>,
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
        Self { key, title, unit: unit.name(), bar, outcome }
    }

    fn cost(&self, kind: Kind) -> Option<Spread> {
        let Outcome::Figures(figures) = &self.outcome else { return None };
        Kind::ALL.into_iter().zip(figures).find(|(other, _)| *other == kind).map(|(_, figures)| figures.cost)
    }

    /// Ringbolt's median as a part of another's; `None` where there is nothing to divide by.
    pub(crate) fn ratio(&self, to: Kind) -> Option<f64> {
        let (own, other) = (self.cost(Kind::Ringbolt)?.median, self.cost(to)?.median);
        (other > 0.0).then(|| own / other)
    }

    /// Whether the bar is reached; `None` where there is none.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        match self.bar {
            Bar::Ratio(most, to) => Some(self.ratio(to)? <= most),
            Bar::Figure(most) => Some(self.cost(Kind::Ringbolt)?.median <= most),
            Bar::None => None,
        }
    }
}

impl Figures {
    fn new(rounds: &Rounds) -> Result<Self, String> {
        let samples: Vec<&Sample> =
            rounds.iter().map(|round| round.as_ref().map_err(Clone::clone)).collect::<Result<_, _>>()?;
        let all = |of: &dyn Fn(&Sample) -> Option<f64>| -> Option<Spread> {
            let values: Vec<f64> = samples.iter().filter_map(|sample| of(sample)).collect();
            statistics::spread(&values)
        };
        let median = |of: &dyn Fn(&Sample) -> Option<f64>| all(of).map(|spread| spread.median);
        Ok(Self {
            cost: all(&|sample| Some(sample.figure)).ok_or("was not measured")?,
            p50_microseconds: median(&|sample| Some(sample.latency?.p50)),
            p99_microseconds: median(&|sample| Some(sample.latency?.p99)),
            per_second: median(&|sample| sample.per_second),
            proxy_busy: median(&|sample| Some(sample.proxy_busy)).unwrap_or_default(),
            load_busy: median(&|sample| Some(sample.load_busy)).unwrap_or_default(),
            foreign: median(&|sample| Some(sample.foreign)).unwrap_or_default(),
        })
    }
}

impl Report {
    /// How many rows could not be measured.
    pub(crate) fn refused(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Refused(_))).count()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Ringbolt beside its peers\n\n");
        text.push_str(
            "Written by the command below; [what the rows mean](../README.md). One worker each, on a core of its own. \
             Figures are medians.\n\n",
        );
        // Writing to a String cannot fail.
        let _ = self.write_run(&mut text);
        let _ = self.write_costs(&mut text);
        let _ = self.write_latencies(&mut text);
        let _ = self.write_refusals(&mut text);
        text
    }

    fn write_run(&self, text: &mut String) -> std::fmt::Result {
        let run = &self.run;
        writeln!(text, "| | |\n| --- | --- |")?;
        writeln!(text, "| command | `{}` |", run.command)?;
        writeln!(text, "| commit | {} |", run.commit)?;
        writeln!(text, "| machine | {} |", run.machine)?;
        writeln!(text, "| kernel | {}, TCP congestion control {} |", run.kernel, run.congestion_control)?;
        for contestant in &self.contestants {
            let threads = contestant.threads.join(", ");
            writeln!(text, "| {} | {}; threads: {threads} |", contestant.name, contestant.version)?;
        }
        writeln!(
            text,
            "| run | {} rounds of {} s a figure, {:.0} s in all, at {} |",
            run.rounds, run.seconds_measured, run.seconds_in_all, run.priority
        )?;
        let load = run.load_average_before.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        writeln!(
            text,
            "| disturbance | load average before the run {load}; other programs took {:.0} % of the proxies' core |\n",
            run.foreign * 100.0
        )
    }

    fn write_costs(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "## Cost\n\nMedian, and in brackets how far the rounds are apart, as a part of it.\n"
        )?;
        writeln!(
            text,
            "| measure | unit | Ringbolt | nginx | HAProxy | of nginx | of HAProxy | bar | reached |"
        )?;
        writeln!(text, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for row in &self.rows {
            let Outcome::Figures(figures) = &row.outcome else {
                writeln!(text, "| {} | {} | refused | | | | | | |", row.title, row.unit)?;
                continue;
            };
            write!(text, "| {} | {} |", row.title, row.unit)?;
            for Figures { cost, .. } in figures {
                write!(
                    text,
                    " {} ({}) |",
                    three_figures(cost.median),
                    percent(cost.most - cost.least, cost.median)
                )?;
            }
            for other in [Kind::Nginx, Kind::Haproxy] {
                write!(
                    text,
                    " {} |",
                    row.ratio(other).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
                )?;
            }
            let reached = row.is_reached().map_or("", |reached| if reached { "yes" } else { "**no**" });
            writeln!(text, " {} | {reached} |", bar_text(row.bar))?;
        }
        writeln!(text)
    }

    fn write_latencies(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "## Latency and saturation\n")?;
        writeln!(
            text,
            "p50 / p99 in microseconds; part of the time each proxy, and the load at its side, was running.\n"
        )?;
        writeln!(
            text,
            "| measure | Ringbolt | nginx | HAProxy | Ringbolt busy, load | nginx busy, load | HAProxy busy, load |"
        )?;
        writeln!(text, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for row in &self.rows {
            let Outcome::Figures(figures) = &row.outcome else { continue };
            if figures.iter().all(|figures| figures.proxy_busy < 0.001) {
                continue;
            }
            write!(text, "| {} |", row.title)?;
            for figures in figures {
                match (figures.p50_microseconds, figures.p99_microseconds) {
                    (Some(p50), Some(p99)) => {
                        write!(text, " {} / {} |", three_figures(p50), three_figures(p99))?
                    }
                    _ => write!(text, " - |")?,
                }
            }
            for figures in figures {
                write!(text, " {}, {} |", percent(figures.proxy_busy, 1.0), percent(figures.load_busy, 1.0))?;
            }
            writeln!(text)?;
        }
        writeln!(text)
    }

    fn write_refusals(&self, text: &mut String) -> std::fmt::Result {
        for row in &self.rows {
            if let Outcome::Refused(reason) = &row.outcome {
                writeln!(text, "Refused: {}: {reason}\n", row.title)?;
            }
        }
        Ok(())
    }
}

fn bar_text(bar: Bar) -> String {
    match bar {
        Bar::Ratio(most, to) => format!("{most} of {}", to.name()),
        Bar::Figure(most) => most.to_string(),
        Bar::None => String::new(),
    }
}

fn percent(part: f64, of: f64) -> String {
    if of > 0.0 { format!("{:.0} %", 100.0 * part / of) } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{CROWDED, LOADED};

    fn rounds(figures: &[f64]) -> Rounds {
        figures
            .iter()
            .map(|figure| Ok(Sample { figure: *figure, proxy_busy: 0.5, ..Sample::default() }))
            .collect()
    }

    fn report(rows: Vec<Row>) -> Report {
        let run = Run {
            command: "cargo xtask bench peers".to_owned(),
            commit: "abc".to_owned(),
            machine: "m".to_owned(),
            kernel: "k".to_owned(),
            congestion_control: "cubic".to_owned(),
            priority: "nice 0".to_owned(),
            rounds: 3,
            seconds_measured: 1.0,
            seconds_in_all: 100.0,
            load_average_before: Some(0.5),
            foreign: 0.02,
        };
        let contestants =
            vec![Contestant { name: "nginx", version: "1.0".to_owned(), threads: vec!["a".to_owned()] }];
        Report { run, contestants, rows }
    }

    #[test]
    fn a_row_compares_medians_and_its_bar() {
        let (get, _) = &LOADED[0];
        let row = Row::new(get, &[rounds(&[7.0, 8.0, 90.0]), rounds(&[10.0]), rounds(&[16.0])]);
        assert_eq!((row.ratio(Kind::Nginx), row.ratio(Kind::Haproxy)), (Some(0.8), Some(0.5)));
        assert_eq!(row.is_reached(), Some(false), "the bar is 0.75");
        let text = report(vec![row]).markdown();
        assert!(
            text.contains(
                "| CPU µs | 8.00 (1038 %) | 10.0 (0 %) | 16.0 (0 %) | 0.80 | 0.50 | 0.75 of nginx | **no** |"
            ),
            "{text}"
        );
    }

    #[test]
    fn one_fault_in_one_round_refuses_the_row() {
        let (get, _) = &LOADED[0];
        let mut faulty = rounds(&[1.0, 1.0]);
        faulty.push(Err("2 faults; first: status 502".to_owned()));
        let row = Row::new(get, &[rounds(&[1.0]), faulty, rounds(&[1.0])]);
        assert_eq!((row.ratio(Kind::Nginx), row.is_reached()), (None, None));
        let report = report(vec![row]);
        assert_eq!(report.refused(), 1);
        let text = report.markdown();
        assert!(
            text.contains("| refused |") && text.contains("nginx: 2 faults; first: status 502"),
            "{text}"
        );
    }

    #[test]
    fn figures_without_a_peer_are_held_to_a_number() {
        let memory = CROWDED.iter().find(|measure| measure.key == "memory-tunnel").unwrap();
        let row = Row::new(memory, &[rounds(&[250.0]), rounds(&[0.0]), rounds(&[5000.0])]);
        assert_eq!((row.is_reached(), row.ratio(Kind::Nginx)), (Some(true), None));
    }
}
