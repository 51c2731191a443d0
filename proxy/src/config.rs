//! What an operator may configure, with every default applied.
//!
//! The file's text becomes a [`Config`] in one step, or a [`Refused`] that names each mistake with
//! file, line, column and key. A `Config` is valid by construction: every upstream it names exists,
//! every bound is met. Nothing here opens a socket or resolves a name.

mod access_log;
mod admin;
pub(crate) mod bounds;
mod detect;
mod directory;
mod discovery;
mod health;
mod problem;
mod read;
mod route;
mod section;
mod sid_tags;
mod timeouts;
mod tls;
mod traces;
mod upstream;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) use self::access_log::{AccessFormat, AccessLog, AccessOutput};
#[cfg(test)]
pub(crate) use self::admin::Secret;
pub(crate) use self::admin::{Admin, OrderToken};
pub(crate) use self::bounds::BACKENDS_MAX;
pub(crate) use self::directory::Directory;
pub(crate) use self::discovery::{Discovery, Place, Source, read_backends};
pub(crate) use self::health::{Check, Health};
pub(crate) use self::problem::Refused;
pub(crate) use self::sid_tags::SidTags;
pub(crate) use self::timeouts::Timeouts;
pub(crate) use self::tls::{
    CIPHERS, CertificateFiles, ClientAuth, ListenerTls, TlsPolicy, TlsVersion, UpstreamTls,
};
pub(crate) use self::traces::Traces;
pub(crate) use self::upstream::{Backend, Origin, Upstream};
pub(crate) use self::value::{
    Reached, backend_address, backend_url, duration, host, listen_address, name as backend_name, path,
};
pub(crate) use ringbolt_core::affinity::{Affinity, Balance, State as BackendState};
pub(crate) use ringbolt_core::detect::{Protocol, Protocols};
pub(crate) use ringbolt_core::flash_policy::FlashPolicy;
pub(crate) use ringbolt_core::http::{FieldRules, PathRewrite, RouteReply};
use ringbolt_core::limits::FLASH_POLICY_BYTES_MAX;
pub(crate) use ringbolt_core::network::Network;
pub(crate) use ringbolt_core::proxy_protocol::ProxyVersion;

/// A complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) process: Process,
    pub(crate) workers: Workers,
    /// `None` when switched off.
    pub(crate) admin: Option<Admin>,
    /// `admin.socket`: where the process takes orders; `None`: nowhere.
    pub(crate) admin_socket: Option<PathBuf>,
    /// Who may give orders over `admin` as well; `None`: nobody.
    pub(crate) order_token: Option<OrderToken>,
    pub(crate) reload: Reload,
    pub(crate) discovery: Discovery,
    /// `None`: sessions are in no shared directory.
    pub(crate) directory: Option<Directory>,
    /// At least one. No two have the same address, unless the port is 0.
    pub(crate) listeners: Vec<Listener>,
    /// No two have the same host and path.
    pub(crate) routes: Vec<Route>,
    /// By name; at least one.
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// Present where a listener serves it.
    pub(crate) flash_policy: Option<Policy>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
    /// `None`: nothing is written.
    pub(crate) access_log: Option<AccessLog>,
    /// `None`: nothing is exported.
    pub(crate) traces: Option<Traces>,
}

/// `[process]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The user to become once every port is bound, by name or number; `None`: stay who we are.
    pub(crate) user: Option<String>,
    /// The group; `None`: that of `user`.
    pub(crate) group: Option<String>,
}

/// `[workers]`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workers {
    /// Worker threads, at most [`bounds::WORKERS_MAX`]; `None`: one for each core the process may use.
    pub(crate) count: Option<usize>,
    pub(crate) engine: Engine,
    /// Each worker stays on a core of its own.
    pub(crate) pin: bool,
    /// And is given the connections whose packets that core receives.
    pub(crate) steer: bool,
}

/// How workers learn that a socket is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// io_uring, or epoll where the kernel refuses a ring.
    Auto,
    /// io_uring, or the start fails.
    Uring,
    /// epoll.
    Epoll,
}

