//! The configuration in the form the data plane reads: ids instead of names, routes ready to search.
//!
//! Every worker builds its own from the same [`Revision`], so that reading it touches no memory another
//! core writes. A snapshot never changes; a request keeps the one it began with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringbolt_core::affinity::{Affinity, BackendId, Health, State, seed_of_name};
use ringbolt_core::detect::Protocols;
use ringbolt_core::flash_policy::FlashPolicy;
use ringbolt_core::http::{FieldRules, HeadLimits, Location, PathRewrite, RouteReply};
use ringbolt_core::limits::{FIELDS_MAX, TARGET_BYTES_MAX};
use ringbolt_core::network::Network;
use ringbolt_core::proxy_protocol::ProxyVersion;
use ringbolt_core::rate::Rate;
use ringbolt_core::route::{RouteError, Routes, Rule, TargetId};

use crate::admission::Admission;
use crate::ask::Asking;
use crate::config::{self, BackendState, Balance, Config, Policy};
use crate::identity::Identity;
use crate::tags::Tags;
use crate::tls::{Originator, Setup, Terminator};

/// A listener's number, its own for the life of the process: a connection knows its listener by it over reloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListenerId(pub(crate) u32);

/// A configuration with what the process has bound to it: the same for all workers.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) config: Arc<Config>,
    /// Upstream by upstream, in the order of names.
    pub(crate) backends: Vec<Arc<Identity>>,
    /// In the order of the configuration.
    pub(crate) listeners: Vec<ListenerId>,
    /// `None` where no bound of its kind is configured.
    pub(crate) admission: Option<Arc<Admission>>,
    /// By listener and upstream of this configuration.
    pub(crate) tls: Arc<Setup>,
}

impl Revision {
    /// Each upstream with its name and its backends, in the order of names.
    pub(crate) fn upstreams(
        &self,
    ) -> impl Iterator<Item = (&str, &config::Upstream, impl Iterator<Item = (&config::Backend, &Arc<Identity>)>)>
    {
        let mut rest = &self.backends[..];
        self.config.upstreams.iter().map(move |(name, upstream)| {
            let identities = rest.split_off(..upstream.backends.len()).unwrap_or_default();
            (name.as_str(), upstream, upstream.backends.iter().zip(identities))
        })
    }

    /// What the file says of a backend; `None`: nothing.
    pub(crate) fn configured(&self, id: BackendId) -> Option<&config::Backend> {
        let mut all = self.upstreams().flat_map(|(_, _, backends)| backends);
        all.find(|(_, identity)| identity.id == id).map(|(backend, _)| backend)
    }

    /// A backend comes, or comes back, to those that serve.
    pub(crate) fn join(&self, identity: &Identity) {
        for (_, _, backends) in self.upstreams() {
            let all: Vec<_> = backends.collect();
            if let Some((backend, _)) = all.iter().find(|(_, other)| other.id == identity.id) {
                let others = all.iter().map(|(backend, other)| (&***other, other.weight(backend.weight)));
                identity.join(identity.weight(backend.weight), others);
            }
        }
    }
}

/// One address requests may be sent to.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    /// What all workers know of it; keeps the number this backend's.
    pub(crate) identity: Arc<Identity>,
    pub(crate) name: Box<str>,
    /// Its place in rendezvous hashing: from the name, so that neither order nor address matters.
    pub(crate) seed: u64,
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
    /// By the file; an order may say otherwise.
    weight: u32,
    /// As the weight.
    state: BackendState,
    pub(crate) backup: bool,
    pub(crate) maxconn: Option<u32>,
}

impl Backend {
    /// Its weight, by order or else by the file.
    pub(crate) fn weight(&self) -> u32 {
        self.identity.weight(self.weight)
    }

    /// What it is meant to do, and what is known of it at this [`crate::identity::uptime_ms`].
    pub(crate) fn standing(&self, uptime_ms: u64) -> (State, Health) {
        (self.identity.state(self.state), self.identity.health(uptime_ms))
    }
}

