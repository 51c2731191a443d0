//! The end of a stream behind more bytes than the send buffer takes.
//!
//! A close_notify does not fit then either, and without it a client takes the stream for cut off. What a send has
//! accepted may also still wait inside the kernel's TLS, in front of TCP, and a close would drop it. The rule that
//! prevents both: close_notify is sent when poll(2) says that the socket is writable, which is when a third of the
//! buffer is free, and only then the socket is closed.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use ringbolt_reactor::{ContentType, KtlsSupport, TlsCipher, TlsVersion, is_writable, send, send_record};

use super::CLOSE_NOTIFY;
use crate::session::{Given, Parties};
use crate::traffic;

const ROUNDS: u32 = 6;

pub(crate) fn run(_: &KtlsSupport) {
    let parties = Parties::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm);
    for round in 0..ROUNDS {
        let (mut client, Given { stream, keys }) = parties.connect();
        stream.set_nonblocking(true).unwrap();
        let payload = traffic::bytes(1 << 16, round);
        // Lengths that end within a record, differently in each round.
        let piece = &payload[..payload.len() - 977 * round as usize];
        let mut sent = Vec::new();
        loop {
            match send(stream.as_fd(), piece) {
                Ok(length) => sent.extend_from_slice(&piece[..length]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        assert!(!is_writable(stream.as_fd()).unwrap());
        let reading = thread::spawn(move || {
            let mut received = Vec::new();
            // Fails where the end comes without close_notify.
            client.read_to_end(&mut received).unwrap();
            received
        });
        while !is_writable(stream.as_fd()).unwrap() {
            thread::sleep(Duration::from_millis(1));
        }
        send_record(stream.as_fd(), ContentType::ALERT, &CLOSE_NOTIFY).unwrap();
        drop((stream, keys));
        let received = reading.join().unwrap();
        assert_eq!(received.len(), sent.len(), "round {round}");
        assert!(received == sent, "round {round}");
    }
}
