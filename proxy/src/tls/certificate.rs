//! One certificate with its chain, key and OCSP response, read from files and checked.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::CertificateFiles;
use crate::limits::TLS_FILE_BYTES_MAX;

/// A certificate that ends within this time is worth a warning: automatic renewal begins earlier.
pub(crate) const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

impl Validity {
    pub(crate) fn contains(self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A certificate ready to be served.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names in lower case, wildcards as `*.example.com`.
    pub(super) names: Vec<String>,
    pub(super) validity: Validity,
    /// It is valid, but something about it will surprise.
    pub(super) warnings: Vec<String>,
}

impl Certificate {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file that cannot be read or understood, or a key that belongs to another certificate.
    pub(super) fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, String> {
        let chain = chain(&files.certificate)?;
        let key_file = files.key.display();
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| format!("{key_file}: no private key in PEM: {error}"))?;
        let leaf = parse(&chain[0]).map_err(|error| format!("{}: {error}", files.certificate.display()))?;
        let names = names(&leaf);
        let validity = validity(&leaf);
        let mut warnings = Vec::new();
        if names.is_empty() {
            warnings.push("has no DNS name (subjectAltName), so no client will accept it".to_owned());
        }
        warnings.extend(order(&chain)?);
        let mut key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("{key_file}: the key does not belong to {}", files.certificate.display())
            }
            error => format!("{key_file}: {error}"),
        })?;
        key.ocsp = files.ocsp.as_deref().map(read).transpose()?;
        Ok(Self { key: Arc::new(key), names, validity, warnings })
    }
}

/// The certificates in a PEM file, at least one.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{shown}: no certificate in PEM: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{shown}: there is no certificate in it"));
    }
    Ok(chain)
}

/// The content of a file of TLS.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if bytes.len() as u64 > TLS_FILE_BYTES_MAX {
        return Err(format!("{}: is longer than {TLS_FILE_BYTES_MAX} bytes", file.display()));
    }
    Ok(bytes)
}

pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|error| format!("not a certificate: {error}"))
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(dns).collect()
}

fn validity(leaf: &X509Certificate<'_>) -> Validity {
    Validity {
        not_before: leaf.validity.not_before.timestamp(),
        not_after: leaf.validity.not_after.timestamp(),
    }
}

/// Where the chain is not in order: each certificate followed by its issuer's (RFC 8446 section 4.4.2).
fn order(chain: &[CertificateDer<'_>]) -> Result<Option<String>, String> {
    for (index, pair) in chain.windows(2).enumerate() {
        let (issued, issuer) = (parse(&pair[0])?, parse(&pair[1])?);
        if issued.issuer() != issuer.subject() {
            let (this, next) = (index + 1, index + 2);
            return Ok(Some(format!(
                "its chain is out of order: number {next} is not the issuer of number {this}"
            )));
        }
    }
    Ok(None)
}
