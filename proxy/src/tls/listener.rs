//! What a listener needs for handshakes, loaded from its files and replaced when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::RwLock;
use ringbolt_core::detect::{Protocol, Protocols};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{Certificate, chain, unix_now};
use super::names::Names;
use super::policy::{provider, versions};
use super::session::support as kernel_support;
use super::setup::{Look, look};
use super::tickets::SharedTickets;
use crate::config::bounds::CERTIFICATES_MAX;
use crate::config::{CertificateFiles, ClientAuth, ListenerTls};

/// TLS of one listener. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Terminator {
    tls: ListenerTls,
    loaded: RwLock<Loaded>,
    /// The files before they were loaded.
    seen: Look,
}

/// What stands in its files.
#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificates: BTreeMap<CertificateFiles, Certificate>,
    tickets: Arc<dyn ProducesTickets>,
    /// What tickets are good for, see [`SharedTickets`].
    context: Vec<u8>,
    roots: Option<Arc<RootCertStore>>,
}

impl Terminator {
    /// Loads everything.
    ///
    /// # Errors
    /// Every file that is wrong.
    pub(super) fn load(tls: &ListenerTls) -> Result<Self, Vec<String>> {
        let seen = look(files(tls));
        let mut problems = Vec::new();
        match Loaded::new(tls, None, &mut problems) {
            Some(loaded) if problems.is_empty() => {
                Ok(Self { tls: tls.clone(), loaded: RwLock::new(loaded), seen })
            }
            _ => Err(problems),
        }
    }

    /// It was loaded from the files `tls` names.
    pub(super) fn is_of(&self, tls: &ListenerTls) -> bool {
        self.tls == *tls
    }

    /// Loads everything again. What is wrong is told, and what it would replace goes on being served.
    pub(super) fn reload(&self) -> Vec<String> {
        let old = self.loaded.read().clone();
        let mut problems = Vec::new();
        if let Some(new) = Loaded::new(&self.tls, Some(&old), &mut problems) {
            *self.loaded.write() = new;
        }
        problems
    }

    /// What the next handshake begins with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.read().config)
    }

    /// Tunnels' records are to be the kernel's.
    pub(super) fn wants_kernel(&self) -> bool {
        self.tls.ktls
    }

    /// They are to be, and it can.
    pub(super) fn gives_to_kernel(&self) -> bool {
        gives_to_kernel(&self.tls)
    }

    /// What connections may speak inside.
    pub(super) fn inside(&self) -> Protocols {
        self.tls.inside
    }

    /// Clients are asked for a certificate.
    pub(super) fn asks_for_certificate(&self) -> bool {
        self.tls.client_auth != ClientAuth::Off
    }

    /// Files that are looked after.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        files(&self.tls)
    }

    pub(super) fn seen(&self) -> &Look {
        &self.seen
    }

    /// Shows every certificate in use.
    pub(super) fn show(&self, mut see: impl FnMut(&CertificateFiles, &Certificate)) {
        for (files, certificate) in &self.loaded.read().certificates {
            see(files, certificate);
        }
    }
}

