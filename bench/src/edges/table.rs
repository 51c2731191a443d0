//! The table of fleets, for people and for programs, and its plots. Pure.

use std::fmt::Write as _;

use ringbolt_sim::fleet::{Chapter, Event, Mode};
use serde::Serialize;

use crate::plots;
use crate::statistics::{Spread, grouped, spread, three_figures};

/// What is said of the model above the tables.
const HEAD: &str = include_str!("head.txt");

#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) backends: usize,
    pub(super) sessions: usize,
    pub(super) seed: u64,
    pub(super) rows: Vec<Row>,
}

/// A chapter of one history, as in [`Chapter`].
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    edges: usize,
    evidence: &'static str,
    event: &'static str,
    requests: u64,
    opened: u64,
    moved: u64,
    by_tag: u64,
    by_table: u64,
    by_word: u64,
    guessed: u64,
    lookups: u64,
    questions: u64,
    busy: u64,
    directory_reads: u64,
    lost: u64,
    ended_with_backend: u64,
    lost_percent: f64,
    busiest_second: u64,
    guesses_miss: Option<u64>,
    spread: f64,
}

impl From<Chapter> for Row {
    fn from(chapter: Chapter) -> Self {
        let Chapter { event, mode, edges, sessions, counts, busiest_second, guesses_miss, spread } = chapter;
        Self {
            edges,
            evidence: mode.name(),
            event: event.name(),
            requests: counts.requests,
            opened: counts.opened,
            moved: counts.moved,
            by_tag: counts.by_tag,
            by_table: counts.by_table,
            by_word: counts.by_word,
            guessed: counts.guessed,
            lookups: counts.lookups,
            questions: counts.questions,
            busy: counts.busy,
            directory_reads: counts.directory_reads,
            lost: counts.lost,
            ended_with_backend: counts.ended_with_backend,
            lost_percent: 100.0 * counts.lost as f64 / sessions as f64,
            busiest_second,
            guesses_miss,
            spread,
        }
    }
}

/// A part of a number in percent.
fn percent(part: u64, whole: u64) -> String {
    if part == 0 {
        "0".to_owned()
    } else {
        format!("{} %", three_figures(100.0 * part as f64 / whole as f64))
    }
}

impl Table {
    pub(super) fn markdown(&self) -> String {
        let mut text = HEAD
            .replace("BACKENDS", &grouped(self.backends))
            .replace("SESSIONS", &grouped(self.sessions))
            .replace("OPENED", &grouped(self.rows.iter().map(|row| row.opened).sum::<u64>()))
            .replace("SEED", &self.seed.to_string());
        for edges in self.fleets() {
            let _ = write!(text, "\n## {} edges\n\n", grouped(edges));
            text.push_str(&self.lost_and_spread(edges));
            text.push_str(&self.costs(edges));
        }
        text
    }

    /// Sizes of fleets, in the order of the rows.
    fn fleets(&self) -> Vec<usize> {
        let mut fleets: Vec<usize> = self.rows.iter().map(|row| row.edges).collect();
        fleets.dedup();
        fleets
    }

    fn row(&self, edges: usize, mode: Mode, event: Event) -> Option<&Row> {
        let is_it =
            |row: &&Row| row.edges == edges && row.evidence == mode.name() && row.event == event.name();
        self.rows.iter().find(is_it)
    }

    fn lost_and_spread(&self, edges: usize) -> String {
        let names = Mode::ALL.map(Mode::name).join(" | ");
        let mut text = format!(
            "| what happens | moved | lost: {names} | load: {names} |\n| --- | ---{} |\n",
            " | ---".repeat(2 * Mode::ALL.len())
        );
        for event in Event::ALL {
            let rows: Vec<&Row> = Mode::ALL.iter().filter_map(|mode| self.row(edges, *mode, event)).collect();
            let moved = rows.first().map_or_else(String::new, |row| percent(row.moved, row.requests));
            let lost = rows.iter().map(|row| percent(row.lost, self.sessions as u64));
            let load = rows.iter().map(|row| format!("{:.2}", row.spread));
            let cells: Vec<String> = std::iter::once(moved).chain(lost).chain(load).collect();
            let _ = writeln!(text, "| {} | {} |", event.name(), cells.join(" | "));
        }
        text
    }

