//! Every bound the proxy relies on, in one place, with its reason.

use std::time::Duration;

// ---- Affinity ----

/// Longest sid we store, in bytes after percent-decoding. Engine.IO issues 20, the longest known server
/// 36, and `generateId` may return anything. A longer one cannot be learned; its requests are placed by
/// client address.
pub const SID_BYTES_MAX: usize = 128;

/// Bytes of an answer read in search of an Engine.IO handshake, which is about 100 bytes long and
/// always comes first. Past it the answer is forwarded and no session is learned.
pub const HANDSHAKE_BODY_BYTES_MAX: usize = 4096;

/// Longest body that can be an Engine.IO close packet: in JSONP, `___eio[0]("1:1");`, with an index of up to
/// ten digits. A longer body is none, so a caller need not keep more of one than this.
pub const CLOSE_BODY_BYTES_MAX: usize = 26;

/// Shortest life of a silent session, whatever its backend announced.
pub const SESSION_TIME_TO_LIVE_MIN: Duration = Duration::from_secs(5);

/// Longest life of a silent session, whatever its backend announced: 40 times the longest default.
pub const SESSION_TIME_TO_LIVE_MAX: Duration = Duration::from_secs(3600);

/// Added to pingInterval + pingTimeout, so that we never forget a session before its backend does.
pub const SESSION_TIME_TO_LIVE_MARGIN: Duration = Duration::from_secs(5);

/// Time a server gives an upgrade to finish (engine.io `upgradeTimeout`). A polling request that begins
/// or ends later than this after the 101 shows that the upgrade failed and the session polls on.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer than that a sid is kept, for a poll that is on its way when the upgrade times out.
pub const UPGRADE_MARGIN: Duration = Duration::from_secs(5);

/// Entries a full shard looks at for an expired one before it refuses a new session: some µs of work
/// under the shard's lock.
pub const SID_FULL_SCAN_ENTRIES: usize = 64;

/// Entries for which a shard has one segment. A segment grows, and shrinks, at once: at twice this size
/// in about 0.1 ms under the shard's lock.
pub const SID_SEGMENT_ENTRIES: usize = 2048;

/// Segments of one shard, at most; an empty one costs 56 bytes. Shards for more than four million
/// sessions have larger segments.
pub const SID_SEGMENTS_MAX: usize = 2048;

/// Load a backend may have when it is given a new session, in percent of its fair share. The next
/// backend in rendezvous order is taken at the limit.
pub const PLACEMENT_LOAD_PERCENT: u32 = 125;

/// Longest host name in text form (RFC 1035 section 2.3.4: 255 octets on the wire). A longer one
/// matches no host rule.
pub const HOST_BYTES_MAX: usize = 253;

const _: () = assert!(SID_BYTES_MAX <= u8::MAX as usize, "the length of a sid is one byte");
const _: () = assert!(SID_BYTES_MAX < HANDSHAKE_BODY_BYTES_MAX);
const _: () = assert!(SID_SEGMENTS_MAX.is_power_of_two());

// ---- Downgrades ----

/// Findings that are kept: those of hops are a handful. Each takes a few hundred bytes, most of them words about
/// the hop. At the limit the one that was seen last longest ago goes, if it has had its line of the log; more are
/// counted only.
pub const FINDINGS_MAX: usize = 256;

/// Between two lines of the log about one finding.
pub const FINDING_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A finding that was not seen again for so long is shown no more: the cause has gone.
pub const FINDING_SHOWN: Duration = Duration::from_secs(3600);

/// Longest words about a hop. A Via field names hosts and products and may be as long as a head.
pub const HOP_BYTES_MAX: usize = 96;

/// Sources that are watched at once. Hops in front are few; clients that come by themselves share the slots, which
/// makes each of them forgotten early and nothing else.
pub const SOURCES_MAX: usize = 4096;

/// Sessions of one source in a row that were offered websocket and did not upgrade, until that is a finding: more
/// than the pages one person opens.
pub const POLLING_SESSIONS: u16 = 16;

/// And the least time they take: an upgrade follows its handshake within a second or two.
pub const POLLING_TIME: Duration = Duration::from_secs(10);

/// Polls cut after the same number of seconds, less those cut after another, until that is a finding.
pub const POLL_CUTS: u8 = 4;

/// Timeouts are multiples of this many seconds.
pub const POLL_CUT_STEP: u64 = 5;

/// How much later than its timeout a hop may cut a poll: their timers run once a second or so.
pub const POLL_CUT_LATE: Duration = Duration::from_millis(600);

/// How much earlier it may seem to: the request was on its way to us.
pub const POLL_CUT_EARLY: Duration = Duration::from_millis(100);

/// Upgrades of one source with an unknown sid, until that is a finding.
pub const STRANGE_UPGRADES: u8 = 3;

/// And the time in which they come.
pub const STRANGE_TIME: Duration = Duration::from_secs(60);

/// How long after the start of the process they do not count: of sessions from before it some upgrade still.
pub const STRANGE_AT_START: Duration = Duration::from_secs(10);

const _: () = assert!(SOURCES_MAX.is_power_of_two());

// ---- HTTP ----

/// Longest request or response head by default. Browsers and Socket.IO clients stay below 8 KiB; 16 KiB
/// heads must pass, and twice that leaves room for large cookies. A longer request head is answered
/// 431, a longer response head makes the backend's answer a 502.
pub const HEAD_BYTES_DEFAULT: usize = 32 * 1024;

