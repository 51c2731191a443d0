//! The same byte relay on several runtimes, to be measured side by side by `cargo xtask bench runtimes`.
//!
//! Every relay accepts, connects to the origin, moves bytes both ways until both ends have closed, and
//! passes a half-close on. One thread, no HTTP, no timeouts: what differs is the runtime. Each is written
//! the way its runtime asks for, with pieces of the same size and the allocator of the daemon.
#![forbid(unsafe_code)]

mod own_reactor;
mod with_monoio;
mod with_tokio_uring;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use ringbolt_reactor::EngineChoice;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Most bytes moved at once: what the daemon's hot buffer holds.
const BUFFER_BYTES: usize = 64 * 1024;

/// Relay bytes on one runtime.
#[derive(Debug, Parser)]
#[command(name = "ringbolt-runtimes", version)]
struct Options {
    /// The runtime
    #[arg(value_enum)]
    runtime: Runtime,
    /// Where to accept connections
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where to connect each of them to
    #[arg(long, value_name = "ADDRESS")]
    origin: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Runtime {
    /// Ringbolt's reactor on io_uring
    OwnUring,
    /// Ringbolt's reactor on epoll
    OwnEpoll,
    /// monoio, a copy loop with a buffer in each direction
    MonoioCopy,
    /// monoio, readable() and one buffer for all
    MonoioReadable,
    /// tokio-uring, a copy loop with a buffer in each direction
    TokioUring,
}

impl Runtime {
    /// Relays until the process is ended.
    fn run(self, listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
        match self {
            Self::OwnUring => own_reactor::run(EngineChoice::Uring, listen, origin),
            Self::OwnEpoll => own_reactor::run(EngineChoice::Epoll, listen, origin),
            Self::MonoioCopy => with_monoio::run_copy(listen, origin),
            Self::MonoioReadable => with_monoio::run_readable(listen, origin),
            Self::TokioUring => with_tokio_uring::run(listen, origin),
        }
    }
}

fn main() -> ExitCode {
    let Options { runtime, listen, origin } = Options::parse();
    match runtime.run(listen, origin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringbolt-runtimes: {error}");
            ExitCode::FAILURE
        }
    }
}
