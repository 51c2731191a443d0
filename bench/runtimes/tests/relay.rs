//! Every relay does the same work: all bytes both ways, a half-close passed on, both ends closed at the end.
//!
//! Without this a contestant that loses bytes or forgets tunnels would look cheap.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Ends a test whose relay swallows bytes.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than the buffers of four sockets hold, so that both relay and senders must wait.
const BULK_BYTES: usize = 32 * 1024 * 1024;

/// A relay in front of a listener. Ended when dropped.
struct Relay {
    child: Child,
    address: SocketAddr,
    origin: TcpListener,
}

impl Relay {
    fn start(runtime: &str) -> Self {
        static STARTED: AtomicU8 = AtomicU8::new(0);
        // An address of loopback that is this test's alone, so that nobody takes the port before the relay.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let number = 100 + STARTED.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::new(127, number ^ high, middle, low), 4000));
        let origin = TcpListener::bind("127.0.0.1:0").expect("port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringbolt-runtimes"));
        command.arg(runtime).args(["--listen", &address.to_string()]);
        command.args(["--origin", &origin.local_addr().expect("address").to_string()]);
        Self { child: command.spawn().expect("the relay starts"), address, origin }
    }

    /// The two ends of a tunnel.
    fn tunnel(&mut self) -> (TcpStream, TcpStream) {
        let deadline = Instant::now() + PATIENCE;
        let client = loop {
            match TcpStream::connect(self.address) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < deadline, "the relay does not listen: {error}"),
            }
            assert_eq!(self.child.try_wait().expect("its state"), None, "the relay ended");
            thread::yield_now();
        };
        let (origin, _) = self.origin.accept().expect("the relay connects");
        for end in [&client, &origin] {
            end.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            end.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        }
        (client, origin)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes whose order shows.
fn bulk(seed: usize) -> Vec<u8> {
    (0..BULK_BYTES).map(|index| ((index + seed) % 251).to_le_bytes()[0]).collect()
}

fn read_all(mut end: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    end.read_to_end(&mut bytes).expect("all bytes, then the end");
    bytes
}

/// Sends bulk and half-closes, while all that comes is read.
fn exchange(end: &TcpStream, seed: usize) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = end;
            writer.write_all(&bulk(seed)).expect("bulk is taken");
            end.shutdown(Shutdown::Write).expect("half-close");
        });
        read_all(end)
    })
}

fn passes_a_half_close_on(relay: &mut Relay) {
    let (mut client, mut origin) = relay.tunnel();
    client.write_all(b"question").expect("sent");
    client.shutdown(Shutdown::Write).expect("half-close");
    assert_eq!(read_all(&origin), b"question");
    origin.write_all(b"answer").expect("the other way stays open");
    drop(origin);
    assert_eq!(read_all(&client), b"answer");
}

fn moves_bulk_both_ways_at_once(relay: &mut Relay) {
    let (client, origin) = relay.tunnel();
    let (to_client, to_origin) = thread::scope(|scope| {
        let client = scope.spawn(|| exchange(&client, 1));
        let to_origin = exchange(&origin, 2);
        (client.join().expect("the client's end"), to_origin)
    });
    // Not assert_eq: it would print them.
    assert!(to_client == bulk(2) && to_origin == bulk(1));
}

fn ends_with_its_client(relay: &mut Relay) {
    let (client, mut origin) = relay.tunnel();
    drop(client);
    assert_eq!(read_all(&origin), b"");
    // Whatever the relay still has open takes this; one that has forgotten nothing refuses it at last.
    let deadline = Instant::now() + PATIENCE;
    while origin.write_all(b"to nobody").is_ok() {
        assert!(Instant::now() < deadline, "the relay keeps a tunnel whose client is gone");
        thread::yield_now();
    }
}

fn relays_faithfully(runtime: &str) {
    let mut relay = Relay::start(runtime);
    passes_a_half_close_on(&mut relay);
    moves_bulk_both_ways_at_once(&mut relay);
    ends_with_its_client(&mut relay);
}

#[test]
fn own_reactor_on_the_ring() {
    relays_faithfully("own-uring");
}

#[test]
fn own_reactor_on_epoll() {
    relays_faithfully("own-epoll");
}

#[test]
fn monoio_with_a_copy_loop() {
    relays_faithfully("monoio-copy");
}

#[test]
fn monoio_with_readable() {
    relays_faithfully("monoio-readable");
}

#[test]
fn tokio_uring() {
    relays_faithfully("tokio-uring");
}
