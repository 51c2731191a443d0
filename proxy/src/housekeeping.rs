//! The housekeeping thread: signals, reloads, upgrades, the files of TLS, the admin address and the admin socket.
//!
//! Ordinary tokio, on one thread (decision D7). It never touches a client's connection; it tells the
//! workers what to serve by and when to drain, and learns when they have ended.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::admin::{self, View};
use crate::config::{Config, Timeouts};
use crate::directory;
use crate::discovery::Discovery;
use crate::handover::Upgrader;
use crate::lifecycle::{Lifecycle, Phase};
use crate::orders::Orders;
use crate::outputs::Outputs;
use crate::reload::Reloader;
use crate::signals::{Repeated, Signals, Stop};
use crate::status::Collector;
use crate::tls;
use crate::watchdog;

/// Past the drain deadline workers still close what is open. This long, then something is wrong.
const CLOSING: Duration = Duration::from_secs(2);

/// The housekeeping thread before it runs: signals are taken over, nothing is answered yet.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    runtime: Runtime,
    signals: Signals,
    hangups: Repeated,
    upgrades: Repeated,
    reopenings: Repeated,
}

/// What the housekeeping thread looks after.
#[derive(Debug)]
pub(crate) struct Duties {
    /// The admin address, bound; `None` when switched off.
    pub(crate) admin: Option<TcpListener>,
    /// The admin socket, bound, and its path; `None` when there is none.
    pub(crate) socket: Option<(UnixListener, PathBuf)>,
    pub(crate) view: Arc<View>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) collector: Collector,
    pub(crate) reloader: Reloader,
    /// Its files are looked after.
    pub(crate) tls: Arc<tls::Current>,
    pub(crate) upgrader: Upgrader,
    /// Its way to the shared directory, where there is one.
    pub(crate) directory: Option<directory::Service>,
    /// Where lines of the access log and spans go.
    pub(crate) outputs: Outputs,
}

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every worker has drained.
    Drained,
    /// A second signal: at once, whatever is open.
    Forced(Stop),
    /// Workers did not end although the drain deadline has passed: a mistake of ours.
    Stuck,
    /// The workers ended without being told to: a mistake of ours.
    Deserted,
}

impl End {
    /// The exit code, as `ringbolt --help` documents it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::Forced(stop) => stop.exit_code(),
            Self::Stuck | Self::Deserted => 1,
        }
    }
}

