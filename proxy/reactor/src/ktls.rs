//! kTLS: the kernel encrypts and decrypts the records of a connection (Documentation/networking/tls.rst). Keys
//! go in here; from then on recv, send, splice and the ring's receives carry plain bytes.
//!
//! Knows how keys are told to the kernel and what it can do with them; the TLS handshake, and what a record
//! other than data means, are the caller's. Such a record fails a plain receive, see [`is_record`].

mod probe;
mod record;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use zeroize::Zeroizing;

pub use self::probe::{KtlsSupport, probe_ktls};
pub use self::record::{ContentType, is_record, recv_record, send_record};

// From linux/tls.h, which libc does not carry.
const TLS_TX: libc::c_int = 1;
const TLS_RX: libc::c_int = 2;
const TLS_RX_EXPECT_NO_PAD: libc::c_int = 4;
const TLS_CIPHER_AES_GCM_128: u16 = 51;
const TLS_CIPHER_AES_GCM_256: u16 = 52;
const TLS_CIPHER_CHACHA20_POLY1305: u16 = 54;

/// Bytes of the longest `crypto_info`: version and cipher, key and nonce, sequence number.
const CRYPTO_INFO_BYTES_MAX: usize = 4 + 32 + 12 + 8;

/// Length of the `crypto_info` of a cipher. The sequence number is the last 8 bytes of each.
fn crypto_info_bytes(cipher: TlsCipher) -> usize {
    4 + cipher.key_bytes() + 12 + 8
}

/// Version of the protocol. The discriminant is the number on the wire.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum TlsVersion {
    Tls12 = 0x0303,
    Tls13 = 0x0304,
}

/// How records are protected.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum TlsCipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl TlsCipher {
    /// Length of its key in bytes.
    #[must_use]
    pub fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }
}

/// The way records go.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum TlsDirection {
    Transmit,
    Receive,
}

impl TlsDirection {
    fn option(self) -> libc::c_int {
        match self {
            Self::Transmit => TLS_TX,
            Self::Receive => TLS_RX,
        }
    }
}

/// What protects one direction of a connection. Wiped from memory when dropped.
pub struct TrafficKeys {
    version: TlsVersion,
    cipher: TlsCipher,
    key: Zeroizing<[u8; 32]>,
    /// The static nonce, which the sequence number is added to (RFC 8446 section 5.3, RFC 7905). Of AES-GCM in
    /// TLS 1.2 the first 4 bytes are the salt, the others the nonce of record 0 (RFC 5288).
    nonce: Zeroizing<[u8; 12]>,
    /// Number of the next record.
    sequence: u64,
}

impl TrafficKeys {
    /// `None` where the key is not as long as the cipher's.
    #[must_use]
    pub fn new(
        version: TlsVersion,
        cipher: TlsCipher,
        key: &[u8],
        nonce: [u8; 12],
        sequence: u64,
    ) -> Option<Self> {
        let mut whole = Zeroizing::new([0; 32]);
        whole
            .get_mut(..cipher.key_bytes())?
            .copy_from_slice((key.len() == cipher.key_bytes()).then_some(key)?);
        Some(Self { version, cipher, key: whole, nonce: Zeroizing::new(nonce), sequence })
    }

