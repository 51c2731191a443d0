//! Whether the machine's clock is set by another one.

use std::mem::MaybeUninit;

/// Whether the kernel has been told, by an NTP client, that its clock is right (adjtimex(2)). `None` where a process may
/// not ask, as in some containers.
#[must_use]
pub fn clock_is_synchronised() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: the pointer is to memory of a `timex` for the whole call, and all zeros are one: `modes` 0 only reads.
    match unsafe { libc::adjtimex(state.as_mut_ptr()) } {
        -1 => None,
        state => Some(state != libc::TIME_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_that_of_the_kernels_flag() {
        let Some(answer) = clock_is_synchronised() else { return };
        assert_eq!(clock_is_synchronised(), Some(answer), "asking changes nothing");
    }
}
