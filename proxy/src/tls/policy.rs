//! Which versions and ciphers are offered.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};

use crate::config::{CIPHERS, TlsPolicy, TlsVersion};

/// The cryptography with these ciphers, in this order; with all of them if there are none.
pub(super) fn provider(ciphers: &[&str]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let named = |name: &&str| {
        provider.cipher_suites.iter().copied().find(|suite| format!("{:?}", suite.suite()) == **name)
    };
    let ciphers = if ciphers.is_empty() { CIPHERS } else { ciphers };
    provider.cipher_suites = ciphers.iter().filter_map(named).collect();
    Arc::new(provider)
}

pub(super) fn versions(policy: &TlsPolicy) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    let allowed = policy.min..=policy.max;
    all.into_iter().filter(|(version, _)| allowed.contains(version)).map(|(_, version)| version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_all_ciphers() {
        let known: Vec<String> =
            provider(&[]).cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(known, CIPHERS);
        assert_eq!(known.len(), aws_lc_rs::default_provider().cipher_suites.len(), "rustls has others");
        let chosen = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256"];
        let named: Vec<String> =
            provider(&chosen).cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(named, chosen);
    }
}
