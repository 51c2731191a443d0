//! What the kernel holds: memory of its objects, by kind, and TCP sockets.
//!
//! Readers are separate from parsers, so that the parsers are tested on text.

use std::collections::BTreeMap;
use std::fs;

/// Kernel memory at one moment, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// All slabs.
    pub(super) slab: u64,
    /// What programs can still have.
    pub(super) available: u64,
    /// Pages of TCP buffers.
    pub(super) tcp_pages: u64,
    /// Slabs by name; empty where only root may read them.
    caches: BTreeMap<String, u64>,
}

impl Memory {
    pub(super) fn read() -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
        let meminfo = read("/proc/meminfo")?;
        let of = |name: &str| {
            kib(&meminfo, name).map(|kib| kib * 1024).ok_or(format!("/proc/meminfo has no {name}"))
        };
        Ok(Self {
            slab: of("Slab:")?,
            available: of("MemAvailable:")?,
            tcp_pages: tcp_pages(&read("/proc/net/sockstat")?)
                .ok_or("/proc/net/sockstat is not understood")?,
            caches: caches(&read("/proc/slabinfo").unwrap_or_default()),
        })
    }

    /// The slabs that have grown most since `before`, largest first, in bytes.
    pub(super) fn grown(&self, before: &Self, most: usize) -> Vec<(String, u64)> {
        let growth = |(name, bytes): (&String, &u64)| {
            let grown = bytes.saturating_sub(before.caches.get(name).copied().unwrap_or(0));
            (name.clone(), grown)
        };
        let mut grown: Vec<(String, u64)> = self.caches.iter().map(growth).collect();
        grown.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        grown.truncate(most);
        grown
    }
}

fn kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    line.split_once(" mem ")?.1.split_whitespace().next()?.parse().ok()
}

/// Bytes of each slab: slabs times pages of one (proc_slabinfo(5)). Pages of 4 KiB.
fn caches(slabinfo: &str) -> BTreeMap<String, u64> {
    let cache = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pages_per_slab: u64 = words.get(5)?.parse().ok()?;
        let data = words.iter().position(|word| *word == "slabdata")?;
        let slabs: u64 = words.get(data + 2)?.parse().ok()?;
        Some(((*words.first()?).to_owned(), slabs * pages_per_slab * 4096))
    };
    slabinfo.lines().filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_understood() {
        assert_eq!(kib("MemTotal: 5 kB\nSlab:   777 kB\n", "Slab:"), Some(777));
        assert_eq!(tcp_pages("sockets: used 7\nTCP: inuse 6 orphan 5 tw 7 alloc 6 mem 427\n"), Some(427));
    }

    #[test]
    fn slabs_are_told_apart_and_their_growth_is_sorted() {
        let text = |sockets: u64, files: u64| {
            format!(
                "slabinfo - version: 2.1\n\
                 # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables ...\n\
                 TCP 6160 6266 2368 13 8 : tunables 0 0 0 : slabdata {sockets} {sockets} 0\n\
                 filp 6928 7014 192 21 1 : tunables 0 0 0 : slabdata {files} {files} 0\n"
            )
        };
        let of = |sockets, files| Memory { caches: caches(&text(sockets, files)), ..Memory::default() };
        let grown = of(12, 300).grown(&of(2, 5), 2);
        assert_eq!(grown, [("filp".to_owned(), 295 * 4096), ("TCP".to_owned(), 10 * 8 * 4096)]);
        assert_eq!(of(12, 300).grown(&of(2, 5), 1).len(), 1);
    }
}
