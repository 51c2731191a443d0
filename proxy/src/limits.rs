//! Every bound of the data plane that is not configured, in one place, with its reason.
//!
//! What peers can make grow and operators may want to change is in the configuration; bounds of pure
//! decisions stand in `ringbolt_core::limits`.

use std::time::Duration;

use ringbolt_reactor::{Keepalive, SocketOptions};

/// Bytes a worker reads at once. 64 KiB is the most a loopback or 10 GbE receive usually holds; more
/// does not lower the cost per byte, and the buffer falls out of the second-level cache.
pub(crate) const HOT_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes a tunnel direction moves before other connections have their turn. It then goes on in the
/// next turn of the loop.
pub(crate) const TUNNEL_BYTES_PER_TURN: usize = 4 * HOT_BUFFER_BYTES;

/// Pieces of a direction held behind the one that is being sent. A direction that has more is read by large
/// pieces again.
pub(crate) const CHAT_CHUNKS_HELD_MAX: usize = 8;

/// Bytes of an incomplete TLS message that are kept: a client's chain of certificates has some KiB, a record
/// 16 KiB. A longer one ends the connection.
pub(crate) const TLS_PARTIAL_BYTES_MAX: usize = 32 * 1024;

/// Records a key of AES-GCM protects in the kernel before it is renewed: far fewer than the 2^24 that rustls
/// allows, because they are counted every minute only.
pub(crate) const KTLS_RECORDS_PER_KEY_MAX: u64 = 1 << 22;

/// Bytes such a key protects where it cannot be renewed; then the tunnel ends. RFC 8446 section 5.5 allows 2^24.5 records
/// of 2^14 bytes; a core seals less than the difference in a minute.
pub(crate) const KTLS_BYTES_PER_KEY_MAX: u64 = 1 << 37;

/// Seconds between two looks at these numbers, while something is sent.
pub(crate) const KTLS_KEY_LOOK_SECONDS: u32 = 60;

/// Key updates of a client without data between them. More end the connection: each costs a derivation.
pub(crate) const KTLS_KEY_UPDATES_PER_READ_MAX: u32 = 4;

/// Bytes received until a TLS handshake is complete, for the same reason. More end the connection.
pub(crate) const TLS_HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a file of certificates, keys or issuers: the issuers of a whole system take a quarter of it.
pub(crate) const TLS_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Keys of session tickets in one file: two are enough to replace one, each ticket is compared with all.
pub(crate) const TLS_TICKET_KEYS_MAX: usize = 16;

/// Certificates whose expiry is on the metrics page; every one is a time series of its own.
pub(crate) const TLS_CERTIFICATES_SHOWN_MAX: usize = 256;

/// Between two looks at the files of TLS. A new certificate is in use after two of them.
pub(crate) const TLS_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of one body that move before other connections have their turn, as a tunnel's.
pub(crate) const BODY_BYTES_PER_TURN: usize = TUNNEL_BYTES_PER_TURN;

/// Up to here a head and what follows it are sent from one place: copying this much costs less than a
/// vectored send does more than a plain one. A longer body is not copied.
pub(crate) const GATHER_BYTES_MAX: usize = 4096;

/// Tunnels of one worker: a token holds 31 bits of slot index. At the limit the upgrade is answered 503.
pub(crate) const TUNNELS_PER_WORKER_MAX: usize = 1 << 24;

/// Bytes left of a WebSocket frame from which they are spliced up to its end. Of shorter frames a direction that is
/// bulk is spliced without regard to them: a copy for each would cost more than the close frame is worth.
pub(crate) const SPLICED_FRAME_BYTES_MIN: usize = 16 * 1024;

/// How long a client that was sent a close frame may take to answer, and its backend to close: some round trips of a
/// slow line. Then the tunnel is closed as it is.
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a poll is left to its backend whose session a drain has ended: a turn of the loop, in which it is sent.
pub(crate) const POLL_SENT: Duration = Duration::from_millis(2);

/// Pipes of one worker at most, in use or idle, 256 KiB each. Users without privilege get large pipes
/// only up to `fs.pipe-user-pages-soft` pages, by default 64 MiB. Above it bytes are copied.
pub(crate) const PIPES_MAX: usize = 256;

/// Empty pipes kept for the next bulk direction; half of them are closed with every sweep.
pub(crate) const PIPES_IDLE_MAX: usize = 32;

