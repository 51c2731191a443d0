//! The table of a run of TLS terminators: as JSON for programs, as Markdown for people. Pure.

use std::fmt::Write;

use serde::Serialize;

use super::Measure;
use super::terminator::Terminator;
use crate::markdown::{percent, write_run};
use crate::report::{Contestant, Figures, Outcome, Rounds, Run};
use crate::statistics::three_figures;

/// What Ringbolt's figure is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// At most this part of nginx' figure.
    OfNginx(f64),
    /// At most this part of the least of the others.
    OfBest(f64),
    /// At most this figure.
    Figure(f64),
}

impl Bar {
    fn name(self) -> String {
        match self {
            Self::OfNginx(most) => format!("{most} of nginx"),
            Self::OfBest(most) => format!("{most} of the best"),
            Self::Figure(most) => most.to_string(),
        }
    }
}

/// The whole of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) run: Run,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    bar: String,
    /// None without a figure of Ringbolt's, or nothing to hold it against.
    reached: Option<bool>,
    /// In the order of the contestants.
    outcome: Outcome,
}

impl Row {
    /// `rounds` in the order of the contestants.
    pub(crate) fn new(measure: &Measure, contestants: &[Terminator], rounds: &[Rounds]) -> Self {
        let figures: Result<Vec<Figures>, String> = contestants
            .iter()
            .zip(rounds)
            .map(|(terminator, rounds)| {
                Figures::new(rounds).map_err(|fault| format!("{}: {fault}", terminator.name()))
            })
            .collect();
        let reached = figures.as_ref().ok().and_then(|figures| is_reached(measure.bar, contestants, figures));
        Self {
            key: measure.key,
            title: measure.title,
            unit: measure.unit.name(),
            bar: measure.bar.name(),
            reached,
            outcome: figures.map_or_else(Outcome::Refused, Outcome::Figures),
        }
    }
}

fn is_reached(bar: Bar, contestants: &[Terminator], figures: &[Figures]) -> Option<bool> {
    let median = |wanted: Terminator| {
        let mut pairs = contestants.iter().zip(figures);
        pairs.find(|(terminator, _)| **terminator == wanted).map(|(_, figures)| figures.cost.median)
    };
    let others = Terminator::ALL.into_iter().filter(|terminator| *terminator != Terminator::Ringbolt);
    let most = match bar {
        Bar::OfNginx(part) => part * median(Terminator::Nginx)?,
        Bar::OfBest(part) => part * others.filter_map(median).reduce(f64::min)?,
        Bar::Figure(most) => most,
    };
    Some(median(Terminator::Ringbolt)? <= most)
}

impl Table {
    /// How many rows could not be measured.
    pub(crate) fn refused(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Refused(_))).count()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# TLS beside its peers\n\n");
        text.push_str(
            "Written by the command below; [what the rows mean](../README.md#tls). One worker each, on a core of its own. \
             Figures are medians.\n\n",
        );
        // Writing to a String cannot fail.
        let _ = write_run(&self.run, &self.contestants, &mut text);
        let _ = self.write_costs(&mut text);
        let _ = self.write_refusals(&mut text);
        text
    }

    fn write_costs(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "## Cost\n\nMedian, in brackets how far the rounds are apart, as a part of it; then the part of the time the \
             proxy was running.\n"
        )?;
        write!(text, "| measure | unit |")?;
        for contestant in &self.contestants {
            write!(text, " {} |", contestant.name)?;
        }
        writeln!(text, " bar | reached |\n| --- | --- |{}", " --- |".repeat(self.contestants.len() + 2))?;
        for row in &self.rows {
            write!(text, "| {} | {} |", row.title, row.unit)?;
            match &row.outcome {
                Outcome::Refused(_) => write!(text, "{}", " refused |".repeat(self.contestants.len()))?,
                Outcome::Figures(figures) => {
                    for Figures { cost, proxy_busy, .. } in figures {
                        let spread = percent(cost.most - cost.least, cost.median);
                        write!(text, " {} ({spread})", three_figures(cost.median))?;
                        match *proxy_busy > 0.0 {
                            true => write!(text, " {} |", percent(*proxy_busy, 1.0))?,
                            false => write!(text, " |")?,
                        }
                    }
                }
            }
            let reached = row.reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
            writeln!(text, " {} | {reached} |", row.bar)?;
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

#[cfg(test)]
mod tests {
    use super::super::MEASURES;
    use super::*;
    use crate::sample::Sample;

    fn row(key: &str, figures: [f64; 4]) -> Row {
        let rounds = figures.map(|figure| vec![Ok(Sample { figure, ..Sample::default() })]);
        let measure = MEASURES.iter().find(|measure| measure.key == key).unwrap();
        Row::new(measure, &Terminator::ALL, &rounds)
    }

    #[test]
    fn each_bar_is_held_against_what_it_names() {
        for (key, figures, reached) in [
            ("tls-full", [65.0, 100.0, 1.0, 1.0], true),
            ("tls-full", [66.0, 100.0, 900.0, 900.0], false),
            ("tls-bulk-1", [0.7, 0.9, 0.8, 0.7], true),
            ("tls-bulk-1", [0.7, 0.9, 0.8, 0.6], false),
            ("tls-memory", [8000.0, 1.0, 1.0, 1.0], true),
            ("tls-memory", [8001.0, 9e9, 9e9, 9e9], false),
        ] {
            assert_eq!(row(key, figures).reached, Some(reached), "{key} {figures:?}");
        }
    }

    #[test]
    fn without_ringbolt_there_is_a_row_and_no_verdict() {
        let rounds = vec![vec![Ok(Sample { figure: 5.0, ..Sample::default() })]];
        let row = Row::new(&MEASURES[0], &[Terminator::Nginx], &rounds);
        assert_eq!(row.reached, None);
        let contestants = vec![Contestant { name: "nginx", version: String::new(), threads: Vec::new() }];
        let table = Table { run: Run::default(), contestants, rows: vec![row] };
        let text = table.markdown();
        assert!(text.contains("| full TLS handshake | CPU µs | 5.00 (0 %) | 0.65 of nginx |  |"), "{text}");
    }
}
