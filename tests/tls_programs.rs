//! Programs that nobody here has written agree with the TLS listener: OpenSSL's client, curl, and testssl.sh, which looks
//! for weaknesses.
//!
//! Fails if what rustls at both ends takes for granted is refused by others, if an OCSP response is not stapled or an old
//! one stays, or if a listener with defaults is rated worse than "low".
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::Backend;
use ringbolt_harness::{Options, Process, Ringbolt};
use serde_json::Value;

const NAME: &str = "a.example";
/// How long a program may take that only connects.
const LIMIT: Duration = Duration::from_secs(60);
/// How long testssl.sh may take: 30 s on a quiet machine, of which the tests leave little.
const TESTSSL_LIMIT: Duration = Duration::from_secs(300);

/// An issuer made by OpenSSL, as operators have it, and a certificate for [`NAME`] that names its OCSP server.
struct Issuer {
    folder: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        issuer.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=Issuer \
             -addext keyUsage=critical,keyCertSign,digitalSignature -keyout ca.key -out ca.pem",
        );
        issuer.issue("a", "serverAuth");
        issuer.issue("ann", "clientAuth");
        issuer
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &str) -> String {
        run(Command::new("openssl").args(arguments.split(' ')).current_dir(self.folder.path())).1
    }

    /// Issues `STEM.pem` for `STEM.example`, for this purpose.
    fn issue(&self, stem: &str, purpose: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={stem}.example \
             -keyout {stem}.key -out {stem}.csr"
        ));
        let extensions = format!(
            "subjectAltName=DNS:{stem}.example\nextendedKeyUsage={purpose}\nkeyUsage=digitalSignature\n\
             authorityInfoAccess=OCSP;URI:http://127.0.0.1:9/\n"
        );
        fs::write(self.file("extensions"), extensions).expect("a file");
        self.openssl(&format!(
            "x509 -req -in {stem}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile extensions \
             -out {stem}.pem"
        ));
    }

    /// Has the issuer say how the certificate of [`NAME`] stands, in `a.ocsp`.
    fn respond(&self, is_revoked: bool) {
        let serial = self.openssl("x509 -in a.pem -noout -serial");
        let serial = serial.trim().strip_prefix("serial=").expect("a serial number");
        let (state, since) = if is_revoked { ("R", "200101000000Z") } else { ("V", "") };
        let index = format!("{state}\t491231235959Z\t{since}\t{serial}\tunknown\t/CN={NAME}\n");
        fs::write(self.file("index"), index).expect("a file");
        self.openssl("ocsp -issuer ca.pem -cert a.pem -reqout request");
        self.openssl(
            "ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -ndays 7 -reqin request -respout a.new",
        );
        fs::rename(self.file("a.new"), self.file("a.ocsp")).expect("a response");
    }

    /// A proxy with the certificate, and more keys of its TLS.
    fn start(&self, backend: &Backend, entry: &str, tls: &str) -> Ringbolt {
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n\
             certificates = [{{ certificate = {:?}, key = {:?}{entry} }}]\n{tls}\n\
             [upstream.a]\nbackends = [\"{}\"]\n",
            self.file("a.pem"),
            self.file("a.key"),
            backend.address()
        );
        let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
        Ringbolt::start(&Options { config: Some(config), ..options })
    }

    /// What s_client has seen of one request, and its exit code.
    fn s_client(&self, ringbolt: &Ringbolt, more: &str) -> (String, i32) {
        let arguments = format!(
            "s_client -connect {} -servername {NAME} -verify_hostname {NAME} -CAfile ca.pem -verify_return_error \
             -alpn http/1.1 -status -ign_eof {more}",
            ringbolt.address()
        );
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(self.folder.path());
        let mut process = Process::spawn("s_client", &mut command);
        // The answer ends with the connection, and the program with that.
        process.write_line(&format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r"));
        let status = process.wait(LIMIT);
        (process.whole_output(), status.code().expect("an exit code"))
    }

    /// What curl has printed, and its exit code.
    fn curl(&self, ringbolt: &Ringbolt, more: &[&str]) -> (i32, String) {
        let at = ringbolt.address();
        let mut command = Command::new("curl");
        command
            .args([
                "--silent",
                "--show-error",
                "--http1.1",
                "--resolve",
                &format!("{NAME}:{}:{}", at.port(), at.ip()),
            ])
            .args(more)
            .arg(format!("https://{NAME}:{}/", at.port()))
            .current_dir(self.folder.path());
        run_any(&mut command)
    }
}

