//! Bounds of configured values, each with its reason. Beyond one the configuration is refused.

// tidy: allow cluster, what Redis calls servers that share the keys among them

use std::ops::RangeInclusive;
use std::time::Duration;

/// Bytes of a configuration file: [`BACKENDS_MAX`] backends written out take well under 1 MiB.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Problems shown for one file; the rest is counted. More than a screenful helps nobody.
pub(crate) const PROBLEMS_SHOWN_MAX: usize = 25;

/// Bytes of the token of `admin.token_file`: nobody guesses 128 random bits, which take 32 hexadecimal digits.
pub(crate) const TOKEN_BYTES_MIN: usize = 32;

/// And at most, to fit any client's idea of a header.
pub(crate) const TOKEN_BYTES_MAX: usize = 512;

/// Worker threads. More than any machine has cores; a typing error must not start 10,000 threads.
pub(crate) const WORKERS_MAX: usize = 1024;

/// Backends in one process over all upstreams; per-backend load counters are an array of this size.
pub(crate) const BACKENDS_MAX: usize = 4096;

/// Servers in `discovery.resolvers`: they are asked one after the other.
pub(crate) const RESOLVERS_MAX: usize = 8;

/// The shortest `discovery.ttl_min`: every answer may bring all workers another configuration.
pub(crate) const TTL_SHORTEST: Duration = Duration::from_millis(100);

/// Networks in one `trusted_proxies`: each request's addresses are compared with all of them.
pub(crate) const TRUSTED_PROXIES_MAX: usize = 256;

/// Certificates of one listener, those of its folder included: each is read again when it changes.
pub(crate) const CERTIFICATES_MAX: usize = 4096;

/// Ciphers of one listener: more than there are.
pub(crate) const CIPHERS_MAX: usize = 32;

/// Names in one `[listener.sni]`: as many as a configuration has backends at most.
pub(crate) const SNI_NAMES_MAX: usize = 4096;

/// Domains, or ports, in `[flash_policy]`: the policy must stay short enough for players to read.
pub(crate) const FLASH_POLICY_ENTRIES_MAX: usize = 256;

/// Headers that one route sets and adds in one direction: each message is written with all of them.
pub(crate) const FIELD_RULES_MAX: usize = 64;

/// Bytes of the text a route responds with: it is held in memory once for each worker.
pub(crate) const REPLY_BODY_BYTES_MAX: usize = 64 * 1024;

/// A backend's weight. Ratios beyond 1,000 are better said with `state = "drain"`.
pub(crate) const WEIGHT: RangeInclusive<u32> = 1..=1000;

/// Checks or requests in a row that decide over a backend. More than that would be minutes.
pub(crate) const CHECKS_IN_A_ROW: RangeInclusive<u32> = 1..=100;

/// Bytes of the text that a check looks for.
pub(crate) const CHECK_BODY_BYTES_MAX: usize = 1024;

/// Requests that wait for one backend: each holds its connection and its head, and the last one waits longest.
pub(crate) const QUEUE: RangeInclusive<u32> = 0..=65_536;

/// Sessions of a slow start: with more, a backend would never be done.
pub(crate) const SLOW_START: RangeInclusive<u32> = 1..=100_000;

/// Bytes of an upstream's or backend's name: it stands in logs, metrics and cookies.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Bytes of a unix socket's path: the kernel's array has 108, a final zero included (unix(7)).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The longest timeout, 30 days: beyond that "off" is meant, and every deadline fits the timer wheel.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Connections and sids: a table of more entries than this does not fit the memory of one machine.
pub(crate) const TABLE_ENTRIES: RangeInclusive<u32> = 1..=100_000_000;

/// Bytes of a request head: browsers with cookies need some KiB, each waiting connection may hold this.
pub(crate) const REQUEST_HEAD_BYTES: RangeInclusive<u64> = 1024..=1024 * 1024;

/// Bytes of memory for all workers: their tables, spare heads and hot buffers alone take some MiB each.
pub(crate) const MEMORY_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Keys of sid tags: the one in use, those before it and the next.
pub(crate) const SID_TAG_KEYS_MAX: usize = 16;

/// Servers that `directory.url` names: one of a cluster leads to all others, and a few are there if it is down.
pub(crate) const DIRECTORY_SERVERS_MAX: usize = 16;

/// Bytes of `directory.prefix`: it stands in every key.
pub(crate) const DIRECTORY_PREFIX_BYTES_MAX: usize = 64;

/// The longest `directory.timeout`: nearly all other evidence is at hand within it.
pub(crate) const DIRECTORY_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Bytes of the secret of `directory.secret_file`: as of the token of orders.
pub(crate) const DIRECTORY_SECRET_BYTES_MIN: usize = TOKEN_BYTES_MIN;

/// Bytes of a secret or password at most: Redis takes longer ones, and nobody uses them.
pub(crate) const SECRET_BYTES_MAX: usize = 1024;

/// Path prefixes of the access log: each request's path is compared with all of them.
pub(crate) const ACCESS_LOG_PATHS_MAX: usize = 64;

/// One request in so many. Beyond a million nothing would be written on most machines.
pub(crate) const ACCESS_LOG_SAMPLE: RangeInclusive<u32> = 1..=1_000_000;
