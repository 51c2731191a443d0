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
mod proxy_header;
mod request_head;
mod response_head;
mod sid_query;
mod splits;

/// The daemon's own module, compiled in here: nothing has to be public for it to be fuzzed.
#[path = "../../../proxy/src"]
mod daemon {
    #[expect(dead_code, unused_imports, reason = "a fuzz target reads files and starts no daemon")]
    pub(crate) mod config;
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
pub const TARGETS: [Target; 10] = [
    Target { name: "request_head", run: request_head::run },
    Target { name: "response_head", run: response_head::run },
    Target { name: "body", run: body::run },
    Target { name: "handshake", run: handshake::run },
    Target { name: "sid_query", run: sid_query::run },
    Target { name: "proxy_header", run: proxy_header::run },
    Target { name: "client_hello", run: client_hello::run },
    Target { name: "config_file", run: config_file::run },
    Target { name: "differential_request", run: differential_request::run },
    Target { name: "differential_response", run: differential_response::run },
];
