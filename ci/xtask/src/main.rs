//! The project's own commands: `cargo xtask check` is what CI runs, `cargo xtask demo` the quick start,
//! `cargo xtask bench` the measurements, `cargo xtask vm` a program on another kernel.
//!
//! Standard library only, so that these commands build in seconds on a fresh machine. They know the
//! workspace's layout and tools; nothing else in the workspace knows them.
#![forbid(unsafe_code)]

mod arm64;
mod book;
mod command;
mod fuzz;
mod kernels;
mod ktls;
mod package;
mod packages;
mod release;
mod steps;
mod suite;
mod table;
mod tidy;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::command::Command;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match command::parse(&words).and_then(run) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    if command == Command::Help {
        print!("{}", command::HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let here = std::env::current_dir().map_err(|error| format!("cannot tell the current folder: {error}"))?;
    let root = workspace_root(&here).ok_or("run this inside the workspace")?;
    match command {
        Command::Vm(words) => return vm::run(&words),
        Command::Help => {}
        Command::Check => steps::run(&root, steps::CHECK)?,
        Command::Test => steps::run(&root, steps::TEST)?,
        Command::Tidy => tidy::run(&root)?,
        Command::Book => book::run(&root)?,
        Command::Tools => packages::install(&packages::TOOLS)?,
        Command::Demo(options) => release::demo(&root, &options)?,
        Command::Bench(options) => release::bench(&root, &options)?,
        Command::Ktls(words) => ktls::run(&root, &words)?,
        Command::Package(asked) => package::run(&root, &asked)?,
        Command::Release => package::twice::run(&root)?,
        Command::Arm64(words) => arm64::run(&root, &words)?,
        Command::Kernels(words) => kernels::run(&root, &words)?,
        Command::FuzzSmoke(options) => fuzz::run(&root, &options)?,
        Command::Soak(minutes) => steps::soak(&root, minutes)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The nearest folder at or above `from` whose manifest has a `[workspace]`.
fn workspace_root(from: &Path) -> Option<PathBuf> {
    from.ancestors()
        .find(|folder| {
            std::fs::read_to_string(folder.join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.lines().any(|line| line == "[workspace]"))
        })
        .map(Path::to_path_buf)
}
