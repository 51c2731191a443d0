//! What the daemon counts, and how a scrape gets to see it.
//!
//! Each worker counts in its own [`WorkerCounters`]; a scrape sums them up on the housekeeping
//! thread. No worker ever waits for a scrape or writes memory that another one writes.

mod backend;
pub(crate) mod cell;
mod classify;
mod histogram;
pub(crate) mod label;
pub(crate) mod names;
mod page;
mod process;

use std::sync::Arc;

use self::cell::{Cell, Counter, Gauge, PerLabel, See};
use self::histogram::{Histogram, Lives, Turns, Waits};
use self::label::{
    AccessLine, AnswerStatus, Check, Connect, Detected, Direction, DirectoryFailure, Downgraded, DrainedBy,
    EngineInUse, EngineIo, Evidence, Handover, Limit, Listing, Look, Lookup, MemoryKind, Method, Question,
    Queued, RefusedConnection, Reload, SessionDrainedBy, SessionEnd, SidTag, StatusClass, TlsFailure,
    TlsRecords, TlsVersion, TraceSpan, Transport, TunnelEnd, TunnelKind, UnknownSid, Upgrade, Written,
};

pub(crate) use self::backend::{BackendCounters, BackendCounts};
pub(crate) use self::page::{CONTENT_TYPE, Page};