/// Idle upstream connections kept for one backend by one worker: as many requests as it may have had
/// in flight to a busy backend, so that a steady load does not connect anew. Each holds a descriptor for
/// at most `timeouts.upstream_keep_alive`. The oldest is closed at the limit.
pub(crate) const POOL_PER_BACKEND_MAX: usize = 1024;

/// Backends a request is offered to when connecting fails. Each further one would find the same
/// outage and make the client wait longer.
pub(crate) const CONNECT_ATTEMPTS_MAX: usize = 3;

/// Locks of the sources whose sessions are watched for what hops break, as for the sids: one is taken when a session
/// begins, upgrades or loses a poll.
pub(crate) const SOURCE_SHARDS: usize = 16;

/// Between two overviews of the status page and `ringbolt top`.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How far back the errors of the last minute go, and the causes that follow from them.
pub(crate) const STATUS_LOOKS_BACK: Duration = Duration::from_secs(60);

/// Looks kept of that time: each is all counters of the process, some KiB.
pub(crate) const STATUS_SAMPLES: u32 = 12;

/// `ringbolt top` waits this long for a connection and for an answer: both are due at once.
pub(crate) const TOP_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages that watch at once. Each is sent an overview a second, some 10 KiB.
pub(crate) const STATUS_WATCHERS_MAX: usize = 16;

/// Causes that are told at once, the worst first: with more, whoever reads them looks at the backends.
pub(crate) const STATUS_CAUSES_MAX: usize = 32;

/// Requests a worker may have at work at once without allocating; more allocate. One that waits for its answer is not
/// at work.
pub(crate) const SPARES_MAX: usize = 64;

/// The largest buffer that is kept for the next head: longer ones are rare.
pub(crate) const SPARE_BUFFER_BYTES_MAX: usize = 4096;

/// Sid entries looked at in one sweep of a shard: about 50 µs of work under its lock.
pub(crate) const SID_SWEEP_ENTRIES: usize = 4096;

/// Sweeps in which a whole shard is looked at, however large it is: an expired session weighs on its
/// backend's load for at most this many seconds.
pub(crate) const SID_SWEEP_TURNS: usize = 16;

/// Between two sweeps of the sid shard and the pool.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Pause of a listener that cannot even refuse connections for want of descriptors or memory, so that it
/// does not spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two lines of the log that say so.
pub(crate) const EXHAUSTED_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// After a refusal the client's remaining bytes are read and thrown away this long, because closing
/// a socket with unread bytes resets it and the client would never see the answer.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// And at most this many of them.
pub(crate) const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Numbers of backends: those configured now, and removed ones whose sessions and tunnels live on. A
/// configuration with a new backend is refused when all are in use.
pub(crate) const BACKEND_IDS_MAX: u32 = 2 * 4096;

const _: () = assert!(BACKEND_IDS_MAX as usize >= 2 * crate::config::BACKENDS_MAX);

/// Commands waiting for a worker: one configuration at a time, and the word to drain.
pub(crate) const COMMANDS_MAX: usize = 16;

/// After this a worker has had the turn in which its closed listeners let go of their ports.
pub(crate) const CLOSING_TURN: Duration = Duration::from_millis(2);

/// Health checks at once. More wait for their turn, which delays them, but thousands of backends do not take
/// the descriptors away.
pub(crate) const CHECKS_AT_ONCE_MAX: usize = 32;

/// Bytes of an answer that a check reads; a longer one fails it.
pub(crate) const CHECK_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How long workers may take to serve by a new configuration. They need a turn of their loops, so after this
/// something is wrong.
pub(crate) const ADOPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Asked-for reloads that wait for the one that is being done. All of them are one more reload: more are refused.
pub(crate) const RELOADS_WAITING_MAX: usize = 16;

/// Between two looks at the configuration file with `reload.watch`. A change counts when a second look finds the
/// same, so that a file that is being written is not read.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of lines that a worker gives to the access log's writer at once: some four hundred lines, because waking it takes
/// three switches between threads, which were 3 % of each request with a quarter of that. A batch that is not full waits
/// for the next sweep.
pub(crate) const ACCESS_BATCH_BYTES: usize = 256 * 1024;

/// Batches that wait for the access log's writer, of all workers together: 16 MiB, about 40,000 lines. More are dropped.
pub(crate) const ACCESS_QUEUE_BATCHES: usize = 64;

/// Bytes of one field of the access log. Longer ones are cut: nobody reads them, and hostile ones would fill the disk.
pub(crate) const ACCESS_FIELD_BYTES_MAX: usize = 1024;

