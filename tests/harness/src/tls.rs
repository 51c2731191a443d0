//! TLS around what the tests have: certificates made when they run, a client, and a front that adds TLS to
//! one side of plain connections, so that clients and backends that know none meet the proxy's.

mod authority;
mod pump;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

pub use authority::{Authority, Files, self_signed};

use crate::raw::{WAIT, Wire};

/// What a handshake came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: String,
    pub resumed: bool,
    /// Such as `http/1.1`.
    pub alpn: Option<String>,
    /// The far end's own certificate.
    pub certificate: Option<CertificateDer<'static>>,
}

/// Connects to `address` with TLS, for the host `name`; the wire carries what is within.
///
/// A far end that closes without `close_notify` is a reset to the wire.
///
/// # Errors
/// Why there is no session, in rustls' words.
///
/// # Panics
/// If nobody accepts.
pub fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> Result<(Wire, Agreed), String> {
    let (outer, mut connection) = begin(address, name, config);
    shake(&outer, &mut connection)?;
    let agreed = Agreed {
        version: format!("{:?}", connection.protocol_version().expect("of a session")),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        certificate: connection.peer_certificates().and_then(<[_]>::first).cloned(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let wire = Wire::connect(listener.local_addr().expect("a bound socket"));
    let (inner, _) = listener.accept().expect("the wire has connected");
    thread::spawn(move || pump::run(connection, &outer, &inner));
    Ok((wire, agreed))
}

fn begin(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> (TcpStream, Connection) {
    let outer = TcpStream::connect_timeout(&address, WAIT).expect("somebody accepts");
    outer.set_read_timeout(Some(WAIT)).expect("an option of an open socket");
    let name = ServerName::try_from(name.to_owned()).expect("a host name");
    (outer, ClientConnection::new(Arc::clone(config), name).expect("a valid configuration").into())
}

fn shake(mut outer: &TcpStream, connection: &mut Connection) -> Result<(), String> {
    while connection.is_handshaking() {
        connection.complete_io(&mut outer).map_err(|error| error.to_string())?;
    }
    // A server's refusal of a client certificate comes after TLS 1.3's handshake: with the first bytes.
    Ok(())
}

/// Passes a TLS connection on plain, behind `header`.
fn terminate(outer: &TcpStream, header: &[u8], to: SocketAddr, config: &Arc<ServerConfig>) {
    let connection = ServerConnection::new(Arc::clone(config)).expect("a valid configuration");
    let mut connection = connection.into();
    if shake(outer, &mut connection).is_ok() {
        let mut inner = TcpStream::connect_timeout(&to, WAIT).expect("the backend accepts");
        inner.write_all(header).expect("a new connection takes a header");
        pump::run(connection, outer, &inner);
    }
}

/// Takes a PROXY header and not a byte behind it; anything else is taken for one up to its first line feed.
fn proxy_header(mut outer: &TcpStream) -> io::Result<Vec<u8>> {
    const BYTES_MAX: usize = 108;
    let mut header = vec![0];
    outer.read_exact(&mut header)?;
    if header == *b"\r" {
        header.resize(16, 0);
        outer.read_exact(&mut header[1..])?;
        let addresses = u16::from_be_bytes([header[14], header[15]]);
        header.resize(16 + usize::from(addresses), 0);
        outer.read_exact(&mut header[16..])?;
    }
    while header.len() < BYTES_MAX && header[0] != b'\r' && !header.ends_with(b"\n") {
        header.push(0);
        let last = header.len() - 1;
        outer.read_exact(&mut header[last..])?;
    }
    Ok(header)
}

/// How long the next bytes of a front's TLS handshake may take.
const CROWD_WAIT: Duration = Duration::from_secs(60);

/// Listens and passes every connection on, with TLS on one side of it.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
}

impl Front {
    /// Takes plain connections and passes them on with TLS.
    #[must_use]
    pub fn originating(to: SocketAddr, name: &'static str, config: Arc<ClientConfig>) -> Self {
        Self::start(move |inner| {
            let (outer, mut connection) = begin(to, name, &config);
            // One of a crowd, on a processor that may be emulated.
            outer.set_read_timeout(Some(CROWD_WAIT)).expect("an option of an open socket");
            match shake(&outer, &mut connection) {
                Ok(()) => pump::run(connection, &outer, &inner),
                // The plain side sees a reset only, which tells nothing of the cause.
                Err(error) => eprintln!("no TLS handshake with {to}: {error}"),
            }
        })
    }

    /// Takes TLS connections and passes them on plain.
    #[must_use]
    pub fn terminating(to: SocketAddr, config: Arc<ServerConfig>) -> Self {
        Self::start(move |outer| terminate(&outer, &[], to, &config))
    }

    /// As [`Self::terminating`], for connections with a PROXY header before their first byte of TLS; it is passed on.
    #[must_use]
    pub fn terminating_behind_header(to: SocketAddr, config: Arc<ServerConfig>) -> Self {
        Self::start(move |outer| {
            if let Ok(header) = proxy_header(&outer) {
                terminate(&outer, &header, to, &config);
            }
        })
    }

    fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let serve = Arc::new(serve);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
