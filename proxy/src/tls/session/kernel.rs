//! A session whose records are the kernel's (kTLS, decision 10): how it is handed over, and what then is left
//! for us to do, which is every record that is not data.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use ringbolt_reactor::{
    ContentType, KtlsSupport, TlsCipher, TlsDirection, TlsVersion, TrafficKeys, bytes_acknowledged,
    give_to_kernel, install_keys, is_record, is_writable, next_sequence, probe_ktls, recv, recv_record, send,
    send_record,
};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{CipherSuite, ConnectionTrafficSecrets, ProtocolVersion};

use super::{Connection, Reading, Session};
use crate::limits::{KTLS_BYTES_PER_KEY_MAX, KTLS_KEY_UPDATES_PER_READ_MAX, KTLS_RECORDS_PER_KEY_MAX};

// Alerts (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const INTERNAL_ERROR: u8 = 80;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// A key update (RFC 8446 section 4.6.3) without its last byte, which says whether one is asked for in return.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;

/// What the kernel can do, found out once for the process.
pub(crate) fn support() -> &'static KtlsSupport {
    static SUPPORT: OnceLock<KtlsSupport> = OnceLock::new();
    SUPPORT.get_or_init(probe_ktls)
}

/// What is left of a session.
pub(crate) struct KernelSession {
    version: TlsVersion,
    cipher: TlsCipher,
    /// Makes the next keys. Absent where the kernel cannot change them.
    keys: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// The client has declared its end.
    ended: bool,
    said_goodbye: bool,
}

/// What another process has to know of such a session: all else is in the kernel, with the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KernelSessionState {
    pub(crate) version: TlsVersion,
    pub(crate) cipher: TlsCipher,
    pub(crate) ended: bool,
    pub(crate) said_goodbye: bool,
}

/// What became of a session that was offered to the kernel.
#[derive(Debug)]
pub(crate) enum Offered {
    Taken(KernelSession),
    /// Not allowed, not supported, or bytes of it are in user space.
    Kept(Box<Session>),
    /// The kernel refused in the middle: the connection can only be closed.
    Lost,
}

impl Session {
    /// Allows [`Self::offer_to_kernel`].
    pub(in crate::tls) fn allow_kernel(&mut self) {
        self.for_kernel = true;
    }

    /// Gives the keys to the kernel, which from then on has all of the connection `fd`.
    pub(crate) fn offer_to_kernel(self: Box<Self>, fd: BorrowedFd<'_>) -> Offered {
        let Some((version, cipher)) = self.kernel_kind() else { return Offered::Kept(self) };
        let Connection::Server(connection) = self.connection else { return Offered::Lost };
        let Ok((secrets, keys)) = connection.dangerous_into_kernel_connection() else { return Offered::Lost };
        let (transmit, receive) = (traffic_keys(version, secrets.tx), traffic_keys(version, secrets.rx));
        match (transmit, receive) {
            (Some(transmit), Some(receive))
                if matches!(give_to_kernel(fd, &transmit, &receive), Ok(true)) => {}
            _ => return Offered::Lost,
        }
        let changes = support().key_update && version == TlsVersion::Tls13;
        let keys = changes.then(|| Box::new(keys));
        Offered::Taken(KernelSession { version, cipher, keys, ended: false, said_goodbye: false })
    }

    /// What the kernel would have to do. `None`: not allowed, not supported, or bytes are in user space.
    fn kernel_kind(&self) -> Option<(TlsVersion, TlsCipher)> {
        let ours = self.for_kernel && matches!(self.connection, Connection::Server(_));
        let at_rest = self.partial.is_empty() && self.unsent.is_empty() && self.owed == 0;
        let open = self.reading == Reading::Open && !self.said_goodbye && self.fault.is_none();
        agreed(self).filter(|(version, cipher)| ours && at_rest && open && support().has(*version, *cipher))
    }
}

impl KernelSession {
    /// For another process.
    pub(crate) fn state(&self) -> KernelSessionState {
        let Self { version, cipher, keys: _, ended, said_goodbye } = *self;
        KernelSessionState { version, cipher, ended, said_goodbye }
    }

    /// The session of a connection that another process had. The secrets that make the next keys have stayed there, so
    /// that it is from now on as where the kernel cannot change keys.
    pub(crate) fn of(state: KernelSessionState) -> Self {
        let KernelSessionState { version, cipher, ended, said_goodbye } = state;
        Self { version, cipher, keys: None, ended, said_goodbye }
    }