impl Housekeeping {
    /// Takes the signals over, before the first worker starts: from here on none is lost, and none
    /// ends the process by itself.
    ///
    /// # Errors
    ///
    /// No descriptor is left for the runtime's event queue.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (signals, hangups, upgrades, reopenings) = runtime.block_on(async {
            let (hangups, upgrades) = (Repeated::hangups()?, Repeated::upgrades()?);
            Ok::<_, io::Error>((Signals::new()?, hangups, upgrades, Repeated::reopenings()?))
        })?;
        Ok(Self { runtime, signals, hangups, upgrades, reopenings })
    }

    /// Looks for the backends that `config` does not name, so that they are there when the first client comes.
    pub(crate) fn discover(&self, discovery: &mut Discovery, config: &Config) {
        self.runtime.block_on(async {
            discovery.begin(config);
            discovery.settled().await;
        });
    }

    /// Connects to the shared directory, so that it is there when the first client comes.
    pub(crate) fn connect(&self, directory: &mut directory::Service) {
        self.runtime.block_on(directory.begin());
    }

    /// Runs on the calling thread until the process is to end.
    ///
    /// `workers_ended` resolves when the last worker has ended: send to it or drop its sender.
    ///
    /// # Errors
    ///
    /// The admin address or socket fails as a whole.
    pub(crate) fn run(self, duties: Duties, workers_ended: oneshot::Receiver<()>) -> io::Result<End> {
        let Self { runtime, mut signals, hangups, upgrades, reopenings } = self;
        let Duties {
            admin,
            socket,
            view,
            orders,
            collector,
            reloader,
            tls,
            upgrader,
            directory,
            mut outputs,
        } = duties;
        let (handed_over, is_handed_over) = watch::channel(false);
        let path = socket.as_ref().map(|(_, path)| path.clone());
        let ended = runtime.block_on(async {
            let mut successor = Some(is_handed_over.clone());
            // Another process can only be the first reason to stop: it is no second signal.
            let next_stop = async || match successor.take() {
                Some(mut successor) => tokio::select! {
                    stop = signals.next() => stop,
                    () = handed_over_by(&mut successor) => Stop::HandedOver,
                },
                None => signals.next().await,
            };
            let stopping = |stop| {
                let server = reloader.server();
                let Timeouts { drain, drain_delay, .. } = server.config().timeouts;
                if stop == Stop::HandedOver {
                    return DrainTimes { delay: Duration::ZERO, drain };
                }
                upgrader.abort();
                reloader.stopping(drain_delay + drain + CLOSING);
                DrainTimes { delay: drain_delay, drain }
            };
            let drain = |timeout| reloader.drain(Instant::now() + timeout);
            let watch = watch_for_end(next_stop, &view.lifecycle, stopping, drain, workers_ended);
            let all = admin::orders(orders, upgrader.requests());
            let serve_address = async {
                let Some(listener) = admin else { return std::future::pending().await };
                unless(is_handed_over.clone(), admin::serve(listener, Arc::clone(&view), all.clone())).await
            };
            let serve_socket = async {
                let Some((listener, _)) = socket else { return std::future::pending().await };
                unless(is_handed_over.clone(), admin::serve_socket(listener, Arc::clone(&view), all.clone()))
                    .await
            };
            let closed = |what| io::Error::other(format!("the admin {what} has closed"));
            tokio::select! {
                end = watch => Ok(end),
                served = serve_address => served.and(Err(closed("address"))),
                served = serve_socket => served.and(Err(closed("socket"))),
                () = view.status.attend(collector) => Err(io::Error::other("nobody collects the status")),
                () = tls.look_after() => Err(io::Error::other("nobody looks after certificates")),
                () = reloader.attend(hangups) => Err(io::Error::other("reloads have ended")),
                () = attend(directory) => Err(io::Error::other("nobody attends the shared directory")),
                () = outputs.attend(reopenings) => Err(io::Error::other("nobody looks after logs")),
                () = watchdog::attend(&reloader) => Err(io::Error::other("the watchdog has ended")),
                () = upgrader.attend(&reloader, upgrades, handed_over) => {
                    Err(io::Error::other("upgrades have ended"))
                }
            }
        });
        if matches!(ended, Ok(End::Drained)) {
            upgrader.finish(&reloader);
        }
        runtime.block_on(outputs.finish());
        if let Some(path) = path.filter(|_| !*is_handed_over.borrow()) {
            // Gone already, if somebody tidied up.
            let _ = std::fs::remove_file(path);
        }
        ended
    }
}

/// Serves the shared directory. Without one there is nothing to do.
async fn attend(directory: Option<directory::Service>) {
    match directory {
        Some(service) => Box::pin(service.attend()).await,
        None => std::future::pending().await,
    }
}

/// Resolves when another process has taken over.
async fn handed_over_by(is_handed_over: &mut watch::Receiver<bool>) {
    if is_handed_over.wait_for(|handed_over| *handed_over).await.is_err() {
        std::future::pending().await
    }
}

/// Serves until another process does, and then no more: what is under way is finished by tasks of its own.
async fn unless(
    mut is_handed_over: watch::Receiver<bool>,
    serving: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::select! {
        served = serving => served,
        () = handed_over_by(&mut is_handed_over) => std::future::pending().await,
    }
}

/// How long an end takes that was asked for.
struct DrainTimes {
    /// The process is not ready any more, so that balancers turn away, and serves as before.
    delay: Duration,
    drain: Duration,
}

