//! The meaning of each key, section by section, and the rules between sections.
//!
//! A mistake never ends the reading: it is noted, and the rest is read all the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use ringbolt_core::limits::RATE_MAX;
use ringbolt_core::network::NetworkError;
use toml::de::{DeTable, DeValue};

use super::bounds::{
    BACKENDS_MAX, MEMORY_BYTES_MIN, REQUEST_HEAD_BYTES, TABLE_ENTRIES, TRUSTED_PROXIES_MAX, WORKERS_MAX,
};
use super::problem::{Problems, Refused};
use super::section::{Section, boolean, integer, or_off, suggest, text};
use super::{
    Admin, Affinity, Backend, Config, Discovery, Limits, Listener, Log, Process, Protocol, Reload, Timeouts,
    Upstream, Workers, tls, value,
};

/// Reads a whole file.
pub(super) fn document(file: &str, source: &str) -> Result<Config, Refused> {
    let problems = Problems::default();
    let (table, errors) = DeTable::parse_recoverable(source);
    for error in errors {
        problems.add(error.span().unwrap_or(0..0), "syntax", error.message());
    }
    // What the parser made of a broken file would only add problems that are none.
    if !problems.is_empty() {
        return Err(problems.into_refused(file, source));
    }
    let mut document = Section::document(&problems, table.get_ref(), source.len());
    let base = Path::new(file).parent().unwrap_or(Path::new(""));
    let traffic = traffic(&problems, &mut document, base);
    let in_directory = traffic.upstreams.values().any(|upstream| upstream.directory);
    let Config { admin, admin_socket, order_token, .. } =
        super::admin::admin(document.section("admin"), &traffic.listeners, base);
    let config = Config {
        process: process(document.section("process")),
        workers: workers(document.section("workers")),
        admin,
        admin_socket,
        order_token,
        reload: reload(document.section("reload")),
        discovery: super::discovery::discovery(document.section("discovery")),
        directory: super::directory::directory(document.section("directory"), in_directory, base),
        timeouts: super::timeouts::timeouts(document.section("timeouts")),
        limits: limits(document.section("limits")),
        log: log(document.section("log")),
        access_log: super::access_log::access_log(document.section("access_log")),
        traces: super::traces::traces(document.section("traces")),
        ..traffic
    };
    document.finish();
    if problems.is_empty() { Ok(config) } else { Err(problems.into_refused(file, source)) }
}

/// Builds the configuration of a start without a file.
pub(super) fn without_file(
    listeners: &[SocketAddr],
    backends: &[SocketAddr],
    affinity: Affinity,
) -> Result<Config, Refused> {
    let refused = |problem: String| Refused::whole("command line", &problem);
    let twice = |addresses: &[SocketAddr]| {
        let mut seen = BTreeSet::new();
        addresses.iter().copied().find(|address| address.port() != 0 && !seen.insert(*address))
    };
    if let Some(address) = twice(listeners) {
        return Err(refused(format!("--listen {address} is given twice")));
    }
    if let Some(address) = twice(backends) {
        return Err(refused(format!("--backend {address} is given twice")));
    }
    if backends.len() > BACKENDS_MAX {
        return Err(refused(format!("more than {BACKENDS_MAX} backends")));
    }
    let upstream = "default".to_owned();
    let listener = |&address: &SocketAddr| Listener::new(address, Some(upstream.clone()));
    let backend = |&address: &SocketAddr| Backend::new(address.to_string(), address);
    Ok(Config {
        listeners: listeners.iter().map(listener).collect(),
        upstreams: BTreeMap::from([(
            upstream.clone(),
            Upstream::new(affinity, backends.iter().map(backend).collect()),
        )]),
        ..Config::empty()
    })
}

impl Config {
    /// Defaults, and nothing to serve yet.
    pub(super) fn empty() -> Self {
        Self {
            process: Process::default(),
            workers: Workers::default(),
            admin: Some(Admin::default()),
            admin_socket: None,
            order_token: None,
            reload: Reload::default(),
            discovery: Discovery::default(),
            directory: None,
            listeners: Vec::new(),
            routes: Vec::new(),
            upstreams: BTreeMap::new(),
            flash_policy: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            log: Log::default(),
            access_log: None,
            traces: None,
        }
    }
}

