//! Which backend a request goes to: gathers what it shows, asks `ringbolt_core` and keeps the result.

use ringbolt_core::affinity::{
    self, Affinity, Candidate, Evidence, Handshake, Protocol, Role, Seen, choose_bounded, cookie_value,
    is_close, key_of_address, query,
};
use ringbolt_core::http::Answer;
use tokio::sync::oneshot;

use crate::admission;
use crate::answer::Asked;
use crate::error::Error;
use crate::load::Placing;
use crate::memory;
use crate::metrics::label;
use crate::request::Request;
use crate::route::Route;
use crate::sids::Session;
use crate::snapshot::Backend;
use crate::worker::Worker;

/// The backend chosen for a request, and what follows from the choice.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    worker: &'a Worker,
    route: &'a Route,
    index: usize,
    evidence: Evidence,
    /// Of an Engine.IO request.
    protocol: Option<Protocol>,
    /// The answer opens a session.
    learns: bool,
    /// The known session the request belongs to.
    session: Option<Session<'a>>,
    /// The new session it opens, for as long as that is not counted itself.
    placing: Option<Placing<'a>>,
    /// The request carries a sid, known or not: it must never be sent twice.
    has_sid: bool,
    /// The client's place in rendezvous hashing.
    key: u64,
    /// Backends that could not be connected to, by index.
    failed: Vec<usize>,
    pooled: bool,
}

/// Chooses the backend of `request`.
///
/// # Errors
/// 503 when no backend takes it, or memory is short and it belongs to no known session.
pub(crate) fn choose<'a>(
    worker: &'a Worker,
    route: &'a Route,
    asked: &mut Asked,
    request: &Request<'_>,
) -> Result<Choice<'a>, Error> {
    let affinity = route.affinity();
    let query = if *affinity == Affinity::EngineIo { request.head.query().and_then(query) } else { None };
    if query.is_some() {
        asked.by_engine_io(&request.head);
    }
    let role = query.as_ref().map(|query| query.role(request.head.method_bytes()));
    let known = match &role {
        Some(Role::Session(sid)) => worker.shared.sids.begin(worker, route.upstream().seed, sid),
        _ => None,
    };
    // Who belongs to a living session is served all the same.
    if known.is_none() && memory::refuses(worker) {
        return Err(Answer::MEMORY_FULL.into());
    }
    let value = match affinity {
        Affinity::Header(name) => request.head.field(name),
        Affinity::Cookie(name) => request.head.cookie(name),
        Affinity::EngineIo | Affinity::ClientIp | Affinity::None => None,
    };
    let seen = Seen {
        role: role.as_ref(),
        table: known.as_ref().map(|(owner, _)| *owner),
        value,
        client: route.source().client,
        rotation: worker.next_rotation(),
    };
    let opens = matches!(role, Some(Role::Handshake | Role::WebSocketHandshake));
    if opens {
        admission::open_session(worker, route.snapshot(), route.source().client)?;
    }
    let choice = with_candidates(worker, route, &[], opens, |candidates| {
        affinity::decide(affinity, &seen, candidates)
    })
    .ok_or(Answer::NO_BACKEND)?;
    worker.counters().affinity_decisions.of(label::Evidence::of(choice.reason)).add(1);
    let has_sid = matches!(role, Some(Role::Session(_) | Role::SessionTooLong));
    if has_sid && choice.reason != Evidence::Table {
        worker.counters().sids_unknown.add(1);
    }
    Ok(Choice {
        worker,
        route,
        index: choice.index,
        evidence: choice.reason,
        protocol: query.map(|query| query.protocol),
        learns: matches!(role, Some(Role::Handshake)),
        session: known.map(|(_, session)| session),
        placing: opens.then(|| place(worker, route, choice.index)),
        has_sid,
        key: key_of_address(seen.client),
        failed: Vec::new(),
        // A connection that begins with a PROXY header belongs to one client.
        pooled: route.upstream().proxy_protocol.is_none(),
    })
}

/// Chooses the backend of a connection that has no request: as if it opened a session of its client.
///
/// # Errors
/// 503 when no backend takes it.
pub(crate) fn choose_for_connection<'a>(worker: &'a Worker, route: &'a Route) -> Result<Choice<'a>, Error> {
    let client = route.source().client;
    let (role, rotation) = (Some(&Role::Handshake), worker.next_rotation());
    let seen = Seen { role, table: None, value: None, client, rotation };
    let choice = with_candidates(worker, route, &[], true, |candidates| {
        affinity::decide(route.affinity(), &seen, candidates)
    })
    .ok_or(Answer::NO_BACKEND)?;
    worker.counters().affinity_decisions.of(label::Evidence::of(choice.reason)).add(1);
    Ok(Choice {
        worker,
        route,
        index: choice.index,
        evidence: choice.reason,
        protocol: None,
        learns: false,
        session: None,
        placing: Some(place(worker, route, choice.index)),
        has_sid: false,
        key: key_of_address(client),
        failed: Vec::new(),
        pooled: false,
    })
}

