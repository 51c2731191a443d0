//! A renewed certificate is served without a restart and without a failed request; a bad one is not served.
//!
//! Fails if a change of files is missed, if connections or handshakes under way are disturbed by it, or if
//! what is wrong with new files takes the old ones out of service.
#![forbid(unsafe_code)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::Backend;
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Options, Ringbolt};

const NAME: &str = "a.example";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(20);

fn proxy(authority: &Authority, backend: &Backend) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n\
         certificates = [{}]\n[upstream.a]\nbackends = [\"{}\"]\n",
        authority.issue("a", &[NAME]).entry(),
        backend.address()
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn reloads(ringbolt: &Ringbolt, result: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_tls_reloads_total{{result=\"{result}\"}}")]
}

/// Waits for the next reload that ends like this.
fn wait_for(ringbolt: &Ringbolt, result: &str, count: f64) {
    let deadline = Instant::now() + LIMIT;
    while reloads(ringbolt, result) < count {
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for reload {count} to be {result}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn certificates_are_replaced_under_load_without_a_failed_request() {
    let authority = Authority::new();
    let backend = Backend::named("ok");
    let ringbolt = proxy(&authority, &backend);
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut old, _) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    // No resumption: each is a whole handshake with whatever certificate there is.
                    let (mut client, _) =
                        connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
                    for _ in 0..3 {
                        assert_eq!(client.exchange(GET).status(), 200);
                        served.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        for round in 1..=4 {
            let new = authority.issue("a", &[NAME]);
            wait_for(&ringbolt, "taken", f64::from(round));
            let (_, agreed) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
            assert_eq!(agreed.certificate, Some(new.der()), "round {round}");
        }
        stop.store(true, Relaxed);
    });
    assert!(served.load(Relaxed) > 0);
    assert_eq!(reloads(&ringbolt, "refused"), 0.0);
    assert_eq!(old.exchange(GET).status(), 200, "a connection outlives its certificate");
}

#[test]
fn a_bad_certificate_leaves_the_old_one_serving() {
    let authority = Authority::new();
    let backend = Backend::named("ok");
    let ringbolt = proxy(&authority, &backend);
    let good = authority.issue("copy", &[NAME]);
    let (certificate, key) = (authority.folder().join("a.pem"), authority.folder().join("a.key"));
    let (_, before) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
    let expired = authority.issue_for("expired", &[NAME], 2020..2021);
    let bad: [&dyn Fn(); 4] = [
        &|| fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nnonsense").expect("a file"),
        // Another certificate than the key is for.
        &|| assert!(fs::copy(&good.certificate, &certificate).is_ok()),
        &|| fs::remove_file(&certificate).expect("it is there"),
        &|| {
            fs::copy(&expired.certificate, &certificate).expect("a copy");
            fs::copy(&expired.key, &key).expect("a copy");
        },
    ];
    for (spoil, count) in bad.iter().zip(1..) {
        spoil();
        wait_for(&ringbolt, "refused", f64::from(count));
        let (mut client, agreed) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
        assert_eq!(agreed.certificate, before.certificate, "after bad file {count}");
        assert_eq!(client.exchange(GET).status(), 200);
    }
    let log = ringbolt.process().output();
    assert!(log.contains("the old ones stay in use"), "{log}");
    fs::copy(&good.certificate, &certificate).expect("a copy");
    fs::copy(&good.key, &key).expect("a copy");
    wait_for(&ringbolt, "taken", 1.0);
    let (_, agreed) = connect(ringbolt.address(), NAME, &authority.client()).expect("a session");
    assert_eq!(agreed.certificate, Some(good.der()));
}
