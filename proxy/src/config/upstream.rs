//! `[upstream.NAME]`: a group of backends, and what holds for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ringbolt_core::limits::RATE_MAX;
use toml::de::DeValue;

use super::bounds::{BACKENDS_MAX, QUEUE, SLOW_START, TABLE_ENTRIES, WEIGHT};
use super::problem::Problems;
use super::section::{Field, Section, boolean, integer, or_off, text, wrong_type};
use super::value::Reached;
use super::{
    Affinity, BackendState, Balance, Health, Place, ProxyVersion, SidTags, Source, UpstreamTls, tls, value,
};

/// `[upstream.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) affinity: Affinity,
    /// Version of the PROXY header that connections to its backends begin with.
    pub(crate) proxy_protocol: Option<ProxyVersion>,
    /// A 101 must prove that its backend has understood the request.
    pub(crate) verify_accept: bool,
    /// Where what nothing binds goes; `None`: sessions by rendezvous hashing, other requests to the least load.
    pub(crate) balance: Option<Balance>,
    /// Sessions and tunnels over which a backend that comes or comes back is filled slowly; `None`: it is not.
    pub(crate) slow_start: Option<u32>,
    /// Requests that wait for one backend with `maxconn`.
    pub(crate) queue: u32,
    /// How long they wait.
    pub(crate) queue_timeout: Duration,
    /// Questions a second to each backend, whose session a request belongs to; `None`: none is asked.
    pub(crate) ask_rate: Option<u32>,
    /// How long asking may take, with all backends together.
    pub(crate) ask_timeout: Duration,
    /// Its sids say whose they are; `None`: they are left alone.
    pub(crate) sid_tags: Option<SidTags>,
    /// Its sessions are in the shared directory, `[directory]`.
    pub(crate) directory: bool,
    pub(crate) health: Health,
    /// How its backends with TLS are talked to.
    pub(crate) tls: UpstreamTls,
    /// A client that closes its half of the connection while its answer is awaited ends its request.
    pub(crate) abort_on_close: bool,
    /// At most [`BACKENDS_MAX`] in all upstreams together; at least one, or a source. No two have the same name.
    pub(crate) backends: Vec<Backend>,
    /// Where more of them are found.
    pub(crate) sources: Vec<Source>,
}

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// What rendezvous hashing and the cookie know it by; by default its address.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// It speaks TLS.
    pub(crate) tls: bool,
    /// Share of new sessions relative to the others, at least 1.
    pub(crate) weight: u32,
    pub(crate) state: BackendState,
    /// Gets new sessions only while no other backend can.
    pub(crate) backup: bool,
    /// Requests and tunnels at once, over all workers; `None`: any number.
    pub(crate) maxconn: Option<u32>,
    pub(crate) origin: Origin,
}

/// How a backend came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration has it.
    Config,
    /// DNS named it.
    Dns,
    /// The upstream's `backends_file` has it.
    BackendsFile,
    /// An operator has added it.
    Order,
}

impl Origin {
    /// What it is called in answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Dns => "dns",
            Self::BackendsFile => "backends_file",
            Self::Order => "order",
        }
    }
}

impl Backend {
    /// A backend of this name and address, defaults else.
    pub(crate) fn new(name: String, address: SocketAddr) -> Self {
        Self {
            name,
            address,
            tls: false,
            weight: 1,
            state: BackendState::Up,
            backup: false,
            maxconn: None,
            origin: Origin::Config,
        }
    }
}

impl Upstream {
    /// An upstream with these backends, defaults else.
    pub(super) fn new(affinity: Affinity, backends: Vec<Backend>) -> Self {
        Self {
            affinity,
            proxy_protocol: None,
            verify_accept: true,
            abort_on_close: true,
            tls: UpstreamTls::default(),
            balance: None,
            slow_start: None,
            queue: 1024,
            queue_timeout: Duration::from_secs(10),
            ask_rate: Some(500),
            ask_timeout: Duration::from_secs(3),
            sid_tags: None,
            directory: false,
            health: Health::default(),
            backends,
            sources: Vec::new(),
        }
    }

    /// Some of its backends speak TLS, or some that may be found.
    pub(crate) fn has_tls(&self) -> bool {
        self.backends.iter().any(|backend| backend.tls) || self.sources.iter().any(|source| source.tls)
    }
}

