//! Which backend a request goes to: gathers what it shows, asks `ringbolt_core` and keeps the result.

mod session;

use std::cell::Cell;

use ringbolt_core::affinity::{
    self, Affinity, BackendId, Balance, Candidate, Decision, Evidence, Handshake, Listed, Member, Protocol,
    Query, Role, Seen, Sid, State, TAG_BYTES, Tier, Told, cookie_value, key_of_address, query, tagged,
    takes_part, without_tag,
};
use ringbolt_core::http::{Answer, RequestHead};

use crate::admission;
use crate::answer::Asked;
use crate::directory;
use crate::error::Error;
use crate::identity::uptime_ms;
use crate::load::Placing;
use crate::memory;
use crate::metrics::label;
use crate::request::Request;
use crate::route::Route;
use crate::search::{FoundOut, Place, Unknown};
use crate::sids::Session;
use crate::snapshot::{Backend, Upstream};
use crate::tags;
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
    /// Its sid, where it is in the shared directory.
    listed: Option<Box<Sid>>,
    /// The new session it opens, for as long as that is not counted itself.
    placing: Option<Placing<'a>>,
    /// The request carries a sid, known or not: it must never be sent twice.
    has_sid: bool,
    /// The client's place in rendezvous hashing.
    key: u64,
    /// Backends that could not be connected to, by index.
    failed: Vec<usize>,
    pooled: bool,
    /// The session it has opened was offered websocket.
    offered: Cell<bool>,
    /// The request's sid has a tag of ours, which its backend must not see.
    tagged: bool,
}

/// What came of choosing.
#[derive(Debug)]
pub(crate) enum Chosen<'a> {
    Backend(Choice<'a>),
    /// The session is unknown: it is to be looked for first.
    Unknown(Unknown),
}

/// Chooses the backend of `request`. `found_out`: about its session, where the table does not hold it.
///
/// # Errors
/// 400 when no backend has its session. 503 when no backend takes it, or memory is short and it belongs to no known session.
pub(crate) fn choose<'a>(
    worker: &'a Worker,
    route: &'a Route,
    asked: &mut Asked,
    request: &Request<'_>,
    found_out: FoundOut,
) -> Result<Chosen<'a>, Error> {
    let affinity = route.affinity();
    let query = if *affinity == Affinity::EngineIo { request.head.query().and_then(query) } else { None };
    if let Some(query) = &query {
        asked.by_engine_io(&request.head, query);
        if let Some(record) = &asked.record {
            record.note_engine_io(query);
        }
    }
    let role = query.as_ref().map(|query| query.role(request.head.method_bytes()));
    let known = match &role {
        Some(Role::Session(sid)) => worker.shared.sids.begin(worker, route.upstream().seed, sid),
        _ => None,
    };
    if let (Some((_, session)), Some(record)) = (&known, &asked.record) {
        record.note_session(session.key());
    }
    // Who belongs to a living session is served all the same.
    if known.is_none() && memory::refuses(worker) {
        return Err(Answer::MEMORY_FULL.into());
    }
    let tag = tag_of(worker, route, query.as_ref());
    let seen = Seen {
        role: role.as_ref(),
        tag: tag.backend(),
        table: known.as_ref().map(|(owner, _)| *owner).filter(|_| !found_out.names_owner()),
        listed: found_out.listed(worker, route),
        told: found_out.told(route),
        value: value_of(affinity, request),
        client: route.source().client,
        balance: route.upstream().balance,
        rotation: worker.next_rotation(),
        random: worker.random(),
    };
    let opens = matches!(role, Some(Role::Handshake | Role::WebSocketHandshake));
    if opens {
        admission::open_session(worker, route.snapshot(), route.source().client)?;
    }
    let has_sid = matches!(role, Some(Role::Session(_) | Role::SessionTooLong));
    if has_sid && known.is_none() && found_out.is_nothing() {
        worker.counters().sids_unknown.of(label::UnknownSid::of(seen.role, seen.tag.is_some())).add(1);
    }
    let choice = match decide(worker, route, opens, &seen)? {
        Decided::Backend(choice) => choice,
        Decided::Look(place) => match (role, query) {
            (Some(Role::Session(sid)), Some(Query { protocol, .. })) => {
                return Ok(Chosen::Unknown(Unknown { sid, protocol, place }));
            }
            _ => unreachable!("only sessions are looked for"),
        },
    };
    if opens {
        let backend = &route.upstream().backends[choice.index];
        admission::open_session_at(worker, route.snapshot(), &backend.identity)?;
    }
    Ok(Chosen::Backend(Choice {
        worker,
        route,
        index: choice.index,
        evidence: choice.reason,
        protocol: query.map(|query| query.protocol),
        learns: matches!(role, Some(Role::Handshake)),
        listed: directory::renew(worker, route, role.as_ref(), known.as_ref()),
        session: known.map(|(_, session)| session),
        placing: opens.then(|| place(worker, route, choice.index)),
        has_sid,
        key: key_of_address(seen.client),
        failed: Vec::new(),
        // A connection that begins with a PROXY header belongs to one client.
        pooled: route.upstream().proxy_protocol.is_none(),
        offered: Cell::new(false),
        tagged: tag.is_ours(),
    }))
}