/// Listeners, routes and upstreams: the sections that refer to each other.
fn traffic(problems: &Problems, document: &mut Section<'_>, base: &Path) -> Config {
    let section = document.section("upstream");
    let names: Vec<&str> = section.fields().into_iter().map(|(name, _)| name).collect();
    let upstreams = super::upstream::upstreams(problems, &section, base);
    if names.is_empty() {
        document.problem("upstream", "there is none; write `[upstream.NAME]` with a list of `backends`");
    }
    let routes = super::route::routes(problems, document.list("route"), &names, &upstreams);
    let has_listener = document
        .field("listener")
        .is_some_and(|field| field.entries().is_none_or(|entries| !entries.is_empty()));
    if !has_listener {
        document
            .problem("listener", r#"there is none; write `[[listener]]` with `address = "0.0.0.0:8080"`"#);
    }
    let unrouted = if routes.is_empty() { Unrouted::of(&names) } else { Unrouted::Refused };
    let flash_policy = super::detect::flash_policy(document);
    let has_flash_policy = document.field("flash_policy").is_some();
    let listeners = listeners(problems, document.list("listener"), &names, unrouted, has_flash_policy, base);
    Config { listeners, routes, upstreams, flash_policy, ..Config::empty() }
}

/// Where the requests of a listener go that names no upstream and that no route matches.
#[derive(Clone, Copy)]
enum Unrouted<'t> {
    /// To the only upstream there is.
    Only(&'t str),
    /// Nowhere by intention: there are routes for the others.
    Refused,
    /// Nowhere, and there is no route either: the listener could serve nothing.
    Nowhere,
}

impl<'t> Unrouted<'t> {
    /// Without any route.
    fn of(upstreams: &[&'t str]) -> Self {
        match upstreams {
            [] => Self::Refused,
            [only] => Self::Only(only),
            _ => Self::Nowhere,
        }
    }
}

fn process(mut section: Section<'_>) -> Process {
    let process = Process {
        user: section.read("user", text("the name or number of a user", value::account)),
        group: section.read("group", text("the name or number of a group", value::account)),
    };
    if process.group.is_some() && process.user.is_none() {
        section.problem("group", "is used with `user` only; name the user too");
    }
    section.finish();
    process
}

fn workers(mut section: Section<'_>) -> Workers {
    let default = Workers::default();
    let most = u32::try_from(WORKERS_MAX).unwrap_or(u32::MAX);
    let workers = Workers {
        count: section.read("count", integer(1..=most)).map(|count| count as usize),
        engine: section.read("engine", text("a string", super::engine)).unwrap_or(default.engine),
        pin: section.read("pin", boolean).unwrap_or(default.pin),
        steer: section.read("steer", boolean).unwrap_or(default.steer),
    };
    section.finish();
    workers
}

fn reload(mut section: Section<'_>) -> Reload {
    let reload = Reload { watch: section.read("watch", boolean).unwrap_or(false) };
    section.finish();
    reload
}

fn listeners(
    problems: &Problems,
    sections: Vec<Section<'_>>,
    upstreams: &[&str],
    unrouted: Unrouted<'_>,
    has_flash_policy: bool,
    base: &Path,
) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    let taken = RefCell::new(BTreeSet::new());
    for mut section in sections {
        let address = section.require(
            "address",
            r#""0.0.0.0:8080""#,
            text(r#"an address such as "0.0.0.0:8080""#, |text| {
                let address = value::listen_address(text)?;
                if address.port() != 0 && !taken.borrow_mut().insert(address) {
                    return Err(format!("{address} has a listener already"));
                }
                Ok(address)
            }),
        );
        let mut tls = tls::listener(problems, &mut section, base);
        let detect = super::detect::detect(problems, &mut section, upstreams, has_flash_policy, tls.as_mut());
        let inside = tls.as_ref().map(|tls| tls.inside).unwrap_or_default();
        let serves_http = detect.protocols.union(inside).has(Protocol::Http);
        let https_redirect = section.read("https_redirect", boolean).unwrap_or(false);
        let upstream = match section.field("upstream") {
            Some(_) => section.read("upstream", reference(upstreams)),
            None if !serves_http => None,
            None => match unrouted {
                Unrouted::Only(name) => Some(name.to_owned()),
                Unrouted::Refused => None,
                Unrouted::Nowhere => {
                    let names = upstreams.join(", ");
                    section.problem(
                        "upstream",
                        format!("is missing: there are several upstreams and no route; name one of: {names}"),
                    );
                    None
                }
            },
        };
        let trusted_proxies = section.read_list(
            "trusted_proxies",
            r#"a list such as ["10.0.0.0/8", "fd00::/8"]"#,
            TRUSTED_PROXIES_MAX,
            |text| text.parse().map_err(|error: NetworkError| error.to_string()),
        );
        let request_id = section.read("request_id", boolean).unwrap_or(false);
        let proxy_protocol = section.read("proxy_protocol", boolean).unwrap_or(false);
        if proxy_protocol && trusted_proxies.is_empty() {
            let problem = "takes PROXY headers from `trusted_proxies` only; name the proxies there";
            section.problem("proxy_protocol", problem);
        }
        let connections = section.read("connections", or_off(integer(TABLE_ENTRIES))).flatten();
        section.finish();
        if let Some(address) = address {
            listeners.push(Listener {
                trusted_proxies,
                request_id,
                proxy_protocol,
                connections,
                detect,
                https_redirect,
                tls,
                ..Listener::new(address, upstream)
            });
        }
    }
    listeners
}

