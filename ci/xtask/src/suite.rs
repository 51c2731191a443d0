//! Tests in a guest: the programs that `cargo test` runs, with the daemon beside them, one after another on another
//! kernel.
//!
//! A black-box test knows the daemon by the path it was built at, so in the guest every program has the path it has
//! here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringbolt_vm::{Machine, Program};

use crate::steps;

/// The daemon's package and program.
pub(crate) const DAEMON: &str = "ringbolt";
/// Unit tests of the crate of decisions: golden values, hashes, wire formats.
pub(crate) const DECISIONS: &str = "ringbolt_core";

/// That cargo tells what it has built, one JSON object a line.
const MESSAGES: &str = "--message-format=json-render-diagnostics";
const QUIET: &str = "--quiet";

/// One program of a suite and how it is started.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// Name of the test as cargo knows it, [`DECISIONS`], or [`DAEMON`] for its unit tests; or of another program.
    pub(crate) program: &'static str,
    /// Words behind it. Of a test program: what the names of the tests contain that run, all without any.
    pub(crate) words: &'static str,
    /// Words before it: variables.
    pub(crate) environment: &'static str,
    /// The highest exit status that is none of a failure.
    status_max: u8,
    is_test: bool,
}

impl Part {
    /// Tests of a program of cargo's.
    pub(crate) const fn tests(program: &'static str, words: &'static str) -> Self {
        Self { program, words, environment: "", status_max: 0, is_test: true }
    }

    /// The same with the daemon on epoll wherever a test leaves the engine open.
    pub(crate) const fn on_epoll(self) -> Self {
        Self { environment: "RINGBOLT_TEST_ENGINE=epoll", ..self }
    }

    /// Another program, of a package beside, or the daemon ([`Built::name_daemon`]).
    pub(crate) const fn program(program: &'static str, words: &'static str) -> Self {
        Self { program, words, environment: "", status_max: 0, is_test: false }
    }

    /// Exit statuses up to this one are none of a failure.
    pub(crate) const fn accepting(self, status_max: u8) -> Self {
        Self { status_max, ..self }
    }

    /// The line of the script that runs it.
    fn line(&self, path: &Path) -> String {
        // One at a time: an emulated processor is slow enough for one.
        let threads = if self.is_test { " --test-threads=1" } else { "" };
        let (environment, words, most) = (self.environment, self.words, self.status_max);
        let label = [self.program, words, environment].join(" ");
        format!("run {most} '{}' env {environment} '{}'{threads} {words}\n", label.trim(), path.display())
    }
}

/// What was built: the programs by name, and the daemon.
pub(crate) struct Built {
    programs: BTreeMap<String, PathBuf>,
    daemon: PathBuf,
}

impl Built {
    /// Makes the daemon itself a program of a suite, under this name.
    pub(crate) fn name_daemon(&mut self, name: &str) {
        self.programs.insert(name.to_owned(), self.daemon.clone());
    }
}

/// Builds the programs of all parts, and the packages beside, which are programs of that name; `cargo` is a cargo without
/// a word yet.
pub(crate) fn build(
    mut cargo: impl FnMut() -> Command,
    parts: &[Part],
    beside: &[&str],
) -> Result<Built, String> {
    let is_black_box = |part: &&Part| part.is_test && ![DAEMON, DECISIONS].contains(&part.program);
    let has = |program| parts.iter().any(|part| part.program == program);
    // All at once: cargo builds dependencies again for another choice of packages.
    let mut own = cargo();
    own.args(["build", QUIET, MESSAGES, "-p", DAEMON, "--bin", DAEMON]);
    own.args(parts.iter().filter(is_black_box).flat_map(|part| ["--test", part.program]));
    own.args(beside.iter().flat_map(|package| ["-p", package, "--bin", package]));
    let mut paths = built(&mut own)?;
    if has(DAEMON) {
        paths.extend(built(
            cargo().args(["test", "--no-run", QUIET, MESSAGES, "-p", DAEMON, "--bin", DAEMON]),
        )?);
    }
    if has(DECISIONS) {
        paths.extend(built(cargo().args([
            "test",
            "--no-run",
            QUIET,
            MESSAGES,
            "-p",
            "ringbolt-core",
            "--lib",
        ]))?);
    }
    // A test has a number behind its name, the daemon's executable has none.
    let (daemon, others): (Vec<PathBuf>, Vec<PathBuf>) =
        paths.into_iter().partition(|path| name(path) == DAEMON);
    let daemon = daemon.into_iter().next().ok_or("cargo has not built the daemon")?;
    let programs = others.into_iter().filter_map(|path| {
        let name = name(&path);
        let is_beside = beside.contains(&name.as_str());
        Some((if is_beside { name } else { name.rsplit_once('-')?.0.to_owned() }, path))
    });
    Ok(Built { programs: programs.collect(), daemon })
}