fn place<'a>(worker: &'a Worker, route: &Route, index: usize) -> Placing<'a> {
    Placing::begin(&worker.shared.loads, route.upstream().backends[index].id)
}

/// Shows `decide` the backends of the route's upstream as they are now, without the failed ones.
///
/// A request that opens a session is weighed by sessions and tunnels, which all workers count together;
/// any other by this worker's requests in flight too.
fn with_candidates<T>(
    worker: &Worker,
    route: &Route,
    failed: &[usize],
    opens: bool,
    decide: impl FnOnce(&[Candidate]) -> T,
) -> T {
    let in_flight = |backend: &Backend| if opens { 0 } else { worker.in_flight.get(backend.id) };
    let mut candidates = worker.candidates.borrow_mut();
    candidates.clear();
    candidates.extend(route.upstream().backends.iter().enumerate().map(|(index, backend)| Candidate {
        id: backend.id,
        seed: backend.seed,
        weight: backend.weight,
        accepts_new: backend.accepts_new && !failed.contains(&index),
        load: worker.shared.loads.get(backend.id).saturating_add(in_flight(backend)),
    }));
    decide(&candidates)
}

impl Choice<'_> {
    fn backend(&self) -> &Backend {
        &self.route.upstream().backends[self.index]
    }

    /// Index of the backend in its upstream.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Whether a pooled connection may be used.
    pub(crate) fn may_use_pool(&self) -> bool {
        self.pooled
    }

    /// A pooled connection was found closed, so its neighbours may be: connect anew.
    pub(crate) fn avoid_pool(&mut self) {
        self.pooled = false;
    }

    pub(crate) fn has_sid(&self) -> bool {
        self.has_sid
    }

    /// The answer opens a session whose sid is to be stored before it leaves.
    pub(crate) fn learns(&self) -> bool {
        self.learns
    }

    /// The chosen backend cannot be connected to: takes the client's next one. `false`: the request is
    /// bound to its backend, or there is no other.
    pub(crate) fn move_on(&mut self) -> bool {
        if self.has_sid {
            return false;
        }
        self.failed.push(self.index);
        let opens = self.placing.take().is_some();
        let next = with_candidates(self.worker, self.route, &self.failed, opens, |candidates| {
            choose_bounded(self.key, candidates)
        });
        let Some(next) = next else { return false };
        self.index = next;
        self.placing = opens.then(|| place(self.worker, self.route, next));
        self.evidence = Evidence::Placement;
        true
    }

    /// The cookie that binds this client, where one is to be set.
    pub(crate) fn cookie(&self) -> Option<Vec<u8>> {
        let Affinity::Cookie(name) = self.route.affinity() else { return None };
        (self.evidence == Evidence::Placement).then(|| {
            let value = cookie_value(self.backend().seed);
            [name, &b"="[..], &value, b"; Path=/; HttpOnly; SameSite=Lax"].concat()
        })
    }

    /// The protocol of an answer that may hold an Engine.IO handshake.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::Other)
    }

    /// Stores the session that the answer opens. What this returns is to be awaited before the answer leaves.
    ///
    /// # Errors
    /// 503 if the sid table has no room.
    pub(crate) fn bind(&self, handshake: &Handshake) -> Result<Option<oneshot::Receiver<()>>, Error> {
        let (worker, backend) = (self.worker, self.backend().id);
        let counters = worker.counters();
        match worker.shared.sids.insert(worker, self.route.upstream().seed, handshake, backend) {
            Ok(is_known) => {
                counters.sessions.of(label::EngineIo::of(self.protocol())).add(1);
                Ok(is_known)
            }
            Err(_) => {
                counters.sid_table_full.add(1);
                Err(Answer::SESSIONS_FULL.into())
            }
        }
    }

    /// The upgrade was answered 101.
    pub(crate) fn upgraded(&self) {
        if let Some(session) = &self.session {
            session.upgraded();
        }
    }

    /// Sees the payload of a request or an answer if it is a short one: it may end the session.
    pub(crate) fn see_payload(&self, payload: Option<&[u8]>) {
        if let Some(session) = &self.session
            && payload.is_some_and(|payload| is_close(payload, self.protocol()))
        {
            session.closed();
        }
    }
}
