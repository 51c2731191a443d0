//! Bounds of a run, each with its reason.

use std::time::Duration;

/// Bytes a guest may write. A program that writes without end would fill this machine's memory or disk; at
/// the limit the run fails.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Lines of the console kept for the text of an error: a kernel's panic with its call trace.
pub(crate) const TAIL_LINES_MAX: usize = 60;

/// How long qemu may take to end after the guest was switched off.
pub(crate) const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(20);
