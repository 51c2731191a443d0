//! Descriptors of another process, and how many it may have.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Lets the process open only descriptors with a number below this one. Those it has stay.
///
/// # Panics
/// If it is gone, or somebody else's.
pub fn limit_descriptors(pid: u32, end: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(end), maximum }).expect("a process of ours");
}

/// The number behind its own descriptors. Below it some may be free: what came and went meanwhile had them. Far above it
/// there may be others, which it was started with.
///
/// # Panics
/// If the process is gone.
#[must_use]
pub fn descriptors_end(pid: u32) -> u64 {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors of the daemon");
    let used: BTreeSet<u64> =
        folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    (0..).find(|end| used.range(*end..*end + 16).next().is_none()).expect("numbers do not end")
}