    /// The kernel's `tls12_crypto_info_*` of the cipher, and its length.
    fn crypto_info(&self) -> (Zeroizing<[u8; CRYPTO_INFO_BYTES_MAX]>, usize) {
        let mut nonce = self.nonce.clone();
        let (salt, explicit) = nonce.split_at_mut(4);
        if self.version == TlsVersion::Tls12 {
            // The kernel adds one to this nonce with each record. User space has used it combined with its
            // numbers by XOR, so going on from there could meet one of those again, which gives AES-GCM's
            // authentication key away. With the highest bit turned the two are 2^63 records apart.
            explicit[0] ^= 0x80;
        }
        let key = &self.key[..self.cipher.key_bytes()];
        let sequence = self.sequence.to_be_bytes();
        let (number, parts): (u16, [&[u8]; 4]) = match self.cipher {
            TlsCipher::Aes128Gcm => (TLS_CIPHER_AES_GCM_128, [explicit, key, salt, &sequence]),
            TlsCipher::Aes256Gcm => (TLS_CIPHER_AES_GCM_256, [explicit, key, salt, &sequence]),
            TlsCipher::Chacha20Poly1305 => {
                (TLS_CIPHER_CHACHA20_POLY1305, [&*self.nonce, key, &[], &sequence])
            }
        };
        let mut info = Zeroizing::new([0; CRYPTO_INFO_BYTES_MAX]);
        info[..2].copy_from_slice(&(self.version as u16).to_ne_bytes());
        info[2..4].copy_from_slice(&number.to_ne_bytes());
        let mut length = 4;
        for part in parts {
            info[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        (info, length)
    }
}

impl fmt::Debug for TrafficKeys {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficKeys")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Gives both directions of a connection to the kernel. The caller has sent all it had encrypted, and has
/// consumed what it received up to the beginning of a record.
///
/// False: the kernel refuses, and the connection is what it was.
///
/// # Errors
///
/// One direction was taken and the other refused: the connection can only be closed.
pub fn give_to_kernel(fd: BorrowedFd<'_>, transmit: &TrafficKeys, receive: &TrafficKeys) -> io::Result<bool> {
    if attach(fd).is_err() || install_keys(fd, TlsDirection::Receive, receive).is_err() {
        return Ok(false);
    }
    install_keys(fd, TlsDirection::Transmit, transmit)?;
    if receive.version == TlsVersion::Tls13 {
        // Linux 6.0: records are decrypted where they are read to; one with padding is decrypted twice.
        let _ = set_option(fd, libc::SOL_TLS, TLS_RX_EXPECT_NO_PAD, &1_i32.to_ne_bytes());
    }
    Ok(true)
}

/// Sets the keys of one direction of a connection the kernel has; of TLS 1.3 again after a key update, where
/// [`KtlsSupport::key_update`] says so.
///
/// # Errors
///
/// The kernel does not know the cipher, or has keys already and cannot change them (`EBUSY`).
pub fn install_keys(fd: BorrowedFd<'_>, direction: TlsDirection, keys: &TrafficKeys) -> io::Result<()> {
    let (info, length) = keys.crypto_info();
    set_option(fd, libc::SOL_TLS, direction.option(), &info[..length])
}

/// Number of the next record that the kernel sends: how far the keys are used up (RFC 8446 section 5.5).
///
/// # Errors
///
/// The kernel has no keys of this cipher for this connection.
pub fn next_sequence(fd: BorrowedFd<'_>, cipher: TlsCipher) -> io::Result<u64> {
    // The kernel gives the whole of what it was given, with its state now.
    let mut info = Zeroizing::new([0; CRYPTO_INFO_BYTES_MAX]);
    let length = crypto_info_bytes(cipher);
    let mut given = libc::socklen_t::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: getsockopt writes at most `given` bytes to the pointer, which are no more than `info` has, and
    // their number to `given`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_TLS, TLS_TX, info.as_mut_ptr().cast(), &raw mut given)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let sequence = info[..length].last_chunk().ok_or(io::ErrorKind::InvalidData)?;
    Ok(u64::from_be_bytes(*sequence))
}

/// Bytes that the other end of a TCP connection has acknowledged since its beginning, TLS's own among them.
///
/// # Errors
///
/// It is no TCP connection.
pub fn bytes_acknowledged(fd: BorrowedFd<'_>) -> io::Result<u64> {
    /// Where `tcpi_bytes_acked` is in `struct tcp_info`, which only grows (Linux 4.1). libc's ends before it.
    const OFFSET: usize = 120;
    let mut info = [0_u8; OFFSET + 8];
    let mut given = libc::socklen_t::try_from(info.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: getsockopt writes at most `given` bytes to the pointer, which is as many as `info` has, and their
    // number to `given`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut given,
        )
    };
    match info.last_chunk() {
        Some(bytes) if result == 0 => Ok(u64::from_ne_bytes(*bytes)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the kernel's TLS stand between socket and TCP. Bytes pass unchanged until keys are set.
fn attach(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_TCP, libc::TCP_ULP, b"tls\0")
}

fn set_option(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: setsockopt reads `length` bytes from the pointer, and `value` has as many.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    const NONCE: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn info(version: TlsVersion, cipher: TlsCipher) -> Vec<u8> {
        let key = vec![0xAA; cipher.key_bytes()];
        let (bytes, length) = TrafficKeys::new(version, cipher, &key, NONCE, 258).unwrap().crypto_info();
        bytes[..length].to_vec()
    }

    #[test]
    fn keys_are_laid_out_as_in_linux_tls_h() {
        let sequence = [0, 0, 0, 0, 0, 0, 1, 2];
        let head = |version: u16, cipher: u16| [version.to_ne_bytes(), cipher.to_ne_bytes()].concat();
        let (salt, iv) = NONCE.split_at(4);
        let expected = [&head(0x0304, 51)[..], iv, &[0xAA; 16], salt, &sequence].concat();
        assert_eq!(info(TlsVersion::Tls13, TlsCipher::Aes128Gcm), expected);
        let expected = [&head(0x0304, 52)[..], iv, &[0xAA; 32], salt, &sequence].concat();
        assert_eq!(info(TlsVersion::Tls13, TlsCipher::Aes256Gcm), expected);
        assert_eq!(crypto_info_bytes(TlsCipher::Aes256Gcm), expected.len());
        for (version, number) in [(TlsVersion::Tls12, 0x0303), (TlsVersion::Tls13, 0x0304)] {
            let expected = [&head(number, 54)[..], &NONCE, &[0xAA; 32], &sequence].concat();
            assert_eq!(info(version, TlsCipher::Chacha20Poly1305), expected);
        }
    }

    #[test]
    fn acknowledged_bytes_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 3000]).unwrap();
        server.read_exact(&mut [0; 3000]).unwrap();
        // The answer carries the acknowledgement.
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let (up, down) = (bytes_acknowledged(client.as_fd()), bytes_acknowledged(server.as_fd()));
        // The SYN counts as one on the side that sent it.
        assert!((3000..=3001).contains(&up.unwrap()) && down.unwrap() <= 1);
    }

    #[test]
    fn nonces_of_tls_1_2_go_on_far_from_those_used_before() {
        let bytes = info(TlsVersion::Tls12, TlsCipher::Aes128Gcm);
        assert_eq!(bytes[4..12], [0x85, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_none_is_shown() {
        for length in [0, 15, 17, 32, 33] {
            let keys =
                TrafficKeys::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm, &vec![0xAA; length], NONCE, 0);
            assert!(keys.is_none(), "{length}");
        }
        let keys = TrafficKeys::new(TlsVersion::Tls13, TlsCipher::Aes128Gcm, &[0xAA; 16], NONCE, 7).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("sequence: 7") && !shown.contains("170"), "{shown}");
    }
}