const BACKEND_STATES: &[(&str, BackendState)] =
    &[("up", BackendState::Up), ("drain", BackendState::Drain), ("maintenance", BackendState::Maintenance)];

const BALANCES: &[(&str, Balance)] = &[
    ("rendezvous", Balance::Rendezvous),
    ("least-tunnels", Balance::LeastTunnels),
    ("round-robin", Balance::RoundRobin),
    ("random-two", Balance::RandomTwo),
];

const PROXY_VERSIONS: &[(&str, ProxyVersion)] = &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];

/// What `backends` may hold.
const BACKENDS: &str = r#"a list such as ["10.0.0.1:3000", { name = "b", address = "10.0.0.2:3000" }]"#;

/// Reads every upstream.
pub(super) fn upstreams(
    problems: &Problems,
    section: &Section<'_>,
    base: &Path,
) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::new();
    let mut backends_left = BACKENDS_MAX;
    for (name, field) in section.fields() {
        if let Err(problem) = value::name(name) {
            problems.add(field.at.clone(), field.key.clone(), problem);
        }
        let expected = "a table; an upstream has a name of its own: `[upstream.NAME]`";
        let Some(mut section) = Section::of(problems, field, expected) else { continue };
        let upstream = upstream(problems, &mut section, base);
        let count = upstream.backends.len() + upstream.sources.len();
        if count > backends_left {
            section
                .problem("backends", format!("more than {BACKENDS_MAX} backends in all upstreams together"));
        }
        backends_left = backends_left.saturating_sub(count);
        section.finish();
        upstreams.insert(name.to_owned(), upstream);
    }
    upstreams
}

