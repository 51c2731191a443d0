//! What one thing costs, each with the measurement it comes from.
//!
//! `cargo xtask bench scale` measures them again; its results stand in `bench/results/scale.md`.

use ringbolt_reactor::limits;

/// Own memory (PSS) of an idle tunnel: 192 of 20,000, 203 of 9,000.
pub(super) const TUNNEL_BYTES: u64 = 203;

/// Own memory (PSS) of the process with one worker before the first connection is 9.7 MB, and each further worker
/// adds 1.8 MB: stacks, the ring's queues, the hot buffer, the allocator's pages.
pub(super) const PROCESS_BYTES: u64 = 8 * 1024 * 1024;
pub(super) const WORKER_BYTES: u64 = 2 * 1024 * 1024;

/// Kernel memory of an idle TCP socket with its descriptor, on Linux 6.12 with AppArmor loaded: slabs of TCP 2,520
/// bytes, of the inode 862, of file and entry 195 each, and of the security module about 140.
pub(super) const SOCKET_BYTES: u64 = 3_960;

/// Kernel memory of a multishot poll: one request of the ring (slab `io_kiocb`, 256 bytes).
pub(super) const RING_POLL_BYTES: u64 = 256;

/// Kernel memory of a descriptor in an epoll set: `eventpoll_epi` and its entry in the socket's queue.
pub(super) const EPOLL_ENTRY_BYTES: u64 = 144;

/// Of the table of descriptors, which the kernel doubles when it is full: a pointer (`struct fdtable`).
pub(super) const DESCRIPTOR_BYTES: u64 = 8;

/// Part of the local ports that connections to one address find quickly. The kernel tries ports of one parity first, all
/// of them, before it tries the others (`__inet_hash_connect`): on Linux 6.18 with 28,232 ports, connecting takes 23 µs of
/// processor time until 14,116 are used, and 690 µs afterwards.
pub(super) const PORTS_QUICK_PERCENT: u64 = 50;

/// Tunnels with a message under way at the same moment, in percent. An assumption, not a measurement.
pub(super) const TALKING_PERCENT: u64 = 1;

/// Pages of socket buffers while a message is under way: one for each direction of each of the two sockets.
pub(super) const MESSAGE_PAGES: u64 = 4;

/// Kernel memory of a pipe that is full.
pub(super) const PIPE_BYTES: u64 = limits::PIPE_BYTES as u64;
