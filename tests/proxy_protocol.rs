//! A PROXY header changes who the client is, for everything; nobody but a trusted proxy can send one.
//!
//! Fails with every client behind a balancer being the balancer, with clients that choose their address,
//! or with a header taken for the first bytes of a request.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use ringbolt_harness::raw::{Backend, End, WAIT, Wire};
use ringbolt_harness::tls::{Authority, Front};
use ringbolt_harness::{Options, Ringbolt};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const V1: &str = "PROXY TCP4 198.51.100.9 203.0.113.1 40000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x09\xcb\0\x71\x01\x9c\x40\x01\xbb";

/// The trusted proxy's address.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);

fn start(backends: &[SocketAddr], listener: &str, upstream: &str) -> Ringbolt {
    let backends: Vec<_> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [upstream.a]\n{upstream}\nbackends = [{}]\n[timeouts]\nrequest_head = \"2s\"\n",
        backends.join(", ")
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

fn expecting(backends: &[SocketAddr], upstream: &str) -> Ringbolt {
    let listener = "trusted_proxies = [\"127.0.7.0/24\"]\nproxy_protocol = true";
    start(backends, listener, upstream)
}

fn refused(ringbolt: &Ringbolt, reason: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_connections_refused_total{{reason=\"{reason}\"}}")]
}

#[test]
fn the_client_is_who_the_header_says_in_whatever_pieces_it_comes() {
    let backend = Backend::answering(OK);
    let ringbolt = expecting(&[backend.address()], "");
    let headers = [V1.as_bytes(), V2];
    for (header, piece) in headers.iter().flat_map(|header| [(header, 1), (header, 7), (header, 500)]) {
        let mut client = Wire::connect_from(PROXY, ringbolt.address());
        client.send_in_pieces([header, GET.as_bytes()].concat(), piece);
        assert_eq!(client.read_response().text(), "ok", "in pieces of {piece}");
        assert_eq!(client.exchange(GET).text(), "ok", "one header for the whole connection");
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 12);
    for request in requests {
        assert_eq!(request.head().value("X-Forwarded-For"), Some("198.51.100.9"));
        assert_eq!(request.head().value("X-Real-IP"), Some("198.51.100.9"));
    }
}

#[test]
fn affinity_goes_by_the_address_in_the_header() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let ringbolt = expecting(&[a.address(), b.address()], "affinity = \"client-ip\"");
    let answer = |client: u8| {
        let header = format!("PROXY TCP4 198.51.100.{client} 203.0.113.1 40000 443\r\n");
        Wire::connect_from(PROXY, ringbolt.address()).exchange(header + GET).text()
    };
    let first: Vec<String> = (0..32).map(answer).collect();
    assert_eq!(first, (0..32).map(answer).collect::<Vec<_>>());
    assert!(first.iter().any(|name| name == "a") && first.iter().any(|name| name == "b"), "{first:?}");
}

#[test]
fn a_header_without_addresses_leaves_the_proxys_own() {
    let backend = Backend::answering(OK);
    let ringbolt = expecting(&[backend.address()], "");
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = Wire::connect_from(PROXY, ringbolt.address());
        assert_eq!(client.exchange([header, GET.as_bytes()].concat()).status(), 200);
    }
    for request in backend.requests() {
        assert_eq!(request.head().value("X-Real-IP"), Some("127.0.7.1"));
    }
}

#[test]
fn nobody_but_a_trusted_proxy_is_served() {
    let backend = Backend::answering(OK);
    let ringbolt = expecting(&[backend.address()], "");
    for first in [V1, GET] {
        let mut client = Wire::connect(ringbolt.address());
        let _ = client.try_send(first);
        assert!(matches!(client.expect_end(), End::Fin | End::Reset));
    }
    assert_eq!((refused(&ringbolt, "proxy_untrusted"), backend.connections()), (2.0, 0));
}

#[test]
fn where_a_header_is_expected_nothing_else_is_served() {
    let backend = Backend::answering(OK);
    let ringbolt = expecting(&[backend.address()], "");
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    // The last two never become a header: the time limit of a head ends the wait.
    for first in [GET, "PROXY TCP4 1.1.1.1\r\n", &long, "PROXY TCP4 198.51.100.9", ""] {
        let mut client = Wire::connect_from(PROXY, ringbolt.address());
        let _ = client.try_send(first);
        assert!(matches!(client.expect_end(), End::Fin | End::Reset), "{first:?}");
    }
    assert_eq!((refused(&ringbolt, "proxy_header"), backend.connections()), (5.0, 0));
}

#[test]
fn where_none_is_expected_a_header_is_no_request() {
    let backend = Backend::answering(OK);
    let ringbolt = start(&[backend.address()], "", "");
    let mut client = Wire::connect_from(PROXY, ringbolt.address());
    client.send(V1);
    assert_eq!(client.read_response().status(), 400);
}

/// How a backend is talked to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    Http,
    /// HTTP in a TCP tunnel.
    Tcp,
}

