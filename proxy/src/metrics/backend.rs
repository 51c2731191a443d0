//! What is counted of each backend, and the part of the page that tells of backends.
//!
//! Unlike a worker's these counters have several writers: what they count happens far less often than a message, and
//! mostly less often than a request.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::cell::Label as _;
use super::label::Check;
use super::names::{self, Kind, Metric};
use crate::served::{STATES, Standing};

/// What has happened to one backend.
#[derive(Debug, Default)]
pub(crate) struct BackendCounters {
    connects: AtomicU64,
    failures: AtomicU64,
    queue_timeouts: AtomicU64,
    checks: [AtomicU64; Check::VALUES.len()],
    check_micros: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct BackendCounts {
    connects: u64,
    failures: u64,
    queue_timeouts: u64,
    checks: [u64; Check::VALUES.len()],
    /// How long the last check took.
    check: Duration,
}

impl BackendCounters {
    /// A new connection to it was made.
    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// It could not be connected to, or closed without an answer.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Somebody has waited in its queue for too long.
    pub(crate) fn queue_timed_out(&self) {
        self.queue_timeouts.fetch_add(1, Relaxed);
    }

    /// A health check has ended.
    pub(crate) fn checked(&self, result: Check, took: Duration) {
        self.checks[result.index()].fetch_add(1, Relaxed);
        self.check_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn now(&self) -> BackendCounts {
        BackendCounts {
            connects: self.connects.load(Relaxed),
            failures: self.failures.load(Relaxed),
            queue_timeouts: self.queue_timeouts.load(Relaxed),
            checks: std::array::from_fn(|result| self.checks[result].load(Relaxed)),
            check: Duration::from_micros(self.check_micros.load(Relaxed)),
        }
    }
}

/// Takes the value of a metric's third label, if it has one, and the number.
type Line<'a> = dyn FnMut(Option<&str>, f64) + 'a;

/// Writes what is told of each backend. Names are of the configuration, so that the recorder would keep those of
/// removed ones for ever; they hold nothing that would have to be escaped.
pub(super) fn write(page: &mut String, backends: &[Standing]) {
    let mut each = |metric: &Metric, lines: &dyn Fn(&Standing, &mut Line<'_>)| {
        write_metric(page, metric, backends, lines);
    };
    each(&names::BACKEND_STATE, &|standing, line| {
        STATES.iter().for_each(|state| line(Some(state), f64::from(u8::from(*state == standing.state))));
    });
    each(&names::BACKEND_LOAD, &|standing, line| line(None, standing.load.into()));
    each(&names::BACKEND_TUNNELS, &|standing, line| line(None, standing.tunnels.into()));
    each(&names::BACKEND_CONNECTS, &|standing, line| line(None, standing.counts.connects as f64));
    each(&names::BACKEND_FAILURES, &|standing, line| line(None, standing.counts.failures as f64));
    each(&names::BACKEND_QUEUE, &|standing, line| line(None, standing.queue as f64));
    each(&names::BACKEND_QUEUE_TIMEOUTS, &|standing, line| {
        line(None, standing.counts.queue_timeouts as f64);
    });
    each(&names::BACKEND_CHECKS, &|standing, line| {
        if standing.counts.checks.iter().any(|count| *count > 0) {
            let counts = Check::VALUES.iter().zip(standing.counts.checks);
            counts.for_each(|(result, count)| line(Some(result), count as f64));
        }
    });
    each(&names::BACKEND_CHECK_DURATION, &|standing, line| {
        if standing.counts.checks.iter().any(|count| *count > 0) {
            line(None, standing.counts.check.as_secs_f64());
        }
    });
}

fn write_metric(
    page: &mut String,
    metric: &Metric,
    backends: &[Standing],
    lines: &dyn Fn(&Standing, &mut Line<'_>),
) {
    let Metric { name, help, labels, .. } = metric;
    let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
    // Writing to a String does not fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for standing in backends {
        let Standing { upstream, name: backend, .. } = standing;
        lines(standing, &mut |value, number| {
            let _ = write!(page, "{name}{{upstream=\"{upstream}\",backend=\"{backend}\"");
            if let Some((label, value)) = labels.get(2).zip(value) {
                let _ = write!(page, ",{}=\"{value}\"", label.key);
            }
            let _ = writeln!(page, "}} {number}");
        });
    }
    page.push('\n');
}
