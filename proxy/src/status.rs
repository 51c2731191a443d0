//! How the process is, for operators: the status page, `ringbolt top` and programs see the same [`Overview`].
//!
//! It is collected once a second on the housekeeping thread, from counters that workers write anyway, however many
//! look at it. What is wrong is decided in `causes`, and said in the log when it begins and when it ends.

mod causes;
mod collect;
mod pages;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::downgrades::Shown;
use crate::limits::{STATUS_INTERVAL, STATUS_WATCHERS_MAX};

pub(crate) use self::collect::{Collector, Sources};
pub(crate) use self::pages::router;

/// Words that are constants of the program, or come from another process.
pub(crate) type Words = Cow<'static, str>;

/// Everything at a glance. Rates are per second, over the last second.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct Overview {
    pub(crate) version: Words,
    pub(crate) pid: u32,
    /// `starting`, `ready` or `draining`.
    pub(crate) phase: Words,
    /// `uring` or `epoll`.
    pub(crate) engine: String,
    pub(crate) uptime_seconds: u64,
    /// The file was served as it was last read.
    pub(crate) config_current: bool,
    /// The admin address takes orders from who has the token.
    pub(crate) takes_orders: bool,
    /// What is wrong now, the worst first.
    pub(crate) causes: Vec<Cause>,
    pub(crate) now: Now,
    pub(crate) rates: Rates,
    pub(crate) backends: Vec<BackendRow>,
    pub(crate) workers: Vec<WorkerRow>,
    pub(crate) sessions: Vec<SessionRow>,
    /// What went wrong since the start, if anything, by reason.
    pub(crate) errors: Vec<ErrorRow>,
    pub(crate) certificates: Vec<CertificateRow>,
    pub(crate) findings: Vec<Shown>,
}

/// What there is now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Now {
    /// Tunnels included.
    pub(crate) connections: u64,
    pub(crate) connections_max: u64,
    pub(crate) tunnels: u64,
    /// The part of them through which nothing moves.
    pub(crate) tunnels_idle: u64,
    /// Sessions in the sid table.
    pub(crate) sids: u64,
    pub(crate) sids_max: u64,
    /// That workers hold.
    pub(crate) memory_bytes: u64,
    pub(crate) memory_bytes_max: Option<u64>,
}

/// What happens in a second.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct Rates {
    pub(crate) connections: f64,
    pub(crate) requests: f64,
    pub(crate) sessions: f64,
    pub(crate) tunnels: f64,
    /// Through tunnels.
    pub(crate) bytes_to_upstream: f64,
    pub(crate) bytes_to_client: f64,
    /// Seconds of processor time, of all threads.
    pub(crate) cpu_seconds: f64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct BackendRow {
    pub(crate) upstream: String,
    pub(crate) name: String,
    pub(crate) address: String,
    /// `up`, `suspect`, `down`, `drain` or `maintenance`.
    pub(crate) state: Words,
    pub(crate) weight: u32,
    pub(crate) backup: bool,
    /// An operator has ordered what the file does not say.
    pub(crate) ordered: bool,
    /// Sessions and tunnels, and how fast they become more.
    pub(crate) load: u32,
    pub(crate) load_rate: f64,
    /// The part of the load that are tunnels.
    pub(crate) tunnels: u32,
    /// Requests that wait for it.
    pub(crate) queue: usize,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct WorkerRow {
    pub(crate) connections: u64,
    pub(crate) tunnels: u64,
    pub(crate) request_rate: f64,
    /// May be negative: what one worker allocates another may free.
    pub(crate) memory_bytes: i64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct SessionRow {
    /// `polling`, or what tunnels carry.
    pub(crate) transport: Words,
    /// `None`: not told apart from other tunnels.
    pub(crate) active: Option<u64>,
    pub(crate) opened: u64,
    pub(crate) open_rate: f64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct ErrorRow {
    pub(crate) what: Words,
    /// The value of the metric's label; empty if it has none.
    pub(crate) reason: Words,
    pub(crate) metric: Words,
    pub(crate) total: u64,
    pub(crate) last_minute: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct CertificateRow {
    pub(crate) name: String,
    /// Negative: it has expired.
    pub(crate) seconds_left: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Clients are refused or lost.
    Fault,
    /// They will be, or some are.
    Warning,
    /// Somebody wanted it so.
    Note,
}

/// Something that is wrong now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Cause {
    pub(crate) severity: Severity,
    pub(crate) name: Words,
    /// The backend or certificate it is about; empty: the process.
    pub(crate) subject: String,
    pub(crate) seen: String,
    /// What to do about it.
    pub(crate) cure: Words,
    /// The metric that shows it.
    pub(crate) metric: Words,
}

/// The last overview, for whoever asks.
#[derive(Debug)]
pub(crate) struct Status {
    /// `None` for a moment after the start.
    latest: watch::Sender<Option<Arc<Latest>>>,
    watchers: Arc<Semaphore>,
}

/// One overview; its text is made when the first one asks for it.
#[derive(Default, Debug)]
struct Latest {
    overview: Overview,
    text: OnceLock<String>,
}

impl Latest {
    fn text(&self) -> &str {
        // Numbers and strings always can be written.
        self.text.get_or_init(|| serde_json::to_string(&self.overview).unwrap_or_default())
    }
}

impl Status {
    pub(crate) fn new() -> Self {
        Self { latest: watch::Sender::default(), watchers: Arc::new(Semaphore::new(STATUS_WATCHERS_MAX)) }
    }

    /// The last overview, or the first as soon as it is there.
    async fn latest(&self) -> Arc<Latest> {
        let mut latest = self.latest.subscribe();
        let found = latest.wait_for(Option::is_some).await;
        // The sender is ours, so the wait does not fail.
        found.ok().and_then(|latest| latest.clone()).unwrap_or_default()
    }

    /// Collects once a second, for ever.
    pub(crate) async fn attend(&self, mut collector: Collector) {
        let mut ticks = tokio::time::interval(STATUS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: Vec<Cause> = Vec::new();
        loop {
            ticks.tick().await;
            let overview = collector.collect();
            causes::log(&known, &overview.causes);
            known.clone_from(&overview.causes);
            self.latest.send_replace(Some(Arc::new(Latest { overview, text: OnceLock::new() })));
        }
    }
}
