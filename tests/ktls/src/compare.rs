//! Processor time of bulk from a plain connection to a TLS client: records sealed in user space, by the kernel
//! from user memory, and by the kernel from a pipe. Where the clock counts instructions, a second is 10^9 of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::thread;

use ringbolt_reactor::{Pipe, TlsCipher, TlsVersion};
use rustix::time::{ClockId, clock_gettime};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use crate::session::{Parties, give, shake_hands};
use crate::traffic;

const BYTES: usize = 32 << 20;
/// Bytes of one read: the proxy's hot buffer.
const PIECE: usize = 64 * 1024;
/// What a piece takes as records.
const RECORDS: usize = PIECE + 1024;
const ROUNDS: u32 = 2;

/// Serves a connection with TLS and sends it all bytes of a plain one; returns its processor time.
type Relay = fn(&Parties, TcpStream, TcpStream) -> f64;

/// Prints the processor time of the relaying thread for each way, for 2^30 bytes.
pub(crate) fn run() {
    let parties = Parties::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm);
    let cases: [(&str, Relay); 3] = [
        ("user space", user_space),
        ("kernel, recv and send", |parties, server, plain| {
            let (stream, connection) = shake_hands(server, &parties.server);
            let mut given = give((stream, connection)).stream;
            measured(|| copy(plain, |piece| given.write_all(piece).unwrap()))
        }),
        ("kernel, splice", |parties, server, plain| {
            let given = give(shake_hands(server, &parties.server)).stream;
            measured(|| splice(&plain, &given))
        }),
    ];
    let sent = traffic::bytes(BYTES, 11);
    for _ in 0..ROUNDS {
        for (name, relay) in cases {
            let (client, server) = traffic::pair();
            let (mut origin, plain) = traffic::pair();
            let mut client = parties.client(client);
            let seconds = thread::scope(|scope| {
                scope.spawn(|| origin.write_all(&sent).unwrap());
                let reading = scope.spawn(|| {
                    let mut received = vec![0; BYTES];
                    client.read_exact(&mut received).unwrap();
                    received
                });
                let seconds = relay(&parties, server, plain);
                assert!(reading.join().unwrap() == sent, "{name}");
                seconds
            });
            let gib = BYTES as f64 / f64::from(1 << 30);
            println!("{name}: {:.2} CPU s/GiB", seconds / gib);
        }
    }
}

fn user_space(parties: &Parties, server: TcpStream, plain: TcpStream) -> f64 {
    let (mut stream, mut connection) = shake_hands(server, &parties.server);
    let mut records = vec![0; RECORDS];
    measured(|| {
        copy(plain, |piece| {
            let length = seal(&mut connection, piece, &mut records);
            stream.write_all(&records[..length]).unwrap();
        });
    })
}

fn seal(connection: &mut UnbufferedServerConnection, piece: &[u8], records: &mut [u8]) -> usize {
    match connection.process_tls_records(&mut []) {
        UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } => {
            traffic.encrypt(piece, records).unwrap()
        }
        _ => panic!("the session is established"),
    }
}

/// Reads all bytes through a buffer in user memory.
fn copy(mut from: TcpStream, mut send: impl FnMut(&[u8])) {
    let mut buffer = vec![0; PIECE];
    let mut left = BYTES;
    while left > 0 {
        let length = from.read(&mut buffer).unwrap();
        assert!(length > 0, "{left} bytes are missing");
        send(&buffer[..length]);
        left -= length;
    }
}

fn splice(from: &TcpStream, to: &TcpStream) {
    let pipe = Pipe::new().unwrap();
    let (mut left, mut held) = (BYTES, 0);
    while left > 0 {
        if held == 0 {
            held = match pipe.fill(from.as_fd(), pipe.capacity()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Blocks until there is something.
                    from.peek(&mut [0]).unwrap();
                    0
                }
                result => result.unwrap(),
            };
        }
        let moved = if held > 0 { pipe.drain(to.as_fd(), held).unwrap() } else { 0 };
        held -= moved;
        left -= moved;
    }
}

fn measured(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = now();
    work();
    now() - before
}
