//! The page that a scrape of `/metrics` gets.
//!
//! Sums the workers' counters up, hands the sums to the `metrics` recorder and puts its text in a
//! fixed order, so that two pages can be compared line by line.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use metrics::{Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::cell::Label as _;
use super::label::TlsReload;
use super::names::{self, Kind, Metric};
use super::process::{self, Process};
use super::{Counters, Totals, WorkerCounters, backend, histogram};
use crate::limits::TLS_CERTIFICATES_SHOWN_MAX;
use crate::served::Standing;
use crate::tls;

/// Content type of the page (Prometheus text format 0.0.4).
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const METADATA: Metadata<'static> = Metadata::new("ringbolt", Level::INFO, None);

/// Renders the metrics of this process.
///
/// The recorder is its own, not the process' global one: nothing but the counters feeds it.
pub(crate) struct Page {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    counters: Counters,
    tls: Arc<tls::Current>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("workers", &self.counters.workers()).finish_non_exhaustive()
    }
}

impl Page {
    /// A page over the workers' counters. `sids_max` is the configured size of the sid table.
    pub(crate) fn new(counters: Counters, sids_max: u32, tls: Arc<tls::Current>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let page = Self { handle: recorder.handle(), recorder, counters, tls };
        for metric in names::ALL {
            match metric.kind {
                Kind::Counter => {
                    page.recorder.describe_counter(metric.name.into(), Some(metric.unit), metric.help.into());
                }
                Kind::Gauge => {
                    page.recorder.describe_gauge(metric.name.into(), Some(metric.unit), metric.help.into());
                }
                // Written here.
                Kind::Histogram => {}
            }
        }
        page.gauge(&names::SID_TABLE_CAPACITY, &[], f64::from(sids_max));
        page.gauge(&names::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), std::env::consts::ARCH], 1.0);
        page
    }

    /// The page as of now, with how the backends stand.
    pub(crate) fn render(&self, backends: &[Standing]) -> String {
        let (mut histograms, mut counted) = (String::new(), 0);
        for (metric, label, value) in self.counters.totals() {
            let labels = label.as_slice();
            match metric.kind {
                Kind::Counter => {
                    self.recorder.register_counter(&key(metric, labels), &METADATA).absolute(value)
                }
                // Shares of a gauge wrap around 0, see `Gauge`; the sum is a small positive number.
                Kind::Gauge => self.gauge(metric, labels, value.cast_signed() as f64),
                Kind::Histogram => {
                    write_bucket(&mut histograms, metric, label.unwrap_or_default(), value, &mut counted);
                }
            }
        }
        let process = Process::now();
        let gauges = [
            (&names::PROCESS_RESIDENT, process.resident_bytes.map(|bytes| bytes as f64)),
            (&names::PROCESS_OPEN_FDS, process.open_fds.map(|count| count as f64)),
            (&names::PROCESS_MAX_FDS, Some(process.max_fds.map_or(f64::INFINITY, |count| count as f64))),
            (&names::PROCESS_THREADS, process.threads.map(|count| count as f64)),
            (&names::PROCESS_START, process.start_seconds),
        ];
        for (metric, value) in gauges {
            if let Some(value) = value {
                self.gauge(metric, &[], value);
            }
        }
        let reloads = &self.tls.reloads;
        for (label, count) in [(TlsReload::Taken, &reloads.taken), (TlsReload::Refused, &reloads.refused)] {
            let labels = [TlsReload::VALUES[label.index()]];
            let counter = self.recorder.register_counter(&key(&names::TLS_RELOADS, &labels), &METADATA);
            counter.absolute(count.load(Relaxed));
        }
        let mut rendered = self.handle.render();
        write_expiries(&mut rendered, &self.tls.get());
        if let Some(seconds) = process.cpu_seconds {
            write_fraction(&mut rendered, &names::PROCESS_CPU, seconds);
        }
        rendered.push_str(&histograms);
        write_workers(&mut rendered);
        backend::write(&mut rendered, backends);
        in_order(&rendered)
    }

    fn gauge(&self, metric: &'static Metric, labels: &[&'static str], value: f64) {
        self.recorder.register_gauge(&key(metric, labels), &METADATA).set(value);
    }
}

fn key(metric: &'static Metric, values: &[&'static str]) -> Key {
    let labels: Vec<Label> =
        metric.labels.iter().zip(values).map(|(label, value)| Label::new(label.key, *value)).collect();
    Key::from_parts(metric.name, labels)
}

/// Every number of the workers, added up. All workers show the same metrics in the same order.
pub(super) fn sums(workers: &[WorkerCounters]) -> Totals {
    let mut sums = Totals::new();
    for worker in workers {
        let mut position = 0;
        worker.show(&mut |metric, label, value| {
            match sums.get_mut(position) {
                Some((_, _, sum)) => *sum = sum.wrapping_add(value),
                None => sums.push((metric, label, value)),
            }
            position += 1;
        });
    }
    sums
}

/// Writes one number of a histogram, which come bound by bound and then the sum. `counted` is what was counted below.
fn write_bucket(page: &mut String, metric: &Metric, bound: &str, value: u64, counted: &mut u64) {
    let Metric { name, help, .. } = metric;
    if bound == histogram::SUM {
        let seconds = value as f64 / 1e6;
        // Writing to a String does not fail.
        let _ = write!(page, "{name}_sum {seconds}\n{name}_count {counted}\n\n");
        *counted = 0;
        return;
    }
    if page.is_empty() || page.ends_with("\n\n") {
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    }
    *counted += value;
    let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {counted}");
}

/// Writes the time of each worker's thread, as the kernel counts it.
fn write_workers(page: &mut String) {
    let Metric { name, help, .. } = names::WORKER_CPU;
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
    for (worker, seconds) in process::worker_cpu_seconds() {
        let _ = writeln!(page, "{name}{{worker=\"{worker}\"}} {seconds}");
    }
    page.push('\n');
}

/// Writes a counter with a fraction, which the recorder does not have.
fn write_fraction(page: &mut String, metric: &Metric, value: f64) {
    let Metric { name, help, .. } = metric;
    // Writing to a String does not fail.
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n\n");
}

/// Writes when each certificate ends: which there are changes while the process runs.
fn write_expiries(page: &mut String, tls: &tls::Setup) {
    let Metric { name, help, .. } = names::TLS_EXPIRY;
    // Writing to a String does not fail.
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    for (certificate, validity) in tls.certificates().iter().take(TLS_CERTIFICATES_SHOWN_MAX) {
        let label = certificate.replace(['\\', '"', '\n'], "_");
        let _ = writeln!(page, "{name}{{certificate=\"{label}\"}} {}", validity.not_after);
    }
    page.push('\n');
}

/// Puts metrics in the order of their names and the lines of each in the order of their labels.
fn in_order(rendered: &str) -> String {
    let mut metrics: Vec<Vec<&str>> = rendered
        .split("\n\n")
        .map(|metric| metric.lines().filter(|line| !line.is_empty()).collect())
        .collect();
    metrics.retain(|lines| !lines.is_empty());
    for lines in &mut metrics {
        // `#` sorts before every name, and HELP before TYPE, as the format wants it. Buckets are in order already.
        if !lines.iter().any(|line| line.contains("_bucket{")) {
            lines.sort_unstable();
        }
    }
    metrics.sort_unstable();
    let mut page = String::with_capacity(rendered.len());
    for line in metrics.into_iter().flatten() {
        page.push_str(line);
        page.push('\n');
    }
    page
}
