//! Where a request comes from and where it goes: its client, its upstream and what binds it there.

use std::rc::Rc;

use ringbolt_core::affinity::Affinity;
use ringbolt_core::http::{Answer, Source};

use crate::admission;
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
    source: Source,
}

impl Route {
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The listener the request came to.
    pub(crate) fn listener(&self) -> &Listener {
        self.snapshot.listener(self.listener)
    }

    /// Who the request comes from.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// Index of the upstream.
    pub(crate) fn upstream_index(&self) -> usize {
        self.upstream
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.snapshot.upstreams[self.upstream]
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
/// 404 when there is neither; 503 when the route gets too many; the reply of a route that answers by itself.
pub(crate) fn find(worker: &Worker, client: &Client, request: &Request<'_>) -> Result<Route, Error> {
    let snapshot = worker.snapshot();
    if let Some(redirect) = &snapshot.listener(client.listener).https_redirect
        && client.stream.tls.is_none()
    {
        return Err(Error::Own(Box::new(redirect.to(&request.head, None))));
    }
    let target =
        snapshot.find(client.listener, request.head.host(), request.head.path()).ok_or(Answer::NO_ROUTE)?;
    if let Some(limited) = snapshot.targets[target].limited {
        admission::request(worker, limited)?;
    }
    let upstream = match &snapshot.targets[target].goal {
        Goal::Upstream(upstream) => *upstream,
        Goal::Reply(reply) => {
            let rules = snapshot.targets[target].response.as_ref();
            let mut own = reply.to(&request.head, rules);
            if let Some(hsts) = &snapshot.listener(client.listener).hsts {
                own.set_hsts(hsts);
            }
            return Err(Error::Own(Box::new(own)));
        }
    };
    let listener = client.listener;
    let trusted = &snapshot.listener(listener).trusted_proxies;
    let source = Source::of(&request.head, client.address.ip(), trusted);
    Ok(Route { snapshot, target, upstream, listener, source })
}
