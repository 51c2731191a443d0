//! A client of rustls in user space, a server whose records are the kernel's.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread;

use ringbolt_reactor::{ContentType, KtlsSupport, TlsCipher, TlsVersion, recv_record, send_record};
use rustls::HandshakeKind;

use super::{CLOSE_NOTIFY, KINDS};
use crate::session::{Given, Parties, give, shake_hands};
use crate::traffic;

/// Many records; more than the buffers of both sockets.
const BYTES: usize = 1 << 20;

pub(crate) fn run(_: &KtlsSupport) {
    for (version, cipher) in KINDS {
        let parties = Parties::new(version, cipher);
        // The second connection is resumed, so the tickets of the first have arrived.
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut client, server) = parties.connect();
            assert_eq!(client.conn.handshake_kind(), Some(expected), "{version:?} {cipher:?}");
            let serving = thread::spawn(move || echo(server));
            let sent = traffic::bytes(if expected == HandshakeKind::Full { BYTES } else { 9 }, 5);
            let mut received = vec![0; sent.len()];
            for (out, back) in sent.chunks(100_000).zip(received.chunks_mut(100_000)) {
                client.write_all(out).unwrap();
                client.read_exact(back).unwrap();
            }
            assert!(received == sent, "{version:?} {cipher:?}");
            client.conn.send_close_notify();
            client.flush().unwrap();
            // rustls tells an end without close_notify as an error.
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
            serving.join().unwrap();
        }
    }
}

/// Sends back what comes until the client's close_notify, which is answered.
fn echo(Given { mut stream, .. }: Given) {
    let mut buffer = vec![0; 20_000];
    loop {
        let (content_type, length) = recv_record(stream.as_fd(), &mut buffer).unwrap();
        if content_type == ContentType::APPLICATION_DATA {
            assert!(length > 0, "no close_notify");
            stream.write_all(&buffer[..length]).unwrap();
        } else {
            assert_eq!((content_type, &buffer[..length]), (ContentType::ALERT, &CLOSE_NOTIFY[..]));
            send_record(stream.as_fd(), ContentType::ALERT, &CLOSE_NOTIFY).unwrap();
            return;
        }
    }
}

/// The client speaks at once: whole records and a part of one are in the socket when the kernel gets the keys.
pub(crate) fn early(_: &KtlsSupport) {
    let parties = Parties::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm);
    let (client, server) = traffic::pair();
    let mut client = parties.client(client);
    let serving = thread::spawn({
        let config = parties.server.clone();
        move || shake_hands(server, &config)
    });
    client.conn.complete_io(&mut client.sock).unwrap();
    let sent = traffic::bytes(30_000, 6);
    let mut records = Vec::new();
    client.conn.writer().write_all(&sent).unwrap();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut records).unwrap();
    }
    let (first, second) = records.split_at(records.len() - 100);
    client.sock.write_all(first).unwrap();
    let mut given = give(serving.join().unwrap());
    let reading = thread::spawn(move || {
        let mut received = vec![0; 30_000];
        given.stream.read_exact(&mut received).unwrap();
        received
    });
    client.sock.write_all(second).unwrap();
    assert!(reading.join().unwrap() == sent);
}
