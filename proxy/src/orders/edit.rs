//! Orders that change which backends there are, and the one that takes orders back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ringbolt_core::affinity;
use serde::Deserialize;

use super::{NotDone, Orders, changing, find};
use crate::config::{self, Backend, Origin, Reached, bounds};
use crate::edits::{Edit, Senseless};
use crate::identity::Identity;
use crate::reload::NotEdited;

/// A backend to add.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct AddOrder {
    upstream: String,
    /// IP address and port, or `https://` and these.
    address: String,
    /// By default the address.
    name: Option<String>,
    weight: Option<u32>,
    #[serde(default)]
    backup: bool,
    maxconn: Option<u32>,
}

#[derive(Deserialize, Debug)]
pub(super) struct NameOrder {
    backend: String,
}

impl From<NotEdited> for NotDone {
    fn from(error: NotEdited) -> Self {
        match error {
            NotEdited::Senseless(Senseless::Unknown(why)) => Self(StatusCode::NOT_FOUND, why),
            NotEdited::Senseless(Senseless::Conflict(why)) => Self(StatusCode::CONFLICT, why),
            NotEdited::NotServed(why) => Self(StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        }
    }
}

impl AddOrder {
    /// The backend, if it may be one.
    fn backend(&self) -> Result<Backend, String> {
        let (tls, reached) = config::backend_url(&self.address)?;
        let Reached::At(address) = reached else {
            return Err(format!(
                "{:?} is no IP address and port; names belong into the configuration",
                self.address
            ));
        };
        let name = self.name.clone().unwrap_or_else(|| address.to_string());
        let name = config::backend_name(&name)?;
        let weight = self.weight.unwrap_or(1);
        if !bounds::WEIGHT.contains(&weight) || self.maxconn == Some(0) {
            let (first, last) = bounds::WEIGHT.into_inner();
            return Err(format!("a weight is a whole number from {first} to {last}, maxconn one above 0"));
        }
        let (backup, maxconn, origin) = (self.backup, self.maxconn, Origin::Order);
        Ok(Backend { tls, weight, backup, maxconn, origin, ..Backend::new(name, address) })
    }
}

pub(super) async fn add(
    State(orders): State<Arc<Orders>>,
    Json(order): Json<AddOrder>,
) -> Result<String, NotDone> {
    let backend = order.backend().map_err(|why| NotDone(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let (full, address) = (format!("{}/{}", order.upstream, backend.name), backend.address);
    orders.requests.edit(Edit::Add { upstream: order.upstream, backend }).await?;
    tracing::info!(backend = full, %address, "backend added");
    Ok(format!("{full}: added\n"))
}

pub(super) async fn remove(
    State(orders): State<Arc<Orders>>,
    Json(NameOrder { backend }): Json<NameOrder>,
) -> Result<String, NotDone> {
    let (full, _) = find(&orders.served.revision(), &backend)?;
    let (upstream, name) = parts(&full);
    orders.requests.edit(Edit::Remove { upstream, name }).await?;
    tracing::info!(backend = full, "backend removed");
    Ok(format!("{full}: removed, its tunnels go on\n"))
}

pub(super) async fn reset(
    State(orders): State<Arc<Orders>>,
    Json(NameOrder { backend }): Json<NameOrder>,
) -> Result<String, NotDone> {
    if let Some((upstream, name)) = orders.requests.removed(&backend) {
        let full = format!("{upstream}/{name}");
        orders.requests.edit(Edit::Forget { upstream, name }).await?;
        tracing::info!(backend = full, "orders forgotten, the backend is back");
        return Ok(format!("{full}: as the file says\n"));
    }
    let changing_orders = orders.requests.change().await?;
    let revision = orders.served.revision();
    let (full, identity) = find(&revision, &backend)?;
    let (before, after) = changing(&revision, &identity, Identity::forget_orders);
    if after == affinity::State::Up && before != after {
        revision.join(&identity);
    }
    drop(changing_orders);
    let is_added = revision.configured(identity.id).is_some_and(|known| known.origin == Origin::Order);
    if is_added {
        let (upstream, name) = parts(&full);
        orders.requests.edit(Edit::Remove { upstream, name }).await?;
    }
    tracing::info!(backend = full, is_added, "orders forgotten");
    Ok(format!("{full}: as the file says\n"))
}

/// Upstream and name; neither has a slash.
fn parts(full: &str) -> (String, String) {
    let (upstream, name) = full.split_once('/').unwrap_or(("", full));
    (upstream.to_owned(), name.to_owned())
}
