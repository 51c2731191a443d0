//! TLS goes to the server its ClientHello names, unopened and byte for byte, beside other protocols on the port.
//!
//! Fails with a client at a server of another name, with a ClientHello that is waited for without end, or with a
//! handshake that breaks because a byte of it was lost or held back.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringbolt_harness::raw::{Backend, End, TcpBackend, Wire};
use ringbolt_harness::{Options, Process, Ringbolt};

/// How long a program may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// Three backends that greet with their letter, behind a listener that knows two names and, with `more`, others.
struct Behind {
    db: TcpBackend,
    wild: TcpBackend,
    rest: TcpBackend,
    web: Backend,
}

impl Behind {
    fn new() -> Self {
        let [db, wild, rest] = ["d", "w", "r"].map(TcpBackend::echoing);
        Self { db, wild, rest, web: Backend::named("web") }
    }

    fn start(&self, listener: &str, sni: &str) -> Ringbolt {
        let upstreams: String = [
            ("db", self.db.address()),
            ("wild", self.wild.address()),
            ("rest", self.rest.address()),
            ("web", self.web.address()),
        ]
        .iter()
        .map(|(name, address)| format!("[upstream.{name}]\nbackends = [\"{address}\"]\n"))
        .collect();
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [listener.sni]\n\"db.example.com\" = \"db\"\n\"*.example.com\" = \"wild\"\n{sni}\n\
             {upstreams}[timeouts]\nrequest_head = \"2s\"\n"
        );
        Ringbolt::start(&Options {
            workers: 1,
            config: Some(config),
            ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
        })
    }
}

/// A ClientHello that asks for `name`, in records of at most `piece` bytes of it.
fn client_hello(name: Option<&str>, piece: usize) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        [&u16::try_from(bytes.len()).expect("a short vector").to_be_bytes()[..], bytes].concat()
    };
    let name = name.map(|name| {
        let entry = [&[0][..], &sized(name.as_bytes())].concat();
        [&[0, 0][..], &sized(&sized(&entry))].concat()
    });
    // GREASE before, an Encrypted ClientHello behind.
    let hidden = [&[0xfe, 0x0d][..], &sized(&[7; 200])].concat();
    let extensions = [vec![0x0a, 0x0a, 0, 0], name.unwrap_or_default(), hidden].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &sized(&extensions)].concat();
    let length = u32::try_from(body.len()).expect("a short message").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    message.chunks(piece).flat_map(|part| [&[22, 3, 1][..], &sized(part)].concat()).collect()
}

/// The letter of the backend that gets `hello`, which must get all of it, and what follows.
fn reached(ringbolt: &Ringbolt, hello: &[u8], segment: usize) -> String {
    let mut client = Wire::connect(ringbolt.address());
    client.send_in_pieces(hello, segment);
    let letter = client.read_exactly(1, "a letter");
    assert_eq!(client.read_exactly(hello.len(), "an echo of the ClientHello"), hello);
    client.send("and more");
    assert_eq!(client.read_exactly(8, "an echo"), b"and more");
    String::from_utf8(letter).expect("a letter")
}

/// What a client gets that begins with `first`.
fn answer_to(ringbolt: &Ringbolt, first: &[u8]) -> (Vec<u8>, End) {
    let mut client = Wire::connect(ringbolt.address());
    client.send(first);
    client.read_to_end()
}

fn alert(description: u8) -> (Vec<u8>, End) {
    (vec![0x15, 3, 3, 0, 2, 2, description], End::Fin)
}

fn refused(ringbolt: &Ringbolt, reason: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_connections_refused_total{{reason=\"{reason}\"}}")]
}

#[test]
fn the_name_decides_however_its_client_hello_is_cut() {
    let behind = Behind::new();
    let ringbolt = behind.start("", "");
    for (piece, segment) in [(16_384, 16_384), (16_384, 1), (1, 7), (40, 16_384), (40, 40)] {
        let hello = client_hello(Some("db.example.com"), piece);
        assert_eq!(reached(&ringbolt, &hello, segment), "d", "records of {piece}, segments of {segment}");
    }
    for (name, letter) in [("DB.Example.COM", "d"), ("a.example.com", "w"), ("a.b.example.com.", "w")] {
        assert_eq!(reached(&ringbolt, &client_hello(Some(name), 16_384), 16_384), letter, "{name}");
    }
    let metrics = ringbolt.metrics();
    assert_eq!(metrics["ringbolt_tunnels_by_kind_total{kind=\"tls_passthrough\"}"], 8.0);
    assert_eq!(metrics["ringbolt_connections_detected_total{protocol=\"tls\"}"], 8.0);
}

#[test]
fn a_name_that_nobody_serves_gets_an_alert() {
    let behind = Behind::new();
    let ringbolt = behind.start("", "");
    for name in [Some("example.com"), Some("db.example.org"), Some("192.0.2.1"), None] {
        let hello = client_hello(name, 16_384);
        assert_eq!(answer_to(&ringbolt, &hello), alert(112), "{name:?}");
    }
    assert_eq!(refused(&ringbolt, "server_name"), 4.0);
    assert_eq!([&behind.db, &behind.wild, &behind.rest].map(TcpBackend::connections), [0; 3]);
}

