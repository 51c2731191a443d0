//! `cargo xtask arm64`: builds the daemon for arm64 on this machine, and runs its tests on an arm64 kernel.
//!
//! A toolchain that has the target is used as it is. Any other is helped by Debian: its `rustc-web` is as new as its
//! browsers need, and the standard library of another architecture is a package of the same version, which is
//! unpacked into the build folder and not installed. The C code of dependencies (TLS, allocator) takes Debian's cross
//! compiler. Everything is linked statically, so that one file runs on any arm64 Linux.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringbolt_vm::{Arch, Machine};

use crate::suite::{self, DAEMON, DECISIONS, Part};
use crate::{packages, release, steps};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Of Debian, for [`TARGET`].
const LINKER: &str = "aarch64-linux-gnu-gcc";
const ARCHIVER: &str = "aarch64-linux-gnu-ar";
/// The compiler of Debian's package rustc-web, and the package of its standard library.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBRARY: &str = "libstd-rust-web-dev";

/// Debian's kernel of the guest.
const KERNEL: &str = "6.12";
/// Ends a guest that hangs, and no other: an emulated processor is slow, and its machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What must be the same on every architecture, and what a processor's order of memory accesses could break.
const PARTS: [Part; 4] = [
    // Golden values of placement, hashes of sids, PROXY protocol, TLS' first record, HTTP.
    Part::tests(DECISIONS, ""),
    // The formats in which one process hands over to another, and states of sessions are kept; golden tags of sids.
    Part::tests(DAEMON, "handover:: tls:: tags::"),
    Part::tests("affinity_engine_io", "the_sid_is_known posts_preflights every_framing"),
    Part::tests("tunnels", "chat tls"),
];

/// Without a word: builds and runs the tests. `build`: only the daemon, for release, and prints its path.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<(), String> {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => test(root),
        ["build"] => {
            println!("{}", daemon(root, "release")?.display());
            Ok(())
        }
        ["build", "--profile", profile] => {
            println!("{}", daemon(root, profile)?.display());
            Ok(())
        }
        _ => Err("`arm64` takes nothing, or `build` with `--profile NAME`".to_owned()),
    }
}

/// The daemon for arm64, one static file, built with a profile of cargo's.
pub(crate) fn daemon(root: &Path, profile: &str) -> Result<PathBuf, String> {
    daemon_in(root, profile, target_folder()?, None)
}

/// The same, with everything that is built in this folder, and dated `epoch`.
pub(crate) fn daemon_in(
    root: &Path,
    profile: &str,
    folder: PathBuf,
    epoch: Option<u64>,
) -> Result<PathBuf, String> {
    let cross = Cross::new(folder)?;
    eprintln!("building {DAEMON} for arm64; the first time this takes some minutes");
    let mut build = cross.cargo(root);
    build.envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch.to_string())));
    steps::succeed(build.args(["build", "--quiet", "-p", DAEMON, "--bin", DAEMON, "--profile", profile]))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(cross.target_folder.join(TARGET).join(folder).join(DAEMON))
}

fn test(root: &Path) -> Result<(), String> {
    packages::install(&packages::vm_tools(Arch::Arm64))?;
    let cross = Cross::new(target_folder()?)?;
    eprintln!("building the tests for arm64; the first time this takes some minutes");
    let built = suite::build(|| cross.cargo(root), &PARTS, &[])?;
    let machine = Machine {
        timeout: TIMEOUT,
        // As in the guests of `kernels`.
        clock_counts_instructions: true,
        cpus: 1,
        ..Machine::new(Arch::Arm64, KERNEL)
    };
    suite::run(&machine, &built, &PARTS, |_| {})
}

/// Apart from this machine's, because what another compiler has built is built again.
fn target_folder() -> Result<PathBuf, String> {
    Ok(release::target()?.join("arm64"))
}

/// How to build for arm64 here.
struct Cross {
    target_folder: PathBuf,
    /// Debian's standard library for arm64, where this machine's toolchain has none.
    sysroot: Option<PathBuf>,
}

impl Cross {
    /// Installs what is missing.
    fn new(target_folder: PathBuf) -> Result<Self, String> {
        packages::install(&packages::CROSS_C)?;
        if toolchain_has_target() {
            return Ok(Self { target_folder, sysroot: None });
        }
        packages::install(&packages::CROSS_RUST)?;
        let version = output(Command::new(DEBIAN_RUSTC).arg("--version"))?;
        let number = version.split_whitespace().nth(1).ok_or("rustc tells no version")?;
        let folder =
            ringbolt_vm::unpacked_package(Arch::Arm64, DEBIAN_LIBRARY, &format!("rust-{number}-arm64"))?;
        Ok(Self { target_folder, sysroot: Some(folder.join("usr")) })
    }

    /// A cargo that builds for arm64, without a word yet. What runs at build time is built for this machine.
    fn cargo(&self, root: &Path) -> Command {
        let mut cargo = steps::cargo(root);
        let mut flags = "-C target-feature=+crt-static".to_owned();
        if let Some(sysroot) = &self.sysroot {
            flags.push_str(&format!(" --sysroot {}", sysroot.display()));
            cargo.env("RUSTC", DEBIAN_RUSTC);
        }
        cargo.env("CARGO_BUILD_TARGET", TARGET).env("CARGO_TARGET_DIR", &self.target_folder);
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
        // What the emulated processor runs: translated code is slow enough.
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
        cargo.env("CC_aarch64_unknown_linux_gnu", LINKER).env("AR_aarch64_unknown_linux_gnu", ARCHIVER);
        cargo
    }
}

/// Whether the toolchain in use has a standard library for arm64, as after `rustup target add`.
fn toolchain_has_target() -> bool {
    output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
        .is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot start rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
