//! What the kernel's /proc tells of a process tree: processor time, memory, threads.
//!
//! Readers are separate from parsers, so that the parsers are tested on text.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Bound of a walk through a process tree. A contestant has two processes.
const PROCESSES_MAX: usize = 64;

/// The processes below and including `root`.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() && found.len() < PROCESSES_MAX {
        let pid = found[next];
        next += 1;
        for thread in threads(pid) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
            found.extend(
                children.unwrap_or_default().split_whitespace().filter_map(|word| word.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// Processor time in user and kernel of every thread of these processes.
///
/// Read from `schedstat`, the same clock as `utime` + `stime` of `stat` but in nanoseconds and not in
/// ticks of 10 ms. A thread that has ended is no longer counted.
pub(crate) fn cpu_time(processes: &[u32]) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    for &pid in processes {
        for thread in threads(pid) {
            let folder = format!("/proc/{pid}/task/{thread}");
            match thread_cpu_time(&folder) {
                Ok(time) => total += time,
                Err(_) if !Path::new(&folder).exists() => {}
                Err(text) => return Err(text),
            }
        }
    }
    Ok(total)
}

/// Processor time of the calling thread.
pub(crate) fn own_cpu_time() -> Result<Duration, String> {
    thread_cpu_time("/proc/thread-self")
}

fn thread_cpu_time(folder: &str) -> Result<Duration, String> {
    let path = format!("{folder}/schedstat");
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    parse_schedstat(&text).ok_or(format!("{path}: not understood: {text:?}"))
}

/// Own memory of these processes in bytes: each page divided by the processes that share it.
pub(crate) fn own_memory(processes: &[u32]) -> Result<u64, String> {
    let mut total = 0;
    for pid in processes {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        total += parse_pss(&text).ok_or(format!("{path}: has no Pss"))?;
    }
    Ok(total)
}

/// Names of all threads, sorted.
pub(crate) fn thread_names(processes: &[u32]) -> Vec<String> {
    let mut names: Vec<String> = processes
        .iter()
        .flat_map(|pid| {
            threads(*pid).into_iter().map(move |thread| format!("/proc/{pid}/task/{thread}/comm"))
        })
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Time a core was busy with anything, in all.
pub(crate) fn core_busy_time(core: usize) -> Result<Duration, String> {
    let text =
        fs::read_to_string("/proc/stat").map_err(|error| format!("cannot read /proc/stat: {error}"))?;
    parse_core_busy(&text, core).ok_or(format!("/proc/stat has no core {core}"))
}

/// Scheduling priority of this program and of its session, which its children inherit.
pub(crate) fn priority() -> String {
    let nice = fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_nice(&text));
    let own = nice.map_or("unknown".to_owned(), |nice| format!("nice {nice}"));
    // Only where sched_autogroup is built in, and there it counts for more than the process' own.
    let session = fs::read_to_string("/proc/self/autogroup").unwrap_or_default();
    match session.split_whitespace().last() {
        Some(nice) => format!("{own}, session nice {nice}"),
        None => own,
    }
}

/// Load average over one minute.
pub(crate) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// First field of `schedstat`: nanoseconds on a core.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Field 19, counted behind the name, which may hold spaces.
fn parse_nice(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
}

fn parse_pss(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// All of a core's line but idle and iowait, which are the fourth and fifth field. The last two are
/// already in user and nice. One tick is 10 ms (USER_HZ).
fn parse_core_busy(stat: &str, core: usize) -> Option<Duration> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, n)| n).sum();
    Some(Duration::from_millis(busy * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_begins_with_nanoseconds() {
        assert_eq!(parse_schedstat("707890 2502669 2\n"), Some(Duration::from_nanos(707_890)));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_schedstat("x 1 2"), None);
    }

    #[test]
    fn nice_is_found_behind_any_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 1 2 0 0 39 -5 1 0 99 1000";
        assert_eq!(parse_nice(text), Some(-5));
        assert_eq!(parse_nice("7"), None);
    }

    #[test]
    fn pss_is_found_among_its_parts() {
        let text = "55-7f ---p 0 00:00 0 [rollup]\nRss:  4040 kB\nPss:   791 kB\nPss_Dirty:  585 kB\n";
        assert_eq!(parse_pss(text), Some(791 * 1024));
        assert_eq!(parse_pss("Pss_Dirty:  585 kB\n"), None);
    }

    #[test]
    fn busy_is_all_but_idle_and_iowait() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 1000 2000 4 5 6 7 8\ncpu10 9 9 9 9 9 9 9 9 0 0\n";
        assert_eq!(parse_core_busy(text, 0), Some(Duration::from_millis(210)));
        assert_eq!(parse_core_busy(text, 10), Some(Duration::from_millis(540)));
        assert_eq!(parse_core_busy(text, 1), None);
    }

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let found = tree(own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&own) && found.contains(&child.id()), "{found:?}");
        assert!(cpu_time(&[own]).unwrap() > Duration::ZERO);
        assert!(own_memory(&[own]).unwrap() > 64 * 1024);
        assert!(!thread_names(&[own]).is_empty());
    }
}
