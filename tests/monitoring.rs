//! What is shipped for Prometheus and Grafana fits what a running process shows, and the person on call finds a page for
//! each alert.
//!
//! Fails with alerts that never fire and panels that stay empty, because a metric or a label was renamed, and with a
//! scrape that costs more than what it watches.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::tls::Authority;
use ringbolt_harness::{Options, Ringbolt};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Labels that Prometheus adds, or that only histograms have.
const EVERYWHERE: [&str; 3] = ["instance", "job", "le"];

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("docs/{path}: {error}"))
}

/// The page of a process with TLS, backends and requests behind it.
fn page() -> String {
    let authority = Authority::new();
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let certificate = authority.issue("a", &["a.example"]).entry();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ndetect = [\"http\", \"tls\"]\n\
         [listener.tls]\ncertificates = [{certificate}]\n[upstream.a]\nbackends = [\"{}\"]\n",
        backend.address()
    );
    let ringbolt = Ringbolt::start(&Options {
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    let answer = Wire::connect(ringbolt.address()).exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(answer.status(), 200);
    scrape(&ringbolt)
}

fn scrape(ringbolt: &Ringbolt) -> String {
    let request = "GET /metrics HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    Wire::connect(ringbolt.admin()).exchange(request).text()
}

/// Every metric of a page, with its labels and their values.
fn shown(page: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut shown = BTreeMap::<String, BTreeMap<String, BTreeSet<String>>>::new();
    for line in page.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            shown.entry(described.split(' ').next().expect("a name").to_owned()).or_default();
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').expect("a sample");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let of = shown.entry(name.to_owned()).or_default();
            for (label, value) in matchers(labels.trim_end_matches('}')) {
                of.entry(label).or_default().extend(value);
            }
        }
    }
    shown
}

/// Labels and the values they are compared with.
type Matchers = Vec<(String, Vec<String>)>;

/// Those of `a="b",c=~"d|e"`.
fn matchers(text: &str) -> Matchers {
    let parts: Vec<&str> = text.split('"').collect();
    parts
        .chunks_exact(2)
        .map(|pair| {
            let label = pair[0].trim_start_matches(',').trim_end_matches(['=', '~', '!']).trim();
            (label.to_owned(), pair[1].split('|').map(str::to_owned).collect())
        })
        .collect()
}

/// The metrics a text of PromQL names, each with what it compares labels with, and the labels it groups by.
fn used(text: &str) -> (Vec<(String, Matchers)>, Vec<String>) {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let (mut metrics, mut groups) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        let word = &rest[start..];
        let length = word.find(|letter| !is_name(letter)).unwrap_or(word.len());
        let (word, behind) = word.split_at(length);
        rest = behind;
        if ["ringbolt_", "process_", "instance:ringbolt_"].iter().any(|ours| word.starts_with(ours)) {
            let compared = behind.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            metrics.push((word.to_owned(), compared.map(|(inside, _)| matchers(inside)).unwrap_or_default()));
        } else if ["by", "on"].contains(&word)
            && let Some((inside, _)) =
                behind.trim_start().strip_prefix('(').and_then(|text| text.split_once(')'))
        {
            groups.extend(inside.split(',').map(|label| label.trim().to_owned()));
        }
    }
    (metrics, groups)
}

/// Every string under one of these keys.
fn strings(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, inside) in object {
                match inside {
                    Value::String(text) if keys.contains(&key.as_str()) => found.push(text.clone()),
                    inside => strings(inside, keys, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inside| strings(inside, keys, found)),
        _ => {}
    }
}

#[test]
fn rules_and_dashboard_use_what_there_is() {
    let page = page();
    let shown = shown(&page);
    let labels: BTreeSet<&str> =
        shown.values().flat_map(BTreeMap::keys).map(String::as_str).chain(EVERYWHERE).collect();
    let rules = read("monitoring/rules.yml");
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana/ringbolt.json")).expect("JSON");
    let mut texts = Vec::new();
    strings(&dashboard, &["expr", "query"], &mut texts);
    assert!(texts.len() > 40, "{texts:?}");
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    for text in texts.iter().map(String::as_str).chain([rules.as_str()]) {
        let (metrics, groups) = used(text);
        for (metric, compared) in metrics {
            if recorded.contains(metric.as_str()) {
                continue;
            }
            let known = shown.get(&metric).unwrap_or_else(|| panic!("there is no {metric}, used in {text}"));
            for (label, values) in
                compared.into_iter().filter(|(label, _)| !EVERYWHERE.contains(&label.as_str()))
            {
                let of = known.get(&label).unwrap_or_else(|| panic!("{metric} has no label {label}: {text}"));
                assert!(
                    values.iter().all(|value| of.contains(value)),
                    "{metric}: {label}={values:?}, of {of:?}"
                );
            }
        }
        for label in groups {
            assert!(labels.contains(label.as_str()), "no metric has a label {label}: {text}");
        }
    }
}

fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(file("monitoring"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool, which `cargo xtask tools` installs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn the_page_is_what_prometheus_asks_for() {
    promtool(&["check", "metrics"], &page());
}

#[test]
fn rules_fire_when_they_should_and_not_else() {
    promtool(&["check", "rules", "rules.yml"], "");
    promtool(&["test", "rules", "rules.test.yml"], "");
}

#[test]
fn each_alert_is_tested_and_explained() {
    let (rules, tests, document) =
        (read("monitoring/rules.yml"), read("monitoring/rules.test.yml"), read("operations.md"));
    let named = |text: &str, before: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(before)).map(str::to_owned).collect()
    };
    let alerts = named(&rules, "- alert: ");
    assert!(alerts.len() > 15, "{alerts:?}");
    assert_eq!(named(&tests, "alertname: "), alerts);
    let sections: Vec<String> =
        named(&document, "### ").into_iter().filter(|section| section.starts_with("Ringbolt")).collect();
    assert_eq!(sections, alerts);
}

/// User and system time of a process, in seconds.
fn cpu_seconds(ringbolt: &Ringbolt) -> f64 {
    ringbolt.metrics()["process_cpu_seconds_total"]
}

/// A process of one worker with 200 backends, of which one answers.
fn of_many_backends(answering: &Backend) -> Ringbolt {
    let dead: Vec<String> = (1..200).map(|number| format!("\"127.9.0.{number}:1\"")).collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/\"\nupstream = \"b\"\n\
         [upstream.a]\nbackends = [{}]\n[upstream.b]\nbackends = [\"{}\"]\n",
        dead.join(", "),
        answering.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { workers: 1, config: Some(config), ..options });
    assert!(scrape(&ringbolt).matches("ringbolt_backend_load{").count() == 200);
    ringbolt
}

/// A tenth of a percent of a core at the usual interval, in whatever build this is.
#[test]
fn a_scrape_of_many_backends_is_cheap() {
    const SCRAPES: u32 = 20;
    let backend = Backend::named("ok");
    let ringbolt = of_many_backends(&backend);
    let before = cpu_seconds(&ringbolt);
    for _ in 0..SCRAPES {
        scrape(&ringbolt);
    }
    let each = (cpu_seconds(&ringbolt) - before) / f64::from(SCRAPES);
    println!("{each:.4} s of CPU for a scrape");
    assert!(each < 0.05, "{each} s of CPU for a scrape");
}

/// A worker that nobody asks for anything turns about once a second, however often it is scraped: so it can hold nobody
/// up for a scrape. Whatever else runs on the machine, that does not change.
#[test]
fn a_scrape_wakes_no_worker() {
    const SCRAPES: u32 = 400;
    let backend = Backend::named("ok");
    let ringbolt = of_many_backends(&backend);
    let turns = || ringbolt.metrics()["ringbolt_loop_turns_total"];
    // Workers show their turns once a second.
    let (began, before) = (Instant::now(), turns());
    while turns() == before {
        assert!(began.elapsed() < LIMIT, "no turn is shown");
    }
    let (began, before) = (Instant::now(), turns());
    for _ in 0..SCRAPES {
        scrape(&ringbolt);
    }
    let (turned, seconds) = (turns() - before, began.elapsed().as_secs_f64());
    println!("{turned} turns in {seconds:.1} s of {SCRAPES} scrapes");
    assert!(turned < 10.0 + 2.0 * seconds, "{turned} turns in {seconds:.1} s of {SCRAPES} scrapes");
}

/// What a worker does for requests costs it the same while somebody scrapes all the time.
#[test]
fn requests_cost_a_worker_the_same_while_it_is_scraped() {
    const REQUESTS: u32 = 4_000;
    let backend = Backend::named("ok");
    let ringbolt = of_many_backends(&backend);
    let worker = || ringbolt.metrics()["ringbolt_worker_cpu_seconds_total{worker=\"0\"}"];
    let mut client = Wire::connect(ringbolt.address());
    let mut serve = || {
        let before = worker();
        for _ in 0..REQUESTS {
            assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").status(), 200);
        }
        worker() - before
    };
    serve();
    let alone = serve().max(serve());
    let (began, over) = (Instant::now(), AtomicBool::new(false));
    let (scraped, scrapes) = thread::scope(|scope| {
        let scraping = scope.spawn(|| {
            let mut scrapes = 0;
            while !over.load(Relaxed) && began.elapsed() < 3 * LIMIT {
                scrape(&ringbolt);
                scrapes += 1;
            }
            scrapes
        });
        let scraped = serve();
        over.store(true, Relaxed);
        (scraped, scraping.join().expect("scrapes are answered"))
    });
    println!("{alone:.2} s of CPU, {scraped:.2} s beside {scrapes} scrapes");
    assert!(scrapes > 10, "{scrapes} scrapes");
    assert!(scraped < 1.5 * alone + 0.1, "{alone:.2} s of CPU, {scraped:.2} s beside {scrapes} scrapes");
}
