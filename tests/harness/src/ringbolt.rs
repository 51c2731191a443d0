//! The daemon under test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Grandchild, Process};
use crate::raw::WAIT;
use crate::socketio_folder;

/// How long the daemon may take to serve: generous, because many tests start at once on few cores.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Above the default of `timeouts.drain`.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// How long the admin address may take to answer.
const ADMIN_LIMIT: Duration = Duration::from_secs(10);

/// Engine of the daemons whose test leaves it open, so that a run can be repeated on another one.
const TEST_ENGINE: &str = "RINGBOLT_TEST_ENGINE";

/// `--engine` of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The daemon chooses, or the variable `RINGBOLT_TEST_ENGINE` where it is set.
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll, though io_uring may be there.
    Epoll,
}

/// Values of the metrics page, by name with labels: `name{label="value"}`.
pub type Metrics = BTreeMap<String, f64>;

/// How to start the daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// `env!("CARGO_BIN_EXE_ringbolt")` of the test.
    pub binary: PathBuf,
    /// Passed as `--backend` each; not used with `config`.
    pub backends: Vec<SocketAddr>,
    /// `--workers`; 0: as the configuration says.
    pub workers: usize,
    /// `--engine`.
    pub engine: Engine,
    /// The text of a TOML file in place of `--listen` and `--backend`. `FOLDER` in it is a folder of its own; with
    /// `socket = "FOLDER/admin.sock"` in `[admin]` orders can be given.
    pub config: Option<String>,
    /// More arguments, after all others.
    pub arguments: Vec<OsString>,
    /// More environment variables.
    pub environment: Vec<(String, String)>,
    /// Runs under a seccomp filter that answers EPERM to every io_uring call.
    pub without_io_uring: bool,
}

impl Options {
    /// Two workers, engine `auto`, nothing else.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, backends: &[SocketAddr]) -> Self {
        Self {
            binary: binary.into(),
            backends: backends.to_vec(),
            workers: 2,
            engine: Engine::Auto,
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            without_io_uring: false,
        }
    }
}

/// What the daemon's ready line tells.
#[derive(Debug, PartialEq)]
struct Ready {
    listeners: Vec<SocketAddr>,
    admin: SocketAddr,
    engine: String,
}

/// A daemon that serves. Dropping it kills it.
#[derive(Debug)]
pub struct Ringbolt {
    process: Process,
    /// The processes it was upgraded to, the one that serves last.
    successors: Vec<Grandchild>,
    ready: Ready,
    binary: PathBuf,
    /// Holds the configuration file as long as the daemon may read it.
    folder: TempDir,
}

impl Ringbolt {
    /// Starts the daemon on ports the kernel chooses and waits until it serves.
    ///
    /// # Panics
    /// If it ends, or does not say that it is ready within 30 s.
    #[must_use]
    pub fn start(options: &Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // What runs now, whatever a test puts in its place.
        let binary = fs::canonicalize(&options.binary).expect("the program is there");
        let process = Process::spawn("ringbolt", &mut command(options, &folder));
        let ready = process.line("ready line", START_LIMIT, Ready::from_line);
        Self { process, successors: Vec::new(), ready, binary, folder }
    }

