//! `cargo xtask demo` and `cargo xtask bench`: build the proxy and another program for release, then
//! become that program.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::steps;

/// Builds both programs and replaces this process by `program`, which has its package's name.
/// Returns only when that failed.
pub(crate) fn run(root: &Path, program: &str, options: &[String]) -> Result<(), String> {
    eprintln!("building the proxy and {program} for release; the first time this takes some minutes");
    let mut build = steps::cargo(root);
    build.args(["build", "--release", "--quiet", "-p", "ringbolt", "-p", program]);
    steps::succeed(&mut build)?;

    // Not `cargo run`: it resolves the features of one package only, and would build all again.
    // This program stands in TARGET/debug, whatever TARGET is.
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    let target = own.parent().and_then(Path::parent).ok_or("cannot find the build folder")?;
    let path = target.join("release").join(program);
    let error = Command::new(&path).args(options).current_dir(root).exec();
    Err(format!("cannot start {}: {error}", path.display()))
}
