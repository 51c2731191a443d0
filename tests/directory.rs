//! The shared directory in a real Redis: proxies that know nothing of each other find each other's sessions there, and
//! lose nothing else when it is slow or gone.
//!
//! Fails with 400 `Session ID unknown` from the wrong backend, with sids that whoever reads Redis can use, or with
//! clients that wait for a Redis that hangs.

// tidy: allow cluster, what Redis calls servers that share the keys among them
#![forbid(unsafe_code)]

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Message, Request, Wire};
use ringbolt_harness::tls::Authority;
use ringbolt_harness::{Options, Redis, Ringbolt};

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const KNOWN: &str = r#"{"code":3,"message":"Bad request"}"#;
const LIMIT: Duration = Duration::from_secs(30);

/// No test is about this one: long enough for a machine that is busy.
const PATIENT: &str = "timeout = \"4s\"";

/// The value of a query's parameter.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let (_, query) = request.head().target().split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// A backend that has issued the sids which begin with its name, for sessions of twice `ping_ms`.
fn backend(name: &'static str, ping_ms: u32) -> Backend {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Backend::start(move |request, wire| {
        let (status, body) = match parameter(request, "sid") {
            None => {
                let sid = format!("{name}{:015}", NEXT.fetch_add(1, Relaxed));
                (
                    "200 OK",
                    format!(
                        r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":{ping_ms},"pingTimeout":{ping_ms}}}"#
                    ),
                )
            }
            Some(sid) if !sid.starts_with(name) => ("400 Bad Request", UNKNOWN.to_owned()),
            Some(_) if parameter(request, "transport") == Some("websocket") => {
                ("400 Bad Request", KNOWN.to_owned())
            }
            Some(_) => ("200 OK", name.to_owned()),
        };
        wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    })
}

fn three() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| backend(name, 25_000))
}

/// A configuration with these lines for the directory and the upstream.
fn config(backends: &[Backend], directory: &str, upstream: &str) -> String {
    let entries: Vec<_> = backends.iter().map(|backend| format!("\"{}\"", backend.address())).collect();
    format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[directory]\n{directory}\n\
         [upstream.main]\ndirectory = true\nbackends = [{}]\n{upstream}\n",
        entries.join(", ")
    )
}

/// A proxy that asks nobody.
fn proxy(backends: &[Backend], directory: &str) -> Ringbolt {
    with(config(backends, directory, "ask_rate = \"off\""))
}

