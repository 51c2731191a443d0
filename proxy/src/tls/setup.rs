//! TLS of the whole process: every listener's and upstream's, loaded at the start, looked after later.
//!
//! Files are looked at rather than watched: a look costs one stat(2) each, works on every file system, and sees
//! a link that was turned elsewhere. A change is taken once the files have stood still from one look to the
//! next, so that a certificate and its key are not read half-way between the old pair and the new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;
use ringbolt_reactor::KtlsSupport;

use super::certificate::{EXPIRY_WARNING, Validity, unix_now};
use super::listener::Terminator;
use super::session::support as kernel_support;
use super::upstream::Originator;
use crate::config::Config;
use crate::limits::TLS_LOOK_INTERVAL;
use crate::reload::Stamp;

/// TLS of one configuration. See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// By listener.
    listeners: Vec<Option<Arc<Terminator>>>,
    /// By upstream, in order of names.
    upstreams: Vec<Option<Arc<Originator>>>,
}

/// That of the configuration that is served.
#[derive(Debug, Default)]
pub(crate) struct Current {
    setup: RwLock<Arc<Setup>>,
    pub(crate) reloads: Reloads,
}

impl Current {
    pub(crate) fn new(setup: Setup) -> Self {
        Self { setup: RwLock::new(Arc::new(setup)), reloads: Reloads::default() }
    }

    pub(crate) fn get(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read())
    }

    /// Another configuration is served.
    pub(crate) fn set(&self, setup: Arc<Setup>) {
        *self.setup.write() = setup;
    }

    /// Loads every file again. What is wrong is logged and counted, and stays as it was; nothing else notices.
    pub(crate) fn reload(&self) {
        let problems = self.get().reload();
        for problem in &problems {
            tracing::error!("TLS files are not taken, the old ones stay in use: {problem}");
        }
        let count = if problems.is_empty() { &self.reloads.taken } else { &self.reloads.refused };
        count.fetch_add(1, Relaxed);
        if problems.is_empty() {
            tracing::info!("TLS files loaded again");
        }
    }

    /// Loads the files again whenever they have changed. Never ends.
    pub(crate) async fn look_after(&self) {
        let mut in_use = self.get().seen();
        let mut last = in_use.clone();
        loop {
            tokio::time::sleep(TLS_LOOK_INTERVAL).await;
            let now = self.get().look();
            if now != in_use && now == last {
                self.reload();
                in_use = now.clone();
            }
            last = now;
        }
    }
}

/// How often files were loaded again.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) taken: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// Something to say about a certificate.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Clients will not accept it.
    pub(crate) fatal: bool,
    pub(crate) text: String,
}

/// What a look at files has found; `None` for one that is not there.
pub(super) type Look = BTreeMap<PathBuf, Option<Stamp>>;

/// Looks at these files.
pub(super) fn look(files: BTreeSet<PathBuf>) -> Look {
    files.into_iter().map(|file| (file.clone(), Stamp::of(&file))).collect()
}

impl Setup {
    /// Loads what `config` names.
    ///
    /// # Errors
    /// Every file that is wrong, each with the key that names it.
    pub(crate) fn load(config: &Config) -> Result<Self, Vec<String>> {
        Self::default().followed_by(config)
    }

    /// Loads what `config` names, but keeps what both have: its sessions, and what it serves in place of bad files.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn followed_by(&self, config: &Config) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut setup = Self::default();
        for listener in &config.listeners {
            let kept = |tls| self.listeners.iter().flatten().find(|terminator| terminator.is_of(tls));
            let terminator = listener.tls.as_ref().map(|tls| match kept(tls) {
                Some(kept) => Ok(Arc::clone(kept)),
                None => Terminator::load(tls).map(Arc::new),
            });
            setup.listeners.push(terminator.transpose().unwrap_or_else(|wrong| {
                problems.extend(wrong.iter().map(|wrong| format!("listener {}: {wrong}", listener.address)));
                None
            }));
        }
        for (name, upstream) in &config.upstreams {
            let kept = || self.upstreams.iter().flatten().find(|originator| originator.is_of(&upstream.tls));
            let originator = upstream.has_tls().then(|| match kept() {
                Some(kept) => Ok(Arc::clone(kept)),
                None => Originator::load(&upstream.tls).map(Arc::new),
            });
            setup.upstreams.push(originator.transpose().unwrap_or_else(|wrong| {
                problems.push(format!("upstream {name}: {wrong}"));
                None
            }));
        }
        if problems.is_empty() { Ok(setup) } else { Err(problems) }
    }

    /// What the kernel can do of TLS, where a listener's tunnels are to be its.
    pub(crate) fn kernel(&self) -> Option<&'static KtlsSupport> {
        self.listeners.iter().flatten().any(|terminator| terminator.wants_kernel()).then(kernel_support)
    }

    /// Of the listener of this number; `None`: it is plain.
    pub(crate) fn listener(&self, index: usize) -> Option<Arc<Terminator>> {
        self.listeners.get(index)?.clone()
    }

    /// Of the upstream of this number; `None`: none of its backends has TLS.
    pub(crate) fn upstream(&self, index: usize) -> Option<Arc<Originator>> {
        self.upstreams.get(index)?.clone()
    }

    /// Loads every file again. What is wrong with them stays as it was, and is returned.
    fn reload(&self) -> Vec<String> {
        let terminators = self.listeners.iter().flatten().flat_map(|terminator| terminator.reload());
        let originators = self.upstreams.iter().flatten().filter_map(|originator| originator.reload().err());
        terminators.chain(originators).collect()
    }

    fn look(&self) -> Look {
        let listeners = self.listeners.iter().flatten().map(|terminator| terminator.files());
        let upstreams = self.upstreams.iter().flatten().map(|originator| originator.files());
        look(listeners.chain(upstreams).flatten().collect())
    }

    /// What a look found before the files were loaded for the first time.
    fn seen(&self) -> Look {
        let listeners = self.listeners.iter().flatten().map(|terminator| terminator.seen());
        let upstreams = self.upstreams.iter().flatten().map(|originator| originator.seen());
        listeners.chain(upstreams).flat_map(Clone::clone).collect()
    }

    /// Every certificate in use, by its first name or its file's, and when it is valid.
    pub(crate) fn certificates(&self) -> BTreeMap<String, Validity> {
        let mut certificates = BTreeMap::new();
        for terminator in self.listeners.iter().flatten() {
            terminator.show(|files, certificate| {
                let file =
                    || files.certificate.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let name = certificate.names.first().cloned().unwrap_or_else(file);
                // Of two certificates of one name the one that ends first matters.
                let validity = certificates.entry(name).or_insert(certificate.validity);
                if certificate.validity.not_after < validity.not_after {
                    *validity = certificate.validity;
                }
            });
        }
        certificates
    }

    /// What about the certificates will fail or surprise, though they can be served.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let now = unix_now();
        let soon = now + i64::try_from(EXPIRY_WARNING.as_secs()).unwrap_or(0);
        for terminator in self.listeners.iter().flatten() {
            terminator.show(|files, certificate| {
                let file = files.certificate.display();
                let Validity { not_before, not_after } = certificate.validity;
                let mut add =
                    |fatal, text: &str| notices.push(Notice { fatal, text: format!("{file}: {text}") });
                if now > not_after {
                    add(true, &format!("has expired {} days ago", (now - not_after) / 86_400));
                } else if now < not_before {
                    add(true, "is not valid yet");
                } else if soon > not_after {
                    add(false, &format!("expires in {} days", (not_after - now) / 86_400));
                }
                certificate.warnings.iter().for_each(|warning| add(false, warning));
            });
        }
        notices
    }
}
