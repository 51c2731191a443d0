//! Runs a program on another kernel: a Debian kernel under qemu, with an initramfs of our own.
//!
//! ```no_run
//! use ringbolt_vm::{Arch, Machine, Program};
//!
//! let machine = Machine { parameters: vec!["kernel.io_uring_disabled=2".into()], ..Machine::new(Arch::Amd64, "6.12") };
//! let status = machine.run(&Program::new("target/release/ringbolt", ["version"]), |line| println!("{line}"))?;
//! # Ok::<(), String>(())
//! ```
//!
//! The guest has loopback and no other network, no disk, and busybox beside the program. Kernel and
//! busybox come from Debian's packages, by way of an apt state of our own in the build folder, so that
//! it takes no root and leaves the machine's apt as it was. Without KVM, qemu translates every instruction:
//! the guest is ten to thirty times slower than the machine, and its clock tells nothing of speed.
//!
//! Standard library only, because `xtask` uses it.
#![forbid(unsafe_code)]

mod cpio;
mod guest;
mod kernel;
mod libraries;
mod limits;
mod packages;
mod qemu;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::packages::Packages;

/// A processor architecture, by Debian's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The architecture with this name, Debian's or the kernel's.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "amd64" | "x86_64" => Some(Self::Amd64),
            "arm64" | "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Debian's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// That of this machine.
    #[must_use]
    pub fn native() -> Option<Self> {
        Self::named(std::env::consts::ARCH)
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_native(self) -> bool {
        Self::native() == Some(self)
    }

    /// The emulator and the Debian package it is in.
    #[must_use]
    pub fn emulator(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }
}

/// What a program runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    pub arch: Arch,
    /// Beginning of the kernel's version, as `6.1` or `6.12.117`: the newest that Debian's cloud flavour offers.
    pub kernel: String,
    pub memory_mib: u32,
    pub cpus: u32,
    /// From the start of qemu to the end of the program; the guest is ended at the limit.
    pub timeout: Duration,
    /// Modules loaded before the program, by name, each after those it depends on: `tls`.
    pub modules: Vec<String>,
    /// Settings made before the program, as `fs.nr_open=3000000`. One the kernel refuses ends the run.
    pub sysctls: Vec<String>,
    /// Words for the kernel's command line.
    pub parameters: Vec<String>,
    /// The guest's clock moves a nanosecond with each instruction, whatever else this machine does: processor times
    /// are instructions then. Its processors take turns, and it is slower still.
    pub clock_counts_instructions: bool,
    /// Where packages and unpacked kernels are kept.
    pub cache: PathBuf,
}

impl Machine {
    /// Two processors, 1 GiB of memory and two minutes.
    #[must_use]
    pub fn new(arch: Arch, kernel: impl Into<String>) -> Self {
        Self {
            arch,
            kernel: kernel.into(),
            memory_mib: 1024,
            cpus: 2,
            timeout: Duration::from_secs(120),
            modules: Vec::new(),
            sysctls: Vec::new(),
            parameters: Vec::new(),
            clock_counts_instructions: false,
            cache: cache(),
        }
    }

    /// Boots, runs the program and gives its exit status. Each line it writes, to standard output or standard
    /// error, goes to `line` as soon as it is there, without its end.
    ///
    /// # Errors
    ///
    /// There is no such kernel, a package cannot be had, a program is not for this architecture, or the guest
    /// has not told an exit status: a panic of the kernel, the time limit. The last lines of its console are in
    /// the text.
    pub fn run(&self, program: &Program, line: impl FnMut(&str)) -> Result<i32, String> {
        let packages = Packages::new(&self.cache);
        let kernel = kernel::find(&packages, self.arch, &self.kernel)?;
        let busybox = packages.busybox(self.arch)?;
        let modules = kernel.load_order(&self.modules)?;
        let archive = guest::archive(self, program, &busybox, &modules)?;
        let initramfs = packages::Scratch::file(&self.cache, "initramfs", &archive)?;
        qemu::run(self, &kernel.image, initramfs.path(), line)
    }
}

/// A program with its arguments and the files it needs.
#[derive(Clone, Debug)]
pub struct Program {
    /// On this machine. It may be linked against shared libraries of this machine if the guest has its architecture.
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// Other files, programs too: where they are here, and where they will be in the guest.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl Program {
    /// A program that needs nothing else.
    pub fn new<A: Into<String>>(path: impl Into<PathBuf>, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { path: path.into(), arguments, files: Vec::new() }
    }
}

/// The folder with the content of a Debian package, downloaded and unpacked but not installed; it stays under `name`
/// beside the kernels, and is used again.
///
/// # Errors
///
/// Debian's sources on this machine do not offer it, or it cannot be downloaded.
pub fn unpacked_package(arch: Arch, package: &str, name: &str) -> Result<PathBuf, String> {
    Packages::new(&cache()).unpacked(name, arch, || Ok(package.to_owned()), |_| Ok(()))
}

/// `vm` in the build folder of this program, which cargo leaves a file in; else in the folder for temporary files.
fn cache() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.ancestors().find(|folder| folder.join(".rustc_info.json").is_file());
    target.map_or_else(std::env::temp_dir, Path::to_path_buf).join("vm")
}