fn with(config: String) -> Ringbolt {
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn url(redis: &Redis) -> String {
    format!("url = \"redis://{}\"", redis.address())
}

fn exchange(ringbolt: &Ringbolt, method: &str, query: &str, body: &str) -> Message {
    Wire::connect(ringbolt.address()).exchange(format!(
        "{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// Opens a session; its sid.
fn open(ringbolt: &Ringbolt) -> String {
    let answer = exchange(ringbolt, "GET", "", "");
    let text = answer.text();
    text.split('"').nth(3).unwrap_or_else(|| panic!("no sid in {text}")).to_owned()
}

fn poll(ringbolt: &Ringbolt, sid: &str) -> Message {
    exchange(ringbolt, "GET", &format!("&sid={sid}"), "")
}

/// A counter of one of the directory's metrics.
fn count(ringbolt: &Ringbolt, metric: &str, label: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_directory_{metric}_total{{{label}}}")]
}

fn lookups(ringbolt: &Ringbolt, result: &str) -> f64 {
    count(ringbolt, "lookups", &format!("result=\"{result}\""))
}

/// Waits until something is so.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Each of some sessions that begin at one proxy goes on at the other.
fn sessions_are_shared(one: &Ringbolt, other: &Ringbolt) {
    let sids: Vec<_> = (0..20).map(|_| open(one)).collect();
    for sid in &sids {
        for _ in 0..2 {
            assert_eq!(poll(other, sid).text(), sid[..1], "{sid}");
        }
    }
    assert_eq!(lookups(other, "found"), 20.0, "once each");
    assert_eq!(other.metrics()["ringbolt_affinity_decisions_total{evidence=\"directory\"}"], 20.0);
}

#[test]
fn a_session_is_found_by_who_has_not_seen_it_begin_and_its_sid_is_not_told() {
    let (redis, backends) = (Redis::start(), three());
    let directory = format!("{}\n{PATIENT}", url(&redis));
    let [one, other] = [proxy(&backends, &directory), proxy(&backends, &directory)];
    sessions_are_shared(&one, &other);
    let keys = redis.ask(&["KEYS", "*"]);
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address().to_string()).collect();
    assert_eq!(keys.lines().count(), 20);
    for key in keys.lines() {
        assert!(key.starts_with("ringbolt:") && key.len() == 9 + 32, "{key}");
        let entry = redis.ask(&["GET", key]);
        let (life, name) = entry.trim_end().split_once(' ').expect("an entry");
        assert!(life == "55" && addresses.iter().any(|address| address == name), "{entry}");
        let left: u32 = redis.ask(&["TTL", key]).trim_end().parse().expect("seconds");
        assert!((1..=84).contains(&left), "it is forgotten some time after the session: {left}");
    }
    let whole = keys + &redis.ask(&["--scan"]);
    assert!(!whole.contains("000000"), "no sid can be read: {whole}");
}

#[test]
fn a_session_that_ends_is_taken_out() {
    let (redis, backends) = (Redis::start(), three());
    let one = proxy(&backends, &format!("{}\n{PATIENT}", url(&redis)));
    let sid = open(&one);
    assert_eq!(redis.ask(&["DBSIZE"]).trim_end(), "1");
    assert_eq!(exchange(&one, "POST", &format!("&sid={sid}"), "1").status(), 200);
    wait_for("end of the entry", || redis.ask(&["DBSIZE"]).trim_end() == "0");
}

#[test]
fn an_entry_lives_as_long_as_its_session_and_is_rarely_renewed() {
    let redis = Redis::start();
    let backends = [backend("a", 100), backend("b", 100)];
    let one = proxy(&backends, &format!("{}\n{PATIENT}", url(&redis)));
    let sid = open(&one);
    let (began, mut polls) = (Instant::now(), 0);
    // Such a session lives for 5.2 s without a request, and the first entry alone would for 8.8 s.
    while began.elapsed() < Duration::from_secs(10) {
        assert_eq!(poll(&one, &sid).text(), sid[..1]);
        assert_eq!(redis.ask(&["DBSIZE"]).trim_end(), "1", "after {:?}", began.elapsed());
        polls += 1;
        thread::sleep(Duration::from_millis(50));
    }
    let (written, seconds) = (redis.calls("set"), began.elapsed().as_secs_f64());
    assert!(written as f64 <= seconds / 2.6 + 2.0, "{written} times in {seconds} s, for {polls} polls");
    wait_for("end of the entry", || redis.ask(&["DBSIZE"]).trim_end() == "0");
}

#[test]
fn requests_of_one_session_wait_for_one_lookup_over_all_workers() {
    let (redis, backends) = (Redis::start(), three());
    let directory = format!("{}\n{PATIENT}", url(&redis));
    let [one, other] = [proxy(&backends, &directory), proxy(&backends, &directory)];
    let sid = open(&one);
    redis.hang(true);
    let polls: Vec<_> = (0..6)
        .map(|_| {
            let wire = Wire::connect(other.address());
            wire.send(format!("GET /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
            wire
        })
        .collect();
    wait_for("six requests", || other.metrics()["ringbolt_sids_unknown_total{reason=\"not_found\"}"] == 6.0);
    redis.hang(false);
    for mut wire in polls {
        assert_eq!(wire.read_response().text(), sid[..1]);
    }
    assert_eq!(redis.calls("get"), 1);
    assert_eq!([lookups(&other, "found"), lookups(&other, "joined")], [1.0, 5.0]);
}

#[test]
fn a_directory_that_hangs_delays_by_its_timeout_and_is_then_left_aside() {
    let (redis, backends) = (Redis::start(), three());
    let ringbolt = proxy(&backends, &format!("{}\ntimeout = \"400ms\"", url(&redis)));
    let known = open(&ringbolt);
    redis.hang(true);
    let mut slowest = Duration::ZERO;
    wait_for("directory that is left aside", || {
        let began = Instant::now();
        open(&ringbolt);
        slowest = slowest.max(began.elapsed());
        poll(&ringbolt, "random");
        assert_eq!(poll(&ringbolt, &known).text(), known[..1], "who is known waits for nobody");
        lookups(&ringbolt, "away") > 0.0
    });
    let failed = lookups(&ringbolt, "failed");
    assert!(failed <= 3.0, "{failed} lookups in vain");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let (began, waited) = (Instant::now(), count(&ringbolt, "writes", "result=\"sent\""));
    (0..20).for_each(|_| drop(open(&ringbolt)));
    assert_eq!(count(&ringbolt, "writes", "result=\"sent\""), waited, "nobody waits for it any more");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    redis.hang(false);
    let says = |words: &str| ringbolt.process().output().matches(words).count();
    wait_for("word that it is back", || says("the shared directory answers again") == 1);
    assert_eq!(says("the shared directory does not answer"), 1);
    let other = proxy(&backends, &format!("{}\n{PATIENT}", url(&redis)));
    let sid = open(&ringbolt);
    assert_eq!(poll(&other, &sid).text(), sid[..1]);
}

#[test]
fn a_directory_that_is_killed_and_comes_back_empty_loses_nothing_that_asking_finds() {
    let (mut redis, backends) = (Redis::start(), three());
    let directory = format!("{}\n{PATIENT}", url(&redis));
    let asking = || with(config(&backends, &directory, ""));
    let [one, other] = [asking(), asking()];
    let before: Vec<_> = (0..5).map(|_| open(&one)).collect();
    redis.kill();
    let meanwhile: Vec<_> = (0..5).map(|_| open(&one)).collect();
    for sid in before.iter().chain(&meanwhile) {
        assert_eq!(poll(&other, sid).text(), sid[..1], "{sid}");
    }
    let metrics = other.metrics();
    // One that answers late is unclear, and is the only one that it can be.
    let asked = ["found", "unclear"]
        .map(|result| metrics[&format!("ringbolt_sid_lookups_total{{result=\"{result}\"}}")]);
    assert_eq!(asked.iter().sum::<f64>(), 10.0, "{asked:?}");
    redis.restart();
    let back =
        |ringbolt: &Ringbolt| ringbolt.process().output().contains("the shared directory answers again");
    wait_for("directory", || back(&one) && back(&other));
    // Found by asking, and written down for all others.
    let third = asking();
    for sid in &before {
        assert_eq!(poll(&third, sid).text(), sid[..1]);
    }
    wait_for("entries", || redis.ask(&["DBSIZE"]).trim_end() == "5");
    let silent = proxy(&backends, &directory);
    for sid in &before {
        assert_eq!(poll(&silent, sid).text(), sid[..1]);
    }
    assert_eq!(lookups(&silent, "found"), 5.0);
}

#[test]
fn a_flood_of_sids_costs_the_directory_the_configured_rate_and_other_clients_nothing() {
    const RATE: usize = 50;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (redis, backends) = (Redis::start(), three());
    let ringbolt = proxy(&backends, &format!("{}\n{PATIENT}\nrate = {RATE}", url(&redis)));
    let known = open(&ringbolt);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while began.elapsed() < Duration::from_secs(2) {
                    poll(&ringbolt, &format!("random{}", NEXT.fetch_add(1, Relaxed)));
                }
            });
        }
        while began.elapsed() < Duration::from_secs(2) {
            assert_eq!(poll(&ringbolt, &known).text(), known[..1], "a session that is known is served");
        }
    });
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a few") + 1;
    let asked = redis.calls("get");
    assert!(asked <= RATE * (seconds + 1), "{asked} lookups in {seconds} s");
    assert!(lookups(&ringbolt, "limited") > 0.0 && asked >= RATE, "{asked}: it was a flood");
}

