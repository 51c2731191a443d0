//! `cargo xtask demo` and `cargo xtask bench`: build for release what is run, then become that program.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringbolt_vm::Arch;

use crate::{packages, steps};

const PROXY: &str = "ringbolt";
const BENCH: &str = "ringbolt-bench";
/// The relays on each runtime.
const RUNTIMES: &str = "ringbolt-runtimes";
/// The units of work whose instructions are counted.
const MICRO: &str = "ringbolt-micro";

/// Builds the proxy for release; where it is.
pub(crate) fn proxy(root: &Path) -> Result<PathBuf, String> {
    build(root, &[PROXY])?;
    Ok(target()?.join("release").join(PROXY))
}

/// Runs the chat. Returns only when that failed.
pub(crate) fn demo(root: &Path, options: &[String]) -> Result<(), String> {
    build(root, &[PROXY, "ringbolt-demo"])?;
    become_program("ringbolt-demo", root, options)
}

/// Measures. Returns only when that failed, or for the micro-benchmarks.
pub(crate) fn bench(root: &Path, options: &[String]) -> Result<(), String> {
    let measurement = options.first().map(String::as_str);
    let built: &[&str] = match measurement {
        Some("micro") => {
            let mut cargo = steps::cargo(root);
            cargo.args(["bench", "-p", MICRO, "--bench", "micro", "--"]).args(&options[1..]);
            return steps::succeed(&mut cargo);
        }
        Some("runtimes") => &[BENCH, RUNTIMES],
        Some("edges") => &[BENCH],
        Some("budgets") => &[BENCH, PROXY, MICRO],
        Some("scale") => {
            packages::install(&packages::vm_tools(Arch::native().unwrap_or(Arch::Amd64)))?;
            &[BENCH, PROXY]
        }
        _ => &[BENCH, PROXY],
    };
    build(root, built)?;
    become_program(BENCH, root, options)
}

/// Holds the budgets that need no release build of the proxy, which takes minutes.
pub(crate) fn budgets_of_code(root: &Path) -> Result<(), String> {
    build(root, &[MICRO])?;
    // The unoptimised one that the step before has built: it only starts programs and compares numbers.
    let mut bench = Command::new(target()?.join("debug").join(BENCH));
    bench.args(["budgets", "--without-binary", "--folder"]).arg(target()?.join("release"));
    steps::succeed(bench.current_dir(root))
}

fn build(root: &Path, packages: &[&str]) -> Result<(), String> {
    eprintln!("building {} for release; the first time this takes some minutes", packages.join(" and "));
    let mut build = steps::cargo(root);
    build.args(["build", "--release", "--quiet"]);
    for package in packages {
        build.args(["-p", package]);
    }
    steps::succeed(&mut build)
}

/// Replaces this process by a program, which has its package's name.
fn become_program(program: &str, root: &Path, options: &[String]) -> Result<(), String> {
    // Not `cargo run`: it resolves the features of one package only, and would build all again.
    let path = target()?.join("release").join(program);
    let error = Command::new(&path).args(options).current_dir(root).exec();
    Err(format!("cannot start {}: {error}", path.display()))
}

/// This program stands in TARGET/debug, whatever TARGET is.
pub(crate) fn target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    own.parent()
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .ok_or("cannot find the build folder".to_owned())
}