/// A named group of backends.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: Box<str>,
    /// From its name: what keeps its sids apart from those of other upstreams.
    pub(crate) seed: u64,
    /// Of the PROXY header that connections begin with.
    pub(crate) proxy_protocol: Option<ProxyVersion>,
    /// A 101 must carry the right Sec-WebSocket-Accept.
    pub(crate) verify_accept: bool,
    /// A client that closes its half of the connection ends its request.
    pub(crate) abort_on_close: bool,
    pub(crate) balance: Option<Balance>,
    pub(crate) slow_start: Option<u32>,
    /// Share of backends free of suspicion below which suspicion is not heeded.
    pub(crate) panic_percent: u64,
    /// Requests that fail in a row until a backend is suspect, and how long it then is.
    pub(crate) failures: Option<u32>,
    pub(crate) failure_pause: Duration,
    /// Requests that may wait for one backend, and for how long.
    pub(crate) queue: usize,
    pub(crate) queue_timeout: Duration,
    /// How its backends are asked for sessions that nobody else knows; `None`: they are not.
    pub(crate) ask: Option<Asking>,
    /// Who tags its sids; `None`: nobody.
    pub(crate) tags: Option<Tags>,
    /// Its sessions are in the shared directory.
    pub(crate) directory: bool,
    /// How its backends with TLS are talked to.
    pub(crate) tls: Option<Arc<Originator>>,
    pub(crate) backends: Vec<Backend>,
}

/// Where a request goes, what binds it there and what is changed on the way.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) goal: Goal,
    pub(crate) affinity: Affinity,
    /// New sids get a tag.
    pub(crate) tags_sids: bool,
    /// The route's number, where its requests are bounded.
    pub(crate) limited: Option<usize>,
    pub(crate) rewrite: Option<PathRewrite>,
    /// Of requests; `None`: there are none.
    pub(crate) request: Option<FieldRules>,
    /// Of responses; `None`: there are none.
    pub(crate) response: Option<FieldRules>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Goal {
    /// Index of its upstream, in order of names.
    Upstream(usize),
    /// It is answered here.
    Reply(RouteReply),
}

/// What a listener means for the requests of its connections.
#[derive(Debug)]
pub(crate) struct Listener {
    id: ListenerId,
    /// Where requests go that no route matches.
    default: Option<TargetId>,
    /// Proxies in front of it whose word about their clients is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Every request goes on with an X-Request-ID.
    pub(crate) request_id: bool,
    /// Connections begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// What connections may speak.
    pub(crate) protocols: Protocols,
    /// Index of the target of those that speak TCP.
    pub(crate) tcp: Option<usize>,
    /// Server names whose TLS is passed through to a target; `None`: there are none.
    pub(crate) sni: Option<Routes>,
    /// Who opens TLS that is not passed through; `None`: nobody.
    pub(crate) tls: Option<Arc<Terminator>>,
    /// Value of Strict-Transport-Security in responses that go over TLS.
    pub(crate) hsts: Option<Box<str>>,
    /// Where requests go that did not come over TLS; `None`: they are served.
    pub(crate) https_redirect: Option<RouteReply>,
}

/// What one worker serves.
#[derive(Debug)]
pub(crate) struct Snapshot {
    routes: Routes,
    pub(crate) upstreams: Vec<Upstream>,
    /// By route, and behind them the listeners' defaults.
    pub(crate) targets: Vec<Target>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admission: Option<Arc<Admission>>,
    pub(crate) flash_policy: Option<FlashPolicy>,
    pub(crate) head_limits: HeadLimits,
    pub(crate) body_bytes_max: Option<u64>,
    /// Bytes a second that a client has to send of its body, and to take of its answer.
    pub(crate) body_min_rate: Option<u32>,
    pub(crate) response_min_rate: Option<u32>,
    /// Of all workers together.
    pub(crate) memory_bytes_max: Option<u64>,
    /// Bounds are only counted.
    pub(crate) dry_run: bool,
    pub(crate) timeouts: config::Timeouts,
}

