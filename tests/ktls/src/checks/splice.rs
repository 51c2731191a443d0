//! Bytes through a pipe: from a connection of the kernel's into a plain one, and back.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread;

use ringbolt_reactor::{ContentType, KtlsSupport, Pipe, TlsCipher, TlsVersion, is_record, recv_record};

use super::CLOSE_NOTIFY;
use crate::session::Parties;
use crate::traffic;

const BYTES: usize = 1 << 20;

pub(crate) fn run(_: &KtlsSupport) {
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let (mut client, server) = Parties::new(version, TlsCipher::Aes128Gcm).connect();
        let (mut upstream, relay) = traffic::pair();
        let sent = traffic::bytes(BYTES, 8);

        let sending = thread::spawn({
            let sent = sent.clone();
            move || {
                client.write_all(&sent).unwrap();
                client
            }
        });
        let reading = thread::spawn(move || {
            let mut received = vec![0; BYTES];
            upstream.read_exact(&mut received).unwrap();
            (upstream, received)
        });
        carry(&server.stream, &relay, BYTES);
        let (mut client, (mut upstream, received)) = (sending.join().unwrap(), reading.join().unwrap());
        assert!(received == sent, "{version:?}, up");

        let sending = thread::spawn({
            let sent = sent.clone();
            move || upstream.write_all(&sent).map(|()| upstream)
        });
        let reading = thread::spawn(move || {
            let mut received = vec![0; BYTES];
            client.read_exact(&mut received).unwrap();
            (client, received)
        });
        carry(&relay, &server.stream, BYTES);
        let (mut client, received) = reading.join().unwrap();
        assert!(received == sent, "{version:?}, down");
        sending.join().unwrap().unwrap();

        // A record that is not data is left in its place.
        client.write_all(b"last").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        carry(&server.stream, &relay, 4);
        let pipe = Pipe::new().unwrap();
        wait_for_bytes(&server.stream);
        assert!(is_record(&pipe.fill(server.stream.as_fd(), pipe.capacity()).unwrap_err()));
        let mut buffer = [0; 16];
        assert_eq!(recv_record(server.stream.as_fd(), &mut buffer).unwrap(), (ContentType::ALERT, 2));
        assert_eq!(buffer[..2], CLOSE_NOTIFY);
    }
}

/// Moves so many bytes through a pipe. Pipes do not block, so this asks again until they take or have some.
fn carry(from: &std::net::TcpStream, to: &std::net::TcpStream, bytes: usize) {
    let pipe = Pipe::new().unwrap();
    let mut left = bytes;
    while left > 0 {
        let mut held = match pipe.fill(from.as_fd(), left.min(pipe.capacity())) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                wait_for_bytes(from);
                continue;
            }
            result => result.unwrap(),
        };
        assert!(held > 0, "{left} bytes are missing");
        left -= held;
        while held > 0 {
            match pipe.drain(to.as_fd(), held) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::yield_now(),
                result => held -= result.unwrap(),
            }
        }
    }
}

/// Until there is a whole record.
fn wait_for_bytes(stream: &std::net::TcpStream) {
    // Peeking leaves a record that is not data alone too; it fails then, and that is all this waits for.
    let _ = stream.peek(&mut [0]);
}
