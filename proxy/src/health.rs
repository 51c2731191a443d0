//! Health checks of backends, on the housekeeping thread: one task for each backend that is checked.
//!
//! What results mean is decided in `ringbolt_core::health`; workers see what follows in the backend's
//! [`Identity`]. A reload leaves the tasks of backends alone whose settings stay as they are.

mod probe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ringbolt_core::affinity::{BackendId, key_of_bytes};
use ringbolt_core::health::{Change, Checked, with_jitter};
use ringbolt_core::proxy_protocol::ProxyVersion;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::config::{self, Check};
use crate::identity::Identity;
use crate::limits::CHECKS_AT_ONCE_MAX;
use crate::metrics::HousekeepingCounters;
use crate::metrics::label;
use crate::served::Served;
use crate::tls::Originator;

/// The checks of all backends.
#[derive(Debug)]
pub(crate) struct Checks {
    served: Arc<Served>,
    counters: Arc<HousekeepingCounters>,
    permits: Arc<Semaphore>,
    tasks: BTreeMap<BackendId, Task>,
}

/// The task that checks one backend; it ends when this is dropped.
#[derive(Debug)]
struct Task {
    target: Arc<Target>,
    identity: Arc<Identity>,
    handle: AbortHandle,
}

/// What is checked, and how.
#[derive(PartialEq, Eq, Debug)]
struct Target {
    upstream: String,
    name: String,
    address: SocketAddr,
    proxy_protocol: Option<ProxyVersion>,
    tls: Option<Arc<Originator>>,
    check: Check,
    health: config::Health,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Checks {
    pub(crate) fn new(served: Arc<Served>, counters: Arc<HousekeepingCounters>) -> Self {
        let permits = Arc::new(Semaphore::new(CHECKS_AT_ONCE_MAX));
        Self { served, counters, permits, tasks: BTreeMap::new() }
    }

    /// Checks the backends of the configuration that is served now. Needs the runtime.
    pub(crate) fn adopt(&mut self) {
        let revision = self.served.revision();
        let mut former = std::mem::take(&mut self.tasks);
        for (number, (name, upstream, backends)) in revision.upstreams().enumerate() {
            let Some(check) = &upstream.health.check else { continue };
            for (backend, identity) in backends {
                let target = Target {
                    upstream: name.to_owned(),
                    name: backend.name.clone(),
                    address: backend.address,
                    proxy_protocol: upstream.proxy_protocol,
                    tls: revision.tls.upstream(number).filter(|_| backend.tls),
                    check: check.clone(),
                    health: upstream.health.clone(),
                };
                let task = match former.remove(&identity.id).filter(|task| *task.target == target) {
                    Some(task) => task,
                    None => self.start(target, identity),
                };
                self.tasks.insert(identity.id, task);
            }
        }
        for (id, task) in &former {
            if !self.tasks.contains_key(id) {
                task.identity.forget_checks();
            }
        }
    }

    fn start(&self, target: Target, identity: &Arc<Identity>) -> Task {
        let target = Arc::new(target);
        let checking = Checking {
            target: Arc::clone(&target),
            identity: Arc::clone(identity),
            served: Arc::clone(&self.served),
            counters: Arc::clone(&self.counters),
            permits: Arc::clone(&self.permits),
        };
        let handle = tokio::spawn(checking.run()).abort_handle();
        Task { target, identity: Arc::clone(identity), handle }
    }
}

/// What one task works with.
struct Checking {
    target: Arc<Target>,
    identity: Arc<Identity>,
    served: Arc<Served>,
    counters: Arc<HousekeepingCounters>,
    permits: Arc<Semaphore>,
}

impl Checking {
    /// Checks until aborted.
    async fn run(self) {
        let config::Health { interval, fast_interval, rise, fall, .. } = self.target.health;
        let (up, is_new) = (!self.identity.is_down(), !self.identity.is_checked());
        let mut checked = Checked::new(rise, fall, up, is_new);
        let mut random = key_of_bytes(format!("{}/{}", self.target.upstream, self.target.name).as_bytes());
        // The first ones of all backends are spread over the shorter interval.
        let (_, tenths) = random.carrying_mul(10, 0);
        tokio::time::sleep(fast_interval / 10 * u32::try_from(tenths).unwrap_or(0)).await;
        loop {
            let result = self.check().await;
            match checked.note(result.is_ok()) {
                Some(Change::Down) => {
                    let cause = result.err().unwrap_or_default();
                    tracing::warn!(
                        upstream = self.target.upstream,
                        backend = self.target.name,
                        cause,
                        "backend is down"
                    );
                }
                Some(Change::Up) => {
                    self.served.revision().join(&self.identity);
                    tracing::info!(
                        upstream = self.target.upstream,
                        backend = self.target.name,
                        "backend is up"
                    );
                }
                None => {}
            }
            self.identity.set_checked(checked.is_up());
            random = key_of_bytes(&random.to_le_bytes());
            let pause = if checked.is_changing() { fast_interval.min(interval) } else { interval };
            tokio::time::sleep(with_jitter(pause, random)).await;
        }
    }

    /// One check. `Err`: why it has not passed.
    async fn check(&self) -> Result<(), String> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        let target = &self.target;
        // In a box, because TLS handshakes are large and take a moment of a task's life.
        let probing = Box::pin(probe::run(target));
        let began = Instant::now();
        let (label, result) = match tokio::time::timeout(target.health.timeout, probing).await {
            Ok(Ok(())) => (label::Check::Passed, Ok(())),
            Ok(Err(cause)) => (label::Check::Failed, Err(cause)),
            Err(_) => (label::Check::Timeout, Err(format!("no answer within {:?}", target.health.timeout))),
        };
        self.counters.checks.of(label).add(1);
        self.identity.counters.checked(label, began.elapsed());
        result
    }
}
