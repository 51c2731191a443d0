//! What is said of the machine and the source tree beside the figures, and where programs stand.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A program that was built with this one.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    Ok(own.with_file_name(name))
}

/// A kernel setting, by its path below /proc/sys.
pub(crate) fn setting(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned()
}

/// The commit that is checked out, and whether the tree differs from it.
pub(crate) fn commit() -> String {
    let output =
        Command::new("git").args(["describe", "--always", "--abbrev=10", "--dirty", "--exclude=*"]).output();
    let text =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// Model and number of processors, and memory.
pub(crate) fn processors_and_memory() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let model = value(&processors, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{count} cores of {model}, {} of memory", value(&memory, "MemTotal").unwrap_or_default())
}
