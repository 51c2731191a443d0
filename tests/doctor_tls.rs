//! `ringbolt doctor https://` finds nothing wrong where nothing is, and says in words what is wrong with a certificate.
//!
//! Fails if a certificate that clients refuse is passed over, or is refused without the cause; or if a check works over
//! plain HTTP only.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ringbolt_harness::raw::{Backend, TcpBackend};
use ringbolt_harness::tls::{Authority, Files, Front, self_signed};
use ringbolt_harness::{Backends, Kind, Options, Process, Ringbolt};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_ringbolt");
const HOST: &str = "127.0.0.1";

/// Above the time of its slowest check.
const LIMIT: Duration = Duration::from_secs(60);

const OK: i32 = 0;
const WARNING: i32 = 3;
const FAULT: i32 = 4;

/// What it said, and its exit code.
fn doctor(at: SocketAddr, arguments: &[&str]) -> (Value, i32) {
    let mut command = Command::new(BINARY);
    command.args(["doctor", &format!("https://{at}"), "--quick", "--sessions", "3", "--json"]);
    let mut process = Process::spawn("doctor", command.args(arguments));
    let status = process.wait(LIMIT);
    let said = process.whole_output();
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, status.code().expect("an exit code"))
}

fn findings(report: &Value) -> &[Value] {
    report["findings"].as_array().expect("findings")
}

/// What was found of the certificate: how bad, and in what words.
fn certificate(report: &Value) -> (&str, &str) {
    let found = findings(report).iter().find(|finding| finding["check"] == "certificate");
    let found = found.unwrap_or_else(|| panic!("nothing of the certificate in {report:#}"));
    let text = |key| found[key].as_str().unwrap_or_default();
    (text("severity"), text("seen"))
}

/// A proxy that terminates TLS with this certificate before real Socket.IO servers.
fn proxy(files: &Files, tls: &str) -> Ringbolt {
    let backends: Vec<String> = Backends::shared(Kind::SocketIo4)
        .addresses()
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = [{}]\n{tls}\n\
         [upstream.chat]\nbackends = [{}]\n",
        files.entry(),
        backends.join(", ")
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(BINARY, &[]) })
}

fn believing(file: &Path) -> [&str; 2] {
    ["--ca", file.to_str().expect("a path of ASCII")]
}

#[test]
fn every_check_works_over_tls() {
    let authority = Authority::new();
    let issuer = authority.file();
    for versions in ["", "max_version = \"1.2\""] {
        let proxy = proxy(&authority.issue("a", &[HOST, "a.example"]), versions);
        let (report, code) = doctor(proxy.address(), &believing(&issuer));
        assert_eq!(code, OK, "{report:#}");
        let checks: Vec<&str> =
            findings(&report).iter().filter_map(|found| found["check"].as_str()).collect();
        for check in ["certificate", "polling", "upgrade", "affinity", "tunnel"] {
            assert!(checks.contains(&check), "no {check}: {report:#}");
        }
        let (_, seen) = certificate(&report);
        assert!(seen.starts_with("for 127.0.0.1, a.example, until 4000-01-01 "), "{seen}");
        let version = if versions.is_empty() { "over TLS 1.3" } else { "over TLS 1.2" };
        assert!(seen.contains("CN=Issuer of a test") && seen.ends_with(version), "{seen}");
    }
}

#[test]
fn a_certificate_that_clients_refuse_is_named_with_the_cause() {
    let authority = Authority::new();
    let itself = self_signed(authority.folder(), HOST);
    let (known, other) = (&authority.file(), &itself.certificate);
    for (files, issuer, words) in [
        (
            &authority.issue_for("past", &[HOST], 2020..2021),
            known,
            "has expired; its own ended on 2021-01-01",
        ),
        (&authority.issue_for("future", &[HOST], 3990..4000), known, "is not valid before 3990-01-01"),
        (&authority.issue("b", &["b.test", "*.c.test"]), known, "for b.test, *.c.test, not for 127.0.0.1"),
        (&authority.issue("a", &[HOST]), other, "issuer is not known here (CN=Issuer of a test)"),
        (&itself, known, "signed by itself"),
    ] {
        let proxy = proxy(files, "");
        let (report, code) = doctor(proxy.address(), &believing(issuer));
        assert_eq!((code, certificate(&report).0), (FAULT, "fault"), "{report:#}");
        assert!(certificate(&report).1.contains(words), "{words}: {report:#}");
        assert_eq!(findings(&report).len(), 1, "nothing else is looked at: {report:#}");
        // The rest is looked at all the same.
        let (report, code) = doctor(proxy.address(), &[&believing(issuer)[..], &["--insecure"]].concat());
        assert_eq!((code, certificate(&report).0), (WARNING, "warning"), "{report:#}");
        assert!(certificate(&report).1.contains(words), "{words}: {report:#}");
        let others = findings(&report).iter().filter(|found| found["check"] != "certificate");
        assert!(
            others.clone().count() >= 4 && others.clone().all(|found| found["severity"] == "ok"),
            "{report:#}"
        );
    }
}

#[test]
fn the_system_believes_no_issuer_of_a_test() {
    let authority = Authority::new();
    let backend = Backend::named("ok");
    let front = Front::terminating(backend.address(), authority.issue("a", &[HOST]).server(None));
    let (report, code) = doctor(front.address(), &[]);
    assert_eq!((code, certificate(&report).0), (FAULT, "fault"), "{report:#}");
}

#[test]
fn where_no_tls_is_spoken_that_is_said() {
    let plain = TcpBackend::echoing("HTTP/1.1 400 Bad Request\r\n\r\n");
    let (report, code) = doctor(plain.address(), &["--insecure"]);
    assert_eq!((code, certificate(&report)), (FAULT, ("fault", "what answers does not speak TLS")));
}

#[test]
fn a_server_that_wants_the_clients_certificate_is_told_apart() {
    let authority = Authority::new();
    let issuer = authority.file();
    let proxy =
        proxy(&authority.issue("a", &[HOST]), &format!("client_auth = \"required\"\nclient_ca = {issuer:?}"));
    let (report, code) = doctor(proxy.address(), &believing(&issuer));
    assert_eq!((code, certificate(&report).0), (FAULT, "ok"), "{report:#}");
    let polling = findings(&report)[1]["seen"].as_str().expect("what was seen");
    assert!(polling.contains("wants a certificate of its clients"), "{polling}");
}

#[test]
fn a_file_of_issuers_that_is_none_is_refused() {
    let mut command = Command::new(BINARY);
    let mut process =
        Process::spawn("doctor", command.args(["doctor", "https://127.0.0.1:9", "--ca", "/nonexistent.pem"]));
    assert_eq!(process.wait(LIMIT).code(), Some(1));
    let said = process.whole_output();
    assert!(said.contains("/nonexistent.pem: No such file"), "{said}");
}
