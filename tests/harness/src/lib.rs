//! Equipment of the black-box tests: the real daemon, real servers and real clients, each a process of its own.
//!
//! Knows how to start, watch, ask and end them. Knows nothing of what they should answer: that is for the tests. Every
//! wait has a limit and says what it waited for; nothing here sleeps, retries or needs a fixed port. A failed
//! wait panics, because here a panic is how a test fails.

#![forbid(unsafe_code)]

mod backends;
mod counted_tunnel;
mod descriptors;
mod dns;
mod install;
mod lanes;
mod one_port;
mod process;
pub mod raw;
mod redis;
mod ringbolt;
mod scenario;
mod syslog;
pub mod tls;

pub use backends::{Backends, Kind};
pub use descriptors::{descriptors_end, limit_descriptors};
pub use dns::{Dns, Mood};
pub use install::{browser_folder, install, python};
pub use lanes::run_everywhere;
pub use process::{Grandchild, Process};
pub use redis::Redis;
pub use ringbolt::{Engine, Metrics, Options, Ringbolt, Upgraded};
pub use scenario::{Client, Lane, Scenario};
pub use syslog::Syslog;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// How many of so many there are to be: a tenth, and at least one, on an emulated processor, which
/// `RINGBOLT_TEST_EMULATED` tells of. What a test shows does not depend on it; how long it takes does.
#[must_use]
pub fn fewer_if_emulated(count: u64) -> u64 {
    if std::env::var_os("RINGBOLT_TEST_EMULATED").is_some() { (count / 10).max(1) } else { count }
}

/// An address that nobody else has, for what takes no port 0 or is to be found at the same place after a restart.
#[must_use]
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(7000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 64 | high & 63, middle, low), NEXT.fetch_add(1, Relaxed)).into()
}

/// The folder of the programs in JavaScript and Python.
fn socketio_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../socketio")
}
