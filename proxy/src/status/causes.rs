//! What is wrong now, judged from an overview: for the page, for `ringbolt top`, and for the log when it begins and ends.
//!
//! Reads no clock: what "now" is, the overview's numbers of the last minute say.

use super::{Cause, ErrorRow, Overview, Severity, Words};
use crate::limits::STATUS_CAUSES_MAX;
use crate::metrics::names::{self, Metric};
use crate::tls::EXPIRY_WARNING;

const DAY: i64 = 86_400;

/// Share of a bound from which it is told of.
const NEARLY_FULL_PERCENT: u64 = 90;

/// What is wrong, the worst first.
pub(super) fn of(overview: &Overview) -> Vec<Cause> {
    let mut causes = Vec::new();
    process(overview, &mut causes);
    refusals(overview, &mut causes);
    bounds(overview, &mut causes);
    backends(overview, &mut causes);
    certificates(overview, &mut causes);
    directory(overview, &mut causes);
    hops(overview, &mut causes);
    causes.sort_by_key(|cause| cause.severity);
    causes.truncate(STATUS_CAUSES_MAX);
    causes
}

/// Causes that have lines of their own where they arise.
const LOGGED_ELSEWHERE: [&str; 9] = [
    "draining",
    "config_refused",
    "descriptors",
    "backend_down",
    "backend_suspect",
    "backend_drain",
    "backend_maintenance",
    "directory",
    "downgrade",
];

/// One line for each cause that was not there before, and one for each that is gone.
pub(super) fn log(before: &[Cause], now: &[Cause]) {
    let lacks = |causes: &[Cause], one: &Cause| {
        !LOGGED_ELSEWHERE.contains(&&*one.name)
            && !causes.iter().any(|other| other.name == one.name && other.subject == one.subject)
    };
    for Cause { severity, name, subject, seen, cure, .. } in now.iter().filter(|cause| lacks(before, cause)) {
        match severity {
            Severity::Fault => tracing::error!(cause = %name, %subject, %cure, "{seen}"),
            Severity::Warning => tracing::warn!(cause = %name, %subject, %cure, "{seen}"),
            Severity::Note => tracing::info!(cause = %name, %subject, "{seen}"),
        }
    }
    for Cause { name, subject, seen, .. } in before.iter().filter(|cause| lacks(now, cause)) {
        tracing::info!(cause = %name, %subject, "over: {seen}");
    }
}

fn cause(
    severity: Severity,
    name: &'static str,
    metric: &Metric,
    seen: String,
    cure: impl Into<Words>,
) -> Cause {
    let (name, metric) = (name.into(), metric.name.into());
    Cause { severity, name, subject: String::new(), seen, cure: cure.into(), metric }
}

fn process(overview: &Overview, causes: &mut Vec<Cause>) {
    let mut add = |severity, name, metric, seen: String, cure: &'static str| {
        causes.push(cause(severity, name, metric, seen, cure));
    };
    if overview.phase == "draining" {
        let seen = format!("the process drains: {} connections are left", overview.now.connections);
        add(Severity::Note, "draining", &names::DRAINING, seen, "Wait, or end it with a second signal.");
    }
    if !overview.config_current {
        let seen = "the configuration file was refused, the one before it is served".to_owned();
        let cure = "ringbolt check -c FILE says what is wrong with it.";
        add(Severity::Warning, "config_refused", &names::CONFIG_CURRENT, seen, cure);
    }
}

/// Bounds at which clients are refused.
fn refusals(overview: &Overview, causes: &mut Vec<Cause>) {
    let mut refused = |name,
                       metric: &'static Metric,
                       is_meant: &dyn Fn(&ErrorRow) -> bool,
                       what: &str,
                       cure: &'static str| {
        let rows = overview.errors.iter().filter(|row| row.metric == metric.name && is_meant(row));
        let count: u64 = rows.map(|row| row.last_minute).sum();
        if count > 0 {
            let seen = format!("{count} {what} in the last minute");
            causes.push(cause(Severity::Fault, name, metric, seen, cure));
        }
    };
    refused(
        "descriptors",
        &names::CONNECTIONS_REFUSED,
        &|row| row.reason == "descriptors",
        "connections were refused because no file descriptor is left",
        "Raise LimitNOFILE of the service (ringbolt plan says to what), or lower limits.connections.",
    );
    refused(
        "connections",
        &names::CONNECTIONS_REFUSED,
        &|row| row.reason == "limit",
        "connections were refused at limits.connections or a listener's bound",
        "Raise the bound if the machine has the memory (ringbolt plan), or add machines.",
    );
    refused(
        "limited",
        &names::LIMITED,
        &|_| true,
        "connections, sessions or requests were beyond a bound",
        "The reason below names the bound. One client: it is a flood. Many: the bound is too low, or it is too much.",
    );
    refused(
        "overload",
        &names::ANSWERS,
        &|row| row.reason == "503",
        "requests were answered 503",
        "No backend takes them, or a queue or table is full: see the backends, and the answer's own words.",
    );
    refused(
        "backend_errors",
        &names::ANSWERS,
        &|row| matches!(&*row.reason, "502" | "504"),
        "requests were answered 502 or 504",
        "Backends refuse, close or do not answer: see their logs.",
    );
    refused(
        "sid_table_full",
        &names::SID_TABLE_FULL,
        &|_| true,
        "sessions were refused because the sid table is full",
        "Raise limits.sids.",
    );
}

