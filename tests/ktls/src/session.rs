//! TLS sessions: a client in user space, and a server that gives its connection to the kernel.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use ringbolt_reactor::{TlsCipher, TlsVersion, TrafficKeys, give_to_kernel};
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore, ServerConfig, StreamOwned,
    SupportedCipherSuite,
};

/// A server and a client that trusts it, and agree on nothing but one cipher suite.
pub(crate) struct Parties {
    pub(crate) server: Arc<ServerConfig>,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) key: String,
    client: Arc<ClientConfig>,
}

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

/// A connection whose records are the kernel's.
pub(crate) struct Given {
    pub(crate) stream: TcpStream,
    pub(crate) keys: KernelConnection<ServerConnectionData>,
}

impl Parties {
    pub(crate) fn new(version: TlsVersion, cipher: TlsCipher) -> Self {
        let suites = vec![cipher_suite(version, cipher)];
        let provider = Arc::new(rustls::crypto::CryptoProvider {
            cipher_suites: suites,
            // A hybrid key exchange takes an emulated processor a while.
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let version = match version {
            TlsVersion::Tls12 => &rustls::version::TLS12,
            TlsVersion::Tls13 => &rustls::version::TLS13,
        };
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
        let (certificate, key_pem) = (cert.pem(), signing_key.serialize_pem());
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .expect("the suite is of this version")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("the key is the certificate's");
        server.enable_secret_extraction = true;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("the suite is of this version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), certificate, key: key_pem, client: Arc::new(client) }
    }

    /// A client that has said nothing yet.
    pub(crate) fn client(&self, stream: TcpStream) -> Client {
        let name = ServerName::try_from("localhost").expect("a name");
        StreamOwned::new(ClientConnection::new(self.client.clone(), name).expect("a configuration"), stream)
    }

    /// Both ends of a connection after the TLS handshake, the server's given to the kernel.
    pub(crate) fn connect(&self) -> (Client, Given) {
        let (client, server) = crate::traffic::pair();
        let mut client = self.client(client);
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| give(shake_hands(server, &self.server)));
            client.conn.complete_io(&mut client.sock).expect("the TLS handshake");
            let server = serving.join().expect("a server");
            (client, server)
        })
    }
}

/// The server's part of a TLS handshake, done when all it has to say, tickets too, is sent.
///
/// Reads record by record, so that what follows the handshake stays in the socket.
pub(crate) fn shake_hands(
    mut stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> (TcpStream, UnbufferedServerConnection) {
    let mut connection = UnbufferedServerConnection::new(config.clone()).expect("a configuration");
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    loop {
        let UnbufferedStatus { mut discard, state } = connection.process_tls_records(&mut incoming);
        let blocked = match state.expect("a TLS handshake") {
            ConnectionState::EncodeTlsData(mut state) => {
                let start = outgoing.len();
                if let Err(EncodeError::InsufficientSize(size)) = state.encode(&mut []) {
                    outgoing.resize(start + size.required_size, 0);
                }
                let length = state.encode(&mut outgoing[start..]).expect("there is room");
                outgoing.truncate(start + length);
                false
            }
            ConnectionState::TransmitTlsData(state) => {
                stream.write_all(&outgoing).expect("the client reads");
                outgoing.clear();
                state.done();
                false
            }
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => true,
            other => panic!("{other:?}"),
        };
        incoming.drain(..std::mem::take(&mut discard));
        if blocked && !connection.is_handshaking() {
            assert!(incoming.is_empty(), "a whole record");
            return (stream, connection);
        }
        if blocked {
            incoming.extend(read_record(&mut stream).expect("the client's next record"));
        }
    }
}

/// Gives a connection after its TLS handshake to the kernel.
pub(crate) fn give((stream, connection): (TcpStream, UnbufferedServerConnection)) -> Given {
    let (secrets, keys) = connection.dangerous_into_kernel_connection().expect("after the handshake");
    let version = version_of(&keys);
    let (transmit, receive) = (traffic_keys(version, secrets.tx), traffic_keys(version, secrets.rx));
    assert!(give_to_kernel(stream.as_fd(), &transmit, &receive).expect("both or none"), "the kernel refuses");
    Given { stream, keys }
}

pub(crate) fn version_of<D>(keys: &KernelConnection<D>) -> TlsVersion {
    match keys.protocol_version() {
        rustls::ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    }
}

/// rustls' secrets in the kernel's terms.
pub(crate) fn traffic_keys(
    version: TlsVersion,
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
) -> TrafficKeys {
    let (cipher, key, iv) = match &secrets {
        // Of TLS 1.2 both AES suites come as this one.
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } if key.as_ref().len() == 16 => {
            (TlsCipher::Aes128Gcm, key, iv)
        }
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
            (TlsCipher::Aes256Gcm, key, iv)
        }
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (TlsCipher::Chacha20Poly1305, key, iv),
        _ => panic!("another cipher"),
    };
    let nonce = iv.as_ref().try_into().expect("12 bytes");
    TrafficKeys::new(version, cipher, key.as_ref(), nonce, sequence).expect("a key of the cipher's length")
}

fn read_record(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record)?;
    let length = u16::from_be_bytes([record[3], record[4]]);
    record.resize(5 + usize::from(length), 0);
    stream.read_exact(&mut record[5..])?;
    Ok(record)
}

fn cipher_suite(version: TlsVersion, cipher: TlsCipher) -> SupportedCipherSuite {
    match (version, cipher) {
        (TlsVersion::Tls13, TlsCipher::Aes128Gcm) => suite::TLS13_AES_128_GCM_SHA256,
        (TlsVersion::Tls13, TlsCipher::Aes256Gcm) => suite::TLS13_AES_256_GCM_SHA384,
        (TlsVersion::Tls13, TlsCipher::Chacha20Poly1305) => suite::TLS13_CHACHA20_POLY1305_SHA256,
        (TlsVersion::Tls12, TlsCipher::Aes128Gcm) => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        (TlsVersion::Tls12, TlsCipher::Aes256Gcm) => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        (TlsVersion::Tls12, TlsCipher::Chacha20Poly1305) => {
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
    }
}
