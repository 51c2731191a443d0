//! Memory limits of control groups: the one of this process, and of those above it.

use std::fs;
use std::path::{Path, PathBuf};

/// The limit that is met first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    /// Path of the group below the mount, and the file.
    pub(super) group: String,
}

/// Where systemd and container runtimes mount them.
const MOUNT: &str = "/sys/fs/cgroup";

pub(super) fn smallest() -> Option<Limit> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    smallest_below(Path::new(MOUNT), &own)
}

/// Of version 2, whose line of `/proc/PID/cgroup` is `0::/PATH`, and of version 1, which has one for `memory`
/// (cgroups(7)). In a container the path may be that of the host, and does not exist: then the mount itself is asked.
fn smallest_below(mount: &Path, own: &str) -> Option<Limit> {
    let line = |is_wanted: fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            is_wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let v1 = line(|controllers| controllers.split(',').any(|name| name == "memory"));
    let (mount, path, files) = match v1 {
        Some(path) => (mount.join("memory"), path, &["memory.limit_in_bytes"][..]),
        None => (mount.to_path_buf(), line(str::is_empty)?, &["memory.max", "memory.high"][..]),
    };
    let folders = Path::new(&path).ancestors().map(|group| mount.join(group));
    let limits = folders.flat_map(|folder| files.iter().map(move |file| folder.join(file)));
    limits.filter_map(|file| limit(&mount, &file)).min_by_key(|limit| limit.bytes)
}

fn limit(mount: &Path, file: &PathBuf) -> Option<Limit> {
    // `max` is none; version 1 says a number near 2^63.
    let bytes: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let group = format!("/{}", file.strip_prefix(mount).unwrap_or(file).display());
    (bytes < u64::MAX / 4).then_some(Limit { bytes, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_smallest_limit_of_all_groups_above_counts() {
        let folder = tree(&[
            ("system.slice/a.service/memory.max", "max\n"),
            ("system.slice/a.service/memory.high", "4096000\n"),
            ("system.slice/memory.max", "1000000\n"),
        ]);
        let found = smallest_below(folder.path(), "0::/system.slice/a.service\n");
        assert_eq!(found, Some(Limit { bytes: 1_000_000, group: "/system.slice/memory.max".to_owned() }));
        assert_eq!(smallest_below(folder.path(), "0::/other\n"), None);
    }

    #[test]
    fn version_1_and_paths_of_another_namespace_are_understood() {
        let folder = tree(&[("memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        let own = "5:cpu,cpuacct:/x\n4:memory:/docker/1\n";
        assert_eq!(smallest_below(folder.path(), own), None, "no limit is a number there");
        let folder = tree(&[("memory/memory.limit_in_bytes", "536870912\n")]);
        assert_eq!(smallest_below(folder.path(), own).map(|limit| limit.bytes), Some(536_870_912));
        let folder = tree(&[("memory.max", "536870912\n")]);
        let found = smallest_below(folder.path(), "0::/docker/of/the/host\n");
        assert_eq!(found.map(|limit| limit.bytes), Some(536_870_912));
    }
}
