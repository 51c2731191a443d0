//! What a ring may be used for from its start to its end: the few operations of this crate (Linux 5.10).
//!
//! A ring takes dozens of operations, to open files, start programs' work on kernel threads, pass descriptors
//! around. Ours are polls, cancels, receives and sends. The kernel refuses the others, whoever manages to queue one.

use std::io;

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue};

use super::enter::{REGISTER_RING_FDS, UNREGISTER_RING_FDS};

/// `IORING_REGISTER_PBUF_RING` and `IORING_UNREGISTER_PBUF_RING` of linux/io_uring.h (Linux 5.19), and
/// the two of `enter.rs` (Linux 5.18).
const CALLS: [u8; 4] = [22, 23, REGISTER_RING_FDS, UNREGISTER_RING_FDS];

/// Operations of watches.
const WATCHES: [u8; 2] = [opcode::PollAdd::CODE, opcode::AsyncCancel::CODE];

/// Operations of transfers.
const TRANSFERS: [u8; 2] = [opcode::RecvMulti::CODE, opcode::Send::CODE];

const FLAGS: u8 = squeue::Flags::BUFFER_SELECT.bits() | squeue::Flags::SKIP_SUCCESS.bits();

/// Restricts a ring that was set up disabled, and enables it. A kernel that does not know the calls of buffer
/// rings has none to lend either, so its ring is for watches only and is entered by its descriptor; one that knows no restrictions gets a ring
/// without.
pub(super) fn enable(ring: &IoUring) -> io::Result<()> {
    let submitter = ring.submitter();
    let watches = || WATCHES.map(Restriction::sqe_op).into_iter();
    let transfers = TRANSFERS.map(Restriction::sqe_op).into_iter();
    let calls = CALLS.map(Restriction::register_op).into_iter();
    let flags = || std::iter::once(Restriction::sqe_flags_allowed(FLAGS));
    let mut all: Vec<Restriction> = watches().chain(transfers).chain(calls).chain(flags()).collect();
    if submitter.register_restrictions(&mut all).is_err() {
        let mut fewer: Vec<Restriction> = watches().chain(flags()).collect();
        // Refused again: this kernel has no restrictions.
        let _ = submitter.register_restrictions(&mut fewer);
    }
    submitter.register_enable_rings()
}

#[cfg(test)]
mod tests {
    use io_uring::register::Probe;

    use super::*;

    #[test]
    fn other_operations_and_calls_are_refused() {
        let mut ring = IoUring::builder().setup_r_disabled().build(8).expect("a ring");
        enable(&ring).expect("an enabled ring");
        // SAFETY: the operation refers to no memory.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("room");
        ring.submit_and_wait(1).expect("submitted");
        let result = ring.completion().next().expect("a completion").result();
        assert_eq!(result, -libc::EACCES);
        let refused = ring.submitter().register_probe(&mut Probe::new()).expect_err("refused");
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    }
}
