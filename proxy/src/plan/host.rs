//! What this machine gives at present. Reads `/proc`, changes nothing.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Present values; `None` where this machine does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(super) page_bytes: u64,
    /// Memory that programs started now can have.
    pub(super) memory_bytes: Option<u64>,
    /// Descriptors that this process, and what is started like it, may open.
    pub(super) descriptors: u64,
    pub(super) nr_open: Option<u64>,
    /// Open files of the whole machine, and the most there may be.
    pub(super) files_open: Option<u64>,
    pub(super) file_max: Option<u64>,
    /// Local ports for outgoing connections, without those reserved for listeners.
    pub(super) ports: Option<u64>,
    /// Pages of all TCP buffers from which the kernel saves memory: the second number of `net.ipv4.tcp_mem`.
    pub(super) tcp_pages_pressure: Option<u64>,
    /// Pages in use at present.
    pub(super) tcp_pages_used: Option<u64>,
    pub(super) somaxconn: Option<u64>,
    /// 0: no limit.
    pub(super) pipe_pages_soft: Option<u64>,
    /// Connections that connection tracking has room for; `None` where it is not loaded.
    pub(super) conntrack_max: Option<u64>,
}

impl Host {
    pub(crate) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let setting = |name: &str| read(&format!("/proc/sys/{name}"));
        let number = |name: &str| first_number(&setting(name)?);
        Self {
            page_bytes: rustix::param::page_size() as u64,
            memory_bytes: read("/proc/meminfo").and_then(|text| memory_available(&text)),
            descriptors: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            nr_open: number("fs/nr_open"),
            files_open: number("fs/file-nr"),
            file_max: number("fs/file-max"),
            ports: setting("net/ipv4/ip_local_port_range").and_then(|range| {
                let reserved = setting("net/ipv4/ip_local_reserved_ports").unwrap_or_default();
                ports(&range, &reserved)
            }),
            tcp_pages_pressure: setting("net/ipv4/tcp_mem").and_then(|text| nth_number(&text, 1)),
            tcp_pages_used: read("/proc/net/sockstat").and_then(|text| tcp_pages(&text)),
            somaxconn: number("net/core/somaxconn"),
            pipe_pages_soft: number("fs/pipe-user-pages-soft"),
            conntrack_max: number("net/netfilter/nf_conntrack_max"),
        }
    }
}

impl Host {
    /// Descriptors that this process, and what is started like it, may open.
    pub(crate) fn descriptors(&self) -> u64 {
        self.descriptors
    }

    /// Connections that connection tracking has room for; `None` where it is not loaded.
    pub(crate) fn tracked_max(&self) -> Option<u64> {
        self.conntrack_max
    }
}

fn first_number(text: &str) -> Option<u64> {
    nth_number(text, 0)
}

fn nth_number(text: &str, index: usize) -> Option<u64> {
    text.split_whitespace().nth(index)?.parse().ok()
}

fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(first_number(line)? * 1024)
}

/// Pages in use, of `TCP: inuse 5 orphan 0 tw 0 alloc 5 mem 1`.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    first_number(line.split_once(" mem ")?.1)
}

/// Ports in the range `LOW HIGH` but those in the list `8080,9000-9010`.
fn ports(range: &str, reserved: &str) -> Option<u64> {
    let (low, high) = (nth_number(range, 0)?, nth_number(range, 1)?);
    let taken = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
        Some((last.min(high) + 1).saturating_sub(first.max(low)))
    };
    let reserved: u64 = reserved.split(',').filter_map(taken).sum();
    Some((high + 1).saturating_sub(low).saturating_sub(reserved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted_without_reserved_ones() {
        assert_eq!(ports("32768\t60999\n", "\n"), Some(28_232));
        assert_eq!(ports("10240 65535", "8080,9180,20000-20009,65535"), Some(55_296 - 11));
        assert_eq!(ports("100 109", "1-103,108-2000"), Some(10 - 4 - 2));
        assert_eq!(ports("", ""), None);
    }

    #[test]
    fn the_kernels_tables_are_understood() {
        assert_eq!(memory_available("MemTotal: 9 kB\nMemAvailable:   22 kB\n"), Some(22 * 1024));
        let sockstat =
            "sockets: used 7\nTCP: inuse 6158 orphan 54 tw 74219 alloc 6158 mem 427\nUDP: inuse 0 mem 3\n";
        assert_eq!(tcp_pages(sockstat), Some(427));
        assert_eq!(nth_number("287901\t383869\t575802\n", 1), Some(383_869));
    }

    #[test]
    fn this_machine_is_read() {
        let host = Host::read();
        assert!(host.memory_bytes > Some(0) && host.ports > Some(0), "{host:?}");
        assert!(host.nr_open > Some(0) && host.somaxconn > Some(0), "{host:?}");
        assert!(host.tcp_pages_pressure > Some(0) && host.tcp_pages_used.is_some(), "{host:?}");
    }
}
