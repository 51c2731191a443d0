//! The name, type, unit, labels and meaning of every metric.
//!
//! This is the only file where a metric's name is written. `docs/metrics.md` is made from it.

use metrics::Unit;

use super::cell::Label;
use super::label;

/// How a metric's value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by bucket.
    Histogram,
}

/// A label and the values it may have; none are listed where they are not known when the program is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelKey {
    pub(crate) key: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test that writes docs/metrics.md"))]
    pub(crate) values: &'static [&'static str],
}

impl LabelKey {
    const fn of<L: Label>() -> Self {
        Self { key: L::KEY, values: L::VALUES }
    }

    /// With the names of the configuration for values.
    const fn open(key: &'static str) -> Self {
        Self { key, values: &[] }
    }
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    pub(crate) labels: &'static [LabelKey],
    pub(crate) help: &'static str,
}

/// Defines the constants and the list of all of them.
macro_rules! metrics {
    ($( $constant:ident = $kind:ident $unit:ident $name:literal [$($label:expr),*] $help:literal; )+) => {
        $(
            #[doc = $help]
            pub(crate) const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every metric, in the order of this file.
        pub(crate) const ALL: &[&Metric] = &[$(&$constant),+];
    };
}

metrics! {
    CONNECTIONS_ACCEPTED = Counter Count "ringbolt_connections_accepted_total" []
        "Client connections accepted.";
    CONNECTIONS_ACTIVE = Gauge Count "ringbolt_connections_active" []
        "Client connections open now, tunnels included.";
    CONNECTIONS_REFUSED = Counter Count "ringbolt_connections_refused_total"
        [LabelKey::of::<label::RefusedConnection>()]
        "Client connections closed before they were served.";
    CONNECTIONS_DETECTED = Counter Count "ringbolt_connections_detected_total" [LabelKey::of::<label::Detected>()]
        "Client connections by what they speak, on listeners that serve more than HTTP.";
    LIMITED = Counter Count "ringbolt_limited_total" [LabelKey::of::<label::Limit>()]
        "Connections, sessions and requests beyond a bound: refused, or with limits.dry_run only counted.";
    CLIENTS_UNSEEN = Counter Count "ringbolt_clients_unseen_total" []
        "Connections and sessions that no bound per client applied to, because limits.clients was too small.";
    TLS_HANDSHAKES = Counter Count "ringbolt_tls_handshakes_total" [LabelKey::of::<label::TlsVersion>()]
        "TLS handshakes of clients that were completed.";
    TLS_HANDSHAKE_DURATION = Histogram Seconds "ringbolt_tls_handshake_duration_seconds" []
        "From the first byte of a client's handshake to its end.";
    TLS_RESUMPTIONS = Counter Count "ringbolt_tls_resumptions_total" []
        "The part of them that resumed an earlier session.";
    TLS_FAILURES = Counter Count "ringbolt_tls_handshake_failures_total" [LabelKey::of::<label::TlsFailure>()]
        "TLS handshakes of clients that failed, by the cause.";
    TLS_TUNNELS = Counter Count "ringbolt_tls_tunnels_total" [LabelKey::of::<label::TlsRecords>()]
        "Tunnels whose client speaks TLS, by who seals and opens its records.";
    TLS_SESSIONS = Gauge Count "ringbolt_tls_sessions_active" []
        "TLS sessions with clients and backends whose keys are in the memory of this process, some kilobytes each.";
    TLS_RELOADS = Counter Count "ringbolt_tls_reloads_total" [LabelKey::of::<label::TlsReload>()]
        "Times changed certificates, keys and issuers were loaded; refused: something was wrong and stays as it was.";
    TLS_EXPIRY = Gauge Seconds "ringbolt_tls_certificate_expiry_timestamp_seconds" [LabelKey::open("certificate")]
        "When a certificate in use ends, in seconds since 1970-01-01 UTC, by its first name.";
    REQUESTS = Counter Count "ringbolt_requests_total" [LabelKey::of::<label::Method>()]
        "Requests whose head was read in full.";
    REQUESTS_ACTIVE = Gauge Count "ringbolt_requests_active" []
        "Requests that are served now, held polls included.";
    REQUEST_DURATION = Histogram Seconds "ringbolt_request_duration_seconds" []
        "From the head of a request to the last byte of its answer; without polls of Engine.IO sessions and tunnels.";
    POLL_DURATION = Histogram Seconds "ringbolt_poll_duration_seconds" []
        "The same of polls of Engine.IO sessions, which their servers hold until there is something to say.";
    RESPONSES = Counter Count "ringbolt_responses_total" [LabelKey::of::<label::StatusClass>()]
        "Response heads sent to clients, from backends and by the proxy itself.";
    ANSWERS = Counter Count "ringbolt_answers_total" [LabelKey::of::<label::AnswerStatus>()]
        "Responses the proxy gave itself, without or instead of a backend.";

    UPGRADES = Counter Count "ringbolt_upgrades_total" [LabelKey::of::<label::Upgrade>()]
        "Requests to upgrade, by what became of them.";
    DOWNGRADES = Counter Count "ringbolt_downgrades_total" [LabelKey::of::<label::Downgraded>()]
        "What hops in front of the proxy or behind it broke, by what it showed in (docs/doctor.md).";
    SESSIONS_DRAINED = Counter Count "ringbolt_polling_sessions_drained_total" [LabelKey::of::<label::SessionDrainedBy>()]
        "Polling sessions that a drain has ended, by what their clients were told.";
    TUNNELS_ACTIVE = Gauge Count "ringbolt_tunnels_active" [] "Tunnels open now.";
    TUNNELS_IDLE = Gauge Count "ringbolt_tunnels_idle" []
        "The part of them through which nothing has moved for 32 seconds.";
    TUNNELS = Counter Count "ringbolt_tunnels_total" [] "Tunnels opened.";
    TUNNELS_BY_KIND = Counter Count "ringbolt_tunnels_by_kind_total" [LabelKey::of::<label::TunnelKind>()]
        "Tunnels opened, by what they carry.";
    TUNNELS_CLOSED = Counter Count "ringbolt_tunnels_closed_total" [LabelKey::of::<label::TunnelEnd>()]
        "Tunnels that ended, by the cause.";
    TUNNEL_DURATION = Histogram Seconds "ringbolt_tunnel_duration_seconds" []
        "Lives of tunnels that have ended, in this process.";
    TUNNELS_DRAINED = Counter Count "ringbolt_tunnels_drained_total" [LabelKey::of::<label::DrainedBy>()]
        "Tunnels that a drain has ended, by what their clients were told.";
    TUNNEL_BYTES = Counter Bytes "ringbolt_tunnel_bytes_total" [LabelKey::of::<label::Direction>()]
        "Bytes carried through tunnels.";
    TUNNEL_SPLICED_BYTES = Counter Bytes "ringbolt_tunnel_spliced_bytes_total" [LabelKey::of::<label::Direction>()]
        "The part of them that was spliced, because a direction was bulk.";
    TUNNEL_CHATS_ACTIVE = Gauge Count "ringbolt_tunnel_chats_active" []
        "Tunnel directions of frequent small messages, for which the kernel receives by itself now.";
    TUNNEL_CHATS = Counter Count "ringbolt_tunnel_chats_total" []
        "Times the kernel began to receive for a tunnel direction by itself.";
    BODY_SPLICED_BYTES = Counter Bytes "ringbolt_body_spliced_bytes_total" []
        "Bytes of request and response bodies that were spliced, because they were bulk.";

    SESSIONS = Counter Count "ringbolt_engine_io_sessions_total" [LabelKey::of::<label::EngineIo>()]
        "Engine.IO sessions whose handshake answer passed through.";
    TRANSPORTS = Counter Count "ringbolt_engine_io_transports_total" [LabelKey::of::<label::Transport>()]
        "Engine.IO sessions by the transport they began with; upgraded: changed from polling to WebSocket.";
    HANDSHAKE_DURATION = Histogram Seconds "ringbolt_engine_io_handshake_duration_seconds" []
        "From the head of a request that opens an Engine.IO session to the end of its answer, or to its 101.";
    SESSION_ENDS = Counter Count "ringbolt_engine_io_session_ends_total" [LabelKey::of::<label::SessionEnd>()]
        "Engine.IO sessions that poll no more, by the cause; upgraded: they go on as tunnels, see ringbolt_tunnels_closed_total.";
    SESSION_DURATION = Histogram Seconds "ringbolt_engine_io_session_duration_seconds" []
        "Lives of Engine.IO sessions that ended while they polled, in this process; of others see ringbolt_tunnel_duration_seconds.";
    AFFINITY_DECISIONS = Counter Count "ringbolt_affinity_decisions_total" [LabelKey::of::<label::Evidence>()]
        "Choices of a backend for a request, by what decided.";
    SIDS_UNKNOWN = Counter Count "ringbolt_sids_unknown_total" [LabelKey::of::<label::UnknownSid>()]
        "Requests with a sid that the sid table does not hold, by what else is known of it.";
    LOOKUPS = Counter Count "ringbolt_sid_lookups_total" [LabelKey::of::<label::Lookup>()]
        "Those of them whose backends were to be asked, by what came of it.";
    DIRECTORY_LOOKUPS = Counter Count "ringbolt_directory_lookups_total" [LabelKey::of::<label::Listing>()]
        "Sids that were looked up in the shared directory, by what came of it.";
    DIRECTORY_WRITES = Counter Count "ringbolt_directory_writes_total" [LabelKey::of::<label::Written>()]
        "Entries to be written to the shared directory, renewed or removed, by what became of them.";
    DIRECTORY_FAILURES = Counter Count "ringbolt_directory_failures_total" [LabelKey::of::<label::DirectoryFailure>()]
        "Commands and connections to the shared directory that failed; those of the attempts to reach it again included.";
    QUESTIONS = Counter Count "ringbolt_sid_questions_total" [LabelKey::of::<label::Question>()]
        "Questions to backends whether they have a session, by the answer.";
    SID_TAGS = Counter Count "ringbolt_sid_tags_total" [LabelKey::of::<label::SidTag>()]
        "Sids of upstreams with sid_tags: tagged ones, and what the tags of requests were worth.";
    SID_TABLE_ENTRIES = Gauge Count "ringbolt_sid_table_entries" [] "Sids in the sid table.";
    SID_TABLE_CAPACITY = Gauge Count "ringbolt_sid_table_capacity" []
        "Sids the sid table may hold (limits.sids).";
    SID_TABLE_FULL = Counter Count "ringbolt_sid_table_full_total" []
        "Sids not stored because the table was full; such a session is found by rendezvous only.";

    BACKEND_STATE = Gauge Count "ringbolt_backend_state"
        [LabelKey::open("upstream"), LabelKey::open("backend"), LabelKey::open("state")]
        "1 for the state each backend is in: up, suspect, down, drain or maintenance; 0 for the others.";
    BACKEND_LOAD = Gauge Count "ringbolt_backend_load" [LabelKey::open("upstream"), LabelKey::open("backend")]
        "Sessions and tunnels of each backend.";
    BACKEND_TUNNELS = Gauge Count "ringbolt_backend_tunnels" [LabelKey::open("upstream"), LabelKey::open("backend")]
        "Tunnels to each backend.";
    BACKEND_CONNECTS = Counter Count "ringbolt_backend_connects_total"
        [LabelKey::open("upstream"), LabelKey::open("backend")]
        "Connections that were made to each backend.";
    BACKEND_FAILURES = Counter Count "ringbolt_backend_failures_total"
        [LabelKey::open("upstream"), LabelKey::open("backend")]
        "Times a backend could not be connected to, or closed without an answer.";
    BACKEND_QUEUE = Gauge Count "ringbolt_backend_queue_waiting"
        [LabelKey::open("upstream"), LabelKey::open("backend")]
        "Requests that wait now for a connection to each backend, because of its maxconn.";
    BACKEND_QUEUE_TIMEOUTS = Counter Count "ringbolt_backend_queue_timeouts_total"
        [LabelKey::open("upstream"), LabelKey::open("backend")]
        "Requests that have waited for one for longer than queue_timeout.";
    BACKEND_CHECKS = Counter Count "ringbolt_backend_checks_total"
        [LabelKey::open("upstream"), LabelKey::open("backend"), LabelKey::open("result")]
        "Health checks of each backend that is checked: passed, failed or timeout.";
    BACKEND_CHECK_DURATION = Gauge Seconds "ringbolt_backend_check_duration_seconds"
        [LabelKey::open("upstream"), LabelKey::open("backend")]
        "How long the last check of each of them took.";
    BACKENDS_SUSPECTED = Counter Count "ringbolt_backends_suspected_total" []
        "Times a backend became suspect because requests to it failed.";
    CHECKS = Counter Count "ringbolt_health_checks_total" [LabelKey::of::<label::Check>()]
        "Health checks of backends, by what they showed.";
    DISCOVERY_LOOKS = Counter Count "ringbolt_discovery_lookups_total" [LabelKey::of::<label::Look>()]
        "Looks for backends, in DNS and in files of backends; empty, failed: what was found before stays.";
    SOURCES_FAILING = Gauge Count "ringbolt_discovery_sources_failing" []
        "Sources of backends whose last look found nothing.";
    QUEUED = Counter Count "ringbolt_queued_total" [LabelKey::of::<label::Queued>()]
        "Requests that had to wait for a connection to a backend with maxconn, by what became of them.";
    QUEUE_WAITING = Gauge Count "ringbolt_queue_waiting" [] "Requests that wait for one now.";
    QUEUE_DURATION = Histogram Seconds "ringbolt_queue_duration_seconds" []
        "How long they waited, whatever became of them.";
    UPSTREAM_CONNECTS = Counter Count "ringbolt_upstream_connects_total" [LabelKey::of::<label::Connect>()]
        "Attempts to connect to a backend.";
    UPSTREAM_CONNECT_DURATION = Histogram Seconds "ringbolt_upstream_connect_duration_seconds" []
        "Connecting to a backend where that succeeded, TLS included.";
    UPSTREAM_REUSES = Counter Count "ringbolt_upstream_reuses_total" []
        "Requests sent over a pooled upstream connection.";

    MEMORY = Gauge Bytes "ringbolt_memory_bytes" []
        "Memory the workers have allocated, what limits.memory bounds: without what the kernel holds for their sockets.";
    MEMORY_BY_KIND = Gauge Bytes "ringbolt_memory_by_kind_bytes" [LabelKey::of::<label::MemoryKind>()]
        "What memory is for. receive_buffers and pipes (what they may hold) are not part of ringbolt_memory_bytes; the others are all of it.";
    ALLOCATIONS = Counter Count "ringbolt_memory_allocations_total" []
        "How often the workers have asked the allocator for memory. Requests on connections that are open need none.";
    CONFIG_RELOADS = Counter Count "ringbolt_config_reloads_total" [LabelKey::of::<label::Reload>()]
        "Reloads of the configuration, by what became of them.";
    CONFIG_CURRENT = Gauge Count "ringbolt_config_current" []
        "1 if the file was served as it was last read; 0: the last reload was refused or failed.";
    CONFIG_LOADED = Gauge Seconds "ringbolt_config_loaded_timestamp_seconds" []
        "When the configuration that is served was read, in seconds since 1970-01-01 UTC.";

    DRAINING = Gauge Count "ringbolt_draining" []
        "1 while the process drains: it accepts no more connections.";
    DRAIN_CONNECTIONS = Gauge Count "ringbolt_drain_connections" []
        "Client connections that were open when the drain began; ringbolt_connections_active says how many are left.";
    DRAIN_DEADLINE = Gauge Seconds "ringbolt_drain_deadline_timestamp_seconds" []
        "When the drain closes what is left, in seconds since 1970-01-01 UTC; 0: there is none.";
    HANDOVERS = Counter Count "ringbolt_handovers_total" [LabelKey::of::<label::Handover>()]
        "Upgrades of the binary, by what became of them; a process that was upgraded is not asked any more.";
    HANDOVER_TUNNELS = Counter Count "ringbolt_handover_tunnels_total" []
        "Tunnels taken over from the process before this one.";
    HANDOVER_SIDS = Counter Count "ringbolt_handover_sids_total" []
        "Sessions of the sid table taken over with them.";
    HANDOVER_TUNNELS_STAYING = Gauge Count "ringbolt_handover_tunnels_staying" []
        "Tunnels not taken over, because the keys of their TLS are in the memory of the process before this one, which closes them while it drains.";
    HANDOVER_DURATION = Histogram Seconds "ringbolt_handover_duration_seconds" []
        "From the first of these tunnels to the last; none was halted longer.";

    ACCESS_LINES = Counter Count "ringbolt_access_log_lines_total" [LabelKey::of::<label::AccessLine>()]
        "Lines of the access log; dropped: their writer was too far behind.";
    ACCESS_LINES_LOST = Counter Count "ringbolt_access_log_lost_total" []
        "Lines of the access log that could not be written to their output.";
    TRACE_SPANS = Counter Count "ringbolt_trace_spans_total" [LabelKey::of::<label::TraceSpan>()]
        "Spans of requests and tunnels; dropped: the collector was too slow.";
    TRACE_SPANS_LOST = Counter Count "ringbolt_trace_spans_lost_total" []
        "Spans that the collector did not take.";
    PIPES = Gauge Count "ringbolt_pipes" [] "Pipes for splicing that are open, of 256 KiB or what the kernel gave.";
    TURNS = Counter Count "ringbolt_loop_turns_total" [] "Turns of the workers' event loops.";
    TURN_DURATION = Histogram Seconds "ringbolt_loop_turn_duration_seconds" []
        "How long they took without the wait at their end: what else came meanwhile had to wait as long.";
    EVENTS = Counter Count "ringbolt_loop_events_total" []
        "Events of these turns: divided by turns, how much a worker finds to do when it looks.";
    RING_ENTERS = Counter Count "ringbolt_ring_enters_total" []
        "System calls to submit to a ring or to wait for it.";
    RING_OPERATIONS = Counter Count "ringbolt_ring_operations_total" []
        "Operations submitted to rings: divided by the system calls, how many go with one.";
    RING_OVERFLOWS = Counter Count "ringbolt_ring_overflows_total" []
        "Turns that found the completion queue of a ring overflown: nothing is lost, but the kernel had to allocate.";
    WORKER_CPU = Counter Seconds "ringbolt_worker_cpu_seconds_total" [LabelKey::open("worker")]
        "Processor time of each worker's thread: the busy part of its loop.";
    ENGINE_INFO = Gauge Count "ringbolt_engine_info" [LabelKey::of::<label::EngineInUse>()]
        "Workers that run on this engine.";
    RING_FALLBACKS = Counter Count "ringbolt_ring_fallbacks_total" []
        "Workers that wanted io_uring and got epoll, because the kernel refused a ring.";
    BUILD_INFO = Gauge Count "ringbolt_build_info" [LabelKey::open("version"), LabelKey::open("arch")]
        "Always 1; the labels name the build.";

    PROCESS_CPU = Counter Seconds "process_cpu_seconds_total" []
        "Processor time the process has used, user and system.";
    PROCESS_RESIDENT = Gauge Bytes "process_resident_memory_bytes" [] "Memory the process has resident.";
    PROCESS_OPEN_FDS = Gauge Count "process_open_fds" [] "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge Count "process_max_fds" [] "File descriptors the process may open.";
    PROCESS_THREADS = Gauge Count "process_threads" []
        "Threads of the process: the workers and the housekeeping thread.";
    PROCESS_START = Gauge Seconds "process_start_time_seconds" []
        "When the process started, in seconds since 1970-01-01 UTC.";
}
