//! The one system call by which a ring is submitted to and waited for, and the shortest way to it.
//!
//! A ring's descriptor can be registered with the thread that uses it (Linux 5.18). The kernel then finds the
//! ring without taking and giving back a reference to a file that all threads share: an entry costs 345 ns
//! instead of 410 (decision 7).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring};

use crate::readiness::Wait;

/// `IORING_REGISTER_RING_FDS`, `IORING_UNREGISTER_RING_FDS`, `IORING_ENTER_REGISTERED_RING`: io_uring.h.
pub(super) const REGISTER_RING_FDS: u8 = 20;
pub(super) const UNREGISTER_RING_FDS: u8 = 21;
const REGISTERED_RING: u32 = 1 << 4;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
#[derive(Debug)]
struct Update {
    index: u32,
    reserved: u32,
    data: u64,
}

/// How this thread names its ring to the kernel. To be dropped on the same thread, before the ring.
#[derive(Debug)]
pub(super) struct Entrance {
    fd: RawFd,
    /// Where the descriptor is registered; `None`: the kernel would not.
    index: Option<u32>,
}

impl Entrance {
    /// Registers the descriptor of `ring` with the calling thread, if the kernel will.
    pub(super) fn of(ring: &IoUring) -> Self {
        let fd = ring.as_raw_fd();
        // The largest index lets the kernel choose one.
        let mut update = Update { index: u32::MAX, reserved: 0, data: u64::from(fd.unsigned_abs()) };
        let registered = register(fd, REGISTER_RING_FDS, &mut update).is_ok_and(|count| count == 1);
        Self { fd, index: registered.then_some(update.index) }
    }

    /// Submits `queued` entries and waits. GETEVENTS is always asked for: without it deferred work, as the end
    /// of a removed watch that still holds a closed socket open, would stay undone until some later wait.
    pub(super) fn enter(&self, queued: u32, wait: Wait) -> io::Result<()> {
        let want = u32::from(wait != Wait::No);
        let flags = EnterFlags::GETEVENTS;
        if let Wait::For(duration) = wait {
            let timeout = Timespec::from(duration);
            let args = SubmitArgs::new().timespec(&timeout);
            self.call(queued, want, flags | EnterFlags::EXT_ARG, Some(&args))
        } else {
            self.call(queued, want, flags, None)
        }
    }

    fn call(
        &self,
        queued: u32,
        want: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<()> {
        let (name, flags) = match self.index {
            Some(index) => (index, flags.bits() | REGISTERED_RING),
            None => (self.fd.unsigned_abs(), flags.bits()),
        };
        let (pointer, length) =
            args.map_or((ptr::null(), 0), |args| (ptr::from_ref(args), mem::size_of_val(args)));
        // SAFETY: without an argument the call reads nothing but the ring itself. With one (EXT_ARG) it reads a
        // getevents argument, which `SubmitArgs` is, and the time it points to; both outlive the call.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, name, queued, want, flags, pointer, length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Entrance {
    /// A registered descriptor would keep the ring and its polled sockets open as long as the thread lives.
    fn drop(&mut self) {
        if let Some(index) = self.index {
            // Nothing more can be done about a failure; the end of the thread ends the registration too.
            let _ = register(self.fd, UNREGISTER_RING_FDS, &mut Update { index, reserved: 0, data: 0 });
        }
    }
}

/// Returns how many of the one update were carried out.
fn register(fd: RawFd, operation: u8, update: &mut Update) -> io::Result<i64> {
    // SAFETY: both operations read one `io_uring_rsrc_update` and write its index.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_register, fd, u32::from(operation), ptr::from_mut(update), 1)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread may register 16 rings (`IO_RINGFD_REG_MAX`), and a ring that stays registered stays open.
    #[test]
    fn a_dropped_ring_is_registered_no_more() {
        let Ok(ring) = IoUring::new(1) else { return eprintln!("left out: no io_uring") };
        let first = Entrance::of(&ring);
        for _ in 0..20 {
            let another = IoUring::new(1).unwrap();
            assert_eq!(Entrance::of(&another).index.is_some(), first.index.is_some());
        }
    }

    #[test]
    fn a_wait_ends_when_its_time_has_passed() {
        let Ok(ring) = IoUring::new(1) else { return eprintln!("left out: no io_uring") };
        let registered = Entrance::of(&ring);
        let unregistered = Entrance { fd: ring.as_raw_fd(), index: None };
        for entrance in [registered, unregistered] {
            let error = entrance.enter(0, Wait::For(std::time::Duration::from_millis(1))).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ETIME));
        }
    }
}
