//! Which core the proxies get, and which the load.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) load: usize,
    pub(crate) proxy: usize,
}

impl Cores {
    /// First and last core this process may use: far apart, where there are more than two.
    pub(crate) fn choose() -> Result<Self, String> {
        let set = sched_getaffinity(None).map_err(|error| format!("cannot tell the cores: {error}"))?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
        match allowed.as_slice() {
            [load, .., proxy] => Ok(Self { load: *load, proxy: *proxy }),
            _ => Err("this takes two cores: one for the proxies, one for the load".to_owned()),
        }
    }
}

/// Ties the calling thread, and what it starts from now on, to one core.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("cannot use core {core} only: {error}"))
}
