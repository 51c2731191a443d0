//! What operators ask and order of the running process: HTTP with JSON over the admin socket.
//!
//! An order about a backend stands above what the file says, over reloads and upgrades too, until another one or
//! `reset`. It is shown as differing from the file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use ringbolt_core::affinity::{self, Sid, seed_of_name};
use ringbolt_reactor::{Engine, mailbox};
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::differences::differences;
use crate::drain::Ending;
use crate::identity::{Identity, uptime_ms};
use crate::lifecycle::Lifecycle;
use crate::metrics::Counters;
use crate::reload::{NotReloaded, Requests};
use crate::served::{Served, name_of};
use crate::snapshot::Revision;
use crate::worker::{Command, Shared, Shedding, shed};

mod config;
mod edit;
mod sessions;
#[cfg(test)]
mod tests;

pub(crate) use self::config::Loaded;

/// What orders need.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) served: Arc<Served>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: Vec<mailbox::Sender<Command>>,
    pub(crate) counters: Counters,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) engine: Engine,
    pub(crate) requests: Requests,
}

/// Why an order was not carried out: a status and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotDone(StatusCode, String);

impl IntoResponse for NotDone {
    fn into_response(self) -> axum::response::Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl NotDone {
    /// It may be done at another time.
    fn later(why: &str) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
    }
}

impl From<&'static str> for NotDone {
    fn from(why: &'static str) -> Self {
        Self::later(why)
    }
}

/// The process.
#[derive(Serialize, Debug)]
struct Status {
    version: &'static str,
    pid: u32,
    phase: &'static str,
    engine: String,
    workers: usize,
    uptime_seconds: u64,
    connections: u64,
    tunnels: u64,
    sids: u64,
    /// The file was served as it was last read.
    config_current: bool,
    /// What was ordered that the file does not say: backends and their values.
    differences: usize,
}

/// A state for a backend.
#[derive(Deserialize, Debug)]
pub(crate) struct StateOrder {
    /// Its name, or UPSTREAM/NAME.
    pub(crate) backend: String,
    pub(crate) state: OrderedState,
    /// Close its tunnels and polling sessions over this time.
    pub(crate) over_seconds: Option<u64>,
    /// Close at most as many of them a second.
    pub(crate) rate: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderedState {
    Up,
    Drain,
    Maintenance,
}

#[derive(Deserialize, Debug)]
struct WeightOrder {
    backend: String,
    weight: u32,
}

#[derive(Deserialize, Debug)]
struct SessionQuestion {
    sid: String,
}

/// Where a session is, of one upstream.
#[derive(Serialize, Debug)]
struct Owner {
    upstream: String,
    backend: String,
    /// What `sessions` calls it.
    digest: String,
}

pub(crate) fn router(orders: Arc<Orders>) -> Router {
    Router::new()
        .route("/reload", post(reload))
        .route("/status", get(status))
        .route("/config", get(config::tell))
        .route("/backends", get(backends))
        .route("/backends/state", post(order_state))
        .route("/backends/weight", post(order_weight))
        .route("/backends/reset", post(edit::reset))
        .route("/backends/add", post(edit::add))
        .route("/backends/remove", post(edit::remove))
        .route("/session", post(session))
        .route("/sessions", post(sessions::list))
        .with_state(orders)
}

async fn reload(State(orders): State<Arc<Orders>>) -> impl IntoResponse {
    match orders.requests.reload().await {
        Ok(reloaded) => (StatusCode::OK, format!("{reloaded}\n")),
        Err(error @ NotReloaded::Refused(_)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")),
        Err(error @ NotReloaded::Failed(_)) => (StatusCode::CONFLICT, format!("{error}\n")),
    }
}

async fn status(State(orders): State<Arc<Orders>>) -> impl IntoResponse {
    let counters = &orders.counters;
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        phase: orders.lifecycle.phase().name(),
        engine: orders.engine.to_string(),
        workers: counters.workers(),
        uptime_seconds: uptime_ms(Instant::now()) / 1000,
        connections: counters.sum(|worker| &worker.connections_active),
        tunnels: counters.sum(|worker| &worker.tunnels_active),
        sids: counters.sum(|worker| &worker.sid_table_entries),
        config_current: counters.housekeeping().config_current.get() == 1,
        differences: differences(&orders.served.revision(), &orders.requests.edits()).len(),
    })
}

async fn backends(State(orders): State<Arc<Orders>>) -> impl IntoResponse {
    Json(orders.served.standings(uptime_ms(Instant::now())))
}

async fn order_state(
    State(orders): State<Arc<Orders>>,
    Json(order): Json<StateOrder>,
) -> Result<String, NotDone> {
    let _changing = orders.requests.change().await?;
    orders.order_state(&order)
}