impl Loaded {
    /// Loads what `tls` names; where that fails, takes it from `old` and notes the problem.
    fn new(tls: &ListenerTls, old: Option<&Self>, problems: &mut Vec<String>) -> Option<Self> {
        let provider = provider(&tls.policy.ciphers);
        let sources = sources(tls).unwrap_or_else(|problem| {
            problems.push(problem);
            old.map(|old| old.certificates.keys().cloned().collect()).unwrap_or_default()
        });
        let mut order = Vec::new();
        let mut certificates = BTreeMap::new();
        for files in sources {
            let before = old.and_then(|old| old.certificates.get(&files));
            let certificate = match newer(&files, before, &provider) {
                Ok(certificate) => Some(certificate),
                Err(problem) => {
                    problems.push(problem);
                    before.cloned()
                }
            };
            if let Some(certificate) = certificate {
                certificates.insert(files.clone(), certificate);
                order.push(files);
            }
        }
        if order.is_empty() {
            problems.push("no certificate is left".to_owned());
            return None;
        }
        let mut or_old = |new: Result<Option<Arc<RootCertStore>>, String>| {
            new.unwrap_or_else(|problem| {
                problems.push(problem);
                old.and_then(|old| old.roots.clone())
            })
        };
        let roots = or_old(tls.client_ca.as_deref().map(roots).transpose());
        let context = context(tls, roots.as_deref());
        let tickets = match tickets(tls, &context, old) {
            Ok(tickets) => tickets,
            Err(problem) => {
                problems.push(problem);
                Arc::clone(&old?.tickets)
            }
        };
        let names = Names::new(order.iter().filter_map(|files| certificates.get(files)), tls.strict);
        match config(tls, names, Arc::clone(&tickets), roots.clone(), provider) {
            Ok(config) => Some(Self { config: Arc::new(config), certificates, tickets, context, roots }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    }
}

/// The certificate in `files`, unless what is in use is still valid and this one is not.
fn newer(
    files: &CertificateFiles,
    before: Option<&Certificate>,
    provider: &CryptoProvider,
) -> Result<Certificate, String> {
    let certificate = Certificate::load(files, provider)?;
    let now = unix_now();
    match before {
        Some(before) if before.validity.contains(now) && !certificate.validity.contains(now) => {
            Err(format!("{}: is expired or not valid yet", files.certificate.display()))
        }
        _ => Ok(certificate),
    }
}

fn files(tls: &ListenerTls) -> BTreeSet<PathBuf> {
    let single = [&tls.client_ca, &tls.ticket_keys, &tls.folder];
    let mut files: BTreeSet<PathBuf> = single.into_iter().flatten().cloned().collect();
    for certificate in sources(tls).unwrap_or_default() {
        files.extend([certificate.certificate, certificate.key]);
        files.extend(certificate.ocsp);
    }
    files
}

/// The files of every certificate: those that are named, then those of the folder in order of names.
fn sources(tls: &ListenerTls) -> Result<Vec<CertificateFiles>, String> {
    let mut sources = tls.certificates.clone();
    if let Some(folder) = &tls.folder {
        sources.extend(in_folder(folder).map_err(|error| format!("{}: {error}", folder.display()))?);
    }
    if sources.len() > CERTIFICATES_MAX {
        return Err(format!("there are more than {CERTIFICATES_MAX} certificates"));
    }
    Ok(sources)
}

fn in_folder(folder: &Path) -> std::io::Result<Vec<CertificateFiles>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let certificate = entry?.path();
        if certificate.extension().is_some_and(|extension| extension == "pem" || extension == "crt") {
            let beside =
                |extension: &str| Some(certificate.with_extension(extension)).filter(|file| file.exists());
            let key = beside("key").unwrap_or_else(|| certificate.clone());
            let ocsp = beside("ocsp");
            found.push(CertificateFiles { certificate, key, ocsp });
        }
    }
    found.sort();
    Ok(found)
}

/// The issuers in a PEM file.
pub(super) fn roots(file: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(Arc::new(roots))
}

/// A digest of what clients must prove: tickets of sessions that proved something else are worth nothing.
fn context(tls: &ListenerTls, roots: Option<&RootCertStore>) -> Vec<u8> {
    let mut proof = format!("{:?}", tls.client_auth).into_bytes();
    for root in roots.into_iter().flat_map(|roots| &roots.roots) {
        proof.extend_from_slice(&root.subject);
        proof.extend_from_slice(&root.subject_public_key_info);
    }
    digest(&SHA256, &proof).as_ref().to_vec()
}

fn tickets(
    tls: &ListenerTls,
    context: &[u8],
    old: Option<&Loaded>,
) -> Result<Arc<dyn ProducesTickets>, String> {
    match (&tls.ticket_keys, old) {
        (Some(file), _) => Ok(Arc::new(SharedTickets::load(file, context.to_vec())?)),
        (None, Some(old)) if old.context == context => Ok(Arc::clone(&old.tickets)),
        // Its keys are random and replaced every 6 hours.
        (None, _) => Ticketer::new().map_err(|error| format!("session tickets: {error}")),
    }
}

fn config(
    tls: &ListenerTls,
    names: Names,
    tickets: Arc<dyn ProducesTickets>,
    roots: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&tls.policy))
        .map_err(|error| error.to_string())?;
    let verifier: Arc<dyn ClientCertVerifier> = match (tls.client_auth, roots) {
        (ClientAuth::Off, _) | (_, None) => WebPkiClientVerifier::no_client_auth(),
        (auth, Some(roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier =
                if auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            verifier.build().map_err(|error| error.to_string())?
        }
    };
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(names));
    if tls.inside.has(Protocol::Http) {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    // Sessions are in tickets, which every worker can open; nothing is stored here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets;
    // Scanners rate the client's choice as a weakness, even of ciphers that are all strong.
    config.ignore_client_order = true;
    // Early data can be replayed (RFC 8446 section 8).
    config.max_early_data_size = 0;
    config.enable_secret_extraction = gives_to_kernel(tls);
    Ok(config)
}

fn gives_to_kernel(tls: &ListenerTls) -> bool {
    tls.ktls && kernel_support().is_offered()
}
