//! The ring engine: one multishot poll for each descriptor, and for the few busy ones the kernel receives and
//! sends by itself (`ring/transfer.rs`). Decides which ring flags are used, by trying; knows no tasks, sinks or
//! sockets.

mod enter;
mod probe;
mod restrict;
mod transfer;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{Builder, IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};

use crate::buffer_ring::Chunk;
use crate::limits::{COMPLETION_ENTRIES, SUBMISSION_ENTRIES};
use crate::readiness::{Engine, EngineStats, Event, Readiness, Ready, Wait};
use crate::refusal::Refused;

pub use self::probe::{RingSupport, probe_ring};

use self::enter::Entrance;
use self::transfer::{Kind, Transfers};

/// Key of completions nobody waits for. No source has it: its generation is above theirs.
const NOBODY: u64 = u64::MAX - 1;

/// What every watch asks for. HUP and ERR are always reported. Multishot poll is edge-triggered.
const WATCHED: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;

/// See the file's head.
pub(crate) struct Ring {
    /// Before the ring, and so dropped before it.
    entrance: Entrance,
    ring: IoUring,
    /// Of `FLAG_GROUPS`.
    flags: &'static str,
    /// The kernel says by a flag when completions wait to be fetched, so a needless fetch can be left out.
    tells_pending: bool,
    skip_success: bool,
    /// Events fetched early to make room in the queues.
    early: Vec<Event>,
    transfers: Transfers,
    stats: EngineStats,
}

/// Adds one group of set-up flags.
type AddFlags = fn(&mut Builder) -> &mut Builder;

/// Groups of ring flags, best first. A kernel that does not know a flag answers EINVAL and gets the next
/// group. All are about who runs completion work, and when: here, at the wait, without interrupting.
const FLAG_GROUPS: [(&str, AddFlags); 4] = [
    ("SINGLE_ISSUER DEFER_TASKRUN COOP_TASKRUN (6.1)", |builder| {
        builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag()
    }),
    ("SINGLE_ISSUER COOP_TASKRUN (6.0)", |builder| {
        builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag()
    }),
    ("COOP_TASKRUN (5.19)", |builder| builder.setup_coop_taskrun().setup_taskrun_flag()),
    ("none (5.13)", |builder| builder),
];

impl Ring {
    /// Sets up a ring for the calling thread, which must be the one that uses it.
    pub(crate) fn new() -> Result<Self, Refused> {
        Self::with_entries(SUBMISSION_ENTRIES, COMPLETION_ENTRIES)
    }

    pub(crate) fn with_entries(submission: u32, completion: u32) -> Result<Self, Refused> {
        let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
        for (position, (flags, add_flags)) in FLAG_GROUPS.iter().enumerate() {
            let mut builder = IoUring::builder();
            builder.dontfork().setup_clamp().setup_cqsize(completion).setup_r_disabled();
            match add_flags(&mut builder).build(submission) {
                Ok(ring) => return Self::check(ring, flags, position < FLAG_GROUPS.len() - 1),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
                Err(error) => return Err(Refused::Setup(error)),
            }
        }
        Err(Refused::Setup(refused))
    }

    /// Enables a ring, or refuses one that lacks what the reactor relies on.
    fn check(ring: IoUring, flags: &'static str, tells_pending: bool) -> Result<Self, Refused> {
        restrict::enable(&ring).map_err(Refused::Setup)?;
        if !ring.params().is_feature_nodrop() {
            return Err(Refused::Feature("IORING_FEAT_NODROP", "5.5"));
        }
        if !ring.params().is_feature_ext_arg() {
            return Err(Refused::Feature("IORING_FEAT_EXT_ARG", "5.11"));
        }
        let skip_success = ring.params().is_feature_skip_cqe_on_success();
        let mut ring = Self {
            entrance: Entrance::of(&ring),
            ring,
            flags,
            tells_pending,
            skip_success,
            early: Vec::new(),
            transfers: Transfers::default(),
            stats: EngineStats::default(),
        };
        match ring.has_multishot_poll() {
            Ok(true) => Ok(ring),
            Ok(false) => Err(Refused::Feature("multishot poll", "5.13")),
            Err(error) => Err(Refused::Setup(error)),
        }
    }

