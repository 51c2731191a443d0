//! Where backends are found that the configuration does not name: `[discovery]`, entries of `backends` with a name
//! of DNS, and `backends_file`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::bounds::{RESOLVERS_MAX, TTL_SHORTEST};
use super::problem::{Problems, Refused};
use super::section::{Section, text};
use super::upstream::{Origin, entries};
use super::{Backend, BackendState, Config, value};

#[cfg(test)]
mod tests;

/// `[discovery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovery {
    /// Servers that are asked; empty: those of /etc/resolv.conf.
    pub(crate) resolvers: Vec<SocketAddr>,
    /// For one question to one server.
    pub(crate) timeout: Duration,
    /// An answer is asked for again when its time to live has passed, but not before this.
    pub(crate) ttl_min: Duration,
    /// And not after this.
    pub(crate) ttl_max: Duration,
    /// How long a backend drains that answers name no more, before it is removed.
    pub(crate) hold: Duration,
}

/// Where an upstream's backends are found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// At the addresses of a host, all with this port.
    Host(String, u16),
    /// In the SRV records of this name (RFC 2782).
    Srv(String),
    /// In a file.
    File(PathBuf),
}

/// Backends that are found while the process runs, and what the configuration says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) place: Place,
    /// They are one backend of this name; `None`: each is one of its own.
    pub(crate) name: Option<String>,
    pub(crate) tls: bool,
    /// Of each, where the source does not tell.
    pub(crate) weight: u32,
    pub(crate) state: BackendState,
    pub(crate) backup: bool,
    pub(crate) maxconn: Option<u32>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            timeout: Duration::from_secs(2),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(300),
            // What containers are given by default to end after they have left DNS.
            hold: Duration::from_secs(30),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name, port) => write!(formatter, "{name}:{port}"),
            Self::Srv(name) => write!(formatter, "SRV {name}"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl Source {
    /// What a file of backends is: it says everything by itself.
    pub(super) fn file(path: PathBuf) -> Self {
        let (name, state) = (None, BackendState::Up);
        Self { place: Place::File(path), name, tls: false, weight: 1, state, backup: false, maxconn: None }
    }

    /// A backend that was found there, under this name.
    pub(crate) fn backend(&self, name: String, address: SocketAddr) -> Backend {
        Backend {
            tls: self.tls,
            weight: self.weight,
            state: self.state,
            backup: self.backup,
            maxconn: self.maxconn,
            origin: Origin::Dns,
            ..Backend::new(name, address)
        }
    }
}

/// Reads the section.
pub(super) fn discovery(mut section: Section<'_>) -> Discovery {
    let default = Discovery::default();
    let expected = r#"a list such as ["10.0.0.53:53"]"#;
    let resolvers = section.read_list("resolvers", expected, RESOLVERS_MAX, value::backend_address);
    let mut read = |name, default| {
        section.read(name, text(r#"a duration such as "5s""#, value::duration)).unwrap_or(default)
    };
    let timeout = read("timeout", default.timeout);
    let (ttl_min, ttl_max) = (read("ttl_min", default.ttl_min), read("ttl_max", default.ttl_max));
    if ttl_min < TTL_SHORTEST {
        section.problem("ttl_min", format!("is shorter than {TTL_SHORTEST:?}"));
    }
    if ttl_min > ttl_max {
        section.problem("ttl_min", "is longer than `ttl_max`");
    }
    let hold = text(r#"a duration such as "30s""#, value::duration_or_zero);
    let hold = section.read("hold", hold).unwrap_or(default.hold);
    section.finish();
    Discovery { resolvers, timeout, ttl_min, ttl_max, hold }
}

/// Reads a file of backends: TOML with the key `backends`, as in an upstream.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub(crate) fn read_backends(path: &Path) -> Result<Vec<Backend>, Refused> {
    let file = path.display().to_string();
    let bytes = super::content(path).map_err(|problem| Refused::whole(&file, &problem))?;
    let source = String::from_utf8(bytes)
        .map_err(|error| Refused::not_utf8(&file, &error.as_bytes()[..error.utf8_error().valid_up_to()]))?;
    let problems = Problems::default();
    let (table, errors) = DeTable::parse_recoverable(&source);
    for error in errors {
        problems.add(error.span().unwrap_or(0..0), "syntax", error.message());
    }
    if !problems.is_empty() {
        return Err(problems.into_refused(&file, &source));
    }
    let mut document = Section::document(&problems, table.get_ref(), source.len());
    let (mut backends, sources) = entries(&problems, &mut document, false);
    if !sources.is_empty() {
        document.problem("backends", "are addresses in a file of their own, not names that are looked up");
    }
    document.finish();
    backends.iter_mut().for_each(|backend| backend.origin = Origin::BackendsFile);
    if problems.is_empty() { Ok(backends) } else { Err(problems.into_refused(&file, &source)) }
}

impl Config {
    /// Reads every file of backends, so that a wrong one is told with the configuration.
    pub(super) fn check_backend_files(&self) -> Result<(), Refused> {
        for upstream in self.upstreams.values() {
            for source in &upstream.sources {
                if let Place::File(path) = &source.place {
                    read_backends(path)?;
                }
            }
        }
        Ok(())
    }
}
