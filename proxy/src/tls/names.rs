//! Which certificate a client gets, by the name it asks for (SNI).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The certificates of a listener by name.
#[derive(Debug)]
pub(super) struct Names {
    /// By host name, and by `*.` and what follows its first label. Several of one name differ in their keys.
    certificates: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    /// For other names and clients that say none; `None`: they are refused.
    default: Option<Vec<Arc<CertifiedKey>>>,
}

impl Names {
    /// Of these certificates; the first is the default unless `strict`.
    pub(super) fn new<'c>(all: impl Iterator<Item = &'c Certificate>, strict: bool) -> Self {
        let mut certificates: BTreeMap<String, Vec<Arc<CertifiedKey>>> = BTreeMap::new();
        let mut first: Option<&Certificate> = None;
        let mut default = Vec::new();
        for certificate in all {
            let first = *first.get_or_insert(certificate);
            // A second key for the same names serves clients that cannot verify the first.
            if certificate.names == first.names {
                default.push(Arc::clone(&certificate.key));
            }
            for name in &certificate.names {
                certificates.entry(name.clone()).or_default().push(Arc::clone(&certificate.key));
            }
        }
        Self { certificates, default: Some(default).filter(|_| !strict) }
    }

    /// An exact name, else a wildcard for one label (RFC 6125 section 6.4.3).
    fn named(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.to_ascii_lowercase();
        self.certificates.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.certificates.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.named(name));
        let candidates = named.or(self.default.as_ref())?;
        let verifiable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(verifiable).or(candidates.first()).cloned()
    }
}
