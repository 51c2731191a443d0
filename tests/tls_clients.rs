//! Client certificates: who has one that the listener believes comes in, and backends are told who it is.
//!
//! Fails if a client without a certificate, or with another issuer's, reaches a backend, or if it can write
//! the fields that name it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ringbolt_harness::raw::{Backend, Head};
use ringbolt_harness::tls::{Authority, connect};
use ringbolt_harness::{Options, Ringbolt};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

const NAME: &str = "a.example";
const FORGED: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Client-Cert-Subject: CN=root\r\n\
    X-Client-Cert-Verified: SUCCESS\r\nX-Client-Cert-Anything: 1\r\nX_Client_Cert_Subject: CN=root\r\n\r\n";

fn proxy(authority: &Authority, backend: &Backend, client_auth: &str) -> Ringbolt {
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{}]\n\
         client_auth = \"{client_auth}\"\nclient_ca = {:?}\n[upstream.a]\nbackends = [\"{}\"]\n",
        authority.issue("a", &[NAME]).entry(),
        authority.file(),
        backend.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { config: Some(config), ..options })
}

/// The head that reached the backend; `None`: the client was refused.
fn passed_on(ringbolt: &Ringbolt, backend: &Backend, client: &Arc<ClientConfig>) -> Option<Head> {
    let before = backend.requests().len();
    let (mut wire, _) = connect(ringbolt.address(), NAME, client).ok()?;
    // TLS 1.3 clients hear of a refusal only now.
    let _ = wire.try_send(FORGED);
    let (answer, _) = wire.read("an answer or the end").map_or((Vec::new(), ()), |bytes| (bytes, ()));
    answer.starts_with(b"HTTP/1.1 200").then(|| backend.requests()[before].head().clone())
}

#[test]
fn certificates_are_verified_and_their_owners_named() {
    let authority = Authority::new();
    let own = authority.issue("ann", &["ann.example"]);
    let backend = Backend::named("ok");
    for client_auth in ["required", "optional"] {
        let ringbolt = proxy(&authority, &backend, client_auth);
        for version in [&TLS12, &TLS13] {
            let client = authority.client_with(&[version], Some(&own));
            // The second is resumed, and still known.
            for _ in 0..2 {
                let head = passed_on(&ringbolt, &backend, &client).expect("it has a certificate");
                assert_eq!(head.value("X-Client-Cert-Verified"), Some("SUCCESS"));
                assert_eq!(head.value("X-Client-Cert-Subject"), Some("CN=ann,O=Ringbolt\\, tests"));
                let fingerprint = head.value("X-Client-Cert-Fingerprint").expect("there is one");
                assert_eq!(fingerprint.len(), 64, "{fingerprint}");
                assert_eq!(head.value("X-Client-Cert-Anything"), None);
                assert_eq!(head.value("X_Client_Cert_Subject"), None);
            }
        }
    }
}

#[test]
fn others_are_refused_where_one_is_required_and_told_apart_where_it_is_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let foreign = stranger.issue("eve", &["eve.example"]);
    let backend = Backend::named("ok");
    let required = proxy(&authority, &backend, "required");
    let optional = proxy(&authority, &backend, "optional");
    for version in [&TLS12, &TLS13] {
        let (none, other) =
            (authority.client_with(&[version], None), authority.client_with(&[version], Some(&foreign)));
        assert_eq!(passed_on(&required, &backend, &none), None);
        assert_eq!(passed_on(&required, &backend, &other), None);
        assert_eq!(passed_on(&optional, &backend, &other), None);
        let head = passed_on(&optional, &backend, &none).expect("none is required");
        assert_eq!(head.value("X-Client-Cert-Verified"), Some("NONE"));
        assert_eq!(head.value("X-Client-Cert-Subject"), None);
    }
    let refused = "ringbolt_tls_handshake_failures_total{reason=\"certificate\"}";
    required.wait_for_metric(refused, |count| count == 4.0);
}
