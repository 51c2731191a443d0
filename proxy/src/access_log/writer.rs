//! The thread that writes the access log out, and the queue to it.
//!
//! It may be as slow as the disk or the syslog daemon is: what does not fit into the queue meanwhile is dropped by the
//! workers.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread;
use std::time::Duration;

use rustix::fs::{self, Mode, OFlags};

use crate::config::{AccessLog, AccessOutput};
use crate::limits::{ACCESS_FINISH_TIMEOUT, ACCESS_QUEUE_BATCHES, ACCESS_SYSLOG_TIMEOUT};
use crate::metrics::WriterCounters;
use crate::start::StartError;

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// Lines, each with its end, and how many.
    Write(Vec<u8>, u32),
    /// Look at the flag.
    Reopen,
    /// Everything before this is to be written; then say so by dropping the sender.
    Finish(SyncSender<()>),
}

/// The way to the writer, for each worker.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    settings: Arc<AccessLog>,
    orders: SyncSender<Order>,
    /// Lines that did not fit, and nothing has been said of yet.
    dropped: Arc<AtomicU64>,
}

impl Queue {
    pub(super) fn settings(&self) -> &Arc<AccessLog> {
        &self.settings
    }

    /// Gives lines to the writer; `false`: the queue is full, and they are gone.
    pub(super) fn push(&self, batch: Vec<u8>, lines: u32) -> bool {
        let fits = self.orders.try_send(Order::Write(batch, lines)).is_ok();
        if !fits {
            self.dropped.fetch_add(lines.into(), Relaxed);
        }
        fits
    }
}

/// The writer, for whoever looks after it.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Queue,
    reopen: Arc<AtomicBool>,
}

impl Writer {
    /// Opens the output and starts the thread. To be called with the rights that a reopening will have.
    ///
    /// # Errors
    /// The file cannot be opened; no thread can be started.
    pub(crate) fn start(settings: &AccessLog, counters: Arc<WriterCounters>) -> Result<Self, StartError> {
        let failed = |error: io::Error| {
            StartError::new(format!("access_log.output: {}: {error}", shown(&settings.output)))
        };
        let output = Output::open(&settings.output).map_err(failed)?;
        let (orders, received) = mpsc::sync_channel(ACCESS_QUEUE_BATCHES);
        let dropped = Arc::<AtomicU64>::default();
        let queue = Queue { settings: Arc::new(settings.clone()), orders, dropped: Arc::clone(&dropped) };
        let reopen = Arc::<AtomicBool>::default();
        let thread = Thread {
            output,
            settings: settings.output.clone(),
            reopen: Arc::clone(&reopen),
            dropped,
            counters,
            is_failing: false,
        };
        let thread =
            thread::Builder::new().name("access-log".to_owned()).spawn(move || thread.run(&received));
        thread.map_err(failed)?;
        Ok(Self { queue, reopen })
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Makes the thread open its file anew.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Relaxed);
        // With a full queue it comes to look at the flag anyway.
        let _ = self.queue.orders.try_send(Order::Reopen);
    }

    /// Waits until what is in the queue has been written, but not for a disk that hangs.
    pub(crate) fn finish(&self) {
        let (done, is_done) = mpsc::sync_channel(0);
        let mut order = Order::Finish(done);
        for _ in 0..ACCESS_FINISH_TIMEOUT.as_millis() / FULL_PAUSE.as_millis() {
            match self.queue.orders.try_send(order) {
                Ok(()) => {
                    let ended = is_done.recv_timeout(ACCESS_FINISH_TIMEOUT);
                    if ended == Err(RecvTimeoutError::Timeout) {
                        tracing::warn!("the access log is not written in time, its last lines are lost");
                    }
                    return;
                }
                Err(mpsc::TrySendError::Full(back)) => order = back,
                Err(mpsc::TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(FULL_PAUSE);
        }
    }
}

/// Between two tries to put the last order into a full queue.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// An output in use.
#[derive(Debug)]
enum Output {
    Stderr,
    File(File),
    /// Without a connection while there is nobody on the other side.
    Syslog(PathBuf, Option<UnixDatagram>),
}

impl Output {
    fn open(output: &AccessOutput) -> io::Result<Self> {
        Ok(match output {
            AccessOutput::Stderr => Self::Stderr,
            AccessOutput::File(path) => Self::File(open_file(path)?),
            // A daemon that starts later is found later.
            AccessOutput::Syslog(path) => Self::Syslog(path.clone(), connect(path).ok()),
        })
    }

    /// Writes lines; gives the number of those that were lost, and why.
    fn write(&mut self, batch: &[u8], lines: u32) -> Result<(), (u64, io::Error)> {
        match self {
            Self::Stderr => io::stderr().write_all(batch).map_err(|error| (lines.into(), error)),
            Self::File(file) => file.write_all(batch).map_err(|error| (lines.into(), error)),
            Self::Syslog(path, socket) => {
                let lines_of = batch.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
                for (line, sent) in lines_of.zip(0..) {
                    // A daemon that takes no line takes none of those behind it either: each would be waited for.
                    send(path, socket, line)
                        .map_err(|error| (u64::from(lines.saturating_sub(sent)), error))?;
                }
                Ok(())
            }
        }
    }
}

/// Opens a file without waiting: a FIFO that nobody reads is an error, not the end of all logging.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = fs::open(path, flags, Mode::from_raw_mode(0o640))?;
    // From here on only the writer's thread waits, and loses no part of a line.
    fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file.into())
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(ACCESS_SYSLOG_TIMEOUT))?;
    Ok(socket)
}

