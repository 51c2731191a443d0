//! TLS clients: sessions of rustls over the sockets of this load, one thread for all.
//!
//! Every client offers one version, cipher suite and group, so that all proxies do the same arithmetic.

pub(crate) mod bulk;
pub(crate) mod connect;
pub(crate) mod visit;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};

use super::Net;

/// Name in the certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// What the sessions of one measurement share: whom they trust, and their tickets.
#[derive(Clone, Debug)]
pub(crate) struct Dialer(Arc<ClientConfig>);

impl Dialer {
    /// With `resume`, sessions use the tickets of earlier ones.
    pub(crate) fn new(certificate: &CertificateDer<'static>, resume: bool) -> Result<Self, String> {
        let provider = CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).map_err(|error| format!("the certificate: {error}"))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| format!("TLS 1.3: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if !resume {
            config.resumption = Resumption::disabled();
        }
        Ok(Self(Arc::new(config)))
    }

    /// A session that has its first message ready.
    fn session(&self) -> Result<Session, String> {
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
        let connection =
            UnbufferedClientConnection::new(self.0.clone(), name).map_err(|error| error.to_string())?;
        let mut session = Session { connection, partial: Vec::new(), outgoing: Vec::new() };
        session.advance(&mut [], |_| {})?;
        Ok(session)
    }
}

/// The client's end of a TLS session.
pub(crate) struct Session {
    connection: UnbufferedClientConnection,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// Records to be sent.
    outgoing: Vec<u8>,
}

impl Session {
    /// Takes what was received, hands the plain bytes in it to `data`, and makes the records of an answer.
    pub(crate) fn advance(&mut self, fresh: &mut [u8], mut data: impl FnMut(&[u8])) -> Result<(), String> {
        let mut joined = std::mem::take(&mut self.partial);
        let buffer = if joined.is_empty() {
            fresh
        } else {
            joined.extend_from_slice(fresh);
            &mut joined
        };
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut buffer[used..]);
            let mut waiting = false;
            match state.map_err(|error| format!("TLS: {error}"))? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        data(record.map_err(|error| format!("TLS: {error}"))?.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut message) => {
                    append(&mut self.outgoing, |room| match message.encode(room) {
                        Err(EncodeError::InsufficientSize(size)) => Err(Ok(size)),
                        result => result.map_err(|error| Err(error.to_string())),
                    })?;
                }
                ConnectionState::TransmitTlsData(message) => message.done(),
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => waiting = true,
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    return Err("the proxy ended the TLS session".to_owned());
                }
                other => return Err(format!("TLS: unexpected {other:?}")),
            }
            used += discard;
            if waiting {
                break;
            }
        }
        self.partial = buffer[used..].to_vec();
        Ok(())
    }

    /// Encrypts bytes to be sent.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.encrypt(|traffic, room| traffic.encrypt(bytes, room))
    }

    /// Ends the session.
    fn write_close_notify(&mut self) -> Result<(), String> {
        self.encrypt(|traffic, room| traffic.queue_close_notify(room))
    }

    fn encrypt(
        &mut self,
        mut with: impl FnMut(
            &mut WriteTraffic<'_, rustls::client::ClientConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), String> {
        match self.connection.process_tls_records(&mut self.partial).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                append(&mut self.outgoing, |room| match with(&mut traffic, room) {
                    Err(EncryptError::InsufficientSize(size)) => Err(Ok(size)),
                    result => result.map_err(|error| Err(error.to_string())),
                })
            }
            _ => Err("nothing can be sent in this TLS session now".to_owned()),
        }
    }

    /// Sends what is ready: always less than an empty send buffer takes.
    pub(crate) fn flush(&mut self, net: &mut Net, fd: &OwnedFd) {
        if !self.outgoing.is_empty() {
            net.send_all(fd.as_fd(), &self.outgoing);
            self.outgoing.clear();
        }
    }

    fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether the server has done all it does for a TLS handshake: tickets come last.
    fn has_ticket(&self) -> bool {
        self.connection.tls13_tickets_received() > 0
    }

    fn kind(&self) -> Option<HandshakeKind> {
        self.connection.handshake_kind()
    }
}

/// Lets `encode` write behind what is in `to`, with as much room as it asks for.
fn append(
    to: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Result<InsufficientSizeError, String>>,
) -> Result<(), String> {
    let start = to.len();
    let length = match encode(&mut []) {
        Err(Ok(InsufficientSizeError { required_size })) => {
            to.resize(start + required_size, 0);
            encode(&mut to[start..])
        }
        result => result,
    };
    let length = length.map_err(|error| match error {
        Ok(InsufficientSizeError { required_size }) => format!("{required_size} bytes do not suffice"),
        Err(text) => text,
    })?;
    to.truncate(start + length);
    Ok(())
}
