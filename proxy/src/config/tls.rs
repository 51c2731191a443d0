//! The keys of TLS: `[listener.tls]` and an upstream's `tls`.
//!
//! Names files and does not read them: what stands in them changes while the process runs.

use std::path::{Path, PathBuf};

use ringbolt_core::detect::Protocols;
use toml::de::DeValue;

use super::bounds::{CERTIFICATES_MAX, CIPHERS_MAX};
use super::problem::Problems;
use super::section::{Section, boolean, suggest, text};
use super::value;

/// Every cipher there is, by the names rustls and the registry of TLS have for them. All are strong, so the cheapest for
/// processors that have AES comes first, as it does with browsers.
pub(crate) const CIPHERS: &[&str] = &[
    "TLS13_AES_128_GCM_SHA256",
    "TLS13_AES_256_GCM_SHA384",
    "TLS13_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// `[listener.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerTls {
    /// At least one, or there is a folder. The first is the default.
    pub(crate) certificates: Vec<CertificateFiles>,
    /// Every `NAME.pem` or `NAME.crt` in it, with the key in `NAME.key` or in the same file.
    pub(crate) folder: Option<PathBuf>,
    /// A name without a certificate is refused.
    pub(crate) strict: bool,
    pub(crate) policy: TlsPolicy,
    pub(crate) client_auth: ClientAuth,
    /// Issuers of client certificates; there unless `client_auth` is off.
    pub(crate) client_ca: Option<PathBuf>,
    /// Keys of session tickets that several machines share; `None`: this process' own.
    pub(crate) ticket_keys: Option<PathBuf>,
    /// Value of Strict-Transport-Security.
    pub(crate) hsts: Option<String>,
    /// Records of tunnels are the kernel's where it can.
    pub(crate) ktls: bool,
    /// What connections may speak inside TLS: at least one, and not TLS.
    pub(crate) inside: Protocols,
}

/// One entry of `certificates`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateFiles {
    /// PEM: the certificate, then those of its issuers.
    pub(crate) certificate: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
    /// The response of the issuer's OCSP server, DER.
    pub(crate) ocsp: Option<PathBuf>,
}

/// Versions and ciphers that are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsPolicy {
    pub(crate) min: TlsVersion,
    pub(crate) max: TlsVersion,
    /// Names of [`CIPHERS`], in order of preference; empty: all.
    pub(crate) ciphers: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    V1_2,
    V1_3,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    Off,
    /// One that is sent must be valid.
    Optional,
    Required,
}

/// `tls` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamTls {
    /// PEM of the issuers that are believed; `None`: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// What the backend's certificate must be for; `None`: its address.
    pub(crate) server_name: Option<String>,
    pub(crate) verify: bool,
    /// Our own certificate, for backends that ask for one.
    pub(crate) client: Option<CertificateFiles>,
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3, ciphers: Vec::new() }
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, verify: true, client: None }
    }
}

const VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

const KTLS: &[(&str, bool)] = &[("auto", true), ("off", false)];