#[test]
fn a_sid_that_the_directory_does_not_have_is_not_looked_up_again_at_once() {
    let (redis, backends) = (Redis::start(), three());
    let ringbolt = proxy(&backends, &format!("{}\n{PATIENT}", url(&redis)));
    (0..5).for_each(|_| drop(poll(&ringbolt, "nobodys")));
    assert_eq!([lookups(&ringbolt, "missing"), lookups(&ringbolt, "cached")], [1.0, 4.0]);
    assert_eq!(redis.calls("get"), 1);
}

#[test]
fn what_stands_there_is_believed_only_if_it_is_ours() {
    let (redis, backends) = (Redis::start(), three());
    let directory = format!("{}\n{PATIENT}", url(&redis));
    let [one, other] = [proxy(&backends, &directory), proxy(&backends, &directory)];
    for (text, result) in [("garbage", "foreign"), ("45 10.9.9.9:1", "stranger")] {
        let sid = open(&one);
        let key = redis.ask(&["KEYS", "*"]).trim_end().to_owned();
        redis.ask(&["SET", &key, text]);
        assert!([200, 400].contains(&poll(&other, &sid).status()));
        assert_eq!(lookups(&other, result), 1.0);
        redis.ask(&["FLUSHALL"]);
    }
}

#[test]
fn a_password_and_a_secret_stand_in_files() {
    let (redis, backends) = (Redis::with_password("open sesame"), three());
    let folder = tempfile::tempdir().expect("a folder");
    let [password, secret, wrong] = ["password", "secret", "wrong"].map(|name| folder.path().join(name));
    fs::write(&password, "open sesame\n").expect("the file is written");
    fs::write(&secret, "s".repeat(32)).expect("the file is written");
    fs::write(&wrong, "w".repeat(32)).expect("the file is written");
    let directory = |password: &std::path::Path, secret: &std::path::Path| {
        format!(
            "{}\n{PATIENT}\npassword_file = \"{}\"\nsecret_file = \"{}\"",
            url(&redis),
            password.display(),
            secret.display()
        )
    };
    let right = directory(&password, &secret);
    let [one, other] = [proxy(&backends, &right), proxy(&backends, &right)];
    sessions_are_shared(&one, &other);
    let another_secret = proxy(&backends, &directory(&password, &wrong));
    poll(&another_secret, &open(&one));
    assert_eq!(lookups(&another_secret, "missing"), 1.0, "other keys");
    let refused = proxy(&backends, &directory(&wrong, &secret));
    let log = refused.process().output();
    assert!(log.contains("the shared directory does not answer") && !log.contains("wwww"), "{log}");
    assert!(count(&refused, "failures", "reason=\"refused\"") > 0.0);
    assert_eq!(open(&refused).len(), 16, "it serves all the same");
}

