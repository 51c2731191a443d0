//! `cargo xtask demo`: builds the proxy and the demo for release, then becomes the demo.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::steps;

/// Builds both programs and replaces this process by the demo. Returns only when that failed.
pub(crate) fn run(root: &Path, options: &[String]) -> Result<(), String> {
    eprintln!("building the proxy and the demo for release; the first time this takes some minutes");
    let mut build = steps::cargo(root);
    build.args(["build", "--release", "--quiet", "-p", "ringbolt", "-p", "ringbolt-demo"]);
    steps::succeed(&mut build)?;

    // Not `cargo run`: it resolves the features of one package only, and would build all again.
    // This program stands in TARGET/debug, whatever TARGET is.
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    let target = own.parent().and_then(Path::parent).ok_or("cannot find the build folder")?;
    let demo = target.join("release").join("ringbolt-demo");
    let error = Command::new(&demo).args(options).exec();
    Err(format!("cannot start {}: {error}", demo.display()))
}
