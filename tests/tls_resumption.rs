//! A session resumes at any worker, and at any machine with the same ticket keys; nowhere else.
//!
//! Fails if tickets belong to one worker, or if a session that showed no certificate resumes where one is
//! required.
#![forbid(unsafe_code)]

use std::fs;
use std::sync::Arc;

use ringbolt_harness::raw::Backend;
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Options, Ringbolt};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

const NAME: &str = "a.example";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn proxy(authority: &Authority, backend: &Backend, tls: &str) -> Ringbolt {
    let certificate = authority.folder().join("a.pem");
    let key = authority.folder().join("a.key");
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n\
         certificates = [{{ certificate = {certificate:?}, key = {key:?} }}]\n{tls}\n\
         [upstream.a]\nbackends = [\"{}\"]\n",
        backend.address()
    );
    let options = Options { workers: 2, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) };
    Ringbolt::start(&Options { config: Some(config), ..options })
}

/// Whether the next session of this client is a resumed one. Tickets come with the answer.
fn resumes(ringbolt: &Ringbolt, client: &Arc<ClientConfig>) -> bool {
    let (mut wire, agreed) = connect(ringbolt.address(), NAME, client).expect("a session");
    assert_eq!(wire.exchange(GET).status(), 200);
    agreed.resumed
}

#[test]
fn sessions_resume_at_every_worker() {
    let authority = Authority::new();
    let _ = authority.issue("a", &[NAME]);
    let backend = Backend::named("ok");
    for version in [&TLS12, &TLS13] {
        let ringbolt = proxy(&authority, &backend, "");
        let client = authority.client_with(&[version], None);
        assert!(!resumes(&ringbolt, &client));
        // The kernel spreads connections over two workers: both have had some of so many.
        for number in 0..24 {
            assert!(resumes(&ringbolt, &client), "connection {number} of {:?}", version.version);
        }
        assert_eq!(ringbolt.metrics()["ringbolt_tls_resumptions_total"], 24.0);
    }
}

#[test]
fn sessions_resume_elsewhere_with_shared_keys_and_not_without() {
    let authority = Authority::new();
    let _ = authority.issue("a", &[NAME]);
    let backend = Backend::named("ok");
    let keys = authority.folder().join("tickets");
    fs::write(&keys, format!("{}\n{}\n", "0a".repeat(48), "0b".repeat(48))).expect("a file");
    let shared = format!("ticket_keys = {keys:?}");
    for version in [&TLS12, &TLS13] {
        let client = authority.client_with(&[version], None);
        let (one, other) = (proxy(&authority, &backend, &shared), proxy(&authority, &backend, &shared));
        assert!(!resumes(&one, &client));
        assert!(resumes(&other, &client), "{:?}", version.version);
        let stranger = proxy(&authority, &backend, "");
        assert!(!resumes(&stranger, &client), "{:?}", version.version);
    }
}

#[test]
fn a_session_without_a_certificate_does_not_resume_where_one_is_required() {
    let authority = Authority::new();
    let _ = authority.issue("a", &[NAME]);
    let backend = Backend::named("ok");
    let keys = authority.folder().join("tickets");
    fs::write(&keys, "0a".repeat(48)).expect("a file");
    let open = proxy(&authority, &backend, &format!("ticket_keys = {keys:?}"));
    let closed = proxy(
        &authority,
        &backend,
        &format!("ticket_keys = {keys:?}\nclient_auth = \"required\"\nclient_ca = {:?}", authority.file()),
    );
    let client = authority.client_with(&[&TLS12], None);
    assert!(!resumes(&open, &client));
    assert!(connect(closed.address(), NAME, &client).is_err());
}
