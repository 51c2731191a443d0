//! Every metric is named well, documented, and on the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use ringbolt_core::downgrade::Downgrade;

use super::cell::Label as _;
use super::label::{AnswerStatus, Direction, Downgraded, EngineInUse, Evidence, Method, StatusClass};
use super::names::{ALL, Kind, Metric};
use super::{Counters, HousekeepingCounters, Page, WorkerCounters, WriterCounters};
use crate::golden;

/// The table of `docs/metrics.md`.
fn document() -> String {
    let mut document = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the admin address. This page is made from `proxy/src/metrics/names.rs`;\n\
         `UPDATE_GOLDEN=1 cargo test -p ringbolt` writes it.\n\n\
         | name | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for Metric { name, kind, unit, labels, help } in ALL {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = labels
            .iter()
            .map(|label| match label.values {
                [] => format!("`{}`", label.key),
                values => format!("`{}`: {}", label.key, values.join(", ")),
            })
            .collect();
        let unit = unit.as_str();
        writeln!(document, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join("; ")).unwrap();
    }
    document
}

#[test]
fn the_document_lists_every_metric() {
    golden::assert_same(&golden::path("../docs/metrics.md"), &document());
}

/// The text of every file of the data path, which are those outside the metrics' own folder.
fn data_path() -> String {
    const FOLDERS: [&str; 8] = [
        "src",
        "src/access_log",
        "src/affinity",
        "src/directory",
        "src/handover",
        "src/tls",
        "src/traces",
        "src/tunnel",
    ];
    let files = FOLDERS.into_iter().flat_map(|folder| {
        std::fs::read_dir(golden::path(folder)).unwrap().map(|entry| entry.unwrap().path())
    });
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn every_counter_is_counted_somewhere() {
    let data_path: String = data_path().split_ascii_whitespace().collect();
    let fields = [WorkerCounters::FIELDS, HousekeepingCounters::FIELDS, WriterCounters::FIELDS];
    for field in fields.into_iter().flatten() {
        let counted = ["add(", "sub(", "set(", "of(", "raise("]
            .iter()
            .any(|verb| data_path.contains(&format!(".{field}.{verb}")));
        assert!(counted, "nothing counts in {field}");
    }
}

#[test]
fn names_follow_the_conventions() {
    let mut seen = BTreeSet::new();
    for metric in ALL {
        let name = metric.name;
        assert!(seen.insert(name), "{name} is there twice");
        assert!(name.starts_with("ringbolt_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        let unit = metric.unit.as_str();
        assert!(unit == "count" || name.trim_end_matches("_total").ends_with(unit), "{name} without {unit}");
        assert!(metric.help.len() > 10 && metric.help.ends_with('.'), "{name}: {:?}", metric.help);
        assert!(metric.labels.iter().all(|label| label.values.len() <= 16), "{name}");
    }
}

#[test]
fn the_page_shows_every_metric_with_every_label() {
    let page = Page::new(Counters::new(2), 1000, Arc::default()).render(&[]);
    for metric in ALL {
        let name = metric.name;
        assert!(page.contains(&format!("# HELP {name} {}\n", metric.help)), "{name} in\n{page}");
        assert_eq!(page.matches(&format!("\n# TYPE {name} ")).count(), 1, "{name} in\n{page}");
        for label in metric.labels {
            for value in label.values {
                let line = format!("\n{name}{{{}=\"{value}\"}} 0\n", label.key);
                assert!(page.contains(&line), "{line} in\n{page}");
            }
        }
    }
    assert!(page.contains("\nringbolt_sid_table_capacity 1000\n"), "{page}");
}

#[test]
fn workers_are_added_up() {
    let counters = Counters::new(2);
    let page = Page::new(counters.clone(), 1000, Arc::default());
    let (one, two) = (counters.worker(0), counters.worker(1));
    one.tunnel_bytes.of(Direction::ClientToUpstream).add(10);
    two.tunnel_bytes.of(Direction::ClientToUpstream).add(5);
    one.sid_table_entries.add(3);
    two.sid_table_entries.sub(2);
    one.engine_info.of(EngineInUse::Epoll).add(1);
    two.engine_info.of(EngineInUse::Epoll).add(1);
    two.affinity_decisions.of(Evidence::Table).add(7);
    for _ in 0..2 {
        let page = page.render(&[]);
        for line in [
            "ringbolt_tunnel_bytes_total{direction=\"client_to_upstream\"} 15",
            "ringbolt_sid_table_entries 1",
            "ringbolt_engine_info{engine=\"epoll\"} 2",
            "ringbolt_affinity_decisions_total{evidence=\"table\"} 7",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} in\n{page}");
        }
    }
    two.sid_table_entries.sub(1);
    assert!(page.render(&[]).contains("\nringbolt_sid_table_entries 0\n"));
}

#[test]
fn two_workers_share_no_cache_line() {
    let counters = Counters::new(2);
    let places = [0, 1].map(|index| std::ptr::from_ref(counters.worker(index)).addr());
    assert!(places.iter().all(|place| place % 128 == 0));
    assert!(places[1] - places[0] >= 128);
}

#[test]
fn a_status_is_counted_under_its_own_number() {
    for status in 0..=999 {
        let label = AnswerStatus::VALUES[AnswerStatus::of(status).index()];
        let own = status.to_string();
        assert_eq!(label == own, AnswerStatus::VALUES.contains(&own.as_str()), "{status}");
    }
}

#[test]
fn a_downgrade_is_counted_under_its_own_name() {
    for downgrade in Downgrade::ALL {
        assert_eq!(Downgraded::VALUES[Downgraded::of(downgrade).index()], downgrade.name());
    }
}

#[test]
fn classes_hold_what_their_names_say() {
    for status in [101, 200, 304, 404, 502] {
        let class = StatusClass::VALUES[StatusClass::of(status).index()];
        assert_eq!(class.as_bytes()[0], status.to_string().as_bytes()[0]);
    }
    assert_eq!(Method::of(b"GET"), Method::Get);
    assert_eq!(Method::of(b"get"), Method::Other);
}
