//! TLS over tokio's sockets, for health checks and `ringbolt doctor`.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::upstream::config;
use crate::config::UpstreamTls;

/// A connection, plain or TLS.
pub(crate) type AnyStream = Box<dyn Bytes>;

/// Bytes both ways.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Bytes for S {}

/// A configuration for connections that speak HTTP/1.1. Without `verify` every certificate is believed.
///
/// # Errors
/// A file of issuers that cannot be read, or none on this system.
pub(crate) fn http_client(ca: Option<&Path>, verify: bool) -> Result<Arc<ClientConfig>, String> {
    let tls = UpstreamTls { ca: ca.map(Path::to_owned), verify, ..UpstreamTls::default() };
    let mut config = config(&tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Begins TLS on a connection.
///
/// # Errors
/// What rustls or the connection says.
pub(crate) async fn begin(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(name, stream).await
}