/// Records of requests that a worker keeps for the next ones; more are allocated anew.
pub(crate) const ACCESS_RECORDS_SPARE_MAX: usize = SPARES_MAX;

/// How long the end of the process waits for the access log's last lines.
pub(crate) const ACCESS_FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of spans that a worker gives to the exporter at once: some hundred. A batch that is not full waits for the next
/// sweep.
pub(crate) const TRACE_BATCH_BYTES: usize = 64 * 1024;

/// Batches that wait for the collector, of all workers together: 4 MiB. More are dropped.
pub(crate) const TRACE_QUEUE_BATCHES: usize = 64;

/// How long the collector may take for one batch. Then its spans are lost.
pub(crate) const TRACE_EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the collector.
pub(crate) const TRACE_FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of the collector's answer that are read.
pub(crate) const TRACE_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long a line waits for a syslog daemon that takes none. Then it is lost.
pub(crate) const ACCESS_SYSLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one backend may take to say whether it has a session. It looks into a table, so whoever takes longer is not
/// well, and another one may have it.
pub(crate) const ASK_QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of an answer to such a question: a line of JSON. With a longer one it does not say.
pub(crate) const ASK_ANSWER_BYTES_MAX: usize = 4096;

/// Life of a session without a request that was found by asking, which does not tell how long it is: longer than the
/// defaults of all servers (45 to 85 s). If it lives longer it is asked for again.
pub(crate) const ASKED_TIME_TO_LIVE: Duration = Duration::from_secs(120);

/// Sids that are looked for at once, over all workers: some requests of each wait, with their connections. At the limit
/// a request with an unknown sid is answered 503.
pub(crate) const LOOKUPS_MAX: usize = 8192;

/// Requests of one session that wait for the same lookup. A client has at most three.
pub(crate) const LOOKUP_WAITING_MAX: usize = 8;

/// Sids remembered that no backend knows, or not the shared directory, of 100 bytes each. At the limit they are looked for
/// again.
pub(crate) const NOBODYS_SIDS_MAX: usize = 16_384;

/// How long they are. Nobody can guess a sid that is issued later, and a client whose session has ended asks once or
/// twice.
pub(crate) const NOBODYS_TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Jobs that wait for the thread that speaks to the shared directory, of all workers together. At the limit lookups find
/// nothing, and entries are not written.
pub(crate) const DIRECTORY_JOBS_MAX: usize = 4096;

/// Commands at once over its connection. The others wait: a server takes what is sent at once one after the other too.
pub(crate) const DIRECTORY_AT_ONCE_MAX: usize = 256;

/// How long it may take to connect and log in to the shared directory, and to answer there for the first time.
pub(crate) const DIRECTORY_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two attempts to connect to a shared directory that was left aside.
pub(crate) const DIRECTORY_PAUSE: Duration = Duration::from_secs(1);

/// Backlog of a listener: connections the kernel completes while the worker is busy. It is cut to
/// `net.core.somaxconn` by the kernel.
pub(crate) const LISTEN_BACKLOG: u32 = 65_535;

/// Options of every connection, to clients and backends. A silent tunnel is normal, so the only thing
/// that tells a dead peer is the kernel: it asks after 5 minutes of silence and every 30 s from then on, and
/// gives up when nothing has come for 6.5 minutes, which is after three unanswered probes, or when
/// sent bytes stay unacknowledged for as long. A shorter time would be shorter than the silence that precedes
/// the first probe, and the loss of that one packet would end a live tunnel.
pub(crate) const SOCKET_OPTIONS: SocketOptions = SocketOptions {
    nodelay: true,
    keepalive: Some(Keepalive { idle: Duration::from_secs(300), interval: Duration::from_secs(30) }),
    user_timeout: Some(Duration::from_secs(390)),
};

/// `ringbolt doctor` waits this long for a connection.
pub(crate) const DOCTOR_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// And this long for an answer that is due at once. Longer than a healthy service ever takes, and shorter than the
/// timeouts it looks for.
pub(crate) const DOCTOR_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// And this much longer than the ping interval for the end of a held poll.
pub(crate) const DOCTOR_HELD_MARGIN: Duration = Duration::from_secs(5);

/// The answers of Engine.IO are short; whatever sends more is not a service to be looked at.
pub(crate) const DOCTOR_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Sessions it opens at the same time: it looks at services that people use.
pub(crate) const DOCTOR_SESSIONS_AT_ONCE: usize = 8;

// ---- Service manager ----

