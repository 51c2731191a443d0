//! `cargo xtask package check` and `cargo xtask package container`: a package in a Debian system of its own, from its
//! installation to its purge, and in a container.
//!
//! The system is made once by debootstrap and kept; it runs in namespaces, its changes in memory. What is looked at
//! stands in packaging/check.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Package, make};
use crate::packages::{self, Tool};
use crate::steps;

const DEBOOTSTRAP: Tool =
    Tool::new("command -v debootstrap", "debootstrap", "makes the system of the package checks");
const LINTIAN: Tool = Tool::new("command -v lintian", "lintian", "knows Debian's rules for packages");
const CONTAINER: [Tool; 2] = [
    Tool::new("command -v podman", "podman", "builds the image and runs it"),
    Tool::new("command -v crun", "crun", "what podman runs containers with"),
];

/// What the system has beside Debian's base.
const INCLUDE: &str = "--include=systemd,systemd-sysv,dbus,procps";

/// Where a package is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// Under systemd: installed, upgraded, removed, purged.
    System,
    /// As an image, with and without io_uring.
    Container,
}

impl Check {
    pub(super) fn run(self, root: &Path, package: &Package, binary: &Path, out: &Path) -> Result<(), String> {
        let system = system(out)?;
        // The same program twice: it is replaced all the same.
        let packed = |version: &str, folder: &Path| {
            let package = Package { version: Some(version.to_owned()), ..package.clone() };
            let made = make(root, &package, binary, folder)?;
            made.into_iter().next().ok_or_else(|| "no package was made".to_owned())
        };
        let (old, new) = (out.join("old"), out.join("new"));
        let package = packed("0.0.2", &new)?;
        match self {
            Self::System => {
                packages::install(&[LINTIAN])?;
                let mut rules = Command::new("lintian");
                steps::succeed(rules.args(["--allow-root", "--fail-on", "error,warning"]).arg(&package))?;
                let mut check = Command::new("sh");
                check.arg(root.join("packaging/check/check.sh"));
                steps::succeed(check.arg(&system).args([&packed("0.0.1", &old)?, &package]))
            }
            Self::Container => {
                packages::install(&CONTAINER)?;
                let mut check = Command::new("unshare");
                check.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh"]);
                check.arg(root.join("packaging/check/container.sh"));
                steps::succeed(check.args([&system, &new]))
            }
        }
    }
}

/// The folder of the Debian system, made if it is not there yet.
fn system(out: &Path) -> Result<PathBuf, String> {
    packages::install(&[DEBOOTSTRAP])?;
    let system = out.join("debian");
    // Its last file, so that a system that was not finished is made anew.
    if !system.join("usr/bin/pgrep").exists() {
        let _ = std::fs::remove_dir_all(&system);
        eprintln!("making a Debian system in {}", system.display());
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", INCLUDE, "bookworm"]).arg(&system);
        steps::succeed(debootstrap.stdout(std::process::Stdio::null()))?;
    }
    Ok(system)
}