/// Bounds that are near.
fn bounds(overview: &Overview, causes: &mut Vec<Cause>) {
    let now = &overview.now;
    for (name, metric, what, used, most) in [
        ("connections_high", &names::CONNECTIONS_ACTIVE, "connections", now.connections, now.connections_max),
        ("sids_high", &names::SID_TABLE_ENTRIES, "sids", now.sids, now.sids_max),
        (
            "memory_high",
            &names::MEMORY,
            "bytes of memory",
            now.memory_bytes,
            now.memory_bytes_max.unwrap_or(0),
        ),
    ] {
        if most > 0 && used.saturating_mul(100) >= most.saturating_mul(NEARLY_FULL_PERCENT) {
            let seen = format!("{used} of {most} {what} are in use");
            let cure = "Raise the bound under [limits], or add machines, before new ones are refused.";
            causes.push(cause(Severity::Warning, name, metric, seen, cure));
        }
    }
}

fn backends(overview: &Overview, causes: &mut Vec<Cause>) {
    let takes_new = |upstream: &str| {
        overview
            .backends
            .iter()
            .any(|one| one.upstream == upstream && matches!(&*one.state, "up" | "suspect"))
    };
    let mut told: Vec<&str> = Vec::new();
    for backend in &overview.backends {
        let upstream = backend.upstream.as_str();
        if !told.contains(&upstream) && !takes_new(upstream) {
            told.push(upstream);
            let seen = format!("no backend of upstream {upstream} takes anything new");
            let cure = "Start one, or enable one that drains.";
            let cause = cause(Severity::Fault, "upstream_down", &names::BACKEND_STATE, seen, cure);
            causes.push(Cause { subject: upstream.to_owned(), ..cause });
        }
        let (severity, name, words, cure) = match &*backend.state {
            "down" => (
                Severity::Warning,
                "backend_down",
                "is down: its checks fail",
                "Look at the backend's own log. Sessions it had are lost; new ones go to the others.",
            ),
            "suspect" => (
                Severity::Warning,
                "backend_suspect",
                "is suspect: requests to it fail",
                "Look at the backend's own log. New sessions go to the others for a while.",
            ),
            "drain" => (
                Severity::Note,
                "backend_drain",
                "drains: it keeps its sessions",
                "Enable it when it is done.",
            ),
            "maintenance" => (
                Severity::Note,
                "backend_maintenance",
                "is in maintenance: it gets nothing",
                "Enable it when it is done.",
            ),
            _ => continue,
        };
        let subject = format!("{upstream}/{}", backend.name);
        let seen = format!("{subject} {words}");
        causes.push(Cause { subject, ..cause(severity, name, &names::BACKEND_STATE, seen, cure) });
    }
}

fn certificates(overview: &Overview, causes: &mut Vec<Cause>) {
    let soon = i64::try_from(EXPIRY_WARNING.as_secs()).unwrap_or(i64::MAX);
    for certificate in overview.certificates.iter().filter(|certificate| certificate.seconds_left < soon) {
        let (subject, left) = (certificate.name.clone(), certificate.seconds_left);
        let (severity, name, seen) = if left < 0 {
            (Severity::Fault, "certificate_expired", format!("the certificate of {subject} has expired"))
        } else {
            let seen = format!("the certificate of {subject} ends in {} days", left / DAY);
            (Severity::Warning, "certificate_ends", seen)
        };
        let cure = "Renew it and put the files in place: they are taken without a reload.";
        causes.push(Cause { subject, ..cause(severity, name, &names::TLS_EXPIRY, seen, cure) });
    }
}

/// While it is left aside each attempt to reach it fails.
fn directory(overview: &Overview, causes: &mut Vec<Cause>) {
    let is_its = |row: &&ErrorRow| row.metric == names::DIRECTORY_FAILURES.name;
    let count: u64 = overview.errors.iter().filter(is_its).map(|row| row.last_minute).sum();
    if count > 0 {
        let seen = format!("the shared directory failed {count} times in the last minute");
        let cure = "Look at Redis and the way there. Sessions are found by what else is known of them (docs/affinity.md).";
        causes.push(cause(Severity::Warning, "directory", &names::DIRECTORY_FAILURES, seen, cure));
    }
}

