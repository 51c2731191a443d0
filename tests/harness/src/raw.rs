//! Both ends of a proxied connection as raw bytes: a client, a scripted backend, and nothing between
//! them and the socket that could repair, reorder or hide a byte.
//!
//! No HTTP library is used, because what such a library would never send is what most tests are about.
//! Messages are decoded only for the convenience of the reader; the bytes are kept beside. Every wait
//! ends after [`WAIT`] with a message that says what was waited for and what had come. Knows nothing of
//! the proxy.

mod backend;
mod dead;
mod gate;
mod message;
mod passage;
mod relay;
mod stream;
mod tcp_backend;
#[cfg(test)]
mod tests;
mod tunnel;
mod wire;

use std::time::Duration;

pub use backend::{Backend, Request};
pub use dead::Dead;
pub use gate::Gate;
pub use message::{Ending, Head, Message};
pub use passage::Passage;
pub use relay::Relay;
pub use stream::Pattern;
pub use tcp_backend::TcpBackend;
pub use tunnel::{ACCEPTED, Tunnel, UPGRADE};
pub use wire::{End, Wire};

/// Longest wait for anything: far above what a loaded machine needs, short enough for a test run.
pub const WAIT: Duration = Duration::from_secs(5);

/// What `bytes` look like in a message: printable, and short.
fn shown(bytes: &[u8]) -> String {
    let (first, rest) = bytes.split_at(bytes.len().min(600));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} bytes more", rest.len()) };
    format!("\"{}\"{more}", first.escape_ascii())
}
