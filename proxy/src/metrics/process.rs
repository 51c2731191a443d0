//! What the kernel says about this process, from `/proc/self` (proc(5)).
//!
//! Parsing is apart from reading, so that tests need no particular kernel.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Reads of `/proc` fail only where it is not mounted: then a value is missing, not wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// User and system time, seconds.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) threads: Option<u64>,
    /// Since 1970-01-01 UTC, seconds.
    pub(super) start_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    /// `None`: unlimited.
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// The state of this process now.
    ///
    /// Before Linux 6.2 open descriptors have to be listed to be counted: about 0.5 s for a million.
    pub(super) fn now() -> Self {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let page_bytes = rustix::param::page_size() as u64;
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let stat = stat.as_deref().and_then(Stat::parse);
        let boot_seconds = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_seconds);
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
        Self {
            cpu_seconds: stat.map(|stat| seconds(stat.cpu_ticks)),
            threads: stat.map(|stat| stat.threads),
            start_seconds: stat
                .zip(boot_seconds)
                .map(|(stat, boot)| boot as f64 + seconds(stat.start_ticks_after_boot)),
            resident_bytes: stat.map(|stat| stat.resident_pages * page_bytes),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
        }
    }
}

/// The fields of `/proc/self/stat` that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks_after_boot: u64,
    resident_pages: u64,
}

impl Stat {
    /// The command, which is field 2, may hold spaces and brackets: fields are counted behind it.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks_after_boot: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// Processor time of the worker threads, by their numbers. A thread that ends meanwhile is left out.
pub(super) fn worker_cpu_seconds() -> Vec<(usize, f64)> {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let worker = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let worker = name.trim_end().strip_prefix("worker-")?.parse().ok()?;
        let stat = Stat::parse(&fs::read_to_string(task.path().join("stat")).ok()?)?;
        Some((worker, stat.cpu_ticks as f64 / ticks_per_second))
    };
    let mut workers: Vec<(usize, f64)> = tasks.flatten().filter_map(worker).collect();
    workers.sort_unstable_by_key(|(worker, _)| *worker);
    workers
}

fn boot_seconds(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Since Linux 6.2 the folder's size is the number of descriptors in it; before, it is 0.
fn open_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 3 0 555 1000000 250 18446744073709551615 1";
        let expected = Stat { cpu_ticks: 42, threads: 3, start_ticks_after_boot: 555, resident_pages: 250 };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(boot_seconds("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[test]
    fn this_process_is_described() {
        let process = Process::now();
        assert!(process.cpu_seconds.is_some());
        assert!(process.threads >= Some(1));
        assert!(process.start_seconds > Some(1.6e9));
        assert!(process.resident_bytes > Some(1 << 20));
        assert!(process.open_fds >= Some(3));
    }
}
