//! Another configuration in place of the one that is served, without a pause and without a second process.
//!
//! A configuration is read whole and judged before anything changes: whatever is wrong with it, the old one
//! serves on. What cannot change while the process runs keeps its value, and is said.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::cli::Run;
use crate::config::{Config, Refused};
use crate::discovery::Discovery;
use crate::edits::{Edit, Edits, Senseless};
use crate::health::Checks;
use crate::lifecycle::{Lifecycle, Phase};
use crate::limits::{ADOPT_TIMEOUT, RELOADS_WAITING_MAX, WATCH_INTERVAL};
use crate::metrics::label::Reload;
use crate::metrics::{Counters, HousekeepingCounters};
use crate::notify::Notify;
use crate::orders::{Loaded, Orders};
use crate::server::Server;
use crate::signals::Repeated;

#[cfg(test)]
mod tests;

/// Why the configuration is not served that was to be.
#[derive(Debug)]
pub(crate) enum NotReloaded {
    /// The file is refused.
    Refused(Refused),
    /// It is valid, and could not be put into effect; or there is no file, or no time for it.
    Failed(String),
}

/// What a reload came to.
pub(crate) type Outcome = Result<Reloaded, NotReloaded>;

/// The new configuration is served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// Keys whose new value waits for the next start.
    pub(crate) waiting: Vec<&'static str>,
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(formatter, "{refused}"),
            Self::Failed(cause) => formatter.write_str(cause),
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("reloaded")?;
        if !self.waiting.is_empty() {
            write!(formatter, "; changed, but kept until the next start: {}", self.waiting.join(", "))?;
        }
        Ok(())
    }
}

/// Why an edit is not served.
#[derive(Debug)]
pub(crate) enum NotEdited {
    Senseless(Senseless),
    NotServed(NotReloaded),
}

/// Something another thread or task wants to be served, and where to answer.
#[derive(Debug)]
enum Request {
    Reload(oneshot::Sender<Outcome>),
    Edit(Edit, oneshot::Sender<Result<(), NotEdited>>),
}

/// Where a reload or an edit is asked for, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    sender: mpsc::Sender<Request>,
    /// What is edited now.
    edits: Arc<Mutex<Edits>>,
    loaded: Arc<Mutex<Loaded>>,
    changing: Changing,
}

/// Held while the configuration or the process is being replaced, or what is ordered changes. True: another process
/// serves, and what changes here does not matter any more.
pub(crate) type Changing = Arc<tokio::sync::Mutex<bool>>;

/// What is ordered, reloaded or edited behind a hand-over would be lost.
const HANDED_OVER: &str = "another process has just taken over: try again";

impl Requests {
    /// Asks for a reload and waits for what it comes to.
    ///
    /// # Errors
    /// The configuration is refused, or the process has no time for it.
    pub(crate) async fn reload(&self) -> Outcome {
        self.ask(Request::Reload).await?
    }

    /// Asks for an edit and waits until it is served.
    ///
    /// # Errors
    /// It means nothing, or the process has no time for it.
    pub(crate) async fn edit(&self, edit: Edit) -> Result<(), NotEdited> {
        self.ask(|reply| Request::Edit(edit, reply)).await.map_err(NotEdited::NotServed)?
    }

    /// Upstream and name of a removed backend that is called so.
    pub(crate) fn removed(&self, wanted: &str) -> Option<(String, String)> {
        self.edits.lock().removed(wanted)
    }

    /// What is edited now.
    pub(crate) fn edits(&self) -> Edits {
        self.edits.lock().clone()
    }

    /// The file as it was loaded last.
    pub(crate) fn loaded(&self) -> Loaded {
        self.loaded.lock().clone()
    }

