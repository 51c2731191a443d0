//! The steps of a check: each named and timed, the first failure ends it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{packages, release, tidy};

/// One step of a check.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    name: &'static str,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    Cargo(&'static [&'static str]),
    Tidy,
    Tools,
    Budgets,
}

const FMT: Step = Step { name: "fmt", work: Work::Cargo(&["fmt", "--all", "--check"]) };
const TIDY: Step = Step { name: "tidy", work: Work::Tidy };
const CLIPPY: Step = Step {
    name: "clippy",
    work: Work::Cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
};
const TOOLS: Step = Step { name: "tools", work: Work::Tools };
/// All targets, because that resolves the same features as the tests: nothing is built twice, and
/// the proxy's executable stands where the black-box tests look for it.
const BUILD: Step =
    Step { name: "build", work: Work::Cargo(&["build", "--quiet", "--workspace", "--all-targets"]) };
const BUDGETS: Step = Step { name: "budgets", work: Work::Budgets };
/// To the end, because one run is to tell of all that fails.
const TESTS: Step = Step { name: "test", work: Work::Cargo(&["test", "--workspace", "--no-fail-fast"]) };

/// What CI runs. What is quick to fail comes first.
pub(crate) const CHECK: &[Step] = &[FMT, TIDY, CLIPPY, TOOLS, BUILD, BUDGETS, TESTS];
/// The part of it that runs tests.
pub(crate) const TEST: &[Step] = &[TOOLS, BUILD, TESTS];

/// Runs the steps in order. The error says which failed, and how to run it alone.
pub(crate) fn run(root: &Path, steps: &[Step]) -> Result<(), String> {
    let mut done: Vec<(&str, Duration)> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        eprintln!("== {} ({} of {})", step.name, index + 1, steps.len());
        let start = Instant::now();
        let outcome = step.work.run(root);
        done.push((step.name, start.elapsed()));
        if let Err(reason) = outcome {
            return Err(failure(&done, &steps[index + 1..], &reason));
        }
    }
    eprintln!("\nall passed: {}", timings(&done));
    Ok(())
}

impl Work {
    fn run(self, root: &Path) -> Result<(), String> {
        match self {
            Self::Cargo(words) => succeed(cargo(root).args(words)),
            Self::Tidy => tidy::run(root),
            Self::Tools => packages::install(&packages::TOOLS),
            Self::Budgets => release::budgets_of_code(root),
        }
    }
}

/// The soak for this many minutes on each engine, side by side; the figures are printed.
pub(crate) fn soak(root: &Path, minutes: u32) -> Result<(), String> {
    let mut command = cargo(root);
    command.args(["test", "--quiet", "--package", "ringbolt", "--test", "soak", "--", "--nocapture"]);
    succeed(command.env("RINGBOLT_SOAK_MINUTES", minutes.to_string()))
}

/// The cargo that runs this program, in the workspace's folder.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command to its end; anything but success is an error that repeats the command.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot start `{}`: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

/// The command as one would type it: the program without its folder, then its words.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn failure(done: &[(&str, Duration)], left: &[Step], reason: &str) -> String {
    let Some(((name, spent), passed)) = done.split_last() else {
        return reason.to_owned();
    };
    let mut text = format!("step {name} failed after {:.1} s: {reason}", spent.as_secs_f64());
    if !passed.is_empty() {
        text.push_str(&format!("\n  passed:  {}", timings(passed)));
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|step| step.name).collect();
        text.push_str(&format!("\n  not run: {}", names.join(", ")));
    }
    text
}

fn timings(done: &[(&str, Duration)]) -> String {
    let parts: Vec<String> =
        done.iter().map(|(name, spent)| format!("{name} {:.1} s", spent.as_secs_f64())).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_step_what_passed_and_what_did_not_run() {
        let done = [("fmt", Duration::from_millis(500)), ("tidy", Duration::from_secs(2))];
        let text = failure(&done, &[CLIPPY, TESTS], "`cargo x` ended with 1");
        let expected = "step tidy failed after 2.0 s: `cargo x` ended with 1\n  passed:  fmt 0.5 s\n  not run: clippy, test";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_failed_command_is_repeated_without_its_folder() {
        let text = succeed(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(text, "`sh -c exit 3` ended with exit status: 3");
        assert!(succeed(Command::new("true").arg("x")).is_ok());
    }

    #[test]
    fn the_first_failure_ends_the_run() {
        let bad = Step { name: "bad", work: Work::Cargo(&["no-such-command"]) };
        let text = run(Path::new("."), &[bad, TESTS]).unwrap_err();
        assert!(text.starts_with("step bad failed after"), "{text}");
        assert!(text.ends_with("not run: test"), "{text}");
    }
}