#[test]
fn a_star_takes_all_other_names_and_none() {
    let behind = Behind::new();
    let ringbolt = behind.start("", "\"*\" = \"rest\"");
    for (name, letter) in [(Some("db.example.com"), "d"), (Some("example.org"), "r"), (None, "r")] {
        assert_eq!(reached(&ringbolt, &client_hello(name, 16_384), 16_384), letter, "{name:?}");
    }
}

#[test]
fn tcp_takes_the_names_that_are_left_where_it_is_served() {
    let behind = Behind::new();
    let ringbolt = behind
        .start("detect = [\"tls\", \"tcp\", \"http\"]\ntcp_upstream = \"rest\"\nupstream = \"web\"", "");
    assert_eq!(reached(&ringbolt, &client_hello(Some("db.example.com"), 16_384), 3), "d");
    assert_eq!(reached(&ringbolt, &client_hello(Some("example.org"), 16_384), 3), "r");
    assert_eq!(reached(&ringbolt, b"\x16\x03\x01 no ClientHello", 3), "r");
    let mut http = Wire::connect(ringbolt.address());
    assert_eq!(http.exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").text(), "web");
}

#[test]
fn a_broken_client_hello_gets_an_alert_and_reaches_nobody() {
    let behind = Behind::new();
    let ringbolt = behind.start("", "\"*\" = \"rest\"");
    let whole = client_hello(Some("db.example.com"), 16_384);
    let mut no_name = whole.clone();
    let at = whole.windows(2).position(|pair| pair == b"db").expect("the name is in it");
    no_name[at] = b' ';
    let interrupted = [&client_hello(None, 20)[..50], &[21, 3, 1, 0, 2, 2, 0]].concat();
    for (what, bytes) in [
        ("a name that is none", &no_name[..]),
        ("an alert within", &interrupted),
        ("too long", &[&[22, 3, 1, 0, 5, 1, 0, 0xff, 0xff, 0][..], &[0; 64]].concat()),
        // The last ones are never complete: the time limit of a head ends the wait.
        ("cut off", &whole[..whole.len() - 1]),
        ("cut off at its header", &whole[..6]),
    ] {
        assert_eq!(answer_to(&ringbolt, bytes), alert(50), "{what}");
    }
    assert_eq!(refused(&ringbolt, "client_hello"), 5.0);
    assert_eq!([&behind.db, &behind.wild, &behind.rest].map(TcpBackend::connections), [0; 3]);
    assert_eq!(reached(&ringbolt, &whole, 16_384), "d", "others are served as before");
}

#[test]
fn plain_http_where_tls_is_all_there_is_is_answered() {
    let behind = Behind::new();
    let ringbolt = behind.start("", "");
    let (answer, end) = answer_to(&ringbolt, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("this port speaks TLS"), "{answer}");
    assert_eq!((end, refused(&ringbolt, "http")), (End::Fin, 1.0));
}

fn openssl(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder);
    command
}

/// A TLS server with a certificate of its own for `name`, whom its clients believe by that certificate.
fn tls_server(folder: &Path, name: &str) -> (Process, SocketAddr) {
    let request = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN={name} \
         -addext subjectAltName=DNS:{name} -keyout {name}.key -out {name}.pem"
    );
    let made = openssl(folder, &request).stderr(Stdio::null()).status().expect("openssl");
    assert!(made.success(), "no certificate for {name}");
    // It sends back each line, turned around.
    let serve = format!("s_server -accept 127.0.0.1:0 -cert {name}.pem -key {name}.key -rev");
    let process = Process::spawn(name, &mut openssl(folder, &serve));
    let address = process.line("its address", LIMIT, |line| line.strip_prefix("ACCEPT ")?.parse().ok());
    (process, address)
}

/// Real handshakes of both versions: the server of the name has the certificate, and what is said arrives.
#[test]
fn openssl_shakes_hands_with_the_server_it_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_a, a) = tls_server(folder.path(), "a.example.com");
    let (_b, b) = tls_server(folder.path(), "b.example.com");
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [listener.sni]\n\"a.example.com\" = \"a\"\n\"*.example.com\" = \"b\"\n\
         [upstream.a]\nbackends = [\"{a}\"]\n[upstream.b]\nbackends = [\"{b}\"]\n"
    );
    let ringbolt = Ringbolt::start(&Options {
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    for name in ["a.example.com", "b.example.com"] {
        for version in ["-tls1_2", "-tls1_3"] {
            let connect = format!(
                "s_client -connect {} -servername {name} -verify_hostname {name} -CAfile {name}.pem \
                 -verify_return_error -quiet {version}",
                ringbolt.address()
            );
            let mut client = Process::spawn("s_client", &mut openssl(folder.path(), &connect));
            client.write_line("word");
            client.line("the word turned around", LIMIT, |line| (line == "drow").then_some(()));
        }
    }
    assert_eq!(ringbolt.metrics()["ringbolt_tunnels_by_kind_total{kind=\"tls_passthrough\"}"], 4.0);
}