    /// Lets orders change until this is dropped.
    ///
    /// # Errors
    /// They would be lost: another process has taken over.
    pub(crate) async fn change(&self) -> Result<tokio::sync::MutexGuard<'_, bool>, &'static str> {
        let is_handed_over = self.changing.lock().await;
        if *is_handed_over { Err(HANDED_OVER) } else { Ok(is_handed_over) }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NotReloaded> {
        let (reply, outcome) = oneshot::channel();
        let busy = || NotReloaded::Failed("too many reloads are waiting already".to_owned());
        self.sender.try_send(request(reply)).map_err(|_| busy())?;
        outcome.await.map_err(|_| NotReloaded::Failed("the process is ending".to_owned()))
    }
}

/// Where the configuration comes from, the file as it was before it was read at the start, and what it held.
pub(crate) type Source = (Box<Run>, Option<Stamp>, String);

/// What reloads need: where the configuration comes from and who serves it.
#[derive(Debug)]
pub(crate) struct Reloader {
    run: Box<Run>,
    /// The file before it was read at the start.
    read_at_start: Option<Stamp>,
    server: RefCell<Server>,
    /// What the file said when it was last served: without what was found.
    file: RefCell<Arc<Config>>,
    discovery: RefCell<Discovery>,
    lifecycle: Arc<Lifecycle>,
    counters: Arc<HousekeepingCounters>,
    notify: Notify,
    checks: RefCell<Checks>,
    requests: Requests,
    requested: RefCell<Option<mpsc::Receiver<Request>>>,
}

impl Reloader {
    pub(crate) fn new(
        (run, read_at_start, text): Source,
        (file, discovery, edits): (Arc<Config>, Discovery, Edits),
        server: Server,
        lifecycle: Arc<Lifecycle>,
        counters: Arc<HousekeepingCounters>,
        notify: Notify,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(RELOADS_WAITING_MAX);
        counters.config_loaded_seconds.set(seconds_since_1970());
        counters.config_current.set(1);
        let checks = RefCell::new(Checks::new(server.served(), Arc::clone(&counters)));
        let (server, requested) = (RefCell::new(server), RefCell::new(Some(receiver)));
        let (file, discovery) = (RefCell::new(file), RefCell::new(discovery));
        let loaded = Loaded {
            // Whoever asks is elsewhere.
            file: run.file().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
            text: text.into(),
            flags: run.above_file(),
            waiting: Vec::new(),
        };
        Self {
            run,
            read_at_start,
            server,
            file,
            discovery,
            checks,
            lifecycle,
            counters,
            notify,
            requests: Requests {
                sender,
                edits: Arc::new(Mutex::new(edits)),
                loaded: Arc::new(Mutex::new(loaded)),
                changing: Changing::default(),
            },
            requested,
        }
    }

    /// What orders over the admin socket need.
    pub(crate) fn orders(&self, counters: Counters) -> Orders {
        let (requests, lifecycle) = (self.requests.clone(), Arc::clone(&self.lifecycle));
        self.server().orders(counters, lifecycle, requests)
    }

    /// Tells the service manager that the process will end, in this time at the latest.
    pub(crate) fn stopping(&self, within: Duration) {
        self.counters.draining.set(1);
        self.notify.stopping(within);
    }

    /// Tells workers so.
    pub(crate) fn drain(&self, deadline: Instant) {
        self.counters.draining.set(1);
        let mut server = self.server.borrow_mut();
        self.counters.drain_connections.set(server.connections() as u64);
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        self.counters.drain_deadline_seconds.set(seconds_since_1970() + left);
        server.drain(deadline);
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.notify
    }

    pub(crate) fn changing(&self) -> &Changing {
        &self.requests.changing
    }

    /// What is edited now.
    pub(crate) fn edits(&self) -> Edits {
        self.requests.edits()
    }

    pub(crate) fn server(&self) -> std::cell::Ref<'_, Server> {
        self.server.borrow()
    }