async fn order_weight(
    State(orders): State<Arc<Orders>>,
    Json(WeightOrder { backend, weight }): Json<WeightOrder>,
) -> Result<String, NotDone> {
    let (first, last) = bounds::WEIGHT.into_inner();
    if !bounds::WEIGHT.contains(&weight) {
        let problem = format!("a weight is a whole number from {first} to {last}");
        return Err(NotDone(StatusCode::UNPROCESSABLE_ENTITY, problem));
    }
    let _changing = orders.requests.change().await?;
    let (name, identity) = find(&orders.served.revision(), &backend)?;
    identity.order_weight(weight);
    tracing::info!(backend = name, weight, "weight ordered");
    Ok(format!("{name}: weight {weight}\n"))
}

async fn session(
    State(orders): State<Arc<Orders>>,
    Json(SessionQuestion { sid }): Json<SessionQuestion>,
) -> Result<Json<Vec<Owner>>, NotDone> {
    let too_long = |_| NotDone(StatusCode::UNPROCESSABLE_ENTITY, "no sid is that long".to_owned());
    let sid = Sid::new(sid.as_bytes()).map_err(too_long)?;
    let revision = orders.served.revision();
    let mut owners = Vec::new();
    for (upstream, _, mut backends) in revision.upstreams() {
        let seed = seed_of_name(upstream);
        let owner = orders.shared.sids.owner(seed, &sid);
        let found = backends.find(|(_, identity)| owner == Some(identity.id));
        owners.extend(found.map(|(backend, _)| Owner {
            upstream: upstream.to_owned(),
            backend: backend.name.clone(),
            digest: sessions::digest(orders.shared.sids.key(seed, &sid).digest()),
        }));
    }
    if owners.is_empty() {
        return Err(NotDone(StatusCode::NOT_FOUND, "no backend is known to have this session".to_owned()));
    }
    Ok(Json(owners))
}

impl Orders {
    fn order_state(&self, order: &StateOrder) -> Result<String, NotDone> {
        let refused = |problem: &str| NotDone(StatusCode::UNPROCESSABLE_ENTITY, problem.to_owned());
        let state = match order.state {
            OrderedState::Up => affinity::State::Up,
            OrderedState::Drain => affinity::State::Drain,
            OrderedState::Maintenance => affinity::State::Maintenance,
        };
        let revision = self.served.revision();
        let (name, identity) = find(&revision, &order.backend)?;
        let over = match (order.over_seconds, order.rate) {
            (Some(_), Some(_)) => return Err(refused("only one of a time and a rate can be kept")),
            (Some(_), None) | (None, Some(_)) if state == affinity::State::Up => {
                return Err(refused("a backend that serves keeps its sessions"));
            }
            (_, Some(0)) => return Err(refused("a rate is at least 1 a second")),
            (Some(seconds), None) => Some(Duration::from_secs(seconds).min(bounds::TIMEOUT_MAX)),
            (None, Some(rate)) => {
                Some(Duration::from_secs(u64::from(self.served.load(&identity)).div_ceil(rate.into())))
            }
            (None, None) => None,
        };
        let mut number = 0;
        let ending = over.map(|over| Ending { began: Instant::now(), over });
        let (before, _) =
            changing(&revision, &identity, |identity| number = identity.order_state(state, ending));
        if state == affinity::State::Up && before != state {
            revision.join(&identity);
        }
        if let Some(over) = over
            && !shed(&self.commands, &Shedding { identity, order: number, over })
        {
            return Err(NotDone::later("a worker has too many orders"));
        }
        let state = name_of(state);
        let over_seconds = over.map(|over| over.as_secs());
        tracing::info!(backend = name, state, over_seconds, "state ordered");
        Ok(match over_seconds {
            None => format!("{name}: {state}\n"),
            Some(seconds) => format!("{name}: {state}, its sessions are closed over {seconds} s\n"),
        })
    }
}

/// The state of a backend before and after `change`.
fn changing(
    revision: &Revision,
    identity: &Identity,
    change: impl FnOnce(&Identity),
) -> (affinity::State, affinity::State) {
    let configured = revision.configured(identity.id);
    let configured = configured.map_or(affinity::State::Up, |backend| backend.state);
    let before = identity.state(configured);
    change(identity);
    (before, identity.state(configured))
}

/// The backend of this name, or of this upstream and name.
fn find(revision: &Revision, wanted: &str) -> Result<(String, Arc<Identity>), NotDone> {
    let mut found = Vec::new();
    for (upstream, _, backends) in revision.upstreams() {
        for (backend, identity) in backends {
            let full = format!("{upstream}/{}", backend.name);
            if backend.name == wanted || full == wanted {
                found.push((full, Arc::clone(identity)));
            }
        }
    }
    match found.len() {
        0 => Err(NotDone(StatusCode::NOT_FOUND, format!(r#"there is no backend "{wanted}""#))),
        1 => Ok(found.remove(0)),
        _ => {
            let names: Vec<_> = found.into_iter().map(|(full, _)| full).collect();
            let problem = format!(r#""{wanted}" may be each of {}; name one"#, names.join(", "));
            Err(NotDone(StatusCode::CONFLICT, problem))
        }
    }
}
