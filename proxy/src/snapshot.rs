//! The configuration in the form the data plane reads: ids instead of names, routes ready to search.
//!
//! Every worker builds its own from the same [`Config`], so that reading it touches no memory another
//! core writes. A snapshot never changes; a request keeps the one it began with.

use std::net::SocketAddr;
use std::sync::Arc;

use ringbolt_core::affinity::{Affinity, BackendId, seed_of_name};
use ringbolt_core::http::{FieldRules, HeadLimits, Location, PathRewrite, RouteReply};
use ringbolt_core::limits::{FIELDS_MAX, TARGET_BYTES_MAX};
use ringbolt_core::network::Network;
use ringbolt_core::proxy_protocol::ProxyVersion;
use ringbolt_core::route::{RouteError, Routes, Rule, TargetId};

use crate::config::{self, BackendState, Config};
use crate::tls::{Originator, Setup, Terminator};

/// A listener's place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListenerId(pub(crate) usize);

/// One address requests may be sent to.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    pub(crate) name: Box<str>,
    /// Its place in rendezvous hashing: from the name, so that neither order nor address matters.
    pub(crate) seed: u64,
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) weight: u32,
    /// Takes new sessions; a draining backend only keeps its own.
    pub(crate) accepts_new: bool,
}

/// A named group of backends.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Of the PROXY header that connections begin with.
    pub(crate) proxy_protocol: Option<ProxyVersion>,
    /// A 101 must carry the right Sec-WebSocket-Accept.
    pub(crate) verify_accept: bool,
    /// How its backends with TLS are talked to.
    pub(crate) tls: Option<Arc<Originator>>,
    pub(crate) backends: Vec<Backend>,
}

/// Where a request goes, what binds it there and what is changed on the way.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) goal: Goal,
    pub(crate) affinity: Affinity,
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
    /// Where requests go that no route matches.
    default: Option<TargetId>,
    /// Proxies in front of it whose word about their clients is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Every request goes on with an X-Request-ID.
    pub(crate) request_id: bool,
    /// Connections begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// `None`: connections are plain.
    pub(crate) tls: Option<Arc<Terminator>>,
    /// Value of Strict-Transport-Security in responses.
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
    listeners: Vec<Listener>,
    pub(crate) head_limits: HeadLimits,
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) timeouts: config::Timeouts,
}

impl Snapshot {
    /// Builds the snapshot of a validated configuration: every name it refers to exists.
    ///
    /// # Errors
    /// A route whose host or path cannot be, or that says again what an earlier one says.
    pub(crate) fn new(config: &Config, tls: &Setup) -> Result<Self, RouteError> {
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
        let listener = |(number, listener): (usize, &config::Listener)| Listener {
            default: listener
                .upstream
                .as_deref()
                .and_then(|upstream| Target::of_upstream(config, upstream))
                .and_then(&mut add),
            trusted_proxies: listener.trusted_proxies.clone(),
            request_id: listener.request_id,
            proxy_protocol: listener.proxy_protocol,
            tls: tls.listener(number),
            hsts: listener.tls.as_ref().and_then(|tls| tls.hsts.as_deref().map(Box::from)),
            https_redirect: listener.https_redirect.then(to_https).flatten(),
        };
        let listeners = config.listeners.iter().enumerate().map(listener).collect();
        Ok(Self {
            routes: Routes::new(&rules)?,
            upstreams: upstreams(config, tls),
            targets,
            listeners,
            head_limits: HeadLimits {
                head_bytes_max: config.limits.request_head_bytes,
                target_bytes_max: TARGET_BYTES_MAX.min(config.limits.request_head_bytes),
                fields_max: FIELDS_MAX,
            },
            body_bytes_max: config.limits.request_body_bytes,
            timeouts: config.timeouts.clone(),
        })
    }

    /// The listener of this number.
    pub(crate) fn listener(&self, id: ListenerId) -> &Listener {
        &self.listeners[id.0]
    }

    /// Index of the target of a request of this host and path; `None`: it has none.
    pub(crate) fn find(&self, listener: ListenerId, host: &[u8], path: &[u8]) -> Option<usize> {
        self.routes.find(host, path).or(self.listeners[listener.0].default).map(TargetId::index)
    }
}

impl Target {
    /// The target of requests that go to the upstream of this name and nothing else.
    fn of_upstream(config: &Config, name: &str) -> Option<Self> {
        let upstream = config.upstreams.keys().position(|known| known == name)?;
        let affinity = config.upstreams[name].affinity.clone();
        Some(Self {
            goal: Goal::Upstream(upstream),
            affinity,
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
                limited: None,
                rewrite: None,
                request: None,
                response: None,
            },
        };
        Some(Self {
            affinity: route.affinity.clone().unwrap_or(target.affinity),
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

/// The upstreams in order of their names, their backends numbered through.
fn upstreams(config: &Config, tls: &Setup) -> Vec<Upstream> {
    let mut ids = (0..).map(BackendId);
    let backend = |(backend, id): (&config::Backend, BackendId)| Backend {
        id,
        name: backend.name.as_str().into(),
        seed: seed_of_name(&backend.name),
        address: backend.address,
        tls: backend.tls,
        weight: backend.weight,
        accepts_new: backend.state == BackendState::Up,
    };
    config
        .upstreams
        .values()
        .enumerate()
        .map(|(number, upstream)| Upstream {
            proxy_protocol: upstream.proxy_protocol,
            verify_accept: upstream.verify_accept,
            tls: tls.upstream(number),
            backends: upstream.backends.iter().zip(&mut ids).map(backend).collect(),
        })
        .collect()
}