    /// Reloads whenever it is asked for: by SIGHUP, by [`Requests`], by a change of a watched file; and serves what
    /// backends are found. Never ends, and is run once.
    pub(crate) async fn attend(&self, mut hangups: Repeated) {
        let Some(mut requested) = self.requested.take() else { return };
        self.checks.borrow_mut().adopt();
        let mut watch = Watch::new(self.run.file(), self.read_at_start);
        loop {
            let found = self.discovery.borrow().changed();
            let (cause, reply) = tokio::select! {
                () = found => {
                    self.follow().await;
                    continue;
                }
                () = hangups.next() => ("SIGHUP", None),
                Some(request) = requested.recv() => match request {
                    Request::Reload(reply) => ("request", Some(reply)),
                    Request::Edit(edit, reply) => {
                        // Whoever asked may have gone.
                        let _ = reply.send(self.edit(edit).await);
                        continue;
                    }
                },
                () = watch.changed(|| self.server().config().reload.watch) => ("changed file", None),
            };
            watch.see();
            let outcome = self.reload(cause).await;
            if let Some(reply) = reply {
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
        }
    }

    /// Serves by what the file says now, and tells everybody how that went.
    async fn reload(&self, cause: &'static str) -> Outcome {
        let failed = |cause: &str| NotReloaded::Failed(cause.to_owned());
        let _changing = self.requests.change().await.map_err(failed)?;
        self.notify.reloading();
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(reloaded) => {
                self.counters.config_reloads.of(Reload::Ok).add(1);
                self.counters.config_loaded_seconds.set(seconds_since_1970());
                for key in &reloaded.waiting {
                    tracing::warn!(key, "changed in the file, but kept until the next start");
                }
                let server = self.server();
                self.notify.keep(server.listeners());
                let addresses: Vec<_> = server.addresses().iter().map(ToString::to_string).collect();
                tracing::info!(cause, listeners = %addresses.join(","), "reloaded");
            }
            Err(error) => {
                let label = match error {
                    NotReloaded::Refused(_) => Reload::Refused,
                    NotReloaded::Failed(_) => Reload::Failed,
                };
                self.counters.config_reloads.of(label).add(1);
                tracing::error!(cause, "not reloaded, the old configuration serves on: {error}");
            }
        }
        self.counters.config_current.set(outcome.is_ok().into());
        self.notify.ready(&match &outcome {
            Ok(reloaded) => reloaded.to_string(),
            Err(error) => format!("not reloaded, the old configuration serves on: {}", first_line(error)),
        });
        outcome
    }

    async fn try_reload(&self) -> Outcome {
        let failed = |cause: &dyn fmt::Display| NotReloaded::Failed(cause.to_string());
        if self.lifecycle.phase() == Phase::Draining {
            return Err(failed(&"the process is draining"));
        }
        if self.run.file().is_none() {
            return Err(failed(&"the process runs without a configuration file"));
        }
        let (mut config, text) = self.run.read().map_err(NotReloaded::Refused)?;
        let waiting = keep_fixed(&self.server().config(), &mut config);
        let (former, file) = (Arc::clone(&self.file.borrow()), Arc::new(config));
        // First, so that nobody is left without backends until they are found.
        self.discovery.borrow_mut().begin(&file);
        let settled = self.discovery.borrow().settled();
        settled.await;
        let edits = self.requests.edits.lock().differing(&self.discovery.borrow().complete(&file));
        let former_edits = std::mem::replace(&mut *self.requests.edits.lock(), edits);
        if let Err(error) = self.serve(&file).await {
            *self.requests.edits.lock() = former_edits;
            self.discovery.borrow_mut().begin(&former);
            self.discovery.borrow_mut().keep(&former);
            return Err(error);
        }
        self.discovery.borrow_mut().keep(&file);
        self.server().reload_tls();
        self.server().settle_orders();
        self.file.replace(file);
        let mut loaded = self.requests.loaded.lock();
        (loaded.text, loaded.waiting) = (text.into(), waiting.clone());
        Ok(Reloaded { waiting })
    }

    /// Serves by this file and what was found for it.
    async fn serve(&self, file: &Config) -> Result<(), NotReloaded> {
        let failed = |cause: &dyn fmt::Display| NotReloaded::Failed(cause.to_string());
        let config = self.requests.edits.lock().applied(&self.discovery.borrow().complete(file));
        let adopted = self.server.borrow_mut().adopt(Arc::new(config)).map_err(|error| failed(&error))?;
        if tokio::time::timeout(ADOPT_TIMEOUT, adopted).await.is_err() {
            return Err(failed(&"workers have not taken the new configuration in time"));
        }
        self.checks.borrow_mut().adopt();
        Ok(())
    }

