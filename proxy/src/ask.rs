//! Whose session is it? Where the sid table does not know, the backends are asked.
//!
//! So a proxy that was restarted, or another one beside it, finds each session's backend. It costs one short
//! request for each backend up to the one that has the session, once: then the table knows. The question does the
//! session no harm (`ringbolt_core::affinity`, `ask.rs`).
//!
//! What strangers can make of it is bounded: questions to each backend by a rate, over all workers; lookups at once,
//! and those who wait for one (`crate::lookups`); a sid that nobody knows is not asked for again for a moment.

mod question;

use std::time::{Duration, Instant};

use ringbolt_core::affinity::{BackendId, Reply, Sid, Told, write_question_query};
use ringbolt_core::http::{Answer, write_question};
use ringbolt_core::rate::Rate;

use crate::affinity;
use crate::directory;
use crate::error::Error;
use crate::limits::{ASK_QUESTION_TIMEOUT, ASKED_TIME_TO_LIVE};
use crate::lookups::Joined;
use crate::metrics::label;
use crate::request::Request;
use crate::route::Route;
use crate::search::{self, Unknown};
use crate::snapshot::Backend;
use crate::worker::Worker;

/// What became known of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// This backend has it.
    Owner(BackendId),
    /// No backend has it.
    Nobody,
    /// None is known to have it; of this one that is open.
    Perhaps(BackendId),
    /// The backends may not be asked so often.
    Busy,
}

impl Found {
    /// As it is counted where the backends were asked.
    fn label(self) -> label::Lookup {
        match self {
            Self::Owner(_) => label::Lookup::Found,
            Self::Nobody => label::Lookup::Nobody,
            Self::Perhaps(_) => label::Lookup::Unclear,
            Self::Busy => label::Lookup::Busy,
        }
    }
}

/// How an upstream's backends may be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// Questions to one backend, over all workers.
    pub(crate) rate: Rate,
    /// From the first question to the last answer.
    pub(crate) timeout: Duration,
}

/// What the backends say of the request's session.
///
/// # Errors
/// 503 if too many are asked for.
pub(crate) async fn tell(
    worker: &Worker,
    route: &Route,
    request: &Request<'_>,
    unknown: &Unknown,
) -> Result<Told, Error> {
    let Some(asking) = route.upstream().ask else { return Ok(Told::Never) };
    match find(worker, route, request, unknown, asking).await {
        Found::Owner(backend) => Ok(Told::Owner(backend)),
        Found::Nobody => Ok(Told::Nobody),
        Found::Perhaps(backend) => Ok(Told::Perhaps(backend)),
        Found::Busy => Err(Answer::ASK_BUSY.into()),
    }
}

/// What becomes known of the session: by asking, or from whoever asks already.
async fn find(
    worker: &Worker,
    route: &Route,
    request: &Request<'_>,
    unknown: &Unknown,
    asking: Asking,
) -> Found {
    let deadline = worker.reactor.now() + asking.timeout;
    let key = worker.shared.sids.key(route.upstream().seed, &unknown.sid);
    let (label, found) = match worker.shared.lookups.join(&worker.reactor, key, deadline).await {
        Joined::Over(found) => (label::Lookup::Cached, found),
        Joined::Told(found) => (label::Lookup::Joined, found),
        Joined::Full | Joined::Late => (label::Lookup::Busy, Found::Busy),
        Joined::Looking(lookup) => {
            let found = ask(worker, route, request, unknown, asking.rate, deadline).await;
            if let Found::Owner(backend) = found {
                learn(worker, route, unknown, backend, deadline).await;
            }
            lookup.finish(found, found == Found::Nobody, worker.reactor.now());
            (found.label(), found)
        }
    };
    worker.counters().lookups.of(label).add(1);
    found
}

/// Asks the backends that serve, in the client's rendezvous order, until one has the session.
async fn ask(
    worker: &Worker,
    route: &Route,
    request: &Request<'_>,
    unknown: &Unknown,
    rate: Rate,
    deadline: Instant,
) -> Found {
    let text = question_text(route, request, unknown, &unknown.sid);
    let mut perhaps = None;
    for index in affinity::serving(worker, route) {
        let backend = &route.upstream().backends[index];
        if worker.reactor.now() >= deadline {
            perhaps = perhaps.or(Some(backend.id));
            break;
        }
        let turn = Turn { worker, route, backend, deadline, rate };
        match turn.ask(&text).await {
            Some(Reply::Known) if turn.tells_sids_apart(request, unknown).await => {
                return Found::Owner(backend.id);
            }
            Some(Reply::Unknown) => backend.identity.tells_sids_apart(),
            Some(Reply::Known | Reply::Unclear) => perhaps = perhaps.or(Some(backend.id)),
            None => return Found::Busy,
        }
    }
    perhaps.map_or(Found::Nobody, Found::Perhaps)
}

/// One backend's turn to be asked.
struct Turn<'a> {
    worker: &'a Worker,
    route: &'a Route,
    backend: &'a Backend,
    deadline: Instant,
    rate: Rate,
}

impl Turn<'_> {
    /// `None`: it may not be asked soon enough to answer before the deadline.
    async fn ask(&self, text: &[u8]) -> Option<Reply> {
        let reactor = &self.worker.reactor;
        let left = self.deadline.saturating_duration_since(reactor.now());
        let patience = left.saturating_sub(ASK_QUESTION_TIMEOUT);
        let wait = self.backend.identity.reserve_question(self.rate, reactor.now(), patience)?;
        if !wait.is_zero() {
            reactor.sleep_until(reactor.now() + wait).await;
        }
        let deadline = self.deadline.min(reactor.now() + ASK_QUESTION_TIMEOUT);
        let reply = question::put(self.worker, self.route, self.backend, text, deadline).await;
        self.worker.counters().questions.of(label_of(reply)).add(1);
        Some(reply)
    }

    /// Whether it says of a session that there cannot be that it has not got it.
    async fn tells_sids_apart(&self, request: &Request<'_>, unknown: &Unknown) -> bool {
        let identity = &self.backend.identity;
        if !identity.has_told_sids_apart() {
            let nobodys = format!("ringbolt{:012x}", self.worker.random() >> 16);
            let Ok(nobodys) = Sid::new(nobodys.as_bytes()) else { return false };
            let text = question_text(self.route, request, unknown, &nobodys);
            if self.ask(&text).await == Some(Reply::Unknown) {
                identity.tells_sids_apart();
            }
        }
        identity.has_told_sids_apart()
    }
}

fn label_of(reply: Reply) -> label::Question {
    match reply {
        Reply::Known => label::Question::Known,
        Reply::Unknown => label::Question::Unknown,
        Reply::Unclear => label::Question::Unclear,
    }
}

fn question_text(route: &Route, request: &Request<'_>, unknown: &Unknown, sid: &Sid) -> Vec<u8> {
    let (mut query, mut text) = (Vec::new(), Vec::new());
    write_question_query(unknown.protocol, sid, &mut query);
    let target = route.target();
    write_question(&request.head, &query, target.rewrite.as_ref(), target.request.as_ref(), &mut text);
    text
}

/// Notes whose session it is, here and where others look.
async fn learn(worker: &Worker, route: &Route, unknown: &Unknown, backend: BackendId, deadline: Instant) {
    search::learn(worker, route, unknown, backend, ASKED_TIME_TO_LIVE, deadline).await;
    // Who else meets the session need not ask.
    if let Some(directory) = directory::of(worker, route) {
        drop(directory.store(worker, route, &unknown.sid, backend, ASKED_TIME_TO_LIVE));
    }
}
