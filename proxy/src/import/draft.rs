//! The configuration that is being made: what Ringbolt's file can say, and where each part comes from.
//!
//! Whatever is put in here has been judged by the rules of the file; [`Draft::finish`] takes out what would not
//! stand without something that was left out.

mod finish;
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringbolt_core::http::FieldRules;

use super::report::{Origin, Outcome, Remark};
use crate::config;

/// A value as TOML writes it, and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl Said {
    pub(super) fn text(value: &str, origin: &Origin) -> Self {
        Self { value: write::quoted(value), origin: origin.clone() }
    }

    pub(super) fn number(value: impl Into<u64>, origin: &Origin) -> Self {
        Self { value: value.into().to_string(), origin: origin.clone() }
    }

    pub(super) fn duration(value: Duration, origin: &Origin) -> Self {
        Self::text(&write::duration(value), origin)
    }
}

pub(super) type Keys = BTreeMap<&'static str, Said>;

#[derive(Debug, Default)]
pub(super) struct Draft {
    /// By section and key: `workers.count`, `timeouts.response`, `limits.request_body_bytes`.
    pub(super) settings: BTreeMap<(&'static str, &'static str), Said>,
    /// Durations among them, of which the longest holds.
    durations: BTreeMap<&'static str, Duration>,
    pub(super) listeners: Vec<Listener>,
    pub(super) routes: Vec<Route>,
    pub(super) upstreams: Vec<Upstream>,
    /// In the source the first rule that fits is taken; else the most specific one, as here.
    pub(super) first_rule_wins: bool,
    remarks: Vec<Remark>,
}

#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
    pub(super) upstream: Option<(String, Origin)>,
    pub(super) tcp_upstream: Option<(String, Origin)>,
    /// Beside TCP, if there is `tcp_upstream`.
    pub(super) serves_http: bool,
    pub(super) https_redirect: Option<Origin>,
    pub(super) proxy_protocol: Option<Origin>,
    pub(super) trusted_proxies: Vec<(String, Origin)>,
    pub(super) connections: Option<Said>,
    /// Server names (`*`: every other one) and the upstreams that their TLS goes to unopened.
    pub(super) sni: Vec<(String, String, Origin)>,
    pub(super) tls: Option<Tls>,
}