#[test]
fn a_directory_behind_tls_proves_who_it_is() {
    let (backends, authority) = (three(), Authority::new());
    let redis = Redis::with_tls(&authority);
    let directory = |issuers: &Authority| {
        format!("url = \"rediss://{}\"\n{PATIENT}\nca = \"{}\"", redis.address(), issuers.file().display())
    };
    let right = directory(&authority);
    let [one, other] = [proxy(&backends, &right), proxy(&backends, &right)];
    sessions_are_shared(&one, &other);
    let deceived = proxy(&backends, &directory(&Authority::new()));
    assert!(deceived.process().output().contains("the shared directory does not answer"));
    open(&deceived);
    assert_eq!(count(&deceived, "writes", "result=\"away\""), 1.0);
}

#[test]
fn a_cluster_is_a_directory_too() {
    let (servers, backends) = (Redis::cluster::<3>(), three());
    // The others are found through it.
    let directory = format!("url = \"redis-cluster://{}\"\n{PATIENT}", servers[0].address());
    let [one, other] = [proxy(&backends, &directory), proxy(&backends, &directory)];
    sessions_are_shared(&one, &other);
    let entries = servers.each_ref().map(|redis| redis.ask(&["DBSIZE"]).trim_end().parse::<u32>());
    assert!(entries.iter().filter(|entries| **entries != Ok(0)).count() > 1, "spread over them: {entries:?}");
}

#[test]
fn check_looks_at_what_the_directory_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringbolt.toml");
    let check = |directory: &str| {
        let text = config(&[], directory, "").replace("backends = []", "backends = [\"10.0.0.1:1\"]");
        let text = text.replace("FOLDER", &folder.path().display().to_string());
        fs::write(&file, text).expect("the file is written");
        let output = Command::new(env!("CARGO_BIN_EXE_ringbolt")).arg("check").arg("-c").arg(&file).output();
        let output = output.expect("run the check");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check("url = \"redis://10.0.0.1:6379\"").0, Some(0));
    let (code, said) = check("url = \"redis://name:hidden@10.0.0.1:6379\"");
    assert!(
        code == Some(0) && said.contains("warning") && said.contains("can be read by everybody"),
        "{said}"
    );
    assert!(!said.contains("hidden"), "{said}");
    for (directory, words) in [
        ("url = \"rediss://10.0.0.1\"\nca = \"none.pem\"", "none.pem"),
        ("url = \"redis://10.0.0.1\"\npassword_file = \"none\"", "directory.password_file"),
        ("url = \"http://10.0.0.1\"", "is no URL of a directory"),
    ] {
        let (code, said) = check(directory);
        assert!(code != Some(0) && said.contains(words), "{said}");
    }
}