/// Runs a program that must succeed.
fn run(command: &mut Command) -> (i32, String) {
    let (code, output) = run_any(command);
    assert_eq!(code, 0, "{command:?}: {output}");
    (code, output)
}

fn run_any(command: &mut Command) -> (i32, String) {
    let mut process = Process::spawn("a program", command);
    let status = process.wait(LIMIT);
    (status.code().expect("an exit code"), process.whole_output())
}

#[test]
fn openssl_agrees_verifies_and_resumes() {
    let issuer = Issuer::new();
    let backend = Backend::named("through TLS");
    let ringbolt = issuer.start(&backend, "", "");
    for version in ["1.2", "1.3"] {
        let flag = version.replace('.', "_");
        let (said, code) = issuer.s_client(&ringbolt, &format!("-tls{flag} -sess_out session"));
        assert_eq!(code, 0, "{said}");
        for part in
            ["through TLS", "Verification: OK", "Verified peername: a.example", "ALPN protocol: http/1.1"]
        {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(said.contains(&format!("New, TLSv{version}")), "{said}");
        // Nothing is stapled where nothing is configured.
        assert!(said.contains("OCSP response: no response sent"), "{said}");
        let (said, code) = issuer.s_client(&ringbolt, &format!("-tls{flag} -sess_in session"));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("Reused, TLSv{version}")) && said.contains("through TLS"), "{said}");
    }
    assert_eq!(ringbolt.metrics()["ringbolt_tls_resumptions_total"], 2.0);
}

#[test]
fn an_ocsp_response_is_stapled_and_its_successor_too() {
    let issuer = Issuer::new();
    issuer.respond(false);
    // curl looks for the issuer in what the server sends.
    let read = |name| fs::read_to_string(issuer.file(name)).expect("a PEM file");
    fs::write(issuer.file("a.pem"), read("a.pem") + &read("ca.pem")).expect("a file");
    let backend = Backend::named("ok");
    let ringbolt = issuer.start(&backend, &format!(", ocsp = {:?}", issuer.file("a.ocsp")), "");
    for version in ["-tls1_2", "-tls1_3"] {
        let (said, code) = issuer.s_client(&ringbolt, version);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"),
            "{said}"
        );
    }
    // curl refuses a certificate without a good response, and one that is revoked.
    let asking = ["--cacert", "ca.pem", "--cert-status"];
    assert_eq!(issuer.curl(&ringbolt, &asking), (0, "ok".to_owned()));
    issuer.respond(true);
    let deadline = Instant::now() + LIMIT;
    while ringbolt.metrics()["ringbolt_tls_reloads_total{result=\"taken\"}"] < 1.0 {
        assert!(Instant::now() < deadline, "a new response is not taken");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (said, _) = issuer.s_client(&ringbolt, "-tls1_3");
    assert!(said.contains("Cert Status: revoked"), "{said}");
    let (code, said) = issuer.curl(&ringbolt, &asking);
    assert!(code == 91 && said.contains("revocation"), "{code}: {said}");
}

