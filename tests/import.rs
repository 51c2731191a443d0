//! Configurations of nginx, HAProxy, Traefik and stunnel, imported as they stand in the documents, serve real Socket.IO clients.
//!
//! Fails with 400 `Session ID unknown` if what bound a client to its backend is lost, with 404 if a route is, with a
//! refused start if the new file is not one that the daemon takes; and if the exit code hides that something is missing.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ringbolt_harness::raw::Wire;
use ringbolt_harness::tls::Authority;
use ringbolt_harness::{Backends, Client, Kind, Lane, Options, Ringbolt, Scenario};

const BINARY: &str = env!("CARGO_BIN_EXE_ringbolt");
/// Of the certificate that stands in for those of the samples; node finds it on this machine.
const HOST: &str = "chat.example.test";

/// A sample, whether the listener that serves Socket.IO speaks TLS, and its number.
const SAMPLES: [(&str, bool, usize); 10] = [
    ("nginx-upstream.conf", false, 0),
    ("nginx-site.conf", true, 2),
    ("nginx-names.conf", false, 0),
    ("haproxy-cookie.cfg", false, 0),
    ("haproxy-site.cfg", true, 1),
    ("haproxy-tcp.cfg", false, 0),
    ("stunnel.conf", true, 0),
    ("traefik-compose.yml", false, 0),
    ("traefik-site.yml", true, 1),
    ("traefik-tcp.yml", false, 0),
];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/migration/samples").join(name)
}

fn ringbolt(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().expect("the program starts")
}

/// The daemons of all samples, each with three real servers in the place of app01, app02 and app03.
struct Imported {
    authority: Authority,
    daemons: Vec<Ringbolt>,
}

fn imported() -> Imported {
    let authority = Authority::new();
    let folder = authority.file().parent().expect("a folder").to_owned();
    let files = authority.issue(HOST, &[HOST]);
    let read = |path: &Path| fs::read_to_string(path).expect("a file of the authority");
    // HAProxy has both in one file.
    let both = read(&files.certificate) + &read(&files.key);
    fs::write(folder.join("chat.pem"), both).expect("a writable folder");
    fs::write(folder.join("chat.key"), read(&files.key)).expect("a writable folder");
    let daemons = SAMPLES.iter().map(|(name, ..)| start(name, &folder)).collect();
    Imported { authority, daemons }
}

/// Imports a sample with the addresses and certificates of this test, checks the result and serves by it.
fn start(name: &str, folder: &Path) -> Ringbolt {
    let mut text = fs::read_to_string(sample(name)).expect("a sample");
    text = text.replace("/etc/ssl", &folder.display().to_string()).replace("example.com", "example.test");
    // Their check would ask the Socket.IO servers for a page that they do not have.
    text = text.replace("HEAD /health", "GET /");
    let file = folder.join(name);
    fs::write(&file, text).expect("a writable folder");
    let output = ringbolt(&["import", &file.display().to_string()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{name}: {told}");
    let mut made = String::from_utf8(output.stdout).expect("UTF-8");
    // What they are called in the samples is looked up in no DNS.
    for (number, address) in Backends::shared(Kind::SocketIo4).addresses().iter().enumerate() {
        made = made.replace(&format!("\"app0{}:3000\"", number + 1), &format!("\"{address}\""));
    }
    let new = folder.join(name).with_extension("toml");
    fs::write(&new, &made).expect("a writable folder");
    let check = ringbolt(&["check", "-c", &new.display().to_string()]);
    assert!(check.status.success(), "{name}: {}\n{made}", String::from_utf8_lossy(&check.stderr));
    let free = |line: &str| {
        let is_listener = line.starts_with("address = ");
        if is_listener { "address = \"127.0.0.1:0\"\n".to_owned() } else { format!("{line}\n") }
    };
    let config: String = made.lines().map(free).collect();
    Ringbolt::start(&Options { workers: 1, config: Some(config), ..Options::new(BINARY, &[]) })
}

#[test]
fn each_sample_serves_real_clients() {
    let Imported { authority, daemons } = imported();
    let lanes: Vec<Lane> = SAMPLES
        .iter()
        .zip(&daemons)
        .map(|((name, tls, listener), daemon)| {
            let port = daemon.listeners()[*listener].port();
            let scheme = if *tls { "https" } else { "http" };
            Lane { name: (*name).to_owned(), url: format!("{scheme}://{HOST}:{port}") }
        })
        .collect();
    for name in ["polling", "upgrade", "websocket", "sid_positions"] {
        let scenario = Scenario { name, client: Client::Node4, limit: Duration::from_secs(60) };
        scenario.run_believing(Some(&authority.file()), Backends::shared(Kind::SocketIo4), &lanes);
    }
    let of = |name: &str| {
        let at = SAMPLES.iter().position(|(sample, ..)| *sample == name).expect("a sample");
        &daemons[at]
    };
    other_requests_go_where_they_went(of("nginx-site.conf"), of("nginx-names.conf"), of("haproxy-site.cfg"));
}

/// Status of the answer to a GET, and where it leads or what it holds.
fn get(daemon: &Ringbolt, host: &str, path: &str) -> (u16, String) {
    let mut wire = Wire::connect(daemon.address());
    let answer = wire.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let told = answer.head.value("Location").map_or_else(|| answer.text(), str::to_owned);
    (answer.status(), told)
}

fn other_requests_go_where_they_went(site: &Ringbolt, names: &Ringbolt, haproxy: &Ringbolt) {
    for daemon in [site, haproxy] {
        assert_eq!(get(daemon, HOST, "/a?b"), (308, format!("https://{HOST}/a?b")));
    }
    assert_eq!(get(names, "anything.test", "/health"), (200, "fine".to_owned()));
    assert_eq!(get(names, "www.example.test", "/a"), (301, "https://example.test/a".to_owned()));
    assert_eq!(get(names, "app.example.test", "/other").0, 404);
    // Below /live/ of this name stands the same server without that path.
    let (status, body) = get(names, "x.app.example.test", "/live/socket.io/?EIO=4&transport=polling");
    assert!(status == 200 && body.contains("\"sid\""), "{status} {body}");
}

#[test]
fn the_exit_code_tells_what_is_missing_and_no_file_is_overwritten() {
    let names = ["--resolve", "app01=10.0.0.1", "--resolve", "app02=10.0.0.2", "--resolve", "app03=10.0.0.3"];
    let import = |more: &[&str], name: &str| {
        let file = sample(name).display().to_string();
        ringbolt(&[&["import"], &names[..], more, &[&file]].concat())
    };
    assert_eq!(import(&[], "nginx-upstream.conf").status.code(), Some(0));
    let output = import(&[], "nginx-site.conf");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("nginx-site.conf:39: NOT TRANSLATED: gzip on"), "{told}");
    assert_eq!(import(&["--from", "haproxy"], "nginx-upstream.conf").status.code(), Some(1));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let new = folder.path().join("new.toml").display().to_string();
    assert_eq!(import(&["--output", &new], "nginx-upstream.conf").status.code(), Some(0));
    let written = fs::read_to_string(&new).expect("a new file");
    assert_eq!(written, String::from_utf8_lossy(&import(&[], "nginx-upstream.conf").stdout));
    assert_eq!(import(&["--output", &new], "nginx-upstream.conf").status.code(), Some(1));
}