impl Snapshot {
    /// Builds the snapshot of a validated configuration: every name it refers to exists.
    ///
    /// # Errors
    /// A route whose host or path cannot be, or that says again what an earlier one says.
    pub(crate) fn new(revision: &Revision) -> Result<Self, RouteError> {
        let config = &*revision.config;
        let mut targets = Vec::new();
        let mut add = |target: Target| {
            targets.push(target);
            u32::try_from(targets.len() - 1).ok().map(TargetId)
        };
        let mut rules = Vec::new();
        for (number, route) in config.routes.iter().enumerate() {
            let Some(target) = Target::of_route(config, number, route).and_then(&mut add) else { continue };
            rules.push(Rule { host: route.host.clone(), path: route.path.clone(), target });
        }
        let mut to = |upstream: Option<&str>| Target::of_upstream(config, upstream?).and_then(&mut add);
        let listener = |(number, (listener, id)): (usize, (&config::Listener, &ListenerId))| {
            Ok(Listener {
                id: *id,
                default: to(listener.upstream.as_deref()),
                protocols: listener.detect.protocols,
                tcp: to(listener.detect.tcp_upstream.as_deref()).map(TargetId::index),
                sni: names(&listener.detect.sni, &mut to)?,
                tls: revision.tls.listener(number),
                hsts: listener.tls.as_ref().and_then(|tls| tls.hsts.as_deref().map(Box::from)),
                https_redirect: listener.https_redirect.then(to_https).flatten(),
                trusted_proxies: listener.trusted_proxies.clone(),
                request_id: listener.request_id,
                proxy_protocol: listener.proxy_protocol,
            })
        };
        let numbered = config.listeners.iter().zip(&revision.listeners).enumerate();
        let listeners = numbered.map(listener).collect::<Result<_, RouteError>>()?;
        Ok(Self {
            routes: Routes::new(&rules)?,
            upstreams: upstreams(revision),
            targets,
            listeners,
            admission: revision.admission.clone(),
            flash_policy: match &config.flash_policy {
                Some(Policy::Given(policy)) => Some(policy.clone()),
                Some(Policy::File(_)) => unreachable!("read with the configuration"),
                None => None,
            },
            head_limits: HeadLimits {
                head_bytes_max: config.limits.request_head_bytes,
                target_bytes_max: TARGET_BYTES_MAX.min(config.limits.request_head_bytes),
                fields_max: FIELDS_MAX,
            },
            body_bytes_max: config.limits.request_body_bytes,
            body_min_rate: config.limits.request_body_min_rate,
            response_min_rate: config.limits.response_min_rate,
            memory_bytes_max: config.limits.memory,
            dry_run: config.limits.dry_run,
            timeouts: config.timeouts.clone(),
        })
    }

    /// Index of the listener of this number; `None`: it was removed.
    pub(crate) fn position(&self, id: ListenerId) -> Option<usize> {
        self.listeners.iter().position(|listener| listener.id == id)
    }

    /// The listener of this number; `None`: it was removed.
    pub(crate) fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.id == id)
    }

    /// No listener of `former` was removed.
    pub(crate) fn keeps_listeners_of(&self, former: &Self) -> bool {
        former.listeners.iter().all(|listener| self.listener(listener.id).is_some())
    }

    /// Index of the target of a request of this host and path; `None`: it has none.
    pub(crate) fn find(&self, listener_index: usize, host: &[u8], path: &[u8]) -> Option<usize> {
        self.routes.find(host, path).or(self.listeners[listener_index].default).map(TargetId::index)
    }
}