fn upstream(problems: &Problems, section: &mut Section<'_>, base: &Path) -> Upstream {
    let affinity = section.read("affinity", text("a string", super::affinity)).unwrap_or_default();
    let proxy_protocol =
        section.read("proxy_protocol", text("a string", |text| value::choice(text, PROXY_VERSIONS)));
    let verify_accept = section.read("verify_accept", boolean).unwrap_or(true);
    let abort_on_close = section.read("abort_on_close", boolean).unwrap_or(true);
    let tls = tls::upstream(section, base);
    let file = section.read("backends_file", text("a path", |path| Ok(base.join(path))));
    let (mut backends, mut sources) = entries(problems, section, file.is_some());
    sources.extend(file.map(Source::file));
    if tls.is_some() {
        backends.iter_mut().for_each(|backend| backend.tls = true);
        sources.iter_mut().for_each(|source| source.tls = true);
    }
    let default = Upstream::new(affinity, backends);
    let balance = section.read("balance", text("a string", |text| value::choice(text, BALANCES)));
    let slow_start = section.read("slow_start", or_off(integer(SLOW_START))).flatten();
    let queue = section.read("queue", integer(QUEUE)).unwrap_or(default.queue);
    let timeout = text(r#"a duration such as "10s""#, value::duration);
    let queue_timeout = section.read("queue_timeout", &timeout).unwrap_or(default.queue_timeout);
    let ask_rate = section.read("ask_rate", or_off(integer(1..=RATE_MAX))).unwrap_or(default.ask_rate);
    let ask_timeout = section.read("ask_timeout", &timeout).unwrap_or(default.ask_timeout);
    let sid_tags = super::sid_tags::sid_tags(section, base);
    let directory = section.read("directory", boolean).unwrap_or(default.directory);
    let health = super::health::health(section.section("health"));
    let upstream = Upstream {
        proxy_protocol,
        verify_accept,
        abort_on_close,
        tls: tls.unwrap_or_default(),
        balance,
        slow_start,
        queue,
        queue_timeout,
        ask_rate,
        ask_timeout,
        sid_tags,
        directory,
        health,
        sources,
        ..default
    };
    // Whoever can change what DNS answers must not be believed for it.
    let is_looked_up = |source: &Source| source.tls && !matches!(source.place, Place::File(_));
    if upstream.tls.verify && upstream.tls.server_name.is_none() && upstream.sources.iter().any(is_looked_up)
    {
        section.problem(
            "tls.server_name",
            "is missing: backends found by DNS have to prove a name that is given",
        );
    }
    upstream
}

/// The entries of `backends`, and those of them that are looked up.
pub(super) fn entries(
    problems: &Problems,
    section: &mut Section<'_>,
    may_be_missing: bool,
) -> (Vec<Backend>, Vec<Source>) {
    let (mut backends, mut sources) = (Vec::new(), Vec::new());
    let Some(field) = section.field("backends") else {
        if !may_be_missing {
            section.problem("backends", format!("is missing; write {BACKENDS}"));
        }
        return (backends, sources);
    };
    let Some(entries) = field.entries() else {
        problems.add(field.at, field.key, wrong_type(field.value, BACKENDS));
        return (backends, sources);
    };
    if entries.is_empty() {
        problems.add(field.at, field.key, format!("is empty; write {BACKENDS}"));
    }
    let mut names = BTreeSet::new();
    for entry in entries {
        let (at, key) = (entry.at.clone(), entry.key.clone());
        let Some(entry) = read_entry(problems, entry) else { continue };
        let name = match &entry {
            Entry::Backend(backend) => backend.name.clone(),
            Entry::Source(Source { name: Some(name), .. }) => name.clone(),
            Entry::Source(source) => source.place.to_string(),
        };
        if !names.insert(name.clone()) {
            problems.add(at, key, format!(r#"there is a backend "{name}" in this upstream already"#));
        }
        match entry {
            Entry::Backend(backend) => backends.push(backend),
            Entry::Source(source) => sources.push(source),
        }
    }
    (backends, sources)
}

/// What an entry of `backends` stands for.
enum Entry {
    Backend(Backend),
    Source(Source),
}

impl Entry {
    /// An entry with defaults.
    fn new(tls: bool, reached: Reached, name: Option<String>) -> Self {
        let place = match reached {
            Reached::At(address) => {
                let name = name.unwrap_or_else(|| address.to_string());
                return Self::Backend(Backend { tls, ..Backend::new(name, address) });
            }
            Reached::Through(host, port) => Place::Host(host, port),
        };
        Self::Source(Source {
            place,
            name,
            tls,
            weight: 1,
            state: BackendState::Up,
            backup: false,
            maxconn: None,
        })
    }
}

/// One entry of `backends`: an address alone or a table.
fn read_entry(problems: &Problems, entry: Field<'_>) -> Option<Entry> {
    let address = text(r#"an address such as "10.0.0.1:3000""#, value::backend_url);
    if entry.value.is_str() {
        let (tls, reached) =
            address(entry.value).map_err(|problem| problems.add(entry.at, entry.key, problem)).ok()?;
        return Some(Entry::new(tls, reached, None));
    }
    let expected =
        r#"an address such as "10.0.0.1:3000" or a table such as { address = "10.0.0.1:3000", weight = 2 }"#;
    let mut section = Section::of(problems, entry, expected)?;
    let srv = section.read("srv", text("a name", value::dns_name));
    let reached = match section.field("srv") {
        None => section.require("address", r#""10.0.0.1:3000""#, address),
        Some(_) => {
            for name in ["address", "name", "weight"] {
                if section.field(name).is_some() {
                    section.problem(name, "comes from the SRV records");
                }
            }
            None
        }
    };
    let name = section.read("name", text("a string", value::name));
    let weight = section.read("weight", weight).unwrap_or(1);
    let state = section.read("state", text("a string", |text| value::choice(text, BACKEND_STATES)));
    let state = state.unwrap_or(BackendState::Up);
    let backup = section.read("backup", boolean).unwrap_or(false);
    let maxconn = section.read("maxconn", or_off(integer(TABLE_ENTRIES))).flatten();
    section.finish();
    if let Some(name) = srv {
        let (place, tls) = (Place::Srv(name), false);
        return Some(Entry::Source(Source { place, name: None, tls, weight, state, backup, maxconn }));
    }
    let (tls, reached) = reached?;
    Some(match Entry::new(tls, reached, name) {
        Entry::Backend(backend) => Entry::Backend(Backend { weight, state, backup, maxconn, ..backend }),
        Entry::Source(source) => Entry::Source(Source { weight, state, backup, maxconn, ..source }),
    })
}

fn weight(value: &DeValue<'_>) -> Result<u32, String> {
    if value.as_integer().is_some_and(|number| number.as_str() == "0") {
        return Err(r#"is 0; write `state = "drain"` for a backend that gets no new sessions"#.to_owned());
    }
    integer(WEIGHT)(value)
}
