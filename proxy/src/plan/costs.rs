//! What one thing costs, each with the measurement it comes from.
//!
//! `cargo xtask bench scale` measures them again; its results stand in `bench/results/scale.md`.

use ringbolt_reactor::limits;

/// Own memory of an idle tunnel.
pub(super) const TUNNEL_BYTES: u64 = 203;

/// Own memory of the process, and of each worker, before the first connection: stacks, ring, hot buffer.
pub(super) const WORKER_BYTES: u64 = 4 * 1024 * 1024;

/// Kernel memory of an idle TCP socket in the process.
pub(super) const SOCKET_BYTES: u64 = 4096;

/// Kernel memory of a multishot poll.
pub(super) const RING_POLL_BYTES: u64 = 256;

/// Kernel memory of a descriptor in an epoll set.
pub(super) const EPOLL_ENTRY_BYTES: u64 = 144;

/// Of the table of descriptors, which the kernel doubles when it is full: a pointer (`struct fdtable`).
pub(super) const DESCRIPTOR_BYTES: u64 = 8;

/// Tunnels with a message under way at the same moment, in percent. An assumption, not a measurement.
pub(super) const TALKING_PERCENT: u64 = 1;

/// Pages of socket buffers while a message is under way.
pub(super) const MESSAGE_PAGES: u64 = 4;

/// Kernel memory of a pipe that is full.
pub(super) const PIPE_BYTES: u64 = limits::PIPE_BYTES as u64;