#[test]
fn who_shows_no_certificate_is_refused_by_either_version() {
    let issuer = Issuer::new();
    let backend = Backend::named("ok");
    let ringbolt = issuer.start(
        &backend,
        "",
        &format!("client_auth = \"required\"\nclient_ca = {:?}", issuer.file("ca.pem")),
    );
    for (version, count) in [("-tls1_2", 1), ("-tls1_3", 2)] {
        let (said, code) = issuer.s_client(&ringbolt, version);
        assert!(code != 0 && said.contains("alert") && !said.contains("HTTP/1.1 200"), "{said}");
        let (said, code) = issuer.s_client(&ringbolt, &format!("{version} -cert ann.pem -key ann.key"));
        assert!(code == 0 && said.contains("HTTP/1.1 200"), "{said}");
        let requests = backend.requests();
        assert_eq!(requests.len(), count);
        let head = requests[count - 1].head();
        assert_eq!(head.value("X-Client-Cert-Subject"), Some("CN=ann.example"));
    }
    let own = ["--cacert", "ca.pem", "--cert", "ann.pem", "--key", "ann.key"];
    assert_eq!(issuer.curl(&ringbolt, &own), (0, "ok".to_owned()));
    assert_ne!(issuer.curl(&ringbolt, &own[..2]).0, 0);
}

#[test]
fn curl_agrees_and_verifies() {
    let issuer = Issuer::new();
    let backend = Backend::named("ok");
    let ringbolt = issuer.start(&backend, "", "");
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let with = [&["--cacert", "ca.pem"], version].concat();
        assert_eq!(issuer.curl(&ringbolt, &with), (0, "ok".to_owned()));
    }
    // Another issuer (60); versions that are not offered any more (35).
    assert_eq!(issuer.curl(&ringbolt, &[]).0, 60);
    let old = ["--cacert", "ca.pem", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0", "--tlsv1.0"];
    assert_eq!(issuer.curl(&ringbolt, &old).0, 35);
}

/// What testssl.sh found: id, severity and words.
fn testssl(issuer: &Issuer, ringbolt: &Ringbolt) -> Vec<[String; 3]> {
    let mut command = Command::new("testssl");
    command
        .args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"])
        .args(["--add-ca", "ca.pem", "--jsonfile", "found.json"])
        // Protocols, ciphers by strength, forward secrecy, order, certificate, and every weakness with a name. Left
        // out is what rates an application (its header fields) or clients.
        .args(["--protocols", "--std", "--pfs", "--server-preference", "--server-defaults", "--vulnerable"])
        .arg(format!("https://{NAME}:{}/", ringbolt.address().port()))
        .current_dir(issuer.folder.path());
    let mut process = Process::spawn("testssl.sh", &mut command);
    process.wait(TESTSSL_LIMIT);
    let text = fs::read_to_string(issuer.file("found.json"))
        .unwrap_or_else(|error| panic!("{error}: {}", process.whole_output()));
    let found: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let field = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    found.iter().map(|finding| ["id", "severity", "finding"].map(|key| field(finding, key))).collect()
}

#[test]
fn testssl_rates_nothing_above_low() {
    let issuer = Issuer::new();
    issuer.respond(false);
    let backend = Backend::named("ok");
    let ringbolt = issuer.start(&backend, &format!(", ocsp = {:?}", issuer.file("a.ocsp")), "");
    let found = testssl(&issuer, &ringbolt);
    let bad = |severity: &str| matches!(severity, "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL");
    let weak: Vec<_> = found.iter().filter(|[_, severity, _]| bad(severity)).collect();
    assert!(weak.is_empty(), "{weak:#?}");
    // It has looked, and at a listener that works.
    for id in [
        "SSLv3",
        "TLS1",
        "TLS1_2",
        "TLS1_3",
        "cipherlist_NULL",
        "cipherlist_AVERAGE",
        "PFS",
        "cipher_order",
        "cert_trust",
        "cert_chain_of_trust",
        "OCSP_stapling",
        "heartbleed",
        "CCS",
        "ticketbleed",
        "ROBOT",
        "secure_renego",
        "CRIME_TLS",
        "SWEET32",
        "FREAK",
        "DROWN",
        "LOGJAM",
        "BEAST",
        "LUCKY13",
        "RC4",
    ] {
        let seen: Vec<_> = found.iter().filter(|[known, ..]| known.starts_with(id)).collect();
        let is_fine = |finding: &&[String; 3]| matches!(finding[1].as_str(), "OK" | "INFO" | "LOW");
        assert!(!seen.is_empty() && seen.iter().all(is_fine), "{id}: {seen:?} of {found:#?}");
    }
}