    /// Address of the first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.ready.listeners[0]
    }

    /// Addresses of all listeners, in the order of the configuration.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.ready.listeners
    }

    /// Address of metrics and health.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.ready.admin
    }

    /// The engine in use: `uring` or `epoll`.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.ready.engine
    }

    /// Process id of the daemon that serves now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.successors.last().map_or(self.process.pid(), Grandchild::pid)
    }

    /// Sends a signal to the process that serves now.
    pub fn signal(&self, signal: Signal) {
        match self.successors.last() {
            Some(successor) => successor.signal(signal),
            None => self.process.signal(signal),
        }
    }

    /// Upgrades by SIGUSR2 and waits until the new process serves.
    ///
    /// # Panics
    /// If it does not within 30 s.
    pub fn upgrade(&mut self) -> Upgraded {
        self.signal(Signal::USR2);
        self.upgraded()
    }

    /// Waits for one more upgrade than there has been.
    ///
    /// # Panics
    /// If there is none within 30 s.
    pub fn upgraded(&mut self) -> Upgraded {
        let before = self.successors.len();
        let nth = |wanted: usize, message: &'static str| {
            let mut seen = 0;
            move |line: &str| {
                let line: Value =
                    serde_json::from_str(line).ok().filter(|line: &Value| line["message"] == message)?;
                seen += 1;
                (seen == wanted).then_some(line)
            }
        };
        let line = self.process.line("upgrade", START_LIMIT, nth(before + 1, UPGRADED));
        let number = |key: &str| line[key].as_u64().unwrap_or_else(|| panic!("no {key} in {line}"));
        let pid = u32::try_from(number("pid")).expect("a process id");
        self.successors.push(Grandchild::find(pid).expect("the new process runs"));
        let ready = self.process.line("new ready line", START_LIMIT, nth(before + 2, "ready"));
        self.ready = Ready::from_line(&ready.to_string()).expect("a ready line");
        Upgraded {
            tunnels: number("tunnels"),
            sids: number("sids"),
            staying: number("staying"),
            halted_ms: number("halted_ms"),
        }
    }

    /// Upgrades by SIGUSR2 and does something with the new process while it takes over. True: it failed to.
    ///
    /// # Panics
    /// If nothing comes of it within 60 s.
    pub fn upgrade_or(&mut self, disturb: impl FnOnce(&Grandchild)) -> bool {
        let lines = || self.process.output().lines().filter(|line| line.contains(NOT_UPGRADED)).count();
        let before = lines();
        self.signal(Signal::USR2);
        let deadline = Instant::now() + START_LIMIT;
        let successor = loop {
            if let Some(successor) = child_of(self.pid()).and_then(Grandchild::find) {
                break successor;
            }
            assert!(Instant::now() < deadline, "no new process:\n{}", self.process.output());
        };
        disturb(&successor);
        let mut seen = 0;
        self.process.line("end of the upgrade", 2 * START_LIMIT, |line| {
            seen += usize::from(line.contains(NOT_UPGRADED));
            (seen > before || line.contains(UPGRADED)).then_some(seen > before)
        })
    }

    /// Waits until the process that served before the last upgrade has ended.
    ///
    /// # Panics
    /// If it is still there after 40 s.
    pub fn former_ends(&mut self) {
        match self.successors.len() {
            0 => panic!("there was no upgrade"),
            1 => drop(self.process.wait(STOP_LIMIT)),
            count => self.successors[count - 2].wait(STOP_LIMIT),
        }
    }

    /// The process that was started first, for its log, which its successors write on.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The values on the metrics page now.
    ///
    /// # Panics
    /// If the page cannot be had within 10 s or a line of it cannot be read.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let page = get(self.admin(), "/metrics").unwrap_or_else(|error| panic!("metrics page: {error}"));
        let samples = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        samples.map(|line| sample(line).unwrap_or_else(|| panic!("metrics line {line}"))).collect()
    }

    /// Waits until a value on the metrics page is as it should be: who has seen something happen may be ahead of its count.
    ///
    /// # Panics
    /// After [`WAIT`].
    pub fn wait_for_metric(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(self.metrics()[name]) {
            assert!(Instant::now() < deadline, "{name} is {}", self.metrics()[name]);
            // What it waits for needs the processors, too.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often a session was looked for that lives at a backend. A client whose poll meets its own close is looked for
    /// too, but nobody has its session any more.
    #[must_use]
    pub fn sessions_lost(&self) -> f64 {
        self.metrics()["ringbolt_sid_lookups_total{result=\"found\"}"]
    }

    /// What the admin address answers to a GET of `path`, read as JSON.
    ///
    /// # Panics
    /// If nothing comes within 10 s, or something else.
    #[must_use]
    pub fn shown(&self, path: &str) -> Value {
        let text = get(self.admin(), path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// The process' own memory: its proportional set size, in bytes.
    ///
    /// # Panics
    /// If the kernel does not tell (it does since Linux 4.14).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let rollup =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("memory of the daemon");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a Pss line");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("kibibytes");
        kib * 1024
    }

    /// Names of the process' threads, those the kernel started for it included.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn thread_names(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("threads of the daemon");
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.flatten().map(|task| name(task).trim_end().to_owned()).collect()
    }

    /// Sends SIGTERM and waits until the drain has begun; [`Ringbolt::wait`] waits for its end.
    ///
    /// # Panics
    /// If the daemon does not say so within 10 s.
    pub fn drain(&self) {
        self.process.signal(Signal::TERM);
        let begun = |line: &str| line.contains("draining").then_some(());
        self.process.line("line about the drain", ADMIN_LIMIT, begun);
    }

    /// Waits for the daemon's end.
    ///
    /// # Panics
    /// If it is still there after 40 s.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait(STOP_LIMIT)
    }

    /// Puts another configuration file in place of the first, at once as a deployment does.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, text: &str) {
        write_config(&self.folder, text);
    }

    /// The configuration file as it is now.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn configuration(&self) -> String {
        fs::read_to_string(self.folder.path().join("ringbolt.toml")).expect("a configuration file")
    }

    /// The folder that the configuration file is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Gives an order such as `reload` over the admin socket; returns the exit code and what was said.
    ///
    /// # Panics
    /// If the command cannot be run.
    #[must_use]
    pub fn order(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--socket").arg(self.folder.path().join("admin.sock"));
        let output = command.output().expect("run the order");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Sends SIGTERM and waits for the end of the drain.
    ///
    /// # Panics
    /// If the daemon is still there after 40 s.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate(STOP_LIMIT)
    }
}