/// Longest request target. Engine.IO's are below 300 bytes; other services pass whole queries. A longer
/// one is answered 414.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Most field lines of one head, and the size of the array they are parsed into. More are answered 431.
pub const FIELDS_MAX: usize = 128;

/// Longest method. The longest registered one (`UPDATEREDIRECTREF`) has 17 bytes. A longer one is
/// answered 501, as RFC 9112 section 3 asks.
pub const METHOD_BYTES_MAX: usize = 32;

/// Most options of one message's Connection fields. Each is compared with each field name, so this
/// bounds the work one head can cause. More are answered 400, or 502 in a response.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// Longest request id taken over from a trusted proxy: a UUID has 36 bytes, a trace header 55. A longer one
/// is replaced.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Largest declared length of a message or chunk: what a signed 64-bit counter holds, so that no
/// server behind us can see another number. A larger one is refused.
pub const BODY_BYTES_MAX: u64 = i64::MAX as u64;

/// Most hexadecimal digits of a chunk size, leading zeros included: those of a 64-bit number.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Longest chunk extension. Nothing a browser or Socket.IO sends has one; signed uploads use 82 bytes.
/// A longer one is refused like any malformed chunk line.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;

/// Most bytes of a trailer section, which is buffered to be judged as a whole. A longer one is refused.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Most lines of a trailer section. More are refused.
pub const TRAILER_FIELDS_MAX: usize = 32;

const _: () = assert!(TARGET_BYTES_MAX + METHOD_BYTES_MAX < HEAD_BYTES_DEFAULT);
const _: () = assert!(TRAILER_FIELDS_MAX <= FIELDS_MAX);

// ---- PROXY protocol ----

/// Longest header of version 1, its line end included (specification, section 2.1). A longer one is refused.
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// Longest header of version 2: what senders may rely on to be taken (specification, section 2.2). Those
/// of cloud balancers have about 100 bytes. A longer one is refused.
pub const PROXY_HEADER_BYTES_MAX: usize = 536;

// ---- TLS ----

/// Longest ClientHello, record headers included, whose server name is looked for: with keys against quantum computers
/// they have 2 KiB, with a long session ticket 4. A longer one is refused.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

// ---- Flash policy ----

/// Longest policy of a file: a player reads no more (Flash Player's own bound is 64 KiB), and each worker holds it.
pub const FLASH_POLICY_BYTES_MAX: usize = 64 * 1024;

// ---- Clients and rates ----

/// Slots a client's hash leads to. With twice as many slots as clients one in 50 finds them all in use and is
/// let through unseen, with four times as many one in 5,000.
pub const CLIENT_SLOTS_PER_GROUP: usize = 8;

/// Most events a second that a rate can bound: beyond it the steps of a clock of nanoseconds show.
pub const RATE_MAX: u32 = 1_000_000;

/// Clients whose session is one too many for the process or a backend are told to come back within so many seconds.
pub const STORM_RETRY_SECONDS_MAX: u64 = 5;

// ---- Tunnels ----

/// Time over which the bytes of a direction are judged: several round trips of a fast network, short
/// against any bulk transfer.
pub const BULK_WINDOW_MS: u32 = 64;

/// Bytes in one window from which a direction is bulk: 8 MiB/s. Below that the saved copies are not
/// worth a pipe.
pub const BULK_BYTES_PER_WINDOW: u32 = 512 * 1024;

/// Mean size of a piece from which splicing is cheaper than copying.
pub const BULK_PIECE_BYTES_MIN: u32 = 8 * 1024;

/// Small messages within a second from which a direction chats. To begin and to end costs four operations of
/// the ring, and each message saves two system calls.
pub const CHAT_MESSAGES_PER_SECOND: u8 = 16;

/// Fewer in a whole second end it.
pub const CHAT_MESSAGES_PER_SECOND_MIN: u8 = 4;

const _: () = assert!(CHAT_MESSAGES_PER_SECOND_MIN < CHAT_MESSAGES_PER_SECOND);

/// A longer message is not small: it does not fit one buffer of the kernel's receive.
pub const CHAT_MESSAGE_BYTES_MAX: usize = 2047;

/// Payload bytes of a WebSocket frame whose end is still known: as many as three bytes count, with a mask. Socket.IO's
/// `maxHttpBufferSize` is 1 MB by default. Behind a longer one a tunnel is drained without a close frame.
pub const FRAME_BYTES_MAX: u32 = (1 << 24) - 8;

/// Seconds a direction does not count as chatting after it turned out not to suit.
pub const CHAT_PAUSE_SECONDS: u16 = 8;

// ---- Health ----

/// Checks that come as soon as if something had changed, while all of a backend's have failed: it is often started together
/// with the proxy, and takes half a minute at most.
pub const STARTING_CHECKS: u32 = 30;

// ---- Discovery ----

/// Before a source of backends is asked again that has failed once. It doubles with each failure in a row.
pub const LOOKUP_RETRY_FIRST: Duration = Duration::from_secs(1);

/// And at most this: an outage of DNS should not outlast itself by more.
pub const LOOKUP_RETRY_MAX: Duration = Duration::from_secs(30);

// ---- Shared directory ----

/// Requests in a row that fail until a service is left aside (`circuit`): one may have met a pause of it.
pub const CIRCUIT_FAILURES_MAX: u32 = 3;

// ---- Metrics ----

/// Seconds of silence from which a tunnel counts as idle: longer than Engine.IO's servers are silent, which ask every 25
/// seconds whether the client is still there. A power of two (`silence`).
pub const IDLE_AFTER_SECONDS: u32 = 32;
