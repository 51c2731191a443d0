//! Every bound of the event loop, with its reason and what happens at the limit.

/// Tasks polled in one turn before I/O is looked at again.
///
/// At the limit the remaining tasks wait for the next turn, which does not sleep. Large enough to pay for one
/// kernel entry, small enough that a message waits well under a millisecond behind other connections.
pub const TASK_POLLS_PER_TURN_MAX: usize = 256;

/// Connections one listener hands out before other tasks get their turn.
///
/// At the limit `accept` yields once; the connections stay in the kernel's queue meanwhile.
pub const ACCEPTS_PER_BURST_MAX: u32 = 64;

/// Submission queue entries of the ring. When they are used up within a turn the queue is submitted early.
pub const SUBMISSION_ENTRIES: u32 = 256;

/// Completion queue entries of the ring. When more arrive within a turn, the kernel keeps the rest and the
/// next turn fetches them (Linux 5.5, `IORING_FEAT_NODROP`); nothing is lost.
pub const COMPLETION_ENTRIES: u32 = 4096;

const _: () = assert!(SUBMISSION_ENTRIES < COMPLETION_ENTRIES);

/// Events fetched by one `epoll_wait`. More stay in the kernel for the next turn.
pub const EPOLL_EVENTS_PER_TURN_MAX: usize = 1024;

/// Slots in one chunk of a slab. A chunk is allocated when the others are full and freed when it is empty.
pub const SLAB_CHUNK_SLOTS: usize = 256;

const _: () = assert!(SLAB_CHUNK_SLOTS < u16::MAX as usize);

/// Executors (worker threads) alive at the same time in the process: their number has 12 bits in a waker.
/// At the limit `Reactor::new` fails.
pub const EXECUTORS_MAX: u32 = 1 << 12;

/// Tasks of one executor: their index has 24 bits in a waker. At the limit `Reactor::spawn` panics; the
/// descriptor limit of the process is far below.
pub const TASKS_MAX: u32 = 1 << 24;

/// Wakes from other threads that wait for the executor. At the limit they are replaced by one wake of every
/// task: a needless poll is harmless, a lost wake is not.
pub const REMOTE_WAKES_MAX: usize = 4096;

/// Timers looked at to find the exact next expiry in a coarse bucket. In a longer list the bucket's start is
/// used, which wakes the thread early, never late.
pub const EXPIRY_SCAN_MAX: usize = 16;

/// Bytes asked for a splice pipe. The kernel may grant less (`/proc/sys/fs/pipe-user-pages-soft`).
pub const PIPE_BYTES: usize = 256 * 1024;

/// Rooms for futures that a thread keeps: some thousand bytes each. When more are under way at once the rest is
/// allocated and freed.
pub const ROOMS_KEPT_MAX: usize = 64;

/// Length of the timer wheel's tick in milliseconds. A timer fires at most this much late by rounding.
pub const TICK_MS: u64 = 1;

/// Size of a buffer the kernel receives into by itself: a small message with its frame header. A longer one
/// comes in several pieces; a direction of long messages is better read with one large buffer.
pub const BUFFER_BYTES: u32 = 2048;

/// Such buffers of one worker: 8 MiB of address space, of which only those in use at the same time are
/// touched. When all are in use the kernel ends the receive, and the source is watched and read as before.
pub const BUFFERS: u16 = 4096;

/// Buffers lent to the kernel at a time, at first. Twice as many after each time it found none.
pub const BUFFERS_LENT_MIN: u16 = 64;

const _: () = assert!(BUFFERS.is_power_of_two() && BUFFERS_LENT_MIN < BUFFERS);

/// Sources of one worker the kernel receives for by itself. Each costs 1.2 KiB of kernel memory more than
/// one that is watched. At the limit `Reactor::receive` refuses and the source stays watched.
pub const RECEIVING_MAX: usize = 8192;