/// Sends one line in the form that syslog daemons and journald read from a local socket: RFC 3164 without time and host,
/// which they know themselves. Facility local0, severity informational.
fn send(path: &Path, socket: &mut Option<UnixDatagram>, line: &[u8]) -> io::Result<()> {
    let mut message = format!("<134>ringbolt[{}]: ", std::process::id()).into_bytes();
    message.extend_from_slice(line);
    if let Some(connected) = socket {
        match connected.send(&message) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {}
        }
    }
    // The daemon was restarted, or was not there.
    *socket = None;
    let connected = connect(path)?;
    connected.send(&message)?;
    *socket = Some(connected);
    Ok(())
}

fn shown(output: &AccessOutput) -> String {
    match output {
        AccessOutput::Stderr => "stderr".to_owned(),
        AccessOutput::File(path) | AccessOutput::Syslog(path) => path.display().to_string(),
    }
}

/// What the thread has.
struct Thread {
    output: Output,
    settings: AccessOutput,
    reopen: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    counters: Arc<WriterCounters>,
    /// The last write has failed, and that has been said.
    is_failing: bool,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match orders.try_recv() {
                Err(TryRecvError::Empty) => {
                    self.tell_dropped();
                    orders.recv().ok()
                }
                order => order.ok(),
            };
            let Some(order) = order else { return };
            if self.reopen.swap(false, Relaxed) {
                self.open_anew();
            }
            match order {
                Order::Write(batch, lines) => self.write(&batch, lines),
                Order::Reopen => {}
                Order::Finish(done) => drop(done),
            }
        }
    }

    /// Everything there was has been written: says how much there should have been besides.
    fn tell_dropped(&self) {
        let lines = self.dropped.swap(0, Relaxed);
        if lines > 0 {
            let output = shown(&self.settings);
            tracing::warn!(output, lines, "the access log was too slow, lines were dropped");
        }
    }

    /// Where that fails the old file is written on.
    fn open_anew(&mut self) {
        match Output::open(&self.settings) {
            Ok(output) => {
                self.output = output;
                tracing::info!(output = %shown(&self.settings), "access log opened anew");
            }
            Err(error) => {
                tracing::error!(output = %shown(&self.settings), %error, "the access log cannot be opened anew");
            }
        }
    }

    fn write(&mut self, batch: &[u8], lines: u32) {
        match self.output.write(batch, lines) {
            Ok(()) => self.is_failing = false,
            Err((lost, error)) => {
                self.counters.access_lines_lost.add(lost);
                // Once, until it works again.
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(output = %shown(&self.settings), %error, "the access log cannot be written");
                }
            }
        }
    }
}