    /// Watches a readable eventfd and sees whether the watch goes on after its first report.
    fn has_multishot_poll(&mut self) -> io::Result<bool> {
        const PROBE_WAIT: Duration = Duration::from_secs(1);
        let probe = eventfd(1, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let mut events = Vec::new();
        self.add(probe.as_fd(), NOBODY)?;
        self.wait(Wait::For(PROBE_WAIT), &mut events)?;
        let goes_on = events
            .iter()
            .any(|event| matches!(event, Event::Ready { ready, ended: false, .. } if ready.readable()));
        if goes_on {
            self.remove(probe.as_fd(), NOBODY)?;
            self.wait(Wait::No, &mut events)?;
        }
        Ok(goes_on)
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: polls and cancels point to no memory, receives name a registered buffer ring, and sends point
        // into a chunk that `Transfers` keeps until their completion. All of it outlives the ring (`drop`).
        if unsafe { self.ring.submission().push(entry) }.is_err() {
            // Room in the completion queue first: an overflown one may keep the kernel from taking more.
            self.reap();
            self.enter(Wait::No)?;
            // SAFETY: as above.
            unsafe { self.ring.submission().push(entry) }
                .map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
        }
        Ok(())
    }

    /// Ends a poll or receive. Not by POLL_REMOVE: while an event of the poll is under way that is refused
    /// (EALREADY) and the poll stays, and with it the socket. A cancel marks such a poll too.
    fn cancel(&mut self, user_data: u64) -> io::Result<()> {
        let quiet = if self.skip_success { squeue::Flags::SKIP_SUCCESS } else { squeue::Flags::empty() };
        self.push(&opcode::AsyncCancel::new(user_data).build().user_data(NOBODY).flags(quiet))
    }

    fn watch(&mut self, fd: RawFd, key: u64) -> io::Result<()> {
        let events = u32::from(WATCHED.cast_unsigned());
        self.push(&opcode::PollAdd::new(Fd(fd), events).multi(true).build().user_data(key))
    }

    /// Submits and waits.
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.transfers.lend();
        let queued = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        self.stats.submissions += 1;
        self.stats.operations += u64::from(queued);
        let result = self.entrance.enter(queued, wait);
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // Time passed, a signal came, or the kernel wants completions fetched first: all seen by the caller.
            Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    fn reap(&mut self) {
        for entry in self.ring.completion() {
            match Kind::of(entry.user_data()) {
                Kind::Poll => self.early.push(poll_event(&entry)),
                Kind::Receive(key) => self.transfers.received(key, &entry, &mut self.early),
                Kind::Send(id) => self.early.extend(self.transfers.sent(id, entry.result())),
            }
        }
    }

    /// Whether a call into the kernel can bring anything without sleeping.
    fn has_work(&mut self) -> bool {
        let queue = self.ring.submission();
        !self.tells_pending || !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }
}

fn poll_event(entry: &cqueue::Entry) -> Event {
    let (ready, may_go_on) = match entry.result() {
        result if result >= 0 => (Ready::from_poll(result.cast_unsigned()), true),
        // Short of memory, or ended by the kernel: watch again.
        result if [-libc::ENOMEM, -libc::EAGAIN, -libc::ECANCELED].contains(&result) => (Ready::NONE, true),
        // Asking again would fail again.
        _ => (Ready::ERROR, false),
    };
    let ended = may_go_on && !cqueue::more(entry.flags());
    Event::Ready { key: entry.user_data(), ready, ended }
}

impl Readiness for Ring {
    fn engine(&self) -> Engine {
        Engine::Uring
    }

    fn add(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.watch(fd.as_raw_fd(), key)
    }

    fn renew(&mut self, fd: RawFd, key: u64) -> io::Result<()> {
        self.watch(fd, key)
    }

    fn remove(&mut self, _fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.cancel(key)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.submit_transfers()
    }

    fn receive(&mut self, fd: RawFd, key: u64) -> io::Result<bool> {
        self.start_receive(fd, key)
    }

    fn stop_receiving(&mut self, key: u64) -> io::Result<()> {
        self.cancel(Kind::Receive(key).user_data())
    }

    fn send(&mut self, fd: BorrowedFd<'_>, key: u64, chunk: Chunk) -> io::Result<()> {
        self.queue_send(fd, key, chunk)
    }

    fn trim(&mut self) {
        self.transfers.trim(&self.ring.submitter());
    }

    fn wait(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if self.ring.submission().cq_overflow() {
            self.stats.overflows += 1;
        }
        let fetched = !self.early.is_empty() || !self.ring.completion().is_empty();
        let wait = if fetched { Wait::No } else { wait };
        if wait != Wait::No || self.has_work() {
            self.enter(wait)?;
        }
        self.reap();
        // In this order, so that an event's own buffer is not copied when the other is empty.
        if events.is_empty() {
            std::mem::swap(events, &mut self.early);
        } else {
            events.append(&mut self.early);
        }
        Ok(())
    }

    fn stats(&self) -> EngineStats {
        EngineStats { receive_bytes: self.transfers.bytes(), ..self.stats }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("stats", &self.stats).finish_non_exhaustive()
    }
}