    /// Serves by one more edit.
    async fn edit(&self, edit: Edit) -> Result<(), NotEdited> {
        let failed = |cause: &str| NotEdited::NotServed(NotReloaded::Failed(cause.to_owned()));
        let _changing = self.requests.change().await.map_err(failed)?;
        let file = Arc::clone(&self.file.borrow());
        let found = self.discovery.borrow().complete(&file);
        let edits = self.requests.edits.lock().with(edit, &found).map_err(NotEdited::Senseless)?;
        let former = std::mem::replace(&mut *self.requests.edits.lock(), edits);
        let served = self.serve(&file).await;
        if served.is_err() {
            *self.requests.edits.lock() = former;
        }
        served.map_err(NotEdited::NotServed)
    }

    /// Serves the backends that are found now.
    async fn follow(&self) {
        let is_handed_over = self.changing().lock().await;
        let file = Arc::clone(&self.file.borrow());
        let found = self.discovery.borrow().complete(&file);
        let is_served = self.requests.edits.lock().applied(&found) == *self.server().config();
        if is_served || *is_handed_over || self.lifecycle.phase() == Phase::Draining {
            return;
        }
        if let Err(error) = self.serve(&file).await {
            tracing::error!("backends that were found are not served yet: {error}");
            self.discovery.borrow().try_again();
        }
    }
}

/// Puts the values back that hold until the process ends, and names the keys that differed.
fn keep_fixed(served: &Config, config: &mut Config) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(
        name: &'static str,
        served: &T,
        new: &mut T,
        differing: &mut Vec<&'static str>,
    ) {
        if served != new {
            new.clone_from(served);
            differing.push(name);
        }
    }
    let mut differing = Vec::new();
    let changed = &mut differing;
    keep("process.user", &served.process.user, &mut config.process.user, changed);
    keep("process.group", &served.process.group, &mut config.process.group, changed);
    keep("workers.count", &served.workers.count, &mut config.workers.count, changed);
    keep("workers.engine", &served.workers.engine, &mut config.workers.engine, changed);
    keep("workers.pin", &served.workers.pin, &mut config.workers.pin, changed);
    keep("workers.steer", &served.workers.steer, &mut config.workers.steer, changed);
    keep("admin.address", &served.admin, &mut config.admin, changed);
    keep("admin.socket", &served.admin_socket, &mut config.admin_socket, changed);
    keep("limits.sids", &served.limits.sids, &mut config.limits.sids, changed);
    keep("limits.clients", &served.limits.clients, &mut config.limits.clients, changed);
    keep("directory", &served.directory, &mut config.directory, changed);
    keep("log.format", &served.log.format, &mut config.log.format, changed);
    keep("log.level", &served.log.level, &mut config.log.level, changed);
    keep("access_log", &served.access_log, &mut config.access_log, changed);
    keep("traces", &served.traces, &mut config.traces, changed);
    differing
}

/// The first line of a message: a status has but one.
fn first_line(error: &NotReloaded) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What tells one state of a file from another: one that is put in place of another has another inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// `None`: there is no such file now.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.size(), modified })
    }
}

/// Looks at a file from time to time.
pub(crate) struct Watch<'a> {
    file: Option<&'a Path>,
    /// When the configuration was last read.
    seen: Option<Stamp>,
    /// At the last look.
    last: Option<Stamp>,
}

impl<'a> Watch<'a> {
    /// `seen`: before the configuration was read at the start.
    pub(crate) fn new(file: Option<&'a Path>, seen: Option<Stamp>) -> Self {
        Self { file, seen, last: seen }
    }

    /// The file is about to be read.
    pub(crate) fn see(&mut self) {
        self.seen = self.file.and_then(Stamp::of);
        self.last = self.seen;
    }

    /// Resolves when the file has changed and rests, while `enabled` says so.
    pub(crate) async fn changed(&mut self, enabled: impl Fn() -> bool) {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let Some(now) = self.file.filter(|_| enabled()).and_then(Stamp::of) else { continue };
            let rests = self.last.replace(now) == Some(now);
            if rests && self.seen != Some(now) {
                return;
            }
        }
    }
}