/// Waits for the signals and the workers.
async fn watch_for_end(
    mut next_stop: impl AsyncFnMut() -> Stop,
    lifecycle: &Lifecycle,
    stopping: impl FnOnce(Stop) -> DrainTimes,
    drain: impl FnOnce(Duration),
    mut workers_ended: oneshot::Receiver<()>,
) -> End {
    let first = tokio::select! {
        stop = next_stop() => stop,
        _ = &mut workers_ended => {
            tracing::error!("the workers have ended without being told to");
            return End::Deserted;
        }
    };
    lifecycle.enter(Phase::Draining);
    let times = stopping(first);
    let forced = |second: Stop| {
        tracing::warn!(signal = second.name(), "second signal: exiting with connections open");
        End::Forced(second)
    };
    if !times.delay.is_zero() {
        let delay_seconds = times.delay.as_secs_f64();
        tracing::info!(
            signal = first.name(),
            delay_seconds,
            "not ready any more; a second signal exits at once"
        );
        tokio::select! {
            second = next_stop() => return forced(second),
            () = tokio::time::sleep(times.delay) => {}
        }
    }
    let timeout_seconds = times.drain.as_secs_f64();
    // First, so that it is true when it is said.
    drain(times.drain);
    tracing::info!(signal = first.name(), timeout_seconds, "draining; a second signal exits at once");
    tokio::select! {
        _ = &mut workers_ended => {
            tracing::info!("drained");
            End::Drained
        }
        second = next_stop() => forced(second),
        () = tokio::time::sleep(times.drain + CLOSING) => {
            tracing::error!("workers go on after the drain deadline; exiting all the same");
            End::Stuck
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How the process ends after these signals when workers need `drain_takes` to drain.
    fn end(stops: &[Stop], drain_takes: Option<Duration>) -> (End, Lifecycle) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let lifecycle = Lifecycle::default();
        let drained = Cell::new(0);
        let mut stops = stops.iter();
        let next_stop = async || match stops.next() {
            Some(stop) => *stop,
            None => std::future::pending().await,
        };
        let (workers_end, workers_ended) = oneshot::channel();
        let end = runtime.block_on(async {
            let drain = |_| {
                drained.set(drained.get() + 1);
                if let Some(takes) = drain_takes {
                    tokio::spawn(async move {
                        tokio::time::sleep(takes).await;
                        drop(workers_end);
                    });
                } else {
                    std::mem::forget(workers_end);
                }
            };
            let stopping = |_| DrainTimes { delay: Duration::ZERO, drain: Duration::ZERO };
            watch_for_end(next_stop, &lifecycle, stopping, drain, workers_ended).await
        });
        assert_eq!(drained.get(), 1);
        (end, lifecycle)
    }

    #[test]
    fn the_first_signal_drains() {
        let (end, lifecycle) = end(&[Stop::Terminate], Some(Duration::from_millis(1)));
        assert_eq!((end, end.exit_code()), (End::Drained, 0));
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }

    #[test]
    fn the_second_signal_ends_at_once() {
        let (ended, _) = end(&[Stop::Terminate, Stop::Interrupt], None);
        assert_eq!((ended, ended.exit_code()), (End::Forced(Stop::Interrupt), 130));
        assert_eq!(Stop::Terminate.exit_code(), 143);
    }

    #[test]
    fn workers_that_go_on_do_not_keep_the_process_alive() {
        let (ended, _) = end(&[Stop::Interrupt], None);
        assert_eq!((ended, ended.exit_code()), (End::Stuck, 1));
    }

    #[test]
    fn workers_that_end_by_themselves_end_the_process() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (workers_end, workers_ended) = oneshot::channel::<()>();
        drop(workers_end);
        let never = async || std::future::pending().await;
        let stopping = |_| panic!("nobody has asked for it");
        let drain = |_| panic!("there is nothing to drain");
        let ended =
            runtime.block_on(watch_for_end(never, &Lifecycle::default(), stopping, drain, workers_ended));
        assert_eq!((ended, ended.exit_code()), (End::Deserted, 1));
    }
}