/// Defines the struct and shows every field of it to a scrape, so that none can be forgotten.
macro_rules! counters {
    ($(#[$struct_doc:meta])* $name:ident { $( $(#[$doc:meta])* $field:ident: $cell:ty => $metric:ident, )+ }) => {
        $(#[$struct_doc])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct $name { $( $(#[$doc])* pub(crate) $field: $cell, )+ }

        impl $name {
            /// The names of the fields.
            #[cfg(test)]
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn show(&self, see: &mut See<'_>) {
                $( self.$field.show(&names::$metric, see); )+
            }
        }
    };
}

counters! {
    /// What one worker has counted. Only that worker writes it.
    ///
    /// Aligned to two cache lines: processors fetch lines in pairs, and the next worker's
    /// counters must not be in the pair.
    WorkerCounters {
    /// Connections accepted.
    connections_accepted: Counter => CONNECTIONS_ACCEPTED,
    /// Connections open now, tunnels included.
    connections_active: Gauge => CONNECTIONS_ACTIVE,
    /// Connections closed before they were served.
    connections_refused: PerLabel<RefusedConnection> => CONNECTIONS_REFUSED,
    /// Connections whose first bytes were looked at, by what they began.
    connections_detected: PerLabel<Detected> => CONNECTIONS_DETECTED,
    /// What was beyond a bound per listener, client or route.
    limited: PerLabel<Limit> => LIMITED,
    /// What the table of clients had no room for.
    clients_unseen: Counter => CLIENTS_UNSEEN,
    /// Sessions of clients that were established.
    tls_handshakes: PerLabel<TlsVersion> => TLS_HANDSHAKES,
    /// How long they took.
    tls_handshake_durations: Histogram<Waits> => TLS_HANDSHAKE_DURATION,
    /// The part of them that resumed an earlier one.
    tls_resumptions: Counter => TLS_RESUMPTIONS,
    /// Handshakes of clients that failed.
    tls_failures: PerLabel<TlsFailure> => TLS_FAILURES,
    /// Tunnels of TLS clients that began.
    tls_tunnels: PerLabel<TlsRecords> => TLS_TUNNELS,
    /// Sessions of clients and backends that live in this process, as of the worker's last look.
    tls_sessions: Gauge => TLS_SESSIONS,
    /// Requests whose head was read in full.
    requests: PerLabel<Method> => REQUESTS,
    /// Requests that are served now.
    requests_active: Gauge => REQUESTS_ACTIVE,
    /// How long requests took that are no polls and became no tunnels.
    request_durations: Histogram<Waits> => REQUEST_DURATION,
    /// How long polls of Engine.IO sessions took, which their servers hold.
    poll_durations: Histogram<Waits> => POLL_DURATION,
    /// Response heads sent to clients, own answers included.
    responses: PerLabel<StatusClass> => RESPONSES,
    /// Own answers; count them in `responses` too.
    answers: PerLabel<AnswerStatus> => ANSWERS,
    /// Requests to upgrade, when it is known what became of them.
    upgrades: PerLabel<Upgrade> => UPGRADES,
    /// What hops around the proxy broke.
    downgrades: PerLabel<Downgraded> => DOWNGRADES,
    /// Polling sessions that a drain has ended.
    sessions_drained: PerLabel<SessionDrainedBy> => SESSIONS_DRAINED,
    /// Tunnels open now.
    tunnels_active: Gauge => TUNNELS_ACTIVE,
    /// The part of them that is silent, as of the worker's last look.
    tunnels_idle: Gauge => TUNNELS_IDLE,
    /// Tunnels opened.
    tunnels: Counter => TUNNELS,
    /// Tunnels opened, by what they carry.
    tunnels_by_kind: PerLabel<TunnelKind> => TUNNELS_BY_KIND,
    /// Tunnels that ended.
    tunnels_closed: PerLabel<TunnelEnd> => TUNNELS_CLOSED,
    /// Tunnels that a drain has ended.
    tunnels_drained: PerLabel<DrainedBy> => TUNNELS_DRAINED,
    /// How long tunnels lived that have ended here.
    tunnel_durations: Histogram<Lives> => TUNNEL_DURATION,
    /// Bytes carried through tunnels, counted when they were sent on.
    tunnel_bytes: PerLabel<Direction> => TUNNEL_BYTES,
    /// The part of them that was spliced.
    tunnel_spliced_bytes: PerLabel<Direction> => TUNNEL_SPLICED_BYTES,
    /// Directions for which the kernel receives by itself now.
    tunnel_chats_active: Gauge => TUNNEL_CHATS_ACTIVE,
    /// Directions for which it began to.
    tunnel_chats: Counter => TUNNEL_CHATS,
    /// Bytes of bodies that were spliced.
    body_spliced_bytes: Counter => BODY_SPLICED_BYTES,
    /// Engine.IO handshakes whose sid was learned.
    sessions: PerLabel<EngineIo> => SESSIONS,
    /// Engine.IO sessions, by the transport that began them or that they changed to.
    transports: PerLabel<Transport> => TRANSPORTS,
    /// How long it took to open them.
    handshake_durations: Histogram<Waits> => HANDSHAKE_DURATION,
    /// Engine.IO sessions that poll no more, by the cause.
    session_ends: PerLabel<SessionEnd> => SESSION_ENDS,
    /// How long those lived that have ended like that.
    session_durations: Histogram<Lives> => SESSION_DURATION,
    /// Choices of a backend.
    affinity_decisions: PerLabel<Evidence> => AFFINITY_DECISIONS,
    /// Requests with an unknown sid.
    sids_unknown: PerLabel<UnknownSid> => SIDS_UNKNOWN,
    /// Those whose backends were to be asked.
    lookups: PerLabel<Lookup> => LOOKUPS,
    /// Those that were looked up in the shared directory.
    directory_lookups: PerLabel<Listing> => DIRECTORY_LOOKUPS,
    /// What was to be written there.
    directory_writes: PerLabel<Written> => DIRECTORY_WRITES,
    /// Tags of sids.
    sid_tags: PerLabel<SidTag> => SID_TAGS,
    /// Questions to backends.
    questions: PerLabel<Question> => QUESTIONS,
    /// Entries of the sid table; one worker may add what another takes away.
    sid_table_entries: Gauge => SID_TABLE_ENTRIES,
    /// Sids not stored because the table was full.
    sid_table_full: Counter => SID_TABLE_FULL,
    /// Requests that had to wait for a connection to their backend.
    queued: PerLabel<Queued> => QUEUED,
    /// Requests that wait now.
    queue_waiting: Gauge => QUEUE_WAITING,
    /// How long they waited.
    queue_durations: Histogram<Waits> => QUEUE_DURATION,
    /// Backends that became suspect because requests to them failed.
    backends_suspected: Counter => BACKENDS_SUSPECTED,
    /// Attempts to connect to a backend.
    upstream_connects: PerLabel<Connect> => UPSTREAM_CONNECTS,
    /// How long connecting took where it succeeded.
    upstream_connect_durations: Histogram<Waits> => UPSTREAM_CONNECT_DURATION,
    /// Requests sent over a pooled connection.
    upstream_reuses: Counter => UPSTREAM_REUSES,
    /// Bytes this worker holds, as of its last look; negative where it frees what others allocate.
    memory: Gauge => MEMORY,
    /// What memory is for, as of that look.
    memory_by_kind: PerLabel<MemoryKind> => MEMORY_BY_KIND,
    /// As of the worker's last look.
    allocations: Gauge => ALLOCATIONS,
    /// Lines of the access log, by whether its writer got them.
    access_lines: PerLabel<AccessLine> => ACCESS_LINES,
    /// Spans, by whether the exporter got them.
    trace_spans: PerLabel<TraceSpan> => TRACE_SPANS,
    /// Pipes of this worker, as of its last look.
    pipes: Gauge => PIPES,
    /// What the event loop has done, as of its last look: its turns and how long they took, events, system calls of
    /// the ring and operations that went with them, and turns that found its completion queue overflown.
    turns: Counter => TURNS,
    turn_durations: Histogram<Turns> => TURN_DURATION,
    events: Counter => EVENTS,
    ring_enters: Counter => RING_ENTERS,
    ring_operations: Counter => RING_OPERATIONS,
    ring_overflows: Counter => RING_OVERFLOWS,
    /// 1 for the engine this worker runs on; added once, at its start.
    engine_info: PerLabel<EngineInUse> => ENGINE_INFO,
    /// 1 if this worker wanted a ring and got epoll; added once, at its start.
    ring_fallbacks: Counter => RING_FALLBACKS,
    }
}

counters! {
    /// What the housekeeping thread has counted, which alone writes it.
    HousekeepingCounters {
    /// Reloads, by what became of them.
    config_reloads: PerLabel<Reload> => CONFIG_RELOADS,
    /// 1 if the file was served as it was last read.
    config_current: Gauge => CONFIG_CURRENT,
    /// When the configuration that is served was read.
    config_loaded_seconds: Gauge => CONFIG_LOADED,
    /// 1 while the process drains.
    draining: Gauge => DRAINING,
    /// Connections at the beginning of that.
    drain_connections: Gauge => DRAIN_CONNECTIONS,
    /// When it ends.
    drain_deadline_seconds: Gauge => DRAIN_DEADLINE,
    /// Upgrades of the binary, by what became of them.
    handovers: PerLabel<Handover> => HANDOVERS,
    /// Tunnels taken over.
    handover_tunnels: Counter => HANDOVER_TUNNELS,
    /// Sessions taken over.
    handover_sids: Counter => HANDOVER_SIDS,
    /// Tunnels that the process before this one went on to serve.
    handover_tunnels_staying: Gauge => HANDOVER_TUNNELS_STAYING,
    /// How long that took: from the first to the last.
    handover_durations: Histogram<Waits> => HANDOVER_DURATION,
    /// What went wrong with the shared directory.
    directory_failures: PerLabel<DirectoryFailure> => DIRECTORY_FAILURES,
    /// Health checks.
    checks: PerLabel<Check> => CHECKS,
    /// Spans that the exporter got and the collector did not take.
    trace_spans_lost: Counter => TRACE_SPANS_LOST,
    /// Looks for backends.
    looks: PerLabel<Look> => DISCOVERY_LOOKS,
    /// Sources of backends whose last look found nothing.
    sources_failing: Gauge => SOURCES_FAILING,
    }
}

counters! {
    /// What the access log's writer has counted, which alone writes it.
    WriterCounters {
    /// Lines that it got and could not write.
    access_lines_lost: Counter => ACCESS_LINES_LOST,
    }
}

/// Metrics with the value of their label, if they have one, and the number.
pub(crate) type Totals = Vec<(&'static names::Metric, Option<&'static str>, u64)>;

/// The counters of all threads.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    workers: Arc<[WorkerCounters]>,
    housekeeping: Arc<HousekeepingCounters>,
    writer: Arc<WriterCounters>,
}

impl Counters {
    /// Counters for this many workers, all 0.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerCounters::default()).collect(),
            housekeeping: Arc::default(),
            writer: Arc::default(),
        }
    }

    /// How many workers they are for.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Bytes that all workers hold, as each last said.
    pub(crate) fn memory_bytes(&self) -> i64 {
        self.workers.iter().map(|worker| worker.memory.get().cast_signed()).sum()
    }

    /// The counters of one worker, numbered from 0.
    ///
    /// # Panics
    ///
    /// There are not that many workers: a mistake of ours at the start of the process.
    pub(crate) fn worker(&self, index: usize) -> &WorkerCounters {
        &self.workers[index]
    }

    /// A gauge of all workers.
    pub(crate) fn sum(&self, gauge: impl Fn(&WorkerCounters) -> &Gauge) -> u64 {
        self.workers.iter().fold(0, |sum: u64, worker| sum.wrapping_add(gauge(worker).get()))
    }

    /// Every number, added up over workers.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = page::sums(&self.workers);
        let mut push = |metric, label, value| totals.push((metric, label, value));
        self.housekeeping.show(&mut push);
        self.writer.show(&mut push);
        totals
    }

    /// The counters of the housekeeping thread.
    pub(crate) fn housekeeping(&self) -> &Arc<HousekeepingCounters> {
        &self.housekeeping
    }

    /// The counters of the access log's writer.
    pub(crate) fn writer(&self) -> &Arc<WriterCounters> {
        &self.writer
    }
}

#[cfg(test)]
mod tests;