/// The header or cookie that the affinity names.
fn value_of<'a>(affinity: &Affinity, request: &'a Request<'_>) -> Option<&'a [u8]> {
    match affinity {
        Affinity::Header(name) => request.head.field(name),
        Affinity::Cookie(name) => request.head.cookie(name),
        Affinity::EngineIo | Affinity::ClientIp | Affinity::None => None,
    }
}

/// What the tag of a request's sid is worth, where sids are tagged.
fn tag_of(worker: &Worker, route: &Route, query: Option<&Query>) -> tags::Seen {
    let (Some(tags), Some(Query { protocol: Protocol::V4, sid: Some(Ok(sid)), .. })) =
        (&route.upstream().tags, query)
    else {
        return tags::Seen::None;
    };
    let seen = tags.open(sid, tags::now());
    worker.counters().sid_tags.of(seen.label()).add(1);
    seen
}

/// Chooses the backend of a connection that has no request: as if it opened a session of its client.
///
/// # Errors
/// 503 when no backend takes it.
pub(crate) fn choose_for_connection<'a>(worker: &'a Worker, route: &'a Route) -> Result<Choice<'a>, Error> {
    let client = route.source().client;
    let (rotation, random) = (worker.next_rotation(), worker.random());
    let (role, balance) = (Some(&Role::Handshake), route.upstream().balance);
    let (listed, told) = (Listed::Never, Told::Never);
    let (tag, table, value) = (None, None, None);
    let seen = Seen { role, tag, table, listed, told, value, client, balance, rotation, random };
    let Decided::Backend(choice) = decide(worker, route, true, &seen)? else {
        return Err(Answer::NO_BACKEND.into());
    };
    Ok(Choice {
        worker,
        route,
        index: choice.index,
        evidence: choice.reason,
        protocol: None,
        learns: false,
        session: None,
        listed: None,
        placing: Some(place(worker, route, choice.index)),
        has_sid: false,
        key: key_of_address(client),
        failed: Vec::new(),
        pooled: false,
        offered: Cell::new(false),
        tagged: false,
    })
}

/// Index of a backend of `upstream`, if it serves the sessions that it has.
fn place_if_serving(worker: &Worker, upstream: &Upstream, id: BackendId) -> Option<usize> {
    let index = upstream.backends.iter().position(|backend| backend.id == id)?;
    let (state, health) = upstream.backends[index].standing(uptime_ms(worker.reactor.now()));
    Member { state, health, ..Member::default() }.serves().then_some(index)
}

/// What was decided, so far.
enum Decided {
    Backend(affinity::Choice),
    /// The session is to be looked for there first.
    Look(Place),
}

/// Decides, and counts the decision wherever that matters.
fn decide(worker: &Worker, route: &Route, opens: bool, seen: &Seen<'_>) -> Result<Decided, Error> {
    let serves = |id| place_if_serving(worker, route.upstream(), id);
    let owner = seen.table.filter(|_| seen.tag.is_none());
    let owner = owner.and_then(|owner| affinity::owner(route.affinity(), owner, serves));
    let decision = owner.map(Decision::Backend).unwrap_or_else(|| {
        with_candidates(worker, route, &[], opens, |candidates| {
            affinity::decide(route.affinity(), seen, candidates)
        })
    });
    let choice = match decision {
        Decision::Backend(choice) => choice,
        Decision::LookUp => return Ok(Decided::Look(Place::Directory)),
        Decision::Ask => return Ok(Decided::Look(Place::Backends)),
        Decision::UnknownSid => return Err(Answer::UNKNOWN_SID.into()),
        Decision::NoBackend => return Err(Answer::NO_BACKEND.into()),
    };
    worker.counters().affinity_decisions.of(label::Evidence::of(choice.reason)).add(1);
    if matches!(choice.reason, Evidence::Placement | Evidence::Least) {
        given(route.upstream(), choice.index, opens);
    }
    Ok(Decided::Backend(choice))
}

/// Indexes of the backends that may have a session of the route's client, the likeliest first.
pub(crate) fn serving(worker: &Worker, route: &Route) -> Vec<usize> {
    with_candidates(worker, route, &[], false, |candidates| {
        let mut order = Vec::new();
        affinity::order(key_of_address(route.source().client), candidates, &mut order);
        order.retain(|&index| candidates[index].serves);
        order
    })
}

/// Notes that a backend was given something that nothing bound to it.
fn given(upstream: &Upstream, index: usize, opens: bool) {
    let identity = &upstream.backends[index].identity;
    if upstream.balance == Some(Balance::RoundRobin) {
        identity.take_turn();
    }
    if let Some(slow_start) = upstream.slow_start.filter(|_| opens) {
        identity.give(slow_start);
    }
}

fn place<'a>(worker: &'a Worker, route: &Route, index: usize) -> Placing<'a> {
    Placing::begin(&worker.shared.loads, route.upstream().backends[index].id)
}

