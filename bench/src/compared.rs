//! The table of a run that compares contestants with the first of them: as JSON for programs, as Markdown for people.
//! Pure.
//!
//! Unlike beside the peers, a contestant that cannot do a row loses only its own cell: what is compared
//! are all with the first, not each other.

use std::fmt::Write;

use serde::Serialize;

use crate::markdown::{percent, write_run};
use crate::measure::Unit;
use crate::report::{Contestant, Figures, Rounds, Run};
use crate::statistics::three_figures;

/// The whole of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    #[serde(skip)]
    pub(crate) title: &'static str,
    /// What stands below the title.
    #[serde(skip)]
    pub(crate) preface: &'static str,
    pub(crate) run: Run,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    /// In the order of the contestants.
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cell {
    Figures(Figures),
    Refused(String),
}

impl Row {
    /// `rounds` in the order of the contestants.
    pub(crate) fn new(key: &'static str, title: &'static str, unit: Unit, rounds: &[Rounds]) -> Self {
        let cells =
            rounds.iter().map(|rounds| Figures::new(rounds).map_or_else(Cell::Refused, Cell::Figures));
        Self { key, title, unit: unit.name(), cells: cells.collect() }
    }

    /// A contestant's cost as a part of the first one's.
    fn ratio(&self, index: usize) -> Option<f64> {
        let (Cell::Figures(first), Cell::Figures(other)) = (self.cells.first()?, self.cells.get(index)?)
        else {
            return None;
        };
        other.ratio(first).filter(|_| index > 0)
    }
}

impl Table {
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n\n", self.title, self.preface);
        // Writing to a String cannot fail.
        let _ = write_run(&self.run, &self.contestants, &mut text);
        let _ = self.write_costs(&mut text);
        let _ = self.write_refusals(&mut text);
        text
    }

    fn write_costs(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "## Cost\n\nMedian, in brackets how far the rounds are apart as a part of it, then the median of the rounds' \
             multiples of the first contestant's figure.\n"
        )?;
        write!(text, "| measure | unit |")?;
        for contestant in &self.contestants {
            write!(text, " {} |", contestant.name)?;
        }
        writeln!(text, "\n| --- | --- |{}", " --- |".repeat(self.contestants.len()))?;
        for row in &self.rows {
            write!(text, "| {} | {} |", row.title, row.unit)?;
            for (index, cell) in row.cells.iter().enumerate() {
                let Cell::Figures(Figures { cost, .. }) = cell else {
                    write!(text, " refused |")?;
                    continue;
                };
                let spread = percent(cost.most - cost.least, cost.median);
                write!(text, " {} ({spread})", three_figures(cost.median))?;
                match row.ratio(index) {
                    Some(ratio) => write!(text, " × {ratio:.2} |")?,
                    None => write!(text, " |")?,
                }
            }
            writeln!(text)?;
        }
        writeln!(text)
    }

    fn write_refusals(&self, text: &mut String) -> std::fmt::Result {
        for row in &self.rows {
            for (contestant, cell) in self.contestants.iter().zip(&row.cells) {
                if let Cell::Refused(reason) = cell {
                    writeln!(text, "Refused: {}, {}: {reason}\n", contestant.name, row.title)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn one_that_fails_loses_its_cell_and_the_others_keep_theirs() {
        let sample = |figure| Ok(Sample { figure, ..Sample::default() });
        let rounds = [
            vec![sample(10.0), sample(10.0), sample(12.0)],
            vec![sample(9.0), Err("stalls".to_owned()), sample(9.0)],
            vec![sample(15.0), sample(15.0), sample(6.0)],
        ];
        let row = Row::new("key", "title", Unit::CpuMicroseconds, &rounds);
        assert_eq!([0, 1, 2].map(|index| row.ratio(index)), [None, None, Some(1.5)]);
        let contestant = |name| Contestant { name, version: String::new(), threads: Vec::new() };
        let table = Table {
            title: "A title",
            preface: "What it is.",
            run: Run::default(),
            contestants: ["a", "b", "c"].map(contestant).into(),
            rows: vec![row],
        };
        let text = table.markdown();
        let line = "| title | CPU µs | 10.0 (20 %) | refused | 15.0 (60 %) × 1.50 |";
        assert!(text.contains(line) && text.contains("Refused: b, title: stalls"), "{text}");
    }
}
