//! `cargo xtask package check`: a package in a Debian system of its own, from its installation to its purge.
//!
//! The system is made once by debootstrap and kept; it runs in namespaces, its changes in memory. What is looked at
//! stands in packaging/check/check.sh.

use std::path::Path;
use std::process::Command;

use super::{Package, make};
use crate::packages::{self, Tool};
use crate::steps;

const TOOLS: [Tool; 1] =
    [Tool::new("command -v debootstrap", "debootstrap", "makes the system of the package check")];

/// What the system has beside Debian's base.
const INCLUDE: &str = "--include=systemd,systemd-sysv,dbus,procps";

pub(super) fn run(root: &Path, package: &Package, binary: &Path, out: &Path) -> Result<(), String> {
    packages::install(&TOOLS)?;
    let system = out.join("debian");
    // Its last file, so that a system that was not finished is made anew.
    if !system.join("usr/bin/pgrep").exists() {
        let _ = std::fs::remove_dir_all(&system);
        eprintln!("making a Debian system in {}", system.display());
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", INCLUDE, "bookworm"]).arg(&system);
        steps::succeed(debootstrap.stdout(std::process::Stdio::null()))?;
    }
    // The same program twice: it is replaced all the same.
    let packed = |version: &str, folder: &str| {
        let package = Package { version: Some(version.to_owned()), ..package.clone() };
        let made = make(root, &package, binary, &out.join(folder))?;
        made.into_iter().next().ok_or_else(|| "no package was made".to_owned())
    };
    let (old, new) = (packed("0.0.1", "old")?, packed("0.0.2", "new")?);
    let mut check = Command::new("sh");
    check.arg(root.join("packaging/check/check.sh")).arg(&system).args([&old, &new]);
    steps::succeed(&mut check)
}