/// The names that are passed through, as routes of any path; `None`: there are none.
fn names(
    sni: &[(Option<String>, String)],
    to: &mut impl FnMut(Option<&str>) -> Option<TargetId>,
) -> Result<Option<Routes>, RouteError> {
    let rule = |(host, upstream): &(Option<String>, String)| {
        Some(Rule { host: host.clone(), path: "/".to_owned(), target: to(Some(upstream))? })
    };
    let rules: Vec<Rule> = sni.iter().filter_map(rule).collect();
    if rules.is_empty() { Ok(None) } else { Routes::new(&rules).map(Some) }
}

impl Target {
    /// The target of requests that go to the upstream of this name and nothing else.
    fn of_upstream(config: &Config, name: &str) -> Option<Self> {
        let upstream = config.upstreams.keys().position(|known| known == name)?;
        let config::Upstream { affinity, sid_tags, .. } = &config.upstreams[name];
        Some(Self {
            goal: Goal::Upstream(upstream),
            affinity: affinity.clone(),
            tags_sids: sid_tags.as_ref().is_some_and(|tags| tags.issue),
            limited: None,
            rewrite: None,
            request: None,
            response: None,
        })
    }

    fn of_route(config: &Config, number: usize, route: &config::Route) -> Option<Self> {
        let rules = |rules: &FieldRules| Some(rules.clone()).filter(|rules| !rules.is_empty());
        let target = match &route.goal {
            config::Goal::Upstream(name) => Self::of_upstream(config, name)?,
            config::Goal::Reply(reply) => Self {
                goal: Goal::Reply(reply.clone()),
                affinity: Affinity::None,
                tags_sids: false,
                limited: None,
                rewrite: None,
                request: None,
                response: None,
            },
        };
        Some(Self {
            affinity: route.affinity.clone().unwrap_or(target.affinity),
            tags_sids: route.sid_tags.unwrap_or(target.tags_sids),
            limited: route.request_rate.map(|_| number),
            rewrite: route.rewrite.clone(),
            request: rules(&route.request),
            response: rules(&route.response),
            goal: target.goal,
        })
    }
}

/// The same request, over TLS.
fn to_https() -> Option<RouteReply> {
    let location = Location::parse("https://{host}{target}").ok()?;
    Some(RouteReply::Redirect { status: 308, location })
}

/// The upstreams in order of their names.
fn upstreams(revision: &Revision) -> Vec<Upstream> {
    let mut identities = revision.backends.iter();
    let backend = |(backend, identity): (&config::Backend, &Arc<Identity>)| Backend {
        id: identity.id,
        identity: Arc::clone(identity),
        name: backend.name.as_str().into(),
        seed: seed_of_name(&backend.name),
        address: backend.address,
        tls: backend.tls,
        weight: backend.weight,
        state: backend.state,
        backup: backend.backup,
        maxconn: backend.maxconn,
    };
    let upstreams = revision.config.upstreams.iter().enumerate();
    upstreams
        .map(|(number, (name, upstream))| Upstream {
            name: name.as_str().into(),
            seed: seed_of_name(name),
            proxy_protocol: upstream.proxy_protocol,
            verify_accept: upstream.verify_accept,
            abort_on_close: upstream.abort_on_close,
            balance: upstream.balance,
            slow_start: upstream.slow_start,
            panic_percent: upstream.health.panic_threshold.into(),
            failures: upstream.health.failures,
            failure_pause: upstream.health.failure_pause,
            queue: upstream.queue as usize,
            queue_timeout: upstream.queue_timeout,
            ask: upstream
                .ask_rate
                .map(|rate| Asking { rate: Rate::per_second(rate), timeout: upstream.ask_timeout }),
            tags: upstream.sid_tags.as_ref().map(|tags| Tags::new(tags, seed_of_name(name))),
            directory: upstream.directory,
            tls: revision.tls.upstream(number),
            backends: upstream.backends.iter().zip(&mut identities).map(backend).collect(),
        })
        .collect()
}