/// Shows `decide` the backends of the route's upstream as they are now, without the failed ones.
///
/// A request that opens a session is weighed by sessions and tunnels, which all workers count together;
/// any other by this worker's requests in flight too. Turns are weighed as they are.
fn with_candidates<T>(
    worker: &Worker,
    route: &Route,
    failed: &[usize],
    opens: bool,
    decide: impl FnOnce(&[Candidate]) -> T,
) -> T {
    let upstream = route.upstream();
    let in_flight = |backend: &Backend| if opens { 0 } else { worker.in_flight.get(backend.id) };
    // Whole rounds that all have had, so that the rest is a small number.
    let rounds = match upstream.balance {
        Some(Balance::RoundRobin) => {
            upstream.backends.iter().map(|one| one.identity.turns() / u64::from(one.weight())).min()
        }
        _ => None,
    };
    let load = |backend: &Backend| match rounds {
        Some(rounds) => {
            let turns = backend.identity.turns().saturating_sub(rounds * u64::from(backend.weight()));
            u32::try_from(turns).unwrap_or(u32::MAX)
        }
        None => worker.shared.loads.get(backend.id).saturating_add(in_flight(backend)),
    };
    let uptime_ms = uptime_ms(worker.reactor.now());
    let (members, candidates) = &mut *worker.placement.borrow_mut();
    members.clear();
    members.extend(
        upstream
            .backends
            .iter()
            .enumerate()
            .map(|(index, backend)| member(worker, route, backend, failed.contains(&index), uptime_ms)),
    );
    let tier = Tier::of(members.iter().copied(), upstream.panic_percent);
    candidates.clear();
    candidates.extend(upstream.backends.iter().zip(&*members).map(|(backend, member)| Candidate {
        id: backend.id,
        seed: backend.seed,
        weight: backend.weight(),
        accepts_new: tier.takes(member),
        serves: member.serves(),
        load: load(backend),
    }));
    decide(candidates)
}

/// How a backend stands for a request of this route, at this [`uptime_ms`].
fn member(worker: &Worker, route: &Route, backend: &Backend, has_failed: bool, uptime_ms: u64) -> Member {
    let slow_start = route.upstream().slow_start;
    let is_full = || backend.maxconn.is_some_and(|most| backend.identity.gate.is_full(most));
    let starts =
        || slow_start.is_some_and(|most| !takes_part(backend.identity.given(), most, worker.random()));
    let hurries = || admission::opens_too_fast(worker, route.snapshot(), &backend.identity);
    // These would move a client's requests to and fro.
    let by_value = matches!(route.affinity(), Affinity::ClientIp | Affinity::Header(_));
    let (state, health) = backend.standing(uptime_ms);
    Member {
        state: if has_failed { State::Drain } else { state },
        health,
        backup: backend.backup,
        reluctant: !by_value && (is_full() || starts() || hurries()),
    }
}

impl Choice<'_> {
    /// The chosen backend.
    pub(crate) fn backend(&self) -> &Backend {
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

    /// What decided, as metrics and logs call it.
    pub(crate) fn evidence(&self) -> &'static str {
        self.evidence.name()
    }

    pub(crate) fn has_sid(&self) -> bool {
        self.has_sid
    }

    /// The request carries a sid that is unknown: the backend is a guess.
    pub(crate) fn is_guess(&self) -> bool {
        self.has_sid && self.session.is_none()
    }

    /// It has opened a session that was offered websocket.
    pub(crate) fn has_offered_websocket(&self) -> bool {
        self.offered.get()
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
        let upstream = self.route.upstream();
        let (rotation, random) = (self.worker.next_rotation(), self.worker.random());
        let placing = affinity::Placing { key: self.key, rotation, random };
        let next = with_candidates(self.worker, self.route, &self.failed, opens, |candidates| {
            affinity::place(upstream.balance.unwrap_or(Balance::Rendezvous), &placing, candidates)
        });
        let Some(next) = next else { return false };
        given(upstream, next, opens);
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

    /// The answer may get a sid with a tag.
    pub(crate) fn tags(&self) -> bool {
        self.learns && self.protocol == Some(Protocol::V4) && self.route.target().tags_sids
    }

    /// The tag for the sid of a session that the answer opens, and both together. `None`: it gets none.
    pub(crate) fn tag(&self, handshake: &Handshake) -> Option<([u8; TAG_BYTES], Sid)> {
        let tags = self.route.upstream().tags.as_ref().filter(|_| self.tags())?;
        let tag = tags.seal(&handshake.sid, self.backend().seed, tags::now())?;
        let sid = tagged(&handshake.sid, &tag)?;
        self.worker.counters().sid_tags.of(label::SidTag::Issued).add(1);
        Some((tag, sid))
    }

    /// The target that goes to the backend in place of the request's own.
    pub(crate) fn target(&self, head: &RequestHead) -> Option<Vec<u8>> {
        self.tagged.then(|| without_tag(head.target()))
    }
}
