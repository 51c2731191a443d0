//! Puts the overview together out of what the process counts and knows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringbolt_reactor::Engine;
use rustix::time::{ClockId, clock_gettime};

use super::{BackendRow, CertificateRow, ErrorRow, Now, Overview, Rates, SessionRow, WorkerRow, causes};
use crate::identity::uptime_ms;
use crate::lifecycle::Lifecycle;
use crate::limits::{STATUS_LOOKS_BACK, STATUS_SAMPLES, TLS_CERTIFICATES_SHOWN_MAX};
use crate::metrics::names::{self, Metric};
use crate::metrics::{Counters, Totals};
use crate::served::Served;
use crate::tls;
use crate::worker::Shared;

/// What counts things that go wrong: the words for it, and the values of its label that are not wrong.
const ERRORS: &[(&Metric, &str, &[&str])] = &[
    (&names::ANSWERS, "answered by the proxy itself", &[]),
    (&names::CONNECTIONS_REFUSED, "connection refused", &[]),
    (&names::LIMITED, "beyond a bound", &[]),
    (&names::TLS_FAILURES, "TLS handshake failed", &[]),
    (&names::UPSTREAM_CONNECTS, "connect to a backend failed", &["ok"]),
    (&names::QUEUED, "waited for a backend in vain", &["served"]),
    (&names::CHECKS, "health check failed", &["passed"]),
    (&names::BACKENDS_SUSPECTED, "backend became suspect", &[]),
    (&names::UPGRADES, "upgrade did not succeed", &["accepted"]),
    (
        &names::TUNNELS_CLOSED,
        "tunnel was cut",
        &["client_closed", "upstream_closed", "drained", "handed_over", "max_age", "idle_timeout"],
    ),
    (&names::SIDS_UNKNOWN, "sid unknown", &["tagged"]),
    (&names::SID_TABLE_FULL, "sid table full", &[]),
    (&names::DIRECTORY_FAILURES, "shared directory failed", &[]),
    (&names::CONFIG_RELOADS, "reload refused", &["ok"]),
];

/// Where it looks.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) counters: Counters,
    pub(crate) served: Arc<Served>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) engine: Engine,
    pub(crate) tls: Arc<tls::Current>,
}

/// The numbers of one moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    totals: Totals,
    cpu: Duration,
    /// Requests of each worker.
    requests: Vec<u64>,
    loads: BTreeMap<(String, String), u32>,
}

/// Collects, and remembers the last minute.
#[derive(Debug)]
pub(crate) struct Collector {
    sources: Sources,
    previous: Option<Sample>,
    minute: Minute,
}

/// Totals of the last minute, and when they were; the oldest first. At the beginning there was nothing.
#[derive(Debug)]
struct Minute(VecDeque<(Instant, Totals)>);

impl Minute {
    fn begin(now: Instant) -> Self {
        Self(VecDeque::from([(now, Totals::default())]))
    }

    /// What has been counted by its beginning.
    fn earlier(&self) -> Option<&Totals> {
        self.0.front().map(|(_, totals)| totals)
    }

    fn remember(&mut self, now: Instant, totals: &Totals) {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        if self.0.back().is_none_or(|(at, _)| age(at) >= STATUS_LOOKS_BACK / STATUS_SAMPLES) {
            self.0.push_back((now, totals.clone()));
        }
        while self.0.front().is_some_and(|(at, _)| age(at) > STATUS_LOOKS_BACK) {
            self.0.pop_front();
        }
    }
}

impl Collector {
    pub(crate) fn new(sources: Sources) -> Self {
        Self { sources, previous: None, minute: Minute::begin(Instant::now()) }
    }

    pub(super) fn collect(&mut self) -> Overview {
        let now = Instant::now();
        let mut overview = self.as_of(now);
        let sample = self.sample(now, &overview.backends);
        let previous = self.previous.take();
        let since = Since { now: &sample, before: previous.as_ref() };
        overview.rates = since.rates();
        overview.sessions = since.sessions(overview.now);
        for (index, row) in overview.workers.iter_mut().enumerate() {
            row.request_rate = since.of(|sample| sample.requests.get(index).copied().unwrap_or(0));
        }
        for row in &mut overview.backends {
            row.load_rate = since.load_rate(row);
        }
        overview.errors = errors(&sample.totals, self.minute.earlier());
        overview.causes = causes::of(&overview);
        self.minute.remember(now, &sample.totals);
        self.previous = Some(sample);
        overview
    }

    /// What needs no comparison with an earlier moment.
    fn as_of(&self, now: Instant) -> Overview {
        let Sources { counters, served, shared, lifecycle, engine, tls } = &self.sources;
        let revision = served.revision();
        let config = &revision.config;
        let backends = served.standings(uptime_ms(now)).into_iter().map(|standing| BackendRow {
            upstream: standing.upstream,
            name: standing.name,
            address: standing.address.to_string(),
            state: standing.state.into(),
            weight: standing.weight,
            backup: standing.backup,
            ordered: standing.ordered,
            load: standing.load,
            load_rate: 0.0,
            tunnels: standing.tunnels,
            queue: standing.queue,
        });
        let workers = (0..counters.workers()).map(|index| {
            let worker = counters.worker(index);
            WorkerRow {
                connections: worker.connections_active.get(),
                tunnels: worker.tunnels_active.get(),
                request_rate: 0.0,
                memory_bytes: worker.memory.get().cast_signed(),
            }
        });
        Overview {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            phase: lifecycle.phase().name().into(),
            engine: engine.to_string(),
            uptime_seconds: uptime_ms(now) / 1000,
            config_current: counters.housekeeping().config_current.get() == 1,
            takes_orders: config.order_token.as_ref().is_some_and(|token| token.fits(config.admin)),
            now: Now {
                connections: shared.connections.load(Relaxed) as u64,
                connections_max: shared.connections_max.load(Relaxed) as u64,
                tunnels: counters.sum(|worker| &worker.tunnels_active),
                tunnels_idle: counters.sum(|worker| &worker.tunnels_idle),
                sids: counters.sum(|worker| &worker.sid_table_entries),
                sids_max: config.limits.sids.into(),
                memory_bytes: counters.memory_bytes().max(0).cast_unsigned(),
                memory_bytes_max: config.limits.memory,
            },
            backends: backends.collect(),
            workers: workers.collect(),
            certificates: certificates(&tls.get()),
            findings: shared.downgrades.shown(now),
            ..Overview::default()
        }
    }

