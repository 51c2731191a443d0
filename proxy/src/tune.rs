//! `ringbolt tune`: the kernel settings of this machine beside what a number of tunnels and a configuration take;
//! sets them where it is told to, and takes that back.
//!
//! What is wanted is the greater of what the project recommends (`kernel-tuning/sysctl.d/90-ringbolt.conf`) and what
//! `ringbolt plan` counts. Nothing is set that already suffices, nothing without `--apply`, and nothing without a line
//! about it. The values before stand in a record before the first is changed.

mod record;
mod sysctl;
mod table;
mod wanted;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use self::record::{Change, Record};
use self::sysctl::Sysctls;
use self::wanted::Row;
use crate::cli;
use crate::config::{Config, Limits};
use crate::plan::{Extent, Host, Plan};

/// Some setting is below what is wanted. Of `ringbolt doctor`, too.
const EXIT_BELOW: u8 = 3;

/// Prints, sets or takes back.
///
/// # Errors
/// The record cannot be read or written, or there is none to take back.
pub(crate) fn run(
    asked: &cli::Tune,
    config: Option<&Config>,
    out: impl io::Write,
) -> Result<ExitCode, String> {
    let sysctls = Sysctls::of_this_machine();
    if asked.revert {
        return revert(&sysctls, &asked.record, out);
    }
    let tunnels = asked.tunnels.unwrap_or_else(|| default_tunnels(config));
    let rows = rows(&sysctls, tunnels, config);
    if asked.apply {
        apply(&sysctls, &rows, &asked.record, out)
    } else {
        show(&rows, tunnels, asked.json, out)
    }
}

/// Names of the settings that are below what is wanted for the configuration.
pub(crate) fn below(config: Option<&Config>) -> Vec<String> {
    let rows = rows(&Sysctls::of_this_machine(), default_tunnels(config), config);
    rows.into_iter().filter(Row::is_below).map(|row| row.name.to_owned()).collect()
}

fn default_tunnels(config: Option<&Config>) -> u32 {
    config.map_or_else(|| Limits::default().connections, |config| config.limits.connections)
}

fn rows(sysctls: &Sysctls, tunnels: u32, config: Option<&Config>) -> Vec<Row> {
    let extent = Extent::new(tunnels, config, crate::cores());
    wanted::rows(sysctls, &Plan::new(&extent, &Host::read()), config)
}

fn show(rows: &[Row], tunnels: u32, json: bool, mut out: impl io::Write) -> Result<ExitCode, String> {
    let text = if json {
        serde_json::to_string_pretty(rows).map_err(|error| error.to_string())?
    } else {
        table::text(rows, tunnels)
    };
    tell(&mut out, &text);
    Ok(if rows.iter().any(Row::is_below) { ExitCode::from(EXIT_BELOW) } else { ExitCode::SUCCESS })
}

/// Sets what is below, each value recorded before it is changed.
fn apply(sysctls: &Sysctls, rows: &[Row], path: &Path, mut out: impl io::Write) -> Result<ExitCode, String> {
    let changes: Vec<Change> = rows.iter().filter_map(Row::change).collect();
    if changes.is_empty() {
        tell(&mut out, "every setting suffices, nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut record = Record::load(path)?.unwrap_or_default();
    changes.iter().for_each(|change| record.add(change));
    record.store(path)?;
    let mut failed = false;
    for Change { name, before, after } in &changes {
        match sysctls.set(name, after) {
            Ok(present) => {
                tell(&mut out, &format!("{name}: {} -> {}", shown(before), shown(&present)));
                record.is_now(name, &present);
            }
            Err(error) => {
                tell(&mut out, &format!("{name}: stays {before}, cannot be set to {after}: {error}"));
                record.forget_unchanged(name, before);
                failed = true;
            }
        }
    }
    record.store(path)?;
    let path = path.display();
    tell(
        &mut out,
        &format!(
            "the values before stand in {path}; `ringbolt tune --revert` brings them back.\n\
             The next boot does, too, unless they are kept in /etc/sysctl.d"
        ),
    );
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Brings the recorded values back, but not over a value that somebody else has set since.
fn revert(sysctls: &Sysctls, path: &Path, mut out: impl io::Write) -> Result<ExitCode, String> {
    let record = Record::load(path)?.ok_or(format!("{}: there is no record of a change", path.display()))?;
    let mut left = Record::default();
    for change in record.latest_first() {
        let Change { name, before, after } = change;
        let line = match sysctls.get(name) {
            Some(present) if present == *before => format!("{name}: is {before} again already"),
            Some(present) if present != *after => {
                format!("{name}: left at {present}, which is not what was set here; it was {before} before")
            }
            _ => match sysctls.set(name, before) {
                Ok(present) => format!("{name}: {} -> {}", shown(after), shown(&present)),
                Err(error) => {
                    left.add(change);
                    format!("{name}: stays {after}, cannot be set to {before}: {error}")
                }
            },
        };
        tell(&mut out, &line);
    }
    left.store(path)?;
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An empty list can be seen, too.
fn shown(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

/// Writes a line, if anybody still reads.
fn tell(out: &mut impl io::Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests;
