//! `ringbolt config`: the configuration in effect, how it differs from its file, and the file with that written into it.
//!
//! The running process only tells: the file's text as it was loaded, and what was ordered since. The command changes the
//! text and writes it, with the rights of whoever calls it; the process may have given its own up.

mod change;
mod entries;
mod replace;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::change::{Changed, changed};
use crate::cli::{Ask, Configuration, Print};
use crate::differences::Difference;
use crate::order;

/// Exit code of `--diff` where it cannot be told, as of diff(1).
const EXIT_TROUBLE: u8 = 2;

/// What the process tells of its configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Path of the file.
    pub(crate) file: String,
    /// What it held when it was loaded.
    pub(crate) text: String,
    /// Flags of the command line that stand above it.
    pub(crate) flags: Vec<String>,
    /// Keys whose value in it waits for the next start.
    pub(crate) waiting: Vec<String>,
    pub(crate) differences: Vec<Difference>,
}

/// Does what was asked for.
pub(crate) fn run(asked: &Configuration, mut out: impl Write, mut problems: impl Write) -> ExitCode {
    let done = ask(asked).and_then(|told| {
        if asked.diff {
            return Ok(show_differences(&told, asked.json, &mut out));
        }
        let Changed { text, left_out } = changed(&told)?;
        for difference in &left_out {
            let _ = writeln!(problems, "{difference}: not in the file, which finds this backend elsewhere");
        }
        if asked.dump {
            let _ = write!(out, "{}{text}", notes(&told));
            return Ok(ExitCode::SUCCESS);
        }
        let count = told.differences.len() - left_out.len();
        write_back(&told, &text, count, &mut out)?;
        Ok(if count == 0 && !left_out.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    });
    done.unwrap_or_else(|problem| {
        let _ = writeln!(problems, "{problem}");
        if asked.diff { ExitCode::from(EXIT_TROUBLE) } else { ExitCode::FAILURE }
    })
}

fn ask(asked: &Configuration) -> Result<Told, String> {
    let socket = &asked.reach.socket;
    let ask = Ask { socket, method: "GET", path: "/config", body: None::<Value>, print: Print::Text };
    let answer = order::give(&ask)
        .map_err(|error| format!("{}: {error}; is admin.socket configured?", socket.display()))?;
    if answer.status != 200 {
        return Err(answer.text.trim_end().to_owned());
    }
    serde_json::from_str(&answer.text).map_err(|error| format!("the process is of another version: {error}"))
}

/// Exit code 1: something differs.
fn show_differences(told: &Told, json: bool, mut out: impl Write) -> ExitCode {
    // Somebody who reads no more wants no more.
    if json {
        let _ = writeln!(out, "{}", serde_json::json!(told.differences));
    } else {
        told.differences.iter().for_each(|difference| drop(writeln!(out, "{difference}")));
    }
    ExitCode::from(u8::from(!told.differences.is_empty()))
}

/// What holds in the process and cannot be said in its file, as comments.
fn notes(told: &Told) -> String {
    let note = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("# {what}: {}\n", names.join(", ")),
    };
    note("Flags of the command line that stand above this file", &told.flags)
        + &note("Changed in the file, but kept until the next start", &told.waiting)
}

fn write_back(told: &Told, text: &str, count: usize, mut out: impl Write) -> Result<(), String> {
    let file = &told.file;
    if count > 0 {
        replace::replace(Path::new(file), &told.text, text)?;
    }
    let said = match count {
        0 => format!("{file}: nothing to write"),
        _ => format!("{file}: written, differences: {count}; `ringbolt reload` makes them the file's"),
    };
    let _ = writeln!(out, "{said}");
    Ok(())
}