    fn sample(&self, at: Instant, backends: &[BackendRow]) -> Sample {
        let counters = &self.sources.counters;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let loads = backends.iter().map(|row| ((row.upstream.clone(), row.name.clone()), row.load));
        Sample {
            at,
            totals: counters.totals(),
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            requests: (0..counters.workers()).map(|index| counters.worker(index).requests.total()).collect(),
            loads: loads.collect(),
        }
    }
}

/// Two moments.
struct Since<'a> {
    now: &'a Sample,
    before: Option<&'a Sample>,
}

impl Since<'_> {
    /// How much a number grew in a second.
    fn of(&self, number: impl Fn(&Sample) -> u64) -> f64 {
        let grown = |before: &Sample| number(self.now).saturating_sub(number(before)) as f64;
        self.before.map_or(0.0, |before| grown(before) / self.seconds(before))
    }

    fn seconds(&self, before: &Sample) -> f64 {
        self.now.at.saturating_duration_since(before.at).as_secs_f64().max(f64::EPSILON)
    }

    fn rates(&self) -> Rates {
        let rate = |metric, label: Option<&'static str>| self.of(|sample| sum(&sample.totals, metric, label));
        Rates {
            connections: rate(&names::CONNECTIONS_ACCEPTED, None),
            requests: rate(&names::REQUESTS, None),
            sessions: rate(&names::SESSIONS, None),
            tunnels: rate(&names::TUNNELS, None),
            bytes_to_upstream: rate(&names::TUNNEL_BYTES, Some("client_to_upstream")),
            bytes_to_client: rate(&names::TUNNEL_BYTES, Some("upstream_to_client")),
            cpu_seconds: self.before.map_or(0.0, |before| {
                self.now.cpu.saturating_sub(before.cpu).as_secs_f64() / self.seconds(before)
            }),
        }
    }

    fn sessions(&self, now: Now) -> Vec<SessionRow> {
        let row = |transport: &'static str, active, metric, label| SessionRow {
            transport: transport.into(),
            active,
            opened: sum(&self.now.totals, metric, label),
            open_rate: self.of(|sample| sum(&sample.totals, metric, label)),
        };
        let kind = |label, active| row(label, active, &names::TUNNELS_BY_KIND, Some(label));
        let mut rows = vec![row("polling", Some(now.sids), &names::SESSIONS, None)];
        let others: Vec<_> = ["tcp", "tls_passthrough"].into_iter().map(|label| kind(label, None)).collect();
        let only_websocket = others.iter().all(|row| row.opened == 0);
        rows.push(kind("websocket", only_websocket.then_some(now.tunnels)));
        rows.extend(others.into_iter().filter(|row| row.opened > 0));
        rows
    }

    fn load_rate(&self, row: &BackendRow) -> f64 {
        let Some(before) = self.before else { return 0.0 };
        let key = (row.upstream.clone(), row.name.clone());
        let load = before.loads.get(&key).copied().unwrap_or(row.load);
        (f64::from(row.load) - f64::from(load)) / self.seconds(before)
    }
}

/// A metric over the values of its label, or one of them.
fn sum(totals: &Totals, metric: &Metric, label: Option<&str>) -> u64 {
    let wanted =
        totals.iter().filter(|(of, value, _)| of.name == metric.name && (label.is_none() || *value == label));
    wanted.fold(0, |sum: u64, (_, _, count)| sum.wrapping_add(*count))
}

fn errors(totals: &Totals, earlier: Option<&Totals>) -> Vec<ErrorRow> {
    let mut rows = Vec::new();
    for (metric, what, fine) in ERRORS {
        let counted = totals.iter().filter(|(of, label, count)| {
            of.name == metric.name && *count > 0 && label.is_none_or(|label| !fine.contains(&label))
        });
        rows.extend(counted.map(|(_, label, total)| {
            let before = earlier.map_or(0, |earlier| sum(earlier, metric, *label));
            ErrorRow {
                what: (*what).into(),
                reason: label.unwrap_or_default().into(),
                metric: metric.name.into(),
                total: *total,
                last_minute: total.saturating_sub(before),
            }
        }));
    }
    rows
}

fn certificates(tls: &tls::Setup) -> Vec<CertificateRow> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let all = tls.certificates().into_iter();
    let mut rows: Vec<_> =
        all.map(|(name, validity)| CertificateRow { name, seconds_left: validity.not_after - now }).collect();
    rows.sort_by_key(|row| row.seconds_left);
    rows.truncate(TLS_CERTIFICATES_SHOWN_MAX);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_before_anybody_looks_is_told_for_a_minute() {
        let start = Instant::now();
        let mut minute = Minute::begin(start);
        let totals = vec![(&names::SID_TABLE_FULL, None, 19)];
        let told: Vec<_> = (1..=70)
            .filter(|second| {
                let rows = errors(&totals, minute.earlier());
                minute.remember(start + Duration::from_secs(*second), &totals);
                rows[0].last_minute == 19
            })
            .collect();
        assert_eq!(told, (1..=61).collect::<Vec<_>>());
    }
}
