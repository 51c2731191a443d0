//! Where a request comes from and where it goes: its client, its upstream and what binds it there.

use std::rc::Rc;

use ringbolt_core::affinity::Affinity;
use ringbolt_core::http::{Answer, Source};

use crate::access_log::Asking;
use crate::admission;
use crate::affinity::Choice;
use crate::client::Client;
use crate::error::Error;
use crate::request::Request;
use crate::snapshot::{Goal, Listener, ListenerId, Snapshot, Target, Upstream};
use crate::worker::Worker;

/// The route of one request, with the snapshot it was found in.
#[derive(Debug)]
pub(crate) struct Route {
    snapshot: Rc<Snapshot>,
    target: usize,
    upstream: usize,
    listener: ListenerId,
    /// Its place in the snapshot.
    listener_index: usize,
    source: Source,
}

impl Route {
    /// The route of a connection without requests, to this target of a snapshot. `None`: it has not its listener.
    pub(crate) fn of_connection(snapshot: Rc<Snapshot>, client: &Client, target: usize) -> Option<Self> {
        let listener = client.listener;
        let listener_index = snapshot.position(listener)?;
        let Goal::Upstream(upstream) = snapshot.targets[target].goal else { return None };
        let source = Source { client: client.address.ip().to_canonical(), trusted: false };
        Some(Self { snapshot, target, upstream, listener, listener_index, source })
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The listener the request came to.
    pub(crate) fn listener(&self) -> &Listener {
        &self.snapshot.listeners[self.listener_index]
    }

    pub(crate) fn listener_id(&self) -> ListenerId {
        self.listener
    }

    /// Who the request comes from.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.snapshot.upstreams[self.upstream]
    }

    /// Where a request goes, for logs.
    pub(crate) fn asking<'a>(&'a self, choice: &Choice<'_>, reused: Option<bool>) -> Asking<'a> {
        let upstream = self.upstream();
        let name = &upstream.backends[choice.index()].name;
        Asking { upstream: &upstream.name, name, evidence: choice.evidence(), reused }
    }

    /// What binds the route's requests to a backend.
    pub(crate) fn affinity(&self) -> &Affinity {
        &self.target().affinity
    }

    /// What the route changes about its messages.
    pub(crate) fn target(&self) -> &Target {
        &self.snapshot.targets[self.target]
    }
}

/// Finds the route by host and longest path prefix, else the listener's default.
///
/// # Errors
/// 404 when there is neither; 503 when the route gets too many or the listener was removed meanwhile; the reply
/// of a route that answers by itself.
pub(crate) fn find(worker: &Worker, client: &Client, request: &Request<'_>) -> Result<Route, Error> {
    let snapshot = worker.snapshot();
    let listener = client.listener;
    let listener_index = snapshot.position(listener).ok_or(Answer::DRAINING)?;
    let settings = snapshot.listener(listener).ok_or(Answer::DRAINING)?;
    if let Some(redirect) = &settings.https_redirect
        && client.stream.tls.is_none()
    {
        return Err(Error::Own(Box::new(redirect.to(&request.head, None))));
    }
    let target = snapshot.find(listener_index, request.head.host(), request.head.path());
    let target = target.ok_or(Answer::NO_ROUTE)?;
    if let Some(limited) = snapshot.targets[target].limited {
        admission::request(worker, &snapshot, limited)?;
    }
    let upstream = match &snapshot.targets[target].goal {
        Goal::Upstream(upstream) => *upstream,
        Goal::Reply(reply) => {
            let rules = snapshot.targets[target].response.as_ref();
            let mut own = reply.to(&request.head, rules);
            if let Some(hsts) = settings.hsts.as_deref().filter(|_| client.stream.tls.is_some()) {
                own.set_hsts(hsts);
            }
            return Err(Error::Own(Box::new(own)));
        }
    };
    let trusted = &snapshot.listeners[listener_index].trusted_proxies;
    let source = Source::of(&request.head, client.address.ip(), trusted);
    Ok(Route { snapshot, target, upstream, listener, listener_index, source })
}