/// `[reload]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reload {
    /// A changed file is reloaded without being asked.
    pub(crate) watch: bool,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    /// Where requests go that no route matches; `None`: they are answered 404. A configuration with
    /// one upstream and no route has that upstream here.
    pub(crate) upstream: Option<String>,
    /// Proxies in front of us whose word about their clients is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Every request goes on with an X-Request-ID.
    pub(crate) request_id: bool,
    /// Connections begin with a PROXY header and come from `trusted_proxies`, of which there is one.
    pub(crate) proxy_protocol: bool,
    /// Connections open at once; `None`: as many as the process may have.
    pub(crate) connections: Option<u32>,
    /// Requests that did not come over TLS are sent to `https`.
    pub(crate) https_redirect: bool,
    /// Certificates; `None`: no TLS is opened.
    pub(crate) tls: Option<ListenerTls>,
    pub(crate) detect: Detect,
}

/// What the connections of a listener may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detect {
    /// At least one.
    pub(crate) protocols: Protocols,
    /// Where TCP goes. Present if it is one of the protocols.
    pub(crate) tcp_upstream: Option<String>,
    /// Server names (`None`: every other one, or none) and the upstreams that their TLS goes to unopened.
    /// No two names are the same.
    pub(crate) sni: Vec<(Option<String>, String)>,
}

impl Default for Detect {
    fn default() -> Self {
        Self { protocols: Protocols::of(Protocol::Http), tcp_upstream: None, sni: Vec::new() }
    }
}

/// `[flash_policy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// As it will be sent.
    Given(FlashPolicy),
    /// In a file; [`Config::load`] reads it.
    File(PathBuf),
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Lower case, without port; `None` matches every host.
    pub(crate) host: Option<String>,
    /// Prefix, begins with `/`. The longest that matches wins.
    pub(crate) path: String,
    pub(crate) goal: Goal,
    /// Instead of the upstream's.
    pub(crate) affinity: Option<Affinity>,
    /// Whether new sids get a tag, instead of what the upstream says.
    pub(crate) sid_tags: Option<bool>,
    /// The path backends see instead.
    pub(crate) rewrite: Option<PathRewrite>,
    /// What happens to the fields of requests.
    pub(crate) request: FieldRules,
    /// What happens to the fields of responses.
    pub(crate) response: FieldRules,
    /// Requests a second, over all clients and workers.
    pub(crate) request_rate: Option<u32>,
}

/// What becomes of the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// They go to the upstream of this name.
    Upstream(String),
    /// They are answered here.
    Reply(RouteReply),
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Client connections of the whole process, tunnels included.
    pub(crate) connections: u32,
    /// Bytes of a request head; a longer one is answered 431.
    pub(crate) request_head_bytes: usize,
    /// Bytes of a request body; a longer one is answered 413. `None`: any length.
    pub(crate) request_body_bytes: Option<u64>,
    /// Bytes a second of a request body, `timeouts.request_body_idle` aside. `None`: any rate.
    pub(crate) request_body_min_rate: Option<u32>,
    /// Bytes a second that a client takes of a response that waits for it, `timeouts.response` aside. `None`:
    /// any rate.
    pub(crate) response_min_rate: Option<u32>,
    /// Bytes of memory of all workers together. `None`: any number.
    pub(crate) memory: Option<u64>,
    /// Entries of the sid table, over all shards.
    pub(crate) sids: u32,
    /// Connections open at once of one client address.
    pub(crate) connections_per_client: Option<u32>,
    /// New connections a second of one client address.
    pub(crate) connection_rate_per_client: Option<u32>,
    /// New Engine.IO sessions a second of one client address.
    pub(crate) session_rate_per_client: Option<u32>,
    /// New Engine.IO sessions a second of the process, and of each backend.
    pub(crate) session_rate: Option<u32>,
    pub(crate) session_rate_per_backend: Option<u32>,
    /// Slots of the table of clients, over all shards.
    pub(crate) clients: u32,
    /// Bounds per listener, client and route are only counted.
    pub(crate) dry_run: bool,
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The least important events that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for Workers {
    fn default() -> Self {
        Self { count: None, engine: Engine::Auto, pin: true, steer: false }
    }
}