/// The log line of a process that was upgraded.
const UPGRADED: &str = "upgraded, another process serves";

/// The log line of a process that was not.
const NOT_UPGRADED: &str = "not upgraded, this process serves on";

/// A process that this one has started, if there is one.
fn child_of(pid: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads of the daemon");
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let children: Vec<String> = tasks.flatten().filter_map(children).collect();
    children.iter().flat_map(|children| children.split(' ')).find_map(|child| child.trim().parse().ok())
}

/// What the log tells of an upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Upgraded {
    /// Tunnels that were handed over.
    pub tunnels: u64,
    /// Sessions that were.
    pub sids: u64,
    /// Tunnels that the process before goes on to serve.
    pub staying: u64,
    /// How long tunnels were halted at most.
    pub halted_ms: u64,
}

impl Drop for Ringbolt {
    /// Nothing may survive a failed test, not even a process that it has not heard of yet.
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
        for line in self.process.output().lines().filter(|line| line.contains(UPGRADED)) {
            let pid = serde_json::from_str::<Value>(line).ok().and_then(|line| line["pid"].as_u64());
            drop(pid.and_then(|pid| u32::try_from(pid).ok()).and_then(Grandchild::find));
        }
    }
}

fn command(options: &Options, folder: &TempDir) -> Command {
    let mut command = if options.without_io_uring {
        let mut command = Command::new("python3");
        command.arg(socketio_folder().join("without_io_uring.py")).arg("--").arg(&options.binary);
        command
    } else {
        Command::new(&options.binary)
    };
    command.arg("run");
    if let Some(text) = &options.config {
        command.arg("--config").arg(write_config(folder, text));
    } else {
        command.args(["--listen", "127.0.0.1:0"]);
        for backend in &options.backends {
            command.arg("--backend").arg(backend.to_string());
        }
    }
    let engine = match options.engine {
        Engine::Auto => std::env::var(TEST_ENGINE).unwrap_or_else(|_| "auto".to_owned()),
        Engine::Uring => "uring".to_owned(),
        Engine::Epoll => "epoll".to_owned(),
    };
    command.args(["--admin", "127.0.0.1:0", "--log-format", "json", "--engine", &engine]);
    if options.workers > 0 {
        command.arg("--workers").arg(options.workers.to_string());
    }
    command.args(&options.arguments).envs(options.environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Writes the configuration file and returns its path. A reader finds the old text or the new one, never a part.
fn write_config(folder: &TempDir, text: &str) -> PathBuf {
    let (path, new) = (folder.path().join("ringbolt.toml"), folder.path().join("new.toml"));
    let own = folder.path().to_str().expect("a path of text");
    fs::write(&new, text.replace("FOLDER", own)).expect("write the configuration file");
    fs::rename(new, &path).expect("replace the configuration file");
    path
}

impl Ready {
    /// `None` for every other log line.
    fn from_line(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        if line["message"] != "ready" {
            return None;
        }
        let listeners = line["listeners"].as_str()?.split(',').map(|address| address.parse().ok());
        Some(Self {
            listeners: listeners.collect::<Option<_>>()?,
            admin: line["admin"].as_str()?.parse().ok()?,
            engine: line["engine"].as_str()?.to_owned(),
        })
    }
}

/// The body of a plain GET; HTTP/1.0, so that it ends with the connection.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ADMIN_LIMIT)?;
    stream.set_read_timeout(Some(ADMIN_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(answer)),
    }
}

/// Name with labels, and value, of one line of the Prometheus text format; label values may hold spaces.
fn sample(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.rsplit_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_told_from_others() {
        let line =
            r#"{"message":"ready","listeners":"127.0.0.1:1,[::1]:2","admin":"127.0.0.1:3","engine":"epoll"}"#;
        let ready = Ready::from_line(line).unwrap();
        assert_eq!(ready.listeners, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
        assert_eq!(ready.admin, "127.0.0.1:3".parse().unwrap());
        assert_eq!(ready.engine, "epoll");
        assert_eq!(Ready::from_line(r#"{"message":"ready soon"}"#), None);
        assert_eq!(Ready::from_line("not JSON"), None);
    }

    #[test]
    fn a_sample_keeps_its_labels() {
        let expected = (r#"requests_total{class="engine.io poll"}"#.to_owned(), 7.0);
        assert_eq!(sample(r#"requests_total{class="engine.io poll"} 7"#), Some(expected));
        assert_eq!(sample("name_without_value"), None);
    }
}
