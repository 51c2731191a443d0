//! What connections to the backends of an upstream need for their handshakes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::Certificate;
use super::listener::roots;
use super::policy::{provider, versions};
use super::setup::{Look, look};
use crate::config::{TlsPolicy, UpstreamTls};

/// Where distributions keep the issuers they believe.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// TLS towards the backends of one upstream. Shared by all workers and the health checks, and with it the sessions to
/// resume.
#[derive(Debug)]
pub(crate) struct Originator {
    tls: UpstreamTls,
    name: Option<ServerName<'static>>,
    config: RwLock<Arc<ClientConfig>>,
    /// The files before they were loaded.
    seen: Look,
}

/// They load the same.
impl PartialEq for Originator {
    fn eq(&self, other: &Self) -> bool {
        self.tls == other.tls
    }
}

impl Eq for Originator {}

impl Originator {
    /// Loads everything.
    ///
    /// # Errors
    /// A file that is wrong.
    pub(super) fn load(tls: &UpstreamTls) -> Result<Self, String> {
        let name = tls.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| format!(r#"server_name "{name}" is no host name"#))
        });
        let (name, seen) = (name.transpose()?, look(files(tls)));
        Ok(Self { tls: tls.clone(), name, config: RwLock::new(Arc::new(config(tls)?)), seen })
    }

    /// It was loaded from the files `tls` names.
    pub(super) fn is_of(&self, tls: &UpstreamTls) -> bool {
        self.tls == *tls
    }

    /// Loads everything again; what is in use stays if that fails.
    pub(super) fn reload(&self) -> Result<(), String> {
        let new = Arc::new(config(&self.tls)?);
        *self.config.write() = new;
        Ok(())
    }

    /// What the next handshake begins with.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config.read())
    }

    /// What the certificate of the backend at `address` must be for.
    pub(crate) fn name(&self, address: SocketAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or_else(|| ServerName::IpAddress(address.ip().to_canonical().into()))
    }

    /// Files that are looked after.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        files(&self.tls)
    }

    pub(super) fn seen(&self) -> &Look {
        &self.seen
    }
}

fn files(tls: &UpstreamTls) -> BTreeSet<PathBuf> {
    let own = tls.client.iter().flat_map(|client| [&client.certificate, &client.key]);
    tls.ca.iter().chain(own).cloned().collect()
}

/// Who believes the issuers in a file, or the system's.
pub(super) fn verifier(ca: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let system = || SYSTEM_ROOTS.iter().map(Path::new).find(|file| file.exists());
    let file = ca.or_else(system).ok_or("this system has no file of issuers to believe; name one as `ca`")?;
    WebPkiServerVerifier::builder_with_provider(roots(file)?, provider(&[]))
        .build()
        .map_err(|error| error.to_string())
}

pub(super) fn config(tls: &UpstreamTls) -> Result<ClientConfig, String> {
    let provider = provider(&[]);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&TlsPolicy::default()))
        .map_err(|error| error.to_string())?;
    let verifier: Arc<dyn ServerCertVerifier> =
        if tls.verify { verifier(tls.ca.as_deref())? } else { Arc::new(Anybody(Arc::clone(&provider))) };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(match &tls.client {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let certificate = Certificate::load(files, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.key)))
        }
    })
}

/// Believes every certificate, as `verify = false` asks for. Signatures are checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