    fn costs(&self, edges: usize) -> String {
        let mut text = "\n| what happens | ask: sids | questions | for each | busiest second | refused | directory: reads | sids asked for |\n\
                        | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for event in Event::ALL {
            let (Some(ask), Some(directory)) =
                (self.row(edges, Mode::Ask, event), self.row(edges, Mode::Directory, event))
            else {
                continue;
            };
            let each = ask.questions as f64 / (ask.lookups as f64).max(1.0);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {each:.2} | {} | {} | {} | {} |",
                event.name(),
                grouped(ask.lookups),
                grouped(ask.questions),
                grouped(ask.busiest_second),
                grouped(ask.busy),
                grouped(directory.directory_reads),
                grouped(directory.lookups)
            );
        }
        text
    }

    /// Names and drawings.
    pub(super) fn plots(&self) -> Vec<(&'static str, String)> {
        let names = Mode::ALL.map(Mode::name);
        let lost = self.drawn(&Mode::ALL, |row| row.lost_percent);
        let asking = [Mode::Ask, Mode::Directory];
        let questions = self.drawn(&asking, |row| 1000.0 * row.questions as f64 / row.requests as f64);
        let plots = [
            ("edges-lost", plots::of_figures("Sessions lost", "% of those open", &names, lost)),
            (
                "edges-questions",
                plots::of_figures(
                    "Questions to backends",
                    "for 1,000 requests",
                    &asking.map(Mode::name),
                    questions,
                ),
            ),
        ];
        plots.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
    }

    /// For each event and mode the middle and the extremes of the fleets.
    fn drawn(&self, modes: &[Mode], figure: impl Fn(&Row) -> f64) -> Vec<(&'static str, Vec<Spread>)> {
        let of = |mode: Mode, event: Event| {
            let fleets = self.fleets();
            let figures: Vec<f64> =
                fleets.iter().filter_map(|edges| self.row(*edges, mode, event)).map(&figure).collect();
            spread(&figures)
        };
        Event::ALL
            .map(|event| (event.name(), modes.iter().filter_map(|mode| of(*mode, event)).collect()))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use ringbolt_sim::fleet::{Settings, play};

    use super::*;

    fn small() -> Table {
        let history = |(edges, mode)| play(&Settings { mode, edges, backends: 10, sessions: 300, seed: 2 });
        let all = [3, 5].into_iter().flat_map(|edges| Mode::ALL.map(|mode| (edges, mode)));
        let rows = all.flat_map(history).map(Row::from).collect();
        Table { backends: 10, sessions: 300, seed: 2, rows }
    }

    #[test]
    fn every_fleet_has_its_tables_with_a_line_for_each_event() {
        let text = small().markdown();
        for word in ["BACKENDS", "SESSIONS", "OPENED", "SEED"] {
            assert!(!text.contains(word), "{word} is left in {text}");
        }
        assert!(text.contains("## 3 edges") && text.contains("## 5 edges"), "{text}");
        for event in Event::ALL {
            let begin = format!("\n| {} |", event.name());
            assert_eq!(text.matches(&begin).count(), 4, "{begin}");
        }
    }

    #[test]
    fn plots_show_the_middle_of_the_fleets_and_their_extremes() {
        let table = small();
        let drawn = table.drawn(&[Mode::Table], |row| row.edges as f64);
        assert!(drawn.iter().all(|(_, spreads)| *spreads == [Spread { median: 4.0, least: 3.0, most: 5.0 }]));
        let plots = table.plots();
        assert_eq!(
            plots.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["edges-lost", "edges-questions"]
        );
        assert!(plots.iter().all(|(_, svg)| svg.starts_with("<svg") && svg.contains("they return, empty")));
    }
}
