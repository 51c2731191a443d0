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
mod sid_tag;
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
    #[expect(dead_code, reason = "a tunnel needs a part of it")]
    pub(crate) mod transport;
    #[expect(dead_code, reason = "nothing drains or reloads here")]
    pub(crate) mod tunnel;
}

/// The paths by which these refer to each other.
use daemon::{config, hot_buffer, limits, load, pipes, stream, transport, tunnel};

/// The one part of TLS that a tunnel knows.
#[path = "../../../proxy/src/tls"]
mod tls {
    #[expect(dead_code, unused_imports, reason = "no session is begun here")]
    mod session;
    pub(crate) use self::session::{KernelSession, KernelSessionState, Offered, Session};
}

/// What a connection of the daemon counts towards; here nothing is bounded.
mod admission {
    use std::net::IpAddr;

    use crate::snapshot::ListenerId;
    use crate::worker::Worker;

    #[derive(Debug)]
    pub(crate) struct Entered;

    impl Entered {
        pub(crate) fn of(&self) -> (Option<ListenerId>, Option<IpAddr>) {
            (None, None)
        }
    }

    pub(crate) fn enter_again(_: &Worker, _: Option<ListenerId>, _: Option<IpAddr>) -> Option<Box<Entered>> {
        None
    }
}

/// What is to be logged of a tunnel; here nothing is.
mod access_log {
    use std::convert::Infallible;
    use std::net::IpAddr;

    use crate::metrics::label::{Direction, TunnelEnd};
    use crate::worker::Worker;

    #[derive(Debug)]
    pub(crate) struct AccessLog(Infallible);

    impl AccessLog {
        pub(crate) fn begin_connection(
            &self,
            _: &Worker,
            _: IpAddr,
            _: Option<(&str, &str)>,
        ) -> Option<Box<TunnelRecord>> {
            match self.0 {}
        }

        pub(crate) fn tunnel(&self, _: &Worker, _: &TunnelRecord, _: TunnelEnd) {
            match self.0 {}
        }
    }

    #[derive(Debug)]
    pub(crate) struct TunnelRecord(Infallible);

    impl TunnelRecord {
        pub(crate) fn add(&mut self, _: Direction, _: u64) {
            match self.0 {}
        }
    }
}

/// What is to be exported of a tunnel; here nothing is.
mod traces {
    use std::convert::Infallible;

    use crate::metrics::label::TunnelEnd;
    use crate::worker::Worker;

    #[derive(Debug)]
    pub(crate) struct Traces(Infallible);

    impl Traces {
        pub(crate) fn tunnel(&self, _: &Worker, _: &TunnelSpan, _: TunnelEnd) {
            match self.0 {}
        }
    }

    #[derive(Debug)]
    pub(crate) struct TunnelSpan;
}

/// The number of a listener, of which there is none here.
mod snapshot {
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ListenerId;
}

/// What a tunnel says of itself to another process; none moves here.
#[path = "../../../proxy/src/handover"]
mod handover {
    #[expect(dead_code, reason = "no process takes over from this one")]
    mod wire;
    pub(crate) use self::wire::{EndState, TunnelState};
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
pub const TARGETS: [Target; 12] = [
    Target { name: "request_head", run: request_head::run },
    Target { name: "response_head", run: response_head::run },
    Target { name: "body", run: body::run },
    Target { name: "handshake", run: handshake::run },
    Target { name: "sid_query", run: sid_query::run },
    Target { name: "sid_tag", run: sid_tag::run },
    Target { name: "proxy_header", run: proxy_header::run },
    Target { name: "client_hello", run: client_hello::run },
    Target { name: "tunnel_life", run: tunnel_life::run },
    Target { name: "config_file", run: config_file::run },
    Target { name: "differential_request", run: differential_request::run },
    Target { name: "differential_response", run: differential_response::run },
];