impl Listener {
    pub(super) fn new(address: SocketAddr, origin: &Origin) -> Self {
        Self {
            address,
            origin: origin.clone(),
            upstream: None,
            tcp_upstream: None,
            serves_http: true,
            https_redirect: None,
            proxy_protocol: None,
            trusted_proxies: Vec::new(),
            connections: None,
            sni: Vec::new(),
            tls: None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// Files of certificate and key, which may be one.
    pub(super) certificates: Vec<(String, Option<String>, Origin)>,
    /// `folder`, `min_version`, `max_version`, `client_auth`, `client_ca`, `hsts`.
    pub(super) keys: Keys,
}

impl Tls {
    /// Adds what another has; what is there already stays.
    pub(super) fn merge(&mut self, other: Self) {
        for certificate in other.certificates {
            if !self.certificates.iter().any(|known| (&known.0, &known.1) == (&certificate.0, &certificate.1))
            {
                self.certificates.push(certificate);
            }
        }
        for (key, said) in other.keys {
            self.keys.entry(key).or_insert(said);
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    Upstream(String),
    Redirect { to: String, status: u16 },
    Respond { status: u16, body: String },
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) goal: Goal,
    pub(super) replace_prefix: Option<String>,
    pub(super) request: Fields,
    pub(super) response: Fields,
    pub(super) origin: Origin,
}

impl Route {
    pub(super) fn new(host: Option<String>, path: &str, goal: Goal, origin: &Origin) -> Self {
        Self {
            host,
            path: path.to_owned(),
            goal,
            replace_prefix: None,
            request: Fields::default(),
            response: Fields::default(),
            origin: origin.clone(),
        }
    }
}

/// Rules for header fields, each of which Ringbolt takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields {
    set: BTreeMap<String, String>,
    add: BTreeMap<String, Vec<String>>,
    remove: Vec<String>,
}

impl Fields {
    /// # Errors
    /// Why it cannot be, from the rules of fields.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        FieldRules::default().set(name, value).map_err(|error| error.to_string())?;
        self.room()?;
        self.set.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// # Errors
    /// As for [`Fields::set`].
    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        FieldRules::default().add(name, value).map_err(|error| error.to_string())?;
        self.room()?;
        self.add.entry(name.to_owned()).or_default().push(value.to_owned());
        Ok(())
    }

    /// # Errors
    /// As for [`Fields::set`].
    pub(super) fn remove(&mut self, name: &str) -> Result<(), String> {
        FieldRules::default().remove(name).map_err(|error| error.to_string())?;
        self.room()?;
        self.remove.push(name.to_owned());
        Ok(())
    }

    fn room(&self) -> Result<(), String> {
        let count = self.set.len() + self.add.values().map(Vec::len).sum::<usize>() + self.remove.len();
        if count < config::bounds::FIELD_RULES_MAX {
            Ok(())
        } else {
            Err(format!("more than {} rules for fields", config::bounds::FIELD_RULES_MAX))
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// `affinity`, `balance`, `proxy_protocol`, `queue_timeout`.
    pub(super) keys: Keys,
    pub(super) health: Keys,
    /// Its backends speak TLS.
    pub(super) tls: Option<Keys>,
    pub(super) backends: Vec<Backend>,
}

impl Upstream {
    pub(super) fn new(name: String, origin: &Origin) -> Self {
        Self {
            name,
            origin: origin.clone(),
            keys: Keys::new(),
            health: Keys::new(),
            tls: None,
            backends: Vec::new(),
        }
    }

    /// Adds a backend, unless this upstream has one of its name.
    pub(super) fn add(&mut self, backend: Backend) {
        if !self.backends.iter().any(|known| known.name == backend.name) {
            self.backends.push(backend);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) name: String,
    /// IP address and port, or a host's name and a port.
    pub(super) address: String,
    /// `weight`, `state`, `backup`, `maxconn`.
    pub(super) keys: Keys,
    pub(super) origin: Origin,
}

impl Draft {
    pub(super) fn remark(
        &mut self,
        outcome: Outcome,
        origin: &Origin,
        why: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.remarks.push(Remark { origin: origin.clone(), outcome, why: why.into() });
    }

    pub(super) fn not_needed(&mut self, origin: &Origin, why: &'static str) {
        self.remark(Outcome::NotNeeded, origin, why);
    }

    pub(super) fn changed(&mut self, origin: &Origin, why: impl Into<std::borrow::Cow<'static, str>>) {
        self.remark(Outcome::Changed, origin, why);
    }

    pub(super) fn not_translated(&mut self, origin: &Origin, why: impl Into<std::borrow::Cow<'static, str>>) {
        self.remark(Outcome::NotTranslated, origin, why);
    }

    /// A setting of the whole process; the first one stays.
    pub(super) fn set(&mut self, section: &'static str, key: &'static str, said: Said) {
        self.settings.entry((section, key)).or_insert(said);
    }

    /// A timeout, of which Ringbolt has one where the source may have many: the longest holds.
    pub(super) fn timeout(&mut self, key: &'static str, value: Duration, origin: &Origin) {
        let value = value.clamp(Duration::from_millis(1), config::bounds::TIMEOUT_MAX);
        if self.durations.get(key).is_some_and(|known| *known == value) {
            return;
        }
        if self.durations.contains_key(key) {
            self.changed(origin, format!("`timeouts.{key}` is one for all; the longest that is said holds"));
        }
        if self.durations.get(key).is_none_or(|known| *known < value) {
            self.durations.insert(key, value);
            self.settings.insert(("timeouts", key), Said::duration(value, origin));
        }
    }

    /// The listener at this address, made if there is none.
    pub(super) fn listener(&mut self, address: SocketAddr, origin: &Origin) -> &mut Listener {
        let at =
            self.listeners.iter().position(|listener| listener.address == address && address.port() != 0);
        let at = at.unwrap_or_else(|| {
            self.listeners.push(Listener::new(address, origin));
            self.listeners.len() - 1
        });
        &mut self.listeners[at]
    }

    pub(super) fn upstream(&mut self, name: &str) -> Option<&mut Upstream> {
        self.upstreams.iter_mut().find(|upstream| upstream.name == name)
    }

    /// A name for an upstream that Ringbolt takes and that no other one has.
    pub(super) fn free_name(&self, wanted: &str) -> String {
        let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
        let clean: String =
            wanted.chars().take(100).map(|char| if allowed(char) { char } else { '-' }).collect();
        let clean = if clean.is_empty() { "upstream".to_owned() } else { clean };
        let is_free = |name: &String| !self.upstreams.iter().any(|upstream| upstream.name == *name);
        let numbered = (2..).map(|number| format!("{clean}-{number}"));
        std::iter::once(clean.clone()).chain(numbered).find(is_free).unwrap_or(clean)
    }
}

/// A host as a route has it. `.example.com` of nginx is for the caller to take apart.
pub(super) fn host(text: &str) -> Option<String> {
    config::host(text).ok()
}

/// A path as a route has it.
pub(super) fn path(text: &str) -> Option<String> {
    config::path(text).ok()
}
