//! `ringbolt-bench edges`: what each kind of evidence is worth to fleets of edges, by simulation.
//!
//! The histories are those of `ringbolt_sim::fleet`, which decides with the proxy's own functions; no socket is opened
//! and no time measured, so the same seed gives the same table on every machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use ringbolt_sim::fleet::{Chapter, Mode, Settings, play};

use crate::results;
use table::Table;

mod table;

/// Sizes of the fleets.
const FLEETS: [usize; 3] = [10, 100, 1000];
const BACKENDS: usize = 100;
/// Open at any time in each history.
const SESSIONS: usize = 250_000;
const SESSIONS_QUICK: usize = 10_000;

/// Lookups, questions, lost and moved sessions of fleets of edges, simulated under each kind of evidence
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds: fewer sessions; the table goes to the screen only
    #[arg(long)]
    quick: bool,
    /// Where every choice of the histories comes from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Folder for `edges.md`, `edges.json` and the plots
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    results: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let sessions = if options.quick { SESSIONS_QUICK } else { SESSIONS };
    if !options.quick && !options.results.is_dir() {
        return Err(format!("no folder {}; run this in the workspace's folder", options.results.display()));
    }
    let table =
        Table { backends: BACKENDS, sessions, seed: options.seed, rows: histories(sessions, options.seed) };
    let text = table.markdown();
    if options.quick {
        println!("{text}");
        return Ok(());
    }
    results::keep(&options.results, "edges", &text, &table)?;
    draw(&options.results, &table)
}

fn draw(folder: &Path, table: &Table) -> Result<(), String> {
    for (name, svg) in table.plots() {
        let path = folder.join(name).with_extension("svg");
        std::fs::write(&path, svg).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Every fleet under every kind of evidence, as many at once as there are processors.
fn histories(sessions: usize, seed: u64) -> Vec<table::Row> {
    let settings = |edges| Mode::ALL.map(|mode| Settings { mode, edges, backends: BACKENDS, sessions, seed });
    let settings: Vec<Settings> = FLEETS.into_iter().flat_map(settings).collect();
    let next = AtomicUsize::new(0);
    let play_some = || {
        let mut played = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(settings) = settings.get(number) else { return played };
            played.push((number, play(settings)));
        }
    };
    let mut played: Vec<(usize, Vec<Chapter>)> = thread::scope(|scope| {
        let players = 0..thread::available_parallelism().map_or(1, usize::from);
        let players: Vec<_> = players.map(|_| scope.spawn(play_some)).collect();
        players.into_iter().flat_map(|player| player.join().expect("no history panics")).collect()
    });
    played.sort_unstable_by_key(|(number, _)| *number);
    played.into_iter().flat_map(|(_, chapters)| chapters).map(table::Row::from).collect()
}
