//! TLS 1.3 key updates (RFC 8446 section 4.6.3), by the client and by us.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use ringbolt_reactor::{
    ContentType, KtlsSupport, TlsCipher, TlsDirection, TlsVersion, install_keys, is_record, recv,
    recv_record, send_record,
};

use crate::session::{Parties, traffic_keys};
use crate::traffic;

/// The handshake message: type 24, length 1, "update_not_requested".
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// The error of a record the kernel's keys do not open.
const EBADMSG: i32 = 74;
/// The error of a kernel that waits for new keys, Linux 6.14.
const EKEYEXPIRED: i32 = 127;
/// The error of a kernel that cannot change keys.
const EBUSY: i32 = 16;

pub(crate) fn run(support: &KtlsSupport) {
    let (mut client, mut server) = Parties::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm).connect();
    client.write_all(b"old").unwrap();
    client.conn.refresh_traffic_keys().unwrap();
    client.write_all(b"new").unwrap();
    client.flush().unwrap();

    let mut buffer = [0; 64];
    let fd = server.stream.as_fd();
    assert_eq!(recv(fd, &mut buffer).unwrap(), 3);
    assert!(is_record(&recv(fd, &mut buffer).unwrap_err()));
    assert_eq!(recv_record(fd, &mut buffer).unwrap(), (ContentType::HANDSHAKE, 5));
    assert_eq!(buffer[..4], KEY_UPDATE[..4]);

    let refused = traffic::errno(recv(fd, &mut buffer));
    let receive = traffic_keys(TlsVersion::Tls13, server.keys.update_rx_secret().unwrap());
    let installed = install_keys(fd, TlsDirection::Receive, &receive);
    if !support.key_update {
        // The connection is lost: its records cannot be read, nor given back to user space.
        assert_eq!((refused, traffic::errno(installed)), (EBADMSG, EBUSY));
        return;
    }
    assert_eq!(refused, EKEYEXPIRED);
    installed.unwrap();
    assert_eq!(recv(fd, &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"new");

    send_record(fd, ContentType::HANDSHAKE, &KEY_UPDATE).unwrap();
    let transmit = traffic_keys(TlsVersion::Tls13, server.keys.update_tx_secret().unwrap());
    install_keys(fd, TlsDirection::Transmit, &transmit).unwrap();
    server.stream.write_all(b"ours").unwrap();
    client.read_exact(&mut buffer[..4]).unwrap();
    assert_eq!(&buffer[..4], b"ours");
}
