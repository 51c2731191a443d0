//! The proxy itself: tunnels of TLS clients, with and without kTLS, byte for byte, and their memory. What is bulk is
//! judged by time, so this takes a clock on which an emulated processor is as fast as a real one.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_reactor::{TlsCipher, TlsVersion};
use rustix::process::{Pid, Signal, kill_process};

use crate::session::{Client, Parties};
use crate::traffic;

const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGES: u32 = 60;
const MESSAGE_BYTES: usize = 700;
/// Enough to be spliced.
const BULK_BYTES: usize = 3 << 20;
/// Tunnels that stay open and silent, and how many are opened before any is counted.
const IDLE: i64 = 1_000;
const FIRST: i64 = 50;

const REQUEST: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A running proxy. Ended when dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks the proxy at `program`.
pub(crate) fn run(program: &str) {
    for (setting, records) in [("auto", "kernel"), ("off", "user_space")] {
        for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
            let parties = Parties::new(version, TlsCipher::Aes128Gcm);
            let proxy = start(program, &parties, setting, origin());
            let mut client = tunnel(&parties, proxy.address);
            exchange(&mut client);
            let metrics = metrics(proxy.admin);
            let counted = |name: &str| value(&metrics, &format!("{name}{{records=\"{records}\"}}"));
            assert_eq!(counted("ringbolt_tls_tunnels_total"), 1, "{metrics}");
            let spliced = metrics
                .lines()
                .filter(|line| line.starts_with("ringbolt_tunnel_spliced_bytes_total"))
                .any(|line| !line.ends_with(" 0"));
            assert_eq!(spliced, records == "kernel", "{metrics}");
            println!("passed: {version:?}, ktls = {setting}");
        }
        let parties = Parties::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm);
        let proxy = start(program, &parties, setting, origin());
        println!("ktls = {setting}: {} bytes of own memory for an idle tunnel", memory(&parties, &proxy));
    }
}

/// Tunnels of kTLS go on in the process that the proxy at `program` is upgraded to.
pub(crate) fn upgrade(program: &str) {
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let parties = Parties::new(version, TlsCipher::Aes128Gcm);
        let proxy = start(program, &parties, "auto", origin());
        let mut client = tunnel(&parties, proxy.address);
        send_messages(&mut client);
        kill_process(Pid::from_child(&proxy.child), Signal::USR2).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let metrics = loop {
            let metrics = metrics(proxy.admin);
            if metrics.contains("ringbolt_handovers_total{result=\"taken_over\"} 1") {
                break metrics;
            }
            assert!(Instant::now() < deadline, "nobody takes over: {metrics}");
            thread::sleep(Duration::from_millis(200));
        };
        assert_eq!(value(&metrics, "ringbolt_handover_tunnels_total"), 1, "{metrics}");
        assert_eq!(value(&metrics, "ringbolt_handover_tunnels_staying"), 0, "{metrics}");
        exchange(&mut client);
        println!("passed: {version:?} over an upgrade");
    }
}

/// Messages, bulk, and the end of both directions.
fn exchange(client: &mut Client) {
    send_messages(client);
    let sent = traffic::bytes(BULK_BYTES, 9);
    for piece in sent.chunks(200_000) {
        client.write_all(piece).unwrap();
        let mut received = vec![0; piece.len()];
        client.read_exact(&mut received).unwrap();
        assert!(received == piece, "bulk");
    }
    client.write_all(b"last").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut rest = Vec::new();
    // Fails where the end comes without close_notify.
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
}

fn send_messages(client: &mut Client) {
    for message in 0..MESSAGES {
        let sent = traffic::bytes(MESSAGE_BYTES, message);
        client.write_all(&sent).unwrap();
        let mut received = vec![0; sent.len()];
        client.read_exact(&mut received).unwrap();
        assert!(received == sent, "message {message}");
    }
}

/// After tunnels are opened, before memory is read: what was used to open them is given back.
const SETTLE: Duration = Duration::from_secs(3);

/// Growth of the proxy's own memory for each idle tunnel.
fn memory(parties: &Parties, proxy: &Proxy) -> i64 {
    let open = |count| (0..count).map(|_| tunnel(parties, proxy.address)).collect::<Vec<Client>>();
    let first = open(FIRST);
    thread::sleep(SETTLE);
    let before = own_memory(proxy);
    let tunnels = open(IDLE);
    thread::sleep(SETTLE);
    let after = own_memory(proxy);
    drop((first, tunnels));
    (after - before) / IDLE
}

fn own_memory(proxy: &Proxy) -> i64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", proxy.child.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

fn tunnel(parties: &Parties, address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = parties.client(stream);
    client.write_all(REQUEST.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    client
}

/// A backend that upgrades every request, and sends back what comes.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(length) if length > 0 => head.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    stream.write_all(SWITCHING.as_bytes()).unwrap();
    while let Ok(length) = stream.read(&mut buffer)
        && length > 0
        && stream.write_all(&buffer[..length]).is_ok()
    {}
}

fn start(program: &str, parties: &Parties, ktls: &str, origin: SocketAddr) -> Proxy {
    let [address, admin] = free_addresses();
    fs::write("/tmp/certificate.pem", &parties.certificate).unwrap();
    fs::write("/tmp/key.pem", &parties.key).unwrap();
    let config = format!(
        "[workers]\ncount = 1\n[admin]\naddress = \"{admin}\"\n[[listener]]\naddress = \"{address}\"\n\
         [listener.tls]\ncertificates = [{{ certificate = \"certificate.pem\", key = \"key.pem\" }}]\n\
         ktls = \"{ktls}\"\n[upstream.origin]\nbackends = [\"{origin}\"]\n"
    );
    fs::write("/tmp/ringbolt.toml", config).unwrap();
    let mut command = Command::new(program);
    // A huge page would hide growth of up to 2 MiB.
    command.env("MIMALLOC_ALLOW_THP", "0");
    let child = command.args(["run", "-c", "/tmp/ringbolt.toml"]).spawn().unwrap();
    let proxy = Proxy { child, address, admin };
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(admin).is_err() || TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the proxy does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    proxy
}

/// Two addresses nobody listens on.
fn free_addresses() -> [SocketAddr; 2] {
    [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|free| free.local_addr().unwrap())
}

fn metrics(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Sum of a series over the workers.
fn value(metrics: &str, series: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}")).trim().parse().unwrap()
}
