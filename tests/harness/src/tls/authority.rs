//! Certificates of a test: an issuer of its own, and what it issues, in files that vanish with it.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;

/// A certificate and its key in two files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Files {
    fn write(folder: &Path, stem: &str, certificate: &Certificate, key: &KeyPair) -> Self {
        let place = |extension: &str| folder.join(format!("{stem}.{extension}"));
        let files = Self { certificate: place("pem"), key: place("key") };
        // As renewal programs do it: a new file takes the old one's place.
        for (file, text) in [(&files.certificate, certificate.pem()), (&files.key, key.serialize_pem())] {
            let new = file.with_extension("new");
            fs::write(&new, text).expect("a file");
            fs::rename(&new, file).expect("a file");
        }
        files
    }

    /// The entry of `certificates` in a configuration.
    #[must_use]
    pub fn entry(&self) -> String {
        format!("{{ certificate = {:?}, key = {:?} }}", self.certificate, self.key)
    }

    /// The certificate as a client gets to see it.
    ///
    /// # Panics
    /// If the file holds none.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.certificate).expect("a certificate")
    }

    /// What a backend with this certificate needs. With `clients` it asks for certificates of that issuer.
    ///
    /// # Panics
    /// If the files hold none.
    #[must_use]
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.expect("issuers"))
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        Arc::new(builder.with_single_cert(vec![self.der()], key).expect("a pair"))
    }
}

/// A certificate for `name` in `folder` that is its own issuer, as `openssl req -x509` makes it.
///
/// # Panics
/// If it cannot be made or written.
#[must_use]
pub fn self_signed(folder: &Path, name: &str) -> Files {
    let mut params = CertificateParams::new([name.to_owned()]).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    Files::write(folder, "self", &certificate, &key)
}

/// An issuer of certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, with a folder of its own.
    ///
    /// # Panics
    /// If no certificate can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Issuer of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an issuer");
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("issuer.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its own certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder().join("issuer.pem")
    }

    /// Issues a certificate for `names` into `STEM.pem` and `STEM.key`, in place of what is there.
    #[must_use]
    pub fn issue(&self, stem: &str, names: &[&str]) -> Files {
        self.issue_for(stem, names, 2020..4000)
    }

    /// As [`Self::issue`], valid from the beginning of one year to that of another.
    ///
    /// # Panics
    /// If it cannot be made or written.
    #[must_use]
    pub fn issue_for(&self, stem: &str, names: &[&str], years: Range<i32>) -> Files {
        let mut params = params(stem, names);
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        self.sign(stem, &params)
    }

    /// As [`Self::issue`], valid for this much longer.
    ///
    /// # Panics
    /// If it cannot be made or written.
    #[must_use]
    pub fn issue_until(&self, stem: &str, names: &[&str], left: Duration) -> Files {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let mut params = params(stem, names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + now + left;
        self.sign(stem, &params)
    }

    fn sign(&self, stem: &str, params: &CertificateParams) -> Files {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Files::write(self.folder(), stem, &certificate, &key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an issuer");
        roots
    }

    /// What a client that believes this issuer needs; it says it speaks HTTP/1.1.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(&[&rustls::version::TLS13, &rustls::version::TLS12], None)
    }

    /// As [`Self::client`], with these versions and, if there is one, this certificate of its own.
    ///
    /// # Panics
    /// If the files hold none.
    #[must_use]
    pub fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Files>,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(self.roots());
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
                builder.with_client_auth_cert(vec![files.der()], key).expect("a pair")
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn params(stem: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Ringbolt, tests");
    params.distinguished_name.push(DnType::CommonName, stem);
    params
}
