//! A client gets the certificate of the name it asks for, from one port, and nothing where `strict` says so;
//! a configuration that could not serve is refused before it does.
//!
//! Fails with a certificate of another name if a wildcard takes more than one label or wins over an exact name.
#![forbid(unsafe_code)]

use std::fs;
use std::process::{Command, Output};

use ringbolt_harness::tls::{Agreed, Authority, connect};
use ringbolt_harness::{Options, Ringbolt};
use rustls::version::{TLS12, TLS13};

const BINARY: &str = env!("CARGO_BIN_EXE_ringbolt");

fn config(tls: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n{tls}\n\
         [upstream.a]\nbackends = [\"127.0.0.1:9\"]\n"
    )
}

fn proxy(tls: &str) -> Ringbolt {
    Ringbolt::start(&Options { config: Some(config(tls)), ..Options::new(BINARY, &[]) })
}

fn agreed(ringbolt: &Ringbolt, authority: &Authority, name: &str) -> Result<Agreed, String> {
    connect(ringbolt.address(), name, &authority.client()).map(|(_, agreed)| agreed)
}

#[test]
fn names_choose_the_certificate() {
    let authority = Authority::new();
    // All are for any.example too, so that a client accepts each and the test sees which it was.
    let first = authority.issue("first", &["first.example", "any.example", "other.test"]);
    let exact = authority.issue("exact", &["chat.b.example"]);
    let wild = authority.issue("wild", &["*.b.example", "x.chat.b.example"]);
    let entries = [&first, &wild, &exact].map(|files| files.entry()).join(", ");
    let ringbolt = proxy(&format!("certificates = [{entries}]"));
    let certificate = |name| agreed(&ringbolt, &authority, name).map(|agreed| agreed.certificate);
    assert_eq!(certificate("chat.b.example"), Ok(Some(exact.der())));
    assert_eq!(certificate("CHAT.b.example"), Ok(Some(exact.der())));
    assert_eq!(certificate("web.b.example"), Ok(Some(wild.der())));
    assert_eq!(certificate("x.chat.b.example"), Ok(Some(wild.der())));
    assert_eq!(certificate("other.test"), Ok(Some(first.der())));
    // Two labels are no match for one star: the default is served, and the client refuses it.
    let refused = certificate("y.chat.b.example").expect_err("no certificate is for it");
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[test]
fn strict_refuses_other_names_with_their_alert() {
    let authority = Authority::new();
    let entry = authority.issue("a", &["a.example"]).entry();
    let ringbolt = proxy(&format!("certificates = [{entry}]\nstrict = true"));
    assert!(agreed(&ringbolt, &authority, "a.example").is_ok());
    let refused = agreed(&ringbolt, &authority, "b.example").expect_err("strict");
    assert!(refused.contains("UnrecognizedName") || refused.contains("UnrecognisedName"), "{refused}");
    assert_eq!(ringbolt.metrics()["ringbolt_tls_handshake_failures_total{reason=\"name\"}"], 1.0);
}

#[test]
fn a_folder_serves_every_pair_in_it() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    for name in ["a.example", "b.example"] {
        let files = authority.issue(name, &[name]);
        fs::copy(&files.certificate, folder.path().join(format!("{name}.pem"))).expect("a copy");
        fs::copy(&files.key, folder.path().join(format!("{name}.key"))).expect("a copy");
    }
    // One file for both, as HAProxy has it.
    let files = authority.issue("c", &["c.example"]);
    let both = [files.certificate, files.key].map(|file| fs::read_to_string(file).expect("a file")).concat();
    fs::write(folder.path().join("c.pem"), both).expect("a file");
    let ringbolt = proxy(&format!("folder = {:?}", folder.path()));
    for name in ["a.example", "b.example", "c.example"] {
        assert!(agreed(&ringbolt, &authority, name).is_ok(), "{name}");
    }
}

#[test]
fn versions_and_ciphers_are_what_the_policy_says() {
    let authority = Authority::new();
    let entry = authority.issue("a", &["a.example"]).entry();
    let version = |tls: &str, version| {
        let ringbolt = proxy(&format!("certificates = [{entry}]\n{tls}"));
        let client = authority.client_with(&[version], None);
        connect(ringbolt.address(), "a.example", &client).map(|(_, agreed)| agreed.version)
    };
    assert!(version("min_version = \"1.3\"", &TLS12).is_err());
    assert!(version("max_version = \"1.2\"", &TLS13).is_err());
    assert_eq!(version("max_version = \"1.2\"", &TLS12), Ok("TLSv1_2".to_owned()));
    let chacha = "min_version = \"1.3\"\nciphers = [\"TLS13_CHACHA20_POLY1305_SHA256\"]";
    assert_eq!(version(chacha, &TLS13), Ok("TLSv1_3".to_owned()));
}

fn check(tls: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringbolt.toml");
    fs::write(&file, config(tls)).expect("a file");
    Command::new(BINARY).args(["check", "--config"]).arg(&file).output().expect("it runs")
}

#[test]
fn check_finds_what_could_not_be_served() {
    let authority = Authority::new();
    let (a, b) = (authority.issue("a", &["a.example"]), authority.issue("b", &["b.example"]));
    let (a_pem, b_key) = (&a.certificate, &b.key);
    let old = authority.issue_for("old", &["old.example"], 2020..2021);
    let text = authority.folder().join("text.pem");
    fs::write(&text, "no certificate").expect("a file");
    let cases = [
        (format!("certificates = [{}]", a.entry()), true, ""),
        (
            format!("certificates = [{{ certificate = {a_pem:?}, key = {b_key:?} }}]"),
            false,
            "the key does not belong to",
        ),
        (
            format!("certificates = [{{ certificate = {text:?}, key = {b_key:?} }}]"),
            false,
            "no certificate in it",
        ),
        ("certificates = [{ certificate = \"gone.pem\" }]".to_owned(), false, "No such file"),
        (format!("certificates = [{}]", old.entry()), false, "has expired"),
        (format!("certificates = [{}]\nclient_auth = \"required\"", a.entry()), false, "needs `client_ca`"),
        (
            format!("certificates = [{}]\nciphers = [\"TLS13_AES_256_GCM_SHA348\"]", a.entry()),
            false,
            "did you mean `TLS13_AES_256_GCM_SHA384`?",
        ),
        (format!("certificates = [{}]\nhsts = \"for ever\"", a.entry()), false, "no max-age"),
        ("strict = true".to_owned(), false, "certificates: is missing"),
    ];
    for (tls, valid, words) in cases {
        let output = check(&tls);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), valid, "{tls}: {told}");
        assert!(told.contains(words), "{tls}: {told}");
    }
}
