//! What a tunnel sees of its worker: the daemon's own tunnels are compiled in, around this instead of the whole
//! daemon.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use ringbolt_reactor::{Chunk, EngineChoice, Reactor, Ready, Received, Sink, SinkToken};

use crate::access_log::AccessLog;
use crate::config::Timeouts;
use crate::hot_buffer::HotBuffer;
use crate::load::Loads;
use crate::metrics::TunnelCounters;
use crate::pipes::Pipes;
use crate::traces::Traces;
use crate::tunnel::{self, TunnelTable};

/// What tunnels share with other workers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) loads: Loads,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) reactor: Reactor,
    pub(crate) shared: Shared,
    pub(crate) hot: HotBuffer,
    pub(crate) tunnels: TunnelTable,
    pub(crate) pipes: Pipes,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) traces: Option<Traces>,
    counters: TunnelCounters,
    connections: Cell<usize>,
    started: Instant,
}

impl Worker {
    pub(crate) fn new(engine: EngineChoice) -> Self {
        let (reactor, _) = Reactor::new(engine).expect("an event loop");
        Self {
            started: reactor.now(),
            reactor,
            shared: Shared { loads: Loads::new() },
            hot: HotBuffer::new(),
            tunnels: TunnelTable::new(&Timeouts::default()),
            pipes: Pipes::default(),
            access_log: None,
            traces: None,
            counters: TunnelCounters::default(),
            connections: Cell::new(0),
        }
    }

    pub(crate) fn counters(&self) -> &TunnelCounters {
        &self.counters
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    pub(crate) fn connection_began(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(crate) fn connection_ended(&self) {
        self.connections.set(self.connections.get() - 1);
    }

    pub(crate) fn uptime_seconds(&self) -> u32 {
        let seconds = self.reactor.now().saturating_duration_since(self.started).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    #[expect(clippy::cast_possible_truncation, reason = "it wraps around")]
    pub(crate) fn uptime_seconds_wrapping(&self) -> u16 {
        self.uptime_seconds() as u16
    }

    pub(crate) fn uptime_ms(&self) -> u32 {
        let elapsed = self.reactor.now().saturating_duration_since(self.started);
        u32::try_from(elapsed.as_millis() & u128::from(u32::MAX)).unwrap_or(0)
    }

    /// One turn of the event loop, without sleeping.
    pub(crate) fn turn(&self) {
        self.reactor.run(async {}, self).expect("the kernel waits for events");
    }
}

impl Sink for Worker {
    fn ready(&self, token: SinkToken, ready: Ready) {
        tunnel::ready(self, token, ready);
    }

    fn expired(&self, token: SinkToken) {
        tunnel::expired(self, token);
    }

    fn received(&self, token: SinkToken, received: Received) {
        tunnel::received(self, token, received);
    }

    fn sent(&self, token: SinkToken, chunk: Chunk, result: io::Result<usize>) {
        tunnel::sent(self, token, &chunk, result);
    }
}
