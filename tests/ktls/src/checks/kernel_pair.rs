//! Two ends that are both the kernel's: data both ways, a record that is not data, the end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use ringbolt_reactor::{
    ContentType, KtlsSupport, TlsCipher, TlsVersion, TrafficKeys, give_to_kernel, is_record, next_sequence,
    recv, recv_record, send_record,
};

use super::{CLOSE_NOTIFY, KINDS};
use crate::traffic;

/// More than one record and less than a socket's buffer.
const BYTES: usize = 50_000;
/// Number of the first record that the kernel sends.
const FIRST_RECORD: u64 = 7;

pub(crate) fn run(support: &KtlsSupport) {
    for (version, cipher) in KINDS {
        assert!(support.has(version, cipher), "{version:?} {cipher:?}");
        let (mut client, mut server) = traffic::pair();
        let [up, down] = [1, 2].map(|seed| keys(version, cipher, seed));
        assert!(give_to_kernel(client.as_fd(), &up, &down).unwrap());
        assert!(give_to_kernel(server.as_fd(), &down, &up).unwrap());

        let sent = traffic::bytes(BYTES, 3);
        let mut received = vec![0; BYTES];
        client.write_all(&sent).unwrap();
        server.read_exact(&mut received).unwrap();
        assert!(received == sent, "{version:?} {cipher:?}, up");
        server.write_all(&sent).unwrap();
        received.fill(0);
        client.read_exact(&mut received).unwrap();
        assert!(received == sent, "{version:?} {cipher:?}, down");

        // 50,000 bytes are four records.
        assert_eq!(next_sequence(client.as_fd(), cipher).unwrap(), FIRST_RECORD + 4);

        // Data before it arrives first, and apart; then a plain receive fails without taking anything away.
        client.write_all(b"last").unwrap();
        send_record(client.as_fd(), ContentType::ALERT, &CLOSE_NOTIFY).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(recv(server.as_fd(), &mut buffer).unwrap(), 4);
        for _ in 0..2 {
            assert!(is_record(&recv(server.as_fd(), &mut buffer).unwrap_err()));
        }
        assert_eq!(recv_record(server.as_fd(), &mut buffer).unwrap(), (ContentType::ALERT, 2));
        assert_eq!(buffer[..2], CLOSE_NOTIFY);
        assert_eq!(recv(server.as_fd(), &mut buffer).unwrap(), 0, "the end of the stream");
        // The other direction goes on.
        server.write_all(b"bye").unwrap();
        client.read_exact(&mut buffer[..3]).unwrap();
        assert_eq!(&buffer[..3], b"bye");
    }
}

fn keys(version: TlsVersion, cipher: TlsCipher, seed: u32) -> TrafficKeys {
    let nonce = traffic::bytes(12, seed).try_into().unwrap();
    TrafficKeys::new(version, cipher, &traffic::bytes(cipher.key_bytes(), seed), nonce, FIRST_RECORD).unwrap()
}