impl Listener {
    /// A listener with this address and upstream, defaults else.
    fn new(address: SocketAddr, upstream: Option<String>) -> Self {
        Self {
            address,
            upstream,
            trusted_proxies: Vec::new(),
            request_id: false,
            proxy_protocol: false,
            connections: None,
            https_redirect: false,
            tls: None,
            detect: Detect::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            request_head_bytes: 32 * 1024,
            request_body_bytes: None,
            // A tenth of the slowest mobile network's rate.
            request_body_min_rate: Some(240),
            response_min_rate: Some(240),
            memory: None,
            sids: 1_000_000,
            connections_per_client: None,
            connection_rate_per_client: None,
            session_rate_per_client: None,
            session_rate: None,
            session_rate_per_backend: None,
            // 40 bytes each, for four times fewer clients at once.
            clients: 262_144,
            dry_run: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// Reads the value of an `affinity` key.
pub(crate) fn affinity(text: &str) -> Result<Affinity, String> {
    text.parse().map_err(|error: ringbolt_core::affinity::AffinityError| error.to_string())
}

/// Reads the value of an `engine` key.
pub(crate) fn engine(text: &str) -> Result<Engine, String> {
    value::choice(text, &[("auto", Engine::Auto), ("uring", Engine::Uring), ("epoll", Engine::Epoll)])
}

/// Reads the value of `log.format`.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    value::choice(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// Reads the value of `log.level`.
pub(crate) fn log_level(text: &str) -> Result<LogLevel, String> {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    value::choice(text, &levels)
}

/// The whole of a file of configuration, of ours or of another program.
///
/// # Errors
/// It cannot be read, or is longer than [`bounds::FILE_BYTES_MAX`]: why, to be told behind its name.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = beginning(path, bounds::FILE_BYTES_MAX + 1)?;
    if bytes.len() as u64 > bounds::FILE_BYTES_MAX {
        return Err("is longer than 4 MiB, which no configuration needs to be".to_owned());
    }
    Ok(bytes)
}

/// The first bytes of a file, `most` of them.
fn beginning(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|opened| opened.take(most).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

impl Config {
    /// The configuration of a start without a file: these listeners, one upstream, defaults else.
    ///
    /// # Errors
    ///
    /// The same rules as in a file; the message names the command line as its place.
    pub(crate) fn without_file(
        listeners: &[SocketAddr],
        backends: &[SocketAddr],
        affinity: Affinity,
    ) -> Result<Self, Refused> {
        read::without_file(listeners, backends, affinity)
    }

    /// Reads the configuration `text`. `file` is its name in messages.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of its lines.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, Refused> {
        read::document(file, text)
    }

    /// Reads the configuration file at `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not UTF-8, is longer than [`bounds::FILE_BYTES_MAX`], or is
    /// refused for what it says.
    pub(crate) fn load(path: &Path) -> Result<Self, Refused> {
        Self::read(path).map(|(config, _)| config)
    }

    /// The same, and the text of the file.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub(crate) fn read(path: &Path) -> Result<(Self, String), Refused> {
        let file = path.display().to_string();
        let bytes = content(path).map_err(|problem| Refused::whole(&file, &problem))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Refused::not_utf8(&file, &error.as_bytes()[..valid])
        })?;
        let mut config = Self::parse(&file, &text)?;
        let read = config.read_flash_policy(path).and_then(|()| config.read_order_token());
        let read = read.and_then(|()| config.read_sid_tags()).and_then(|()| config.read_directory());
        read.map_err(|problem| Refused::whole(&file, &problem))?;
        config.check_backend_files()?;
        Ok((config, text))
    }

    /// Reads the policy that is in a file of its own, whose path is relative to that of the configuration.
    fn read_flash_policy(&mut self, config: &Path) -> Result<(), String> {
        let Some(Policy::File(path)) = &self.flash_policy else { return Ok(()) };
        let mut bytes = Vec::new();
        let policy = File::open(config.with_file_name(path))
            .and_then(|opened| opened.take(FLASH_POLICY_BYTES_MAX as u64 + 2).read_to_end(&mut bytes))
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|_| FlashPolicy::from_text(&bytes).map_err(|error| error.to_string()));
        let policy = policy.map_err(|problem| format!("flash_policy.file: {} {problem}", path.display()))?;
        self.flash_policy = Some(Policy::Given(policy));
        Ok(())
    }
}
