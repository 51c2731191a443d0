//! Which cores the process may use, and tying a thread to one.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores the calling thread may run on, by number.
///
/// # Errors
///
/// The machine has more cores than [`CpuSet::MAX_CPU`].
pub fn available_cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Ties the calling thread to one core.
///
/// # Errors
///
/// `InvalidInput` when the core does not exist or is not allowed to the process.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        let core = *available_cores().unwrap().last().unwrap();
        // A thread of its own, so that other tests keep all cores.
        std::thread::spawn(move || {
            pin_to_core(core).unwrap();
            assert_eq!(available_cores().unwrap(), [core]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_core_that_does_not_exist_is_an_error() {
        assert!(pin_to_core(CpuSet::MAX_CPU).is_err());
        assert!(pin_to_core(CpuSet::MAX_CPU - 1).is_err());
    }
}