/// Runs the parts in one guest; what they write goes to this program's output and to `line`. The error names the guest.
pub(crate) fn run(
    machine: &Machine,
    built: &Built,
    parts: &[Part],
    mut line: impl FnMut(&str),
) -> Result<(), String> {
    let mut script = SCRIPT.to_owned();
    let mut files = vec![(built.daemon.clone(), built.daemon.clone())];
    for part in parts {
        let path = built.programs.get(part.program).ok_or(format!("cargo has not built {}", part.program))?;
        script.push_str(&part.line(path));
        if files.iter().all(|(known, _)| known != path) {
            files.push((path.clone(), path.clone()));
        }
    }
    script.push_str("exit $failed\n");
    let path = machine.cache.join(format!("tests-{}.sh", std::process::id()));
    // On a fresh machine nothing has been kept there yet.
    std::fs::create_dir_all(&machine.cache)
        .and_then(|()| std::fs::write(&path, script))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let program = Program { files, ..Program::new(&path, [] as [&str; 0]) };
    let outcome = machine.run(&program, |text| {
        println!("{text}");
        line(text);
    });
    // It may stay; the next run of this process writes it again.
    let _ = std::fs::remove_file(&path);
    match outcome? {
        0 => Ok(()),
        _ => Err(format!("tests failed on Linux {} on {}", machine.kernel, machine.arch.name())),
    }
}

/// Says what runs, how long it took, and keeps whether any failed. The clock is the guest's.
const SCRIPT: &str = "\
#!/bin/sh
failed=0
seconds() { cut -d . -f 1 /proc/uptime; }
run() {
    most=$1
    name=$2
    shift 2
    echo \"== $name\"
    began=$(seconds)
    \"$@\"
    status=$?
    [ $status -le $most ] || { failed=1; echo \"FAILED: $name\"; }
    echo \"== $name: $(($(seconds) - began)) s\"
}
export RUST_BACKTRACE=0 RINGBOLT_TEST_EMULATED=1
cd /tmp
";

/// Runs cargo and gives the executables it tells of.
fn built(cargo: &mut Command) -> Result<Vec<PathBuf>, String> {
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{}` ended with {}", steps::shown(cargo), output.status));
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Paths in cargo's messages, one JSON object a line (the Cargo book, "External tools").
fn executables(messages: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (path, _) = line.split_once("\"executable\":\"")?.1.split_once('"')?;
        Some(PathBuf::from(path))
    };
    messages.lines().filter_map(path).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_in_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null,\"fresh\":true}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/deps/tunnels-0a1b\",\"fresh\":true}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), [PathBuf::from("/t/debug/deps/tunnels-0a1b")]);
    }

    #[test]
    fn the_script_runs_every_part_and_fails_with_any() {
        let part = Part::tests("x", "one two").on_epoll();
        let line = part.line(Path::new("/bin/x"));
        let expected = "run 0 'x one two RINGBOLT_TEST_ENGINE=epoll' env RINGBOLT_TEST_ENGINE=epoll '/bin/x' --test-threads=1 one two\n";
        assert_eq!(line, expected);
        let script = |programs: &[&str]| {
            let lines: String = programs.iter().map(|program| format!("run 0 name {program}\n")).collect();
            let words = format!("{SCRIPT}{lines}exit $failed\n");
            let output = Command::new("sh").args(["-c", &words]).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        assert_eq!(script(&["true", "true"]).0, Some(0));
        let (code, text) = script(&["false", "true"]);
        assert_eq!(code, Some(1), "a later success hides nothing");
        assert!(text.contains("FAILED: name"), "{text}");
        let line = part.accepting(3).line(Path::new("/bin/x"));
        assert!(line.starts_with("run 3 "), "{line}");
    }
}