/// A reader of an upstream's name.
pub(super) fn reference(upstreams: &[&str]) -> impl Fn(&DeValue<'_>) -> Result<String, String> {
    text("the name of an upstream", move |name| {
        if upstreams.contains(&name) {
            return Ok(name.to_owned());
        }
        let hint =
            if upstreams.is_empty() { String::new() } else { suggest(name, upstreams, "the upstreams are") };
        Err(format!(r#"there is no upstream "{name}"{hint}"#))
    })
}

fn limits(mut section: Section<'_>) -> Limits {
    let default = Limits::default();
    let request_head_bytes = section.read("request_head_bytes", |value| {
        let size = bytes(value)?;
        usize::try_from(size)
            .ok()
            .filter(|_| REQUEST_HEAD_BYTES.contains(&size))
            .ok_or_else(|| format!("{size} bytes is out of range, expected a size from \"1KiB\" to \"1MiB\""))
    });
    let limits = Limits {
        connections: section.read("connections", integer(TABLE_ENTRIES)).unwrap_or(default.connections),
        request_head_bytes: request_head_bytes.unwrap_or(default.request_head_bytes),
        request_body_bytes: section
            .read("request_body_bytes", or_off(bytes))
            .unwrap_or(default.request_body_bytes),
        request_body_min_rate: min_rate(&mut section, "request_body_min_rate", default.request_body_min_rate),
        response_min_rate: min_rate(&mut section, "response_min_rate", default.response_min_rate),
        memory: section.read("memory", or_off(memory)).unwrap_or(default.memory),
        sids: section.read("sids", integer(TABLE_ENTRIES)).unwrap_or(default.sids),
        connections_per_client: section
            .read("connections_per_client", or_off(integer(TABLE_ENTRIES)))
            .unwrap_or(default.connections_per_client),
        connection_rate_per_client: rate(&mut section, "connection_rate_per_client"),
        session_rate_per_client: rate(&mut section, "session_rate_per_client"),
        session_rate: rate(&mut section, "session_rate"),
        session_rate_per_backend: rate(&mut section, "session_rate_per_backend"),
        clients: section.read("clients", integer(TABLE_ENTRIES)).unwrap_or(default.clients),
        dry_run: section.read("dry_run", boolean).unwrap_or(default.dry_run),
    };
    section.finish();
    limits
}

/// Events a second; without the key, or with `"off"`, any number of them.
pub(super) fn rate(section: &mut Section<'_>, name: &'static str) -> Option<u32> {
    section.read(name, or_off(integer(1..=RATE_MAX))).flatten()
}

/// Bytes a second that a client keeps up.
fn min_rate(section: &mut Section<'_>, name: &'static str, default: Option<u32>) -> Option<u32> {
    section.read(name, or_off(integer(1..=RATE_MAX))).unwrap_or(default)
}

fn memory(value: &DeValue<'_>) -> Result<u64, String> {
    let size = bytes(value)?;
    if size < MEMORY_BYTES_MIN {
        return Err(format!("{size} bytes are too few to serve anybody with, expected at least \"64MiB\""));
    }
    Ok(size)
}

/// A size with a unit, or a bare number of bytes.
fn bytes(value: &DeValue<'_>) -> Result<u64, String> {
    if let Some(number) = value.as_integer() {
        return u64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("{number} is out of range, expected a number of bytes from 0"));
    }
    text(r#"a size such as "32KiB" or a number of bytes"#, value::bytes)(value)
}

fn log(mut section: Section<'_>) -> Log {
    let default = Log::default();
    let log = Log {
        format: section.read("format", text("a string", super::log_format)).unwrap_or(default.format),
        level: section.read("level", text("a string", super::log_level)).unwrap_or(default.level),
    };
    section.finish();
    log
}
