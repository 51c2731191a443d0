//! Which sessions live, of the sid table: keys made from sids, never the sids themselves.
//!
//! Sessions on WebSocket are not in the table: nothing carries their sids any more. They are tunnels, and counted as such
//! in a backend's load. The table is walked part by part, each under its shard's lock for as long as its few thousand
//! entries take, and other tasks have their turns between the parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ringbolt_core::affinity::{BackendId, SessionState, SidStanding};
use serde::{Deserialize, Serialize};

use super::{NotDone, Orders, find};
use crate::limits::{SESSIONS_SHOWN, SESSIONS_SHOWN_MAX};
use crate::snapshot::Revision;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsQuestion {
    /// Its name, or UPSTREAM/NAME; `None`: all.
    backend: Option<String>,
    /// Sessions to show.
    limit: Option<u32>,
}

/// What lives, as far as it was asked for.
#[derive(Serialize, Debug, Default)]
pub(super) struct Sessions {
    backends: Vec<Total>,
    sessions: Vec<Shown>,
    /// Sessions that are counted above and not shown.
    left_out: u64,
}

/// The sessions of one backend.
#[derive(Serialize, Debug)]
struct Total {
    #[serde(flatten)]
    of: Name,
    #[serde(flatten)]
    count: Count,
    /// Sessions and tunnels.
    load: u32,
}

/// A backend; without names one that was removed.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
struct Name {
    upstream: Option<String>,
    backend: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize, Debug)]
struct Count {
    sessions: u64,
    /// Of these, those whose upgrade to WebSocket was answered and may still fail.
    upgrading: u64,
    requests_in_progress: u64,
}

#[derive(Serialize, Debug)]
struct Shown {
    digest: String,
    #[serde(flatten)]
    of: Name,
    transport: &'static str,
    requests_in_progress: u8,
    /// How long it has been in the table, of this process.
    age_seconds: u64,
    /// When it is forgotten without another request.
    expires_seconds: u64,
}

/// What is said of a session in place of its sid.
pub(super) fn digest(digest: u32) -> String {
    format!("{digest:08x}")
}

pub(super) async fn list(
    State(orders): State<Arc<Orders>>,
    Json(SessionsQuestion { backend, limit }): Json<SessionsQuestion>,
) -> Result<Json<Sessions>, NotDone> {
    let limit = limit.unwrap_or(SESSIONS_SHOWN);
    if limit > SESSIONS_SHOWN_MAX {
        let why = format!("limit: at most {SESSIONS_SHOWN_MAX} sessions are shown");
        return Err(NotDone(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let revision = orders.served.revision();
    let wanted = backend.map(|wanted| find(&revision, &wanted)).transpose()?.map(|(_, identity)| identity.id);
    let names = names(&revision);
    let mut counts: BTreeMap<BackendId, Count> = BTreeMap::new();
    let mut found: Vec<SidStanding> = Vec::new();
    for part in orders.shared.sids.parts() {
        orders.shared.sids.visit(part, Instant::now(), |session| {
            if wanted.is_some_and(|wanted| wanted != session.backend) {
                return;
            }
            let count = counts.entry(session.backend).or_default();
            count.sessions += 1;
            count.upgrading += u64::from(is_upgrading(&session));
            count.requests_in_progress += u64::from(session.in_progress);
            if found.len() < limit as usize {
                found.push(session);
            }
        });
        tokio::task::yield_now().await;
    }
    let is_wanted = |(id, _): &(&BackendId, &Name)| wanted.is_none_or(|wanted| wanted == **id);
    let total = |(id, name): (&BackendId, &Name)| Total {
        of: name.clone(),
        count: counts.get(id).copied().unwrap_or_default(),
        load: orders.shared.loads.get(*id),
    };
    let removed = |(id, count): (&BackendId, &Count)| Total {
        of: Name::default(),
        count: *count,
        load: orders.shared.loads.get(*id),
    };
    let mut backends: Vec<Total> = names.iter().filter(is_wanted).map(total).collect();
    backends.sort_by(|one, other| one.of.cmp(&other.of));
    backends.extend(counts.iter().filter(|(id, _)| !names.contains_key(id)).map(removed));
    let all: u64 = counts.values().map(|count| count.sessions).sum();
    let left_out = all - found.len() as u64;
    let sessions = found.iter().map(|session| shown(session, &names)).collect();
    Ok(Json(Sessions { backends, sessions, left_out }))
}

fn is_upgrading(session: &SidStanding) -> bool {
    session.state == SessionState::Upgrading
}

fn shown(session: &SidStanding, names: &BTreeMap<BackendId, Name>) -> Shown {
    Shown {
        digest: digest(session.key.digest()),
        of: names.get(&session.backend).cloned().unwrap_or_default(),
        transport: if is_upgrading(session) { "upgrading" } else { "polling" },
        requests_in_progress: session.in_progress,
        age_seconds: session.age.as_secs(),
        expires_seconds: session.left.as_secs(),
    }
}

fn names(revision: &Revision) -> BTreeMap<BackendId, Name> {
    let mut names = BTreeMap::new();
    for (upstream, _, backends) in revision.upstreams() {
        let name = |name: &str| Name { upstream: Some(upstream.to_owned()), backend: Some(name.to_owned()) };
        names.extend(backends.map(|(backend, identity)| (identity.id, name(&backend.name))));
    }
    names
}