const CLIENT_AUTHS: &[(&str, ClientAuth)] =
    &[("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];

const CERTIFICATES: &str = r#"a list such as [{ certificate = "a.pem", key = "a.key" }]"#;

/// `[listener.tls]`, if there is one. Relative paths begin at `base`, the configuration file's folder. What may be
/// spoken inside is empty where nothing is said of it: that follows from the listener's own.
pub(super) fn listener(problems: &Problems, section: &mut Section<'_>, base: &Path) -> Option<ListenerTls> {
    section.field("tls")?;
    let mut section = section.section("tls");
    let certificates = certificates(problems, &mut section, base);
    let folder = section.read("folder", path(base));
    let are_named = section
        .field("certificates")
        .is_some_and(|field| field.entries().is_none_or(|entries| !entries.is_empty()));
    if !are_named && folder.is_none() {
        section.problem("certificates", format!("is missing; write {CERTIFICATES}, or a `folder`"));
    }
    let client_auth = section
        .read("client_auth", text("a string", |text| value::choice(text, CLIENT_AUTHS)))
        .unwrap_or(ClientAuth::Off);
    let client_ca = section.read("client_ca", path(base));
    match (client_auth, &client_ca) {
        (ClientAuth::Off, Some(_)) => {
            section.problem("client_ca", r#"means nothing without client_auth = "optional" or "required""#);
        }
        (ClientAuth::Optional | ClientAuth::Required, None) => {
            section.problem("client_auth", "needs `client_ca`: the issuers whose certificates are believed");
        }
        _ => {}
    }
    let tls = ListenerTls {
        certificates,
        folder,
        strict: section.read("strict", boolean).unwrap_or(false),
        policy: policy(&mut section),
        client_auth,
        client_ca,
        ticket_keys: section.read("ticket_keys", path(base)),
        hsts: section.read("hsts", text(r#"a string such as "max-age=31536000""#, hsts)),
        ktls: section.read("ktls", text("a string", |text| value::choice(text, KTLS))).unwrap_or(true),
        inside: super::detect::inside(&mut section),
    };
    section.finish();
    Some(tls)
}

/// `tls` of an upstream, if there is one.
pub(super) fn upstream(section: &mut Section<'_>, base: &Path) -> Option<UpstreamTls> {
    section.field("tls")?;
    let mut section = section.section("tls");
    let certificate = section.read("client_certificate", path(base));
    let key = section.read("client_key", path(base));
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key, ocsp: None }),
        (None, None) => None,
        _ => {
            section.problem("client_certificate", "needs `client_key`, and the other way round");
            None
        }
    };
    let tls = UpstreamTls {
        ca: section.read("ca", path(base)),
        server_name: section.read("server_name", text("a host name", value::host)),
        verify: section.read("verify", boolean).unwrap_or(true),
        client,
    };
    if !tls.verify && tls.ca.is_some() {
        section.problem("ca", "means nothing with verify = false");
    }
    section.finish();
    Some(tls)
}

fn certificates(problems: &Problems, section: &mut Section<'_>, base: &Path) -> Vec<CertificateFiles> {
    let Some(field) = section.field("certificates") else { return Vec::new() };
    let Some(entries) = field.entries() else {
        problems.add(field.at, field.key, super::section::wrong_type(field.value, CERTIFICATES));
        return Vec::new();
    };
    if entries.len() > CERTIFICATES_MAX {
        problems.add(
            field.at,
            field.key,
            format!("has more than {CERTIFICATES_MAX} entries; use a `folder`"),
        );
        return Vec::new();
    }
    let mut certificates = Vec::new();
    for entry in entries {
        let expected = r#"a table such as { certificate = "a.pem", key = "a.key" }"#;
        let Some(mut section) = Section::of(problems, entry, expected) else { continue };
        let certificate = section.require("certificate", r#""a.pem""#, path(base));
        // One file may hold both, as HAProxy's do.
        let key = section.read("key", path(base)).or_else(|| certificate.clone());
        let ocsp = section.read("ocsp", path(base));
        section.finish();
        if let (Some(certificate), Some(key)) = (certificate, key) {
            certificates.push(CertificateFiles { certificate, key, ocsp });
        }
    }
    certificates
}

fn policy(section: &mut Section<'_>) -> TlsPolicy {
    let default = TlsPolicy::default();
    let version = || text("a string", |text| value::choice(text, VERSIONS));
    let min = section.read("min_version", version()).unwrap_or(default.min);
    let max = section.read("max_version", version()).unwrap_or(default.max);
    if min > max {
        section.problem("min_version", "is above max_version");
    }
    let expected = r#"a list such as ["TLS13_AES_256_GCM_SHA384"]"#;
    let ciphers = section.read_list("ciphers", expected, CIPHERS_MAX, |name| {
        let names: Vec<&str> = CIPHERS.to_vec();
        let known = names.iter().find(|known| **known == name).copied();
        known.ok_or_else(|| format!(r#"there is no cipher "{name}"{}"#, suggest(name, &names, "they are")))
    });
    let serves = |version| {
        let tls13 = |name: &&str| name.starts_with("TLS13_");
        ciphers.is_empty() || ciphers.iter().any(|name| tls13(name) == (version == TlsVersion::V1_3))
    };
    if let Some((name, _)) =
        VERSIONS.iter().find(|(_, version)| (min..=max).contains(version) && !serves(*version))
    {
        section
            .problem("ciphers", format!("has none for TLS {name}, which min_version and max_version allow"));
    }
    TlsPolicy { min, max, ciphers }
}

/// A reader of paths.
pub(super) fn path(base: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, String> + use<> {
    let base = base.to_owned();
    text("a path", move |text| match text {
        "" => Err("is empty, expected a path".to_owned()),
        _ => Ok(base.join(text)),
    })
}

/// Value of Strict-Transport-Security (RFC 6797 section 6.1).
fn hsts(text: &str) -> Result<String, String> {
    let example = r#"write for example "max-age=31536000; includeSubDomains""#;
    let is_max_age = |directive: &str| {
        let age = directive.trim().strip_prefix("max-age=");
        age.is_some_and(|age| !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_value = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && text.trim() == text;
    if !is_value || !text.split(';').any(is_max_age) {
        return Err(format!(r#""{text}" has no max-age in seconds; {example}"#));
    }
    Ok(text.to_owned())
}