    /// Receives plain bytes; 0 is the end that the client has declared.
    ///
    /// # Errors
    /// As of [`Session::receive`]. An alert that says why has been sent then, if the socket took it.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        for _ in 0..KTLS_KEY_UPDATES_PER_READ_MAX {
            if self.ended {
                return Ok(0);
            }
            let received = match recv(fd, into) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if is_record(&error) => self.take_record(fd, into),
                received => received.map(Some),
            };
            match received {
                Ok(None) => {}
                Ok(Some(length)) => return Ok(length),
                Err(error) => {
                    if error.raw_os_error() == Some(rustix::io::Errno::BADMSG.raw_os_error()) {
                        self.alert(fd, BAD_RECORD_MAC);
                    }
                    return Err(error);
                }
            }
        }
        self.alert(fd, UNEXPECTED_MESSAGE);
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Takes the next record, which is not data. `None`: there may be data behind it.
    fn take_record(&mut self, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
        let (content_type, length) = recv_record(fd, into)?;
        match (content_type, &into[..length]) {
            (ContentType::APPLICATION_DATA, []) => Err(io::ErrorKind::UnexpectedEof.into()),
            (ContentType::APPLICATION_DATA, _) => Ok(Some(length)),
            (ContentType::ALERT, [_, CLOSE_NOTIFY]) => {
                self.ended = true;
                Ok(Some(0))
            }
            (ContentType::ALERT, _) => Err(io::ErrorKind::ConnectionReset.into()),
            (ContentType::HANDSHAKE, [start @ .., answer @ (UPDATE_NOT_REQUESTED | UPDATE_REQUESTED)])
                if *start == KEY_UPDATE && self.version == TlsVersion::Tls13 =>
            {
                let answers = *answer == UPDATE_REQUESTED;
                let updated = self.update_key(fd, TlsDirection::Receive);
                let updated = updated.and_then(|()| if answers { self.renew(fd) } else { Ok(()) });
                updated.inspect_err(|_| self.alert(fd, INTERNAL_ERROR)).map(|()| None)
            }
            _ => {
                self.alert(fd, UNEXPECTED_MESSAGE);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// Sends plain bytes, as send(2).
    pub(crate) fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() { Ok(0) } else { send(fd, bytes) }
    }

    /// Renews the key that we send with before it has protected as much as it may. To be called about every minute
    /// in which something was sent.
    ///
    /// # Errors
    /// It must not be used any longer, and the kernel cannot change it: the connection has to end.
    pub(crate) fn look_after_key(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let used_up = match (self.cipher, &self.keys) {
            (TlsCipher::Chacha20Poly1305, _) => false,
            (_, Some(_)) => next_sequence(fd, self.cipher)? >= KTLS_RECORDS_PER_KEY_MAX,
            (_, None) => bytes_acknowledged(fd)? >= KTLS_BYTES_PER_KEY_MAX,
        };
        if used_up { self.renew(fd) } else { Ok(()) }
    }

    /// Tells the client that we change our key, and changes it.
    fn renew(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.keys.is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let [a, b, c, d] = KEY_UPDATE;
        send_record(fd, ContentType::HANDSHAKE, &[a, b, c, d, UPDATE_NOT_REQUESTED])?;
        self.update_key(fd, TlsDirection::Transmit)
    }

    fn update_key(&mut self, fd: BorrowedFd<'_>, direction: TlsDirection) -> io::Result<()> {
        let Some(keys) = &mut self.keys else { return Err(io::ErrorKind::Unsupported.into()) };
        let secrets = match direction {
            TlsDirection::Transmit => keys.update_tx_secret(),
            TlsDirection::Receive => keys.update_rx_secret(),
        };
        let keys = secrets.ok().and_then(|secrets| traffic_keys(self.version, secrets));
        install_keys(fd, direction, &keys.ok_or(io::ErrorKind::InvalidData)?)
    }

    /// As [`Session::say_goodbye`]. Waits for room in the send buffer, so that the connection may be closed after
    /// it: the kernel's TLS drops what TCP has not taken.
    pub(crate) fn say_goodbye(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        if self.said_goodbye {
            return Ok(true);
        }
        if !is_writable(fd)? {
            return Ok(false);
        }
        match send_record(fd, ContentType::ALERT, &[WARNING, CLOSE_NOTIFY]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            sent => {
                self.said_goodbye = true;
                sent.map(|_| true)
            }
        }
    }

    /// Says why the connection ends, if the socket takes it at once.
    fn alert(&mut self, fd: BorrowedFd<'_>, description: u8) {
        self.said_goodbye = true;
        let _ = send_record(fd, ContentType::ALERT, &[FATAL, description]);
    }
}

impl fmt::Debug for KernelSession {
    /// Without what makes keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSession").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What the session has agreed on, in the kernel's words.
fn agreed(session: &Session) -> Option<(TlsVersion, TlsCipher)> {
    let version = match session.agreed().protocol_version()? {
        ProtocolVersion::TLSv1_2 => TlsVersion::Tls12,
        ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
        _ => return None,
    };
    let cipher = match session.agreed().negotiated_cipher_suite()?.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => TlsCipher::Aes128Gcm,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => TlsCipher::Aes256Gcm,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => TlsCipher::Chacha20Poly1305,
        _ => return None,
    };
    Some((version, cipher))
}

/// rustls' secrets, with the number of the next record, in the kernel's words.
fn traffic_keys(
    version: TlsVersion,
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
) -> Option<TrafficKeys> {
    let (cipher, key, iv) = match &secrets {
        // Of TLS 1.2 AES with keys of both lengths comes as this one.
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            if key.as_ref().len() == TlsCipher::Aes128Gcm.key_bytes() =>
        {
            (TlsCipher::Aes128Gcm, key, iv)
        }
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
            (TlsCipher::Aes256Gcm, key, iv)
        }
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (TlsCipher::Chacha20Poly1305, key, iv),
        _ => return None,
    };
    TrafficKeys::new(version, cipher, key.as_ref(), iv.as_ref().try_into().ok()?, sequence)
}
