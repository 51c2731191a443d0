//! `cargo xtask release`: the packages of both architectures, each program built twice from nothing, compared, and started
//! on a kernel of its architecture.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringbolt_vm::{Arch, Machine, Program};

use super::{Package, epoch, make, told};
use crate::{arm64, packages, release, steps};

/// Debian's kernel of the guests.
const KERNEL: &str = "6.12";
/// Ends a guest that hangs, and no other: an emulated processor is slow, and its machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Makes the packages in target/package; prints their paths.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let target = release::target()?;
    let (out, again) = (target.join("package"), target.join("package/again"));
    // The same path for both, because a program may hold the one it was built at.
    let built = target.join("twice");
    for arch in [Arch::Amd64, Arch::Arm64] {
        let packed = |folder: &Path| {
            if built.exists() {
                fs::remove_dir_all(&built).map_err(|error| told(&built, &error))?;
            }
            let binary = program(root, arch, &built)?;
            make(root, &Package::of(arch), &binary, folder)
        };
        let (first, second) = (packed(&out)?, packed(&again)?);
        same(&first, &second)?;
        serves(root, arch, &out.join("root/usr/bin/ringbolt"))?;
        first.iter().for_each(|path| println!("{}", path.display()));
    }
    Ok(())
}

/// The daemon for release, built in this folder.
fn program(root: &Path, arch: Arch, folder: &Path) -> Result<PathBuf, String> {
    // C code of dependencies holds the time it was compiled at, which is this one's for GCC and Clang.
    let epoch = epoch(root)?;
    if !arch.is_native() {
        return match arch {
            Arch::Arm64 => arm64::daemon_in(root, "release", folder.to_path_buf(), Some(epoch)),
            Arch::Amd64 => Err("packages of amd64 are made on amd64".to_owned()),
        };
    }
    eprintln!("building ringbolt for {} from nothing; this takes some minutes", arch.name());
    let mut build = steps::cargo(root);
    build.args(["build", "--release", "--quiet", "-p", "ringbolt", "--bin", "ringbolt"]);
    build.env("SOURCE_DATE_EPOCH", epoch.to_string());
    steps::succeed(build.env("CARGO_TARGET_DIR", folder))?;
    Ok(folder.join("release/ringbolt"))
}

/// The files of two lists hold the same bytes, pair by pair.
fn same(first: &[PathBuf], second: &[PathBuf]) -> Result<(), String> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| told(path, &error));
    for (one, other) in first.iter().zip(second) {
        if read(one)? != read(other)? {
            return Err(format!(
                "{} and {} differ: built twice, not the same",
                one.display(),
                other.display()
            ));
        }
    }
    Ok(())
}

/// Starts the program in a guest, where it is asked for something.
fn serves(root: &Path, arch: Arch, binary: &Path) -> Result<(), String> {
    packages::install(&packages::vm_tools(arch))?;
    let there = "/usr/bin/ringbolt";
    let machine = Machine { timeout: TIMEOUT, ..Machine::new(arch, KERNEL) };
    let mut program = Program::new(root.join("packaging/check/serves.sh"), [there]);
    program.files.push((binary.to_path_buf(), there.into()));
    match machine.run(&program, |line| println!("{line}"))? {
        0 => Ok(()),
        status => Err(format!("the program for {} ended with {status} in the guest", arch.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_are_named() {
        let folder = std::env::temp_dir().join(format!("ringbolt-twice-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.join(name), text).unwrap();
            folder.join(name)
        };
        let files = [file("a", "1"), file("b", "1"), file("c", "2")];
        let outcomes = [same(&files[..1], &files[1..2]), same(&files[..2], &files[1..])];
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(outcomes[0], Ok(()));
        assert!(outcomes[1].as_ref().is_err_and(|text| text.contains("/c differ")), "{outcomes:?}");
    }
}