/// Findings have lines of their own in the log and words of their own on the page.
fn hops(overview: &Overview, causes: &mut Vec<Cause>) {
    for finding in overview.findings.iter().filter(|finding| finding.last_seconds_ago < 300) {
        let cause = cause(
            Severity::Warning,
            "downgrade",
            &names::DOWNGRADES,
            format!("{} ({})", finding.seen, finding.source),
            finding.cure.clone(),
        );
        causes.push(Cause { subject: format!("{} {}", finding.reason, finding.source), ..cause });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BackendRow, CertificateRow, Now};
    use super::*;

    fn healthy() -> Overview {
        let backend = |name: &str| BackendRow {
            upstream: "chat".to_owned(),
            name: name.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            state: "up".into(),
            weight: 1,
            backup: false,
            ordered: false,
            load: 5,
            load_rate: 0.0,
            tunnels: 3,
            queue: 0,
        };
        Overview {
            phase: "ready".into(),
            config_current: true,
            now: Now { connections: 5, connections_max: 100, sids: 5, sids_max: 100, ..Now::default() },
            backends: vec![backend("a"), backend("b")],
            certificates: vec![CertificateRow { name: "a.example".to_owned(), seconds_left: 90 * DAY }],
            ..Overview::default()
        }
    }

    fn named(overview: &Overview) -> Vec<(Severity, String, String)> {
        let causes = of(overview).into_iter();
        causes.map(|cause| (cause.severity, cause.name.into_owned(), cause.subject)).collect()
    }

    /// The causes after `change`.
    fn after(change: impl FnOnce(&mut Overview)) -> Vec<(Severity, String, String)> {
        let mut overview = healthy();
        change(&mut overview);
        named(&overview)
    }

    fn refused(metric: &Metric, reason: &'static str, last_minute: u64) -> ErrorRow {
        let metric = metric.name.into();
        ErrorRow { what: "".into(), reason: reason.into(), metric, total: 100, last_minute }
    }

    #[test]
    fn nothing_is_wrong_with_what_is_healthy() {
        assert_eq!(named(&healthy()), []);
        assert_eq!(
            after(|overview| overview.errors.push(refused(&names::ANSWERS, "503", 0))),
            [],
            "long ago"
        );
        assert_eq!(after(|overview| overview.errors.push(refused(&names::ANSWERS, "404", 9))), []);
    }

    #[test]
    fn each_cause_has_its_name_and_subject() {
        use Severity::{Fault, Note, Warning};
        let one = |severity, name: &str, subject: &str| vec![(severity, name.to_owned(), subject.to_owned())];
        let backend = |state: &'static str| after(move |overview| overview.backends[0].state = state.into());
        assert_eq!(backend("down"), one(Warning, "backend_down", "chat/a"));
        assert_eq!(backend("suspect"), one(Warning, "backend_suspect", "chat/a"));
        assert_eq!(backend("drain"), one(Note, "backend_drain", "chat/a"));
        let both = after(|overview| overview.backends.iter_mut().for_each(|one| one.state = "down".into()));
        assert_eq!(both[0], (Fault, "upstream_down".to_owned(), "chat".to_owned()));
        assert_eq!(both.len(), 3, "the worst first, once an upstream: {both:?}");
        assert_eq!(after(|overview| overview.phase = "draining".into()), one(Note, "draining", ""));
        assert_eq!(after(|overview| overview.config_current = false), one(Warning, "config_refused", ""));
        let errors = |metric, reason| after(move |overview| overview.errors.push(refused(metric, reason, 3)));
        assert_eq!(errors(&names::CONNECTIONS_REFUSED, "descriptors"), one(Fault, "descriptors", ""));
        assert_eq!(errors(&names::CONNECTIONS_REFUSED, "limit"), one(Fault, "connections", ""));
        assert_eq!(errors(&names::LIMITED, "client_connections"), one(Fault, "limited", ""));
        assert_eq!(errors(&names::DIRECTORY_FAILURES, "timeout"), one(Warning, "directory", ""));
        assert_eq!(errors(&names::ANSWERS, "503"), one(Fault, "overload", ""));
        assert_eq!(errors(&names::ANSWERS, "504"), one(Fault, "backend_errors", ""));
        assert_eq!(after(|overview| overview.now.connections = 90), one(Warning, "connections_high", ""));
        assert_eq!(after(|overview| overview.now.sids = 95), one(Warning, "sids_high", ""));
        let ends = |left| after(move |overview| overview.certificates[0].seconds_left = left);
        assert_eq!(ends(3 * DAY), one(Warning, "certificate_ends", "a.example"));
        assert_eq!(ends(-1), one(Fault, "certificate_expired", "a.example"));
    }

    #[test]
    fn hundreds_of_causes_are_cut_to_the_worst() {
        let mut overview = healthy();
        overview.backends = vec![overview.backends[0].clone(); 500];
        overview.backends.iter_mut().for_each(|one| one.state = "drain".into());
        let causes = of(&overview);
        assert_eq!(causes.len(), STATUS_CAUSES_MAX);
        assert_eq!(causes[0].name, "upstream_down");
    }
}