/// What a backend gets of `requests` requests of one client, its header first, one after the other; and the
/// client's address and the listener's. With an authority the backend speaks TLS behind the header.
fn received(
    talk: Talk,
    version: &str,
    requests: usize,
    authority: Option<&Authority>,
) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let front = authority.map(|authority| {
        let server = authority.issue("backend", &["127.0.0.1"]).server(None);
        Front::terminating_behind_header(address, server)
    });
    let address = front.as_ref().map_or(address, Front::address);
    let taking = std::thread::spawn(move || (0..requests).map(|_| taken(&listener)).collect::<Vec<_>>());
    let tls =
        authority.map_or(String::new(), |authority| format!("\ntls = {{ ca = {:?} }}", authority.file()));
    let detect = if talk == Talk::Tcp { "detect = [\"tcp\"]" } else { "" };
    let ringbolt = start(&[address], detect, &format!("proxy_protocol = \"{version}\"{tls}"));
    let mut client = Wire::connect(ringbolt.address());
    for _ in 0..requests {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    // The connections are open until now: nothing but the header is a reason not to use one again.
    let (_open, bytes): (Vec<_>, Vec<_>) = taking.join().expect("the backend").into_iter().unzip();
    (bytes.concat(), client.local_address(), ringbolt.address())
}

/// The next connection and what comes on it; it is answered.
fn taken(listener: &TcpListener) -> (TcpStream, Vec<u8>) {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(WAIT)).expect("an option of an open socket");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") || bytes.len() < V2.len() {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).expect("a request");
        assert_ne!(length, 0, "the end after {}", bytes.escape_ascii());
        bytes.extend_from_slice(&buffer[..length]);
    }
    stream.write_all(OK.as_bytes()).expect("an open connection");
    (stream, bytes)
}

#[test]
fn a_backend_is_told_the_client_on_every_connection() {
    let authority = Authority::new();
    for authority in [None, Some(&authority)] {
        let (bytes, client, listener) = received(Talk::Http, "v1", 2, authority);
        let header =
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nGET / ", client.port(), listener.port());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with(&header), "{text}");
        assert_eq!(text.matches(&header).count(), 2, "no connection is used twice: {text}");

        for talk in [Talk::Http, Talk::Tcp] {
            let (bytes, client, listener) = received(talk, "v2", 1, authority);
            let ports = [client.port().to_be_bytes(), listener.port().to_be_bytes()].concat();
            let header = [&V2[..16], &[127, 0, 0, 1, 127, 0, 0, 1], &ports, b"GET / "].concat();
            assert_eq!(bytes[..header.len()], header);
        }
    }
}

/// HAProxy with sockets that this test has bound, so that no port is taken by chance.
struct HaProxy {
    process: std::process::Child,
    _folder: tempfile::TempDir,
}

impl HaProxy {
    /// Runs `config`, whose sockets are those of `sockets` by number.
    fn start(config: &str, sockets: &[&TcpListener]) -> Self {
        for socket in sockets {
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())
                .expect("an option of an open socket");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, config).expect("write the configuration file");
        let mut command = std::process::Command::new("haproxy");
        let process = command.arg("-db").arg("-q").arg("-f").arg(path).spawn().expect("haproxy");
        Self { process, _folder: folder }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From a client through HAProxy, the daemon and HAProxy again, which answers with the client's address.
#[test]
fn haproxy_in_front_and_behind_agrees_on_the_client() {
    let sockets: [TcpListener; 4] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [front_v1, front_v2, behind, behind_tls] = &sockets;
    let authority = Authority::new();
    let files = authority.issue("backend", &["127.0.0.1"]);
    let both = authority.folder().join("both.pem");
    let read = |file| std::fs::read_to_string(file).expect("a PEM file");
    std::fs::write(&both, read(files.certificate) + &read(files.key)).expect("a file");
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true";
    // The one talks to HAProxy plain, the other over TLS.
    let daemons = [
        ("v1", behind, String::new()),
        ("v2", behind_tls, format!("tls = {{ ca = {:?} }}", authority.file())),
    ]
    .map(|(version, behind, tls)| {
        let health = "health = { check = \"http\", interval = \"100ms\", timeout = \"9s\" }";
        let upstream = format!("proxy_protocol = \"{version}\"\n{tls}\n{health}");
        start(&[behind.local_addr().unwrap()], listener, &upstream)
    });
    let config = format!(
        "defaults\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n\
         listen front-v1\n mode tcp\n bind fd@{}\n server a {} send-proxy\n\
         listen front-v2\n mode tcp\n bind fd@{}\n server a {} send-proxy-v2\n\
         frontend behind\n mode http\n bind fd@{} accept-proxy\n \
         bind fd@{} accept-proxy ssl crt {}\n \
         http-request return status 200 content-type text/plain lf-string %ci\n",
        front_v1.as_raw_fd(),
        daemons[0].address(),
        front_v2.as_raw_fd(),
        daemons[1].address(),
        behind.as_raw_fd(),
        behind_tls.as_raw_fd(),
        both.display(),
    );
    let _haproxy = HaProxy::start(&config, &[front_v1, front_v2, behind, behind_tls]);
    for front in [front_v1, front_v2] {
        let mut client = Wire::connect_from(Ipv4Addr::new(127, 0, 9, 9), front.local_addr().unwrap());
        assert_eq!(client.exchange(GET).text(), "127.0.9.9");
    }
}