/// Listening sockets of one message to the service manager. systemd takes 768, the kernel 253 (SCM_MAX_FD).
pub(crate) const NOTIFY_DESCRIPTORS_MAX: usize = 64;

// ---- Hand-over to a new process ----

/// Longest message between two processes. The kernel takes three times as much at once (`net.core.wmem_default`).
pub(crate) const HANDOVER_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Tunnels of one message. The old process holds a second pair of descriptors of each until the message is
/// confirmed, out of those that are kept beside connections.
pub(crate) const HANDOVER_TUNNELS_MAX: usize = 32;

/// Descriptors of one message: the kernel allows 253 (SCM_MAX_FD). More listening sockets take more messages.
pub(crate) const HANDOVER_DESCRIPTORS_MAX: usize = 2 * HANDOVER_TUNNELS_MAX;

const _: () = assert!(HANDOVER_DESCRIPTORS_MAX <= 253);

/// Sid entries of one message, of 24 bytes each.
pub(crate) const HANDOVER_SIDS_MAX: usize = 2048;

const _: () = assert!(HANDOVER_SIDS_MAX * 24 + 16 <= HANDOVER_MESSAGE_BYTES_MAX);

/// Bytes held for a tunnel that one message carries; more take more messages.
pub(crate) const HANDOVER_HELD_BYTES: usize = HANDOVER_MESSAGE_BYTES_MAX / 2;

/// Bytes held for one direction of a tunnel: a pipe, or what a chat leaves, and some. More are refused.
pub(crate) const HANDOVER_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a new process may take until it could serve. Its configuration is read, its workers start. After this
/// it is killed and the old one serves on.
pub(crate) const HANDOVER_START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long each later step may take, in which it only puts things in their places.
pub(crate) const HANDOVER_STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long tunnels may be halted in all. After this the old process serves them on.
pub(crate) const HANDOVER_HALT_MAX: Duration = Duration::from_secs(5);

/// How long a tunnel may take to come to rest: the kernel ends a receive within a turn of the loop. One that
/// does not moves later.
pub(crate) const HALT_TIMEOUT: Duration = Duration::from_millis(100);

/// A tunnel that has been silent for so long is halted before those that talk.
pub(crate) const QUIET_SECONDS: u64 = 2;

/// New sessions that wait until the process that takes over knows them. At the limit a handshake is answered 503.
pub(crate) const MIRRORED_SIDS_MAX: usize = 1024;

/// Between two looks whether exchanges that the old process finishes have become tunnels, and which connections wait
/// for a request there. For so long such a request waits too.
pub(crate) const HANDOVER_LATE_INTERVAL: Duration = Duration::from_millis(20);

// ---- Discovery ----

/// Backends that one source may name, the first ones by name. A longer answer is a mistake, and each backend has
/// counters, checks and lines in the metrics.
pub(crate) const DISCOVERED_PER_SOURCE_MAX: usize = 256;

/// Names that are looked up at once, over all sources: each has a socket of its own.
pub(crate) const LOOKUPS_AT_ONCE_MAX: usize = 16;

/// A lookup with all its questions, to all servers, is given up after this.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a start waits for the first answers. Who has none by then serves without those backends until they come.
pub(crate) const DISCOVERY_START_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers that come within it of each other are served together.
pub(crate) const DISCOVERY_GATHER: Duration = Duration::from_millis(50);

/// Before another attempt to serve backends that could not be: all numbers were in use, or workers were stuck.
pub(crate) const DISCOVERY_RETRY: Duration = Duration::from_secs(5);

const _: () = assert!(DISCOVERY_START_TIMEOUT.as_secs() < HANDOVER_START_TIMEOUT.as_secs());

/// Backends that orders have added or removed: what differs from the file that much belongs into it.
pub(crate) const EDITS_MAX: usize = 256;

/// Sessions that are listed where nobody says how many: what a person looks through.
pub(crate) const SESSIONS_SHOWN: u32 = 100;

/// And at most: about 2 MiB of JSON, which the thread that makes it also checks backends and reloads.
pub(crate) const SESSIONS_SHOWN_MAX: u32 = 10_000;

/// Words, lines and blocks of a file that is imported: far more than people write, and soon read.
pub(crate) const IMPORT_DIRECTIVES_MAX: usize = 65_536;

/// Blocks inside blocks of such a file; nginx' own directives nest five deep.
pub(crate) const IMPORT_DEPTH_MAX: usize = 16;

/// Routes of an imported file: each is compared with all before it.
pub(crate) const IMPORT_ROUTES_MAX: usize = 2048;
