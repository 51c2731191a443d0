//! What must hold for every input, whoever sent it: one function per parser that reads foreign bytes.
//!
//! A target is a plain `fn(&[u8])` that panics when a promise is broken. `tests/replay.rs` runs each over
//! its corpus on every `cargo test`; `cargo xtask fuzz-smoke` searches for new inputs. To add a target,
//! write its file, name it in [`TARGETS`] and put a few meaningful inputs into `corpus/NAME`.
#![forbid(unsafe_code)]
// There are no unit tests here, and those of the configuration module run in its own crate.
#![cfg(not(test))]

mod body;
mod client_hello;
mod config_file;
mod differential_request;
mod differential_response;
mod field_lines;
mod handshake;
mod hyper_reader;
#[expect(dead_code, reason = "a tunnel counts a part of it")]
mod metrics;
mod proxy_header;
mod request_head;
mod response_head;
mod sid_query;
mod splits;
mod tunnel_life;
mod worker;

/// What we make of a connection's bytes, for tests that compare it with other parsers.
pub mod forwarding {
    pub use crate::differential_request::{Forwarded, forward};
    pub use crate::differential_response::pass_on;
    pub use crate::hyper_reader::{Message, Reply};
}

/// The daemon's own modules, compiled in here: nothing has to be public for it to be fuzzed.
#[path = "../../../proxy/src"]
mod daemon {
    #[expect(dead_code, unused_imports, reason = "a fuzz target reads files and starts no daemon")]
    pub(crate) mod config;
    pub(crate) mod hot_buffer;
    #[expect(dead_code, reason = "a tunnel has few of them")]
    pub(crate) mod limits;
    #[expect(dead_code, reason = "a tunnel is counted, and no more")]
    pub(crate) mod load;
    #[expect(dead_code, reason = "bodies borrow pipes in another way")]
    pub(crate) mod pipes;
    #[expect(dead_code, reason = "a tunnel reads by itself")]
    pub(crate) mod stream;
    #[expect(dead_code, reason = "a tunnel reads and writes by itself")]
    pub(crate) mod transport;
    #[expect(dead_code, reason = "nothing drains or reloads here")]
    pub(crate) mod tunnel;
}

/// The paths by which these refer to each other.
use daemon::{config, hot_buffer, limits, load, pipes, stream, transport, tunnel};

/// TLS of a connection; here none has any.
mod tls {
    use std::io::Result;

    #[derive(Debug)]
    pub(crate) enum Session {}

    impl Session {
        pub(crate) fn is_over(&self) -> bool {
            match *self {}
        }

        pub(crate) fn has_emptied(&self) -> bool {
            match *self {}
        }

        pub(crate) fn has_unsent(&self) -> bool {
            match *self {}
        }

        pub(crate) fn abandon(&mut self) {
            match *self {}
        }

        pub(crate) fn receive(
            &mut self,
            _into: &mut [u8],
            _recv: impl FnMut(&mut [u8]) -> Result<usize>,
        ) -> Result<usize> {
            match *self {}
        }

        pub(crate) fn send<'p>(
            &mut self,
            _parts: impl IntoIterator<Item = &'p [u8]>,
            _send: impl FnMut(&[u8]) -> Result<usize>,
        ) -> Result<usize> {
            match *self {}
        }

        pub(crate) fn flush(&mut self, _send: &mut impl FnMut(&[u8]) -> Result<usize>) -> Result<bool> {
            match *self {}
        }

        pub(crate) fn say_goodbye(&mut self, _send: impl FnMut(&[u8]) -> Result<usize>) -> Result<bool> {
            match *self {}
        }
    }
}

/// What a connection of the daemon counts towards; here nothing is bounded.
mod admission {
    #[derive(Debug)]
    pub(crate) struct Entered;
}

/// Leave to connect to a backend; here none is bounded.
mod queue {
    #[derive(Debug)]
    pub(crate) struct Pass;
}

/// A parser and what it promises.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and that of its corpus.
    pub name: &'static str,
    /// Panics if an input breaks a promise.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 11] = [
    Target { name: "request_head", run: request_head::run },
    Target { name: "response_head", run: response_head::run },
    Target { name: "body", run: body::run },
    Target { name: "handshake", run: handshake::run },
    Target { name: "sid_query", run: sid_query::run },
    Target { name: "proxy_header", run: proxy_header::run },
    Target { name: "client_hello", run: client_hello::run },
    Target { name: "tunnel_life", run: tunnel_life::run },
    Target { name: "config_file", run: config_file::run },
    Target { name: "differential_request", run: differential_request::run },
    Target { name: "differential_response", run: differential_response::run },
];
