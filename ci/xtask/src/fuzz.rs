//! `cargo xtask fuzz-smoke`: a minute of coverage-guided search for each fuzz target.
//!
//! The stable toolchain can do all of it: coverage is a pass of LLVM that `-C` flags switch on, and
//! libFuzzer is a library (decision 8). Targets are named by the folders of their corpora, so this file
//! need not know them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps;

const PACKAGE: &str = "ringbolt-fuzz";
const CORPUS: &str = "tests/fuzz/corpus";
const SECONDS_DEFAULT: u32 = 60;

/// What makes LLVM count edges and report comparisons to libFuzzer.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Limits of one run. An input is at most a head with a body; a slow one is a finding too.
const LIMITS: [&str; 4] = ["-max_len=8192", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"];

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    seconds: u32,
    /// All targets if there is none.
    targets: Vec<String>,
}

/// Builds the targets with coverage and runs each; the first finding ends it.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<(), String> {
    let options = parse(words)?;
    let known = targets(root)?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        return Err(format!("no fuzz target {unknown:?}; there are: {}", known.join(", ")));
    }
    let chosen = if options.targets.is_empty() { known } else { options.targets };
    let host = host()?;
    eprintln!("building {PACKAGE} with coverage; the first time this takes some minutes");
    let mut build = steps::cargo(root);
    // With `--target` the flags reach neither build scripts nor the files of ordinary builds.
    build.args(["build", "--quiet", "--package", PACKAGE, "--features", "libfuzzer", "--profile", "fuzz"]);
    steps::succeed(build.args(["--target", &host]).env("RUSTFLAGS", COVERAGE))?;
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    let folder = own.parent().and_then(Path::parent).ok_or("cannot find the build folder")?;
    let program = folder.join(&host).join("fuzz").join(PACKAGE);
    for target in &chosen {
        eprintln!("== {target}, {} s", options.seconds);
        search(root, &program, &folder.join("fuzz"), target, options.seconds)?;
    }
    eprintln!("\nno finding in {}", chosen.join(", "));
    Ok(())
}

/// Runs one target. What it learns is kept in `kept`, so that the next run begins there.
fn search(root: &Path, program: &Path, kept: &Path, target: &str, seconds: u32) -> Result<(), String> {
    let learned = kept.join("corpus").join(target);
    let findings = kept.join("findings");
    for folder in [&learned, &findings] {
        fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(findings.join(format!("{target}-")));
    // libFuzzer's main is C++: nobody there makes an error of the signal of a closed socket, as Rust's own does.
    let mut command = Command::new("env");
    command.arg("--ignore-signal=PIPE").arg(program);
    command.env("RINGBOLT_FUZZ_TARGET", target).current_dir(root).args(LIMITS);
    command.arg(format!("-max_total_time={seconds}")).arg(prefix).arg(&learned);
    command.arg(root.join(CORPUS).join(target));
    steps::succeed(&mut command).map_err(|reason| {
        format!(
            "fuzz target {target} has a finding, see above; its input is in {}\n  \
             fix it, and put the input into {CORPUS}/{target} under a name that says what it is\n  ({reason})",
            findings.display()
        )
    })
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options { seconds: SECONDS_DEFAULT, targets: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                options.seconds = number.ok_or("`--seconds` takes a number above 0")?;
            }
            option if option.starts_with('-') => return Err(format!("`fuzz-smoke` takes no {option:?}")),
            target => options.targets.push(target.to_owned()),
        }
    }
    Ok(options)
}

fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join(CORPUS);
    let entries = fs::read_dir(&folder).map_err(|error| format!("cannot read {CORPUS}: {error}"))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The triple this machine's compiler builds for.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let output =
        Command::new(rustc).arg("-vV").output().map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not name its host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn seconds_and_targets_are_understood() {
        assert_eq!(parsed(""), Ok(Options { seconds: 60, targets: Vec::new() }));
        let targets = vec!["body".to_owned(), "handshake".to_owned()];
        assert_eq!(parsed("body --seconds 5 handshake"), Ok(Options { seconds: 5, targets }));
    }

    #[test]
    fn anything_else_is_refused() {
        for line in ["--seconds", "--seconds 0", "--seconds x", "--minutes 1"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
