//! The contestants: Ringbolt, nginx and HAProxy as child processes on a core of their own.
//!
//! Knows their command lines and configurations; knows nothing of what is measured.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cores::{self, Cores};
use crate::{machine, proc};

/// How long a proxy may take to listen.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

const NGINX_CONF: &str = include_str!("../peers/nginx.conf");
const HAPROXY_CFG: &str = include_str!("../peers/haproxy.cfg");

/// A contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ringbolt,
    Nginx,
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Ringbolt, Self::Nginx, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringbolt => "Ringbolt",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Threads of one worker and of what keeps house: Ringbolt's and nginx' first thread does.
    pub(crate) fn threads(self) -> usize {
        match self {
            Self::Ringbolt | Self::Nginx => 2,
            Self::Haproxy => 1,
        }
    }
}

/// The programs of the contestants.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    ringbolt: PathBuf,
    nginx: PathBuf,
    haproxy: PathBuf,
}

impl Programs {
    /// Finds all of them; Ringbolt beside this program, unless another is named. The error names the Debian
    /// packages of those that are missing.
    pub(crate) fn find(ringbolt: Option<PathBuf>) -> Result<Self, String> {
        let ringbolt = match ringbolt {
            Some(path) => path,
            None => machine::beside_this_program("ringbolt")?,
        };
        if !ringbolt.is_file() {
            return Err(format!("no proxy at {}; `cargo xtask bench peers` builds it", ringbolt.display()));
        }
        match (find_program("nginx"), find_program("haproxy")) {
            (Some(nginx), Some(haproxy)) => Ok(Self { ringbolt, nginx, haproxy }),
            (nginx, haproxy) => {
                let missing = [("nginx", nginx), ("haproxy", haproxy)];
                let names: Vec<&str> =
                    missing.into_iter().filter(|(_, path)| path.is_none()).map(|(name, _)| name).collect();
                Err(format!(
                    "not installed: {0}\n  on Debian: apt-get install --no-install-recommends {0}",
                    names.join(" ")
                ))
            }
        }
    }

    /// What the contestant says of its version.
    pub(crate) fn version(&self, kind: Kind) -> String {
        match kind {
            Kind::Ringbolt => first_line(&self.ringbolt, "--version"),
            Kind::Nginx => first_line(&self.nginx, "-v"),
            Kind::Haproxy => first_line(&self.haproxy, "-v"),
        }
    }
}

/// The first line a program says when asked with one word.
pub(crate) fn first_line(program: &Path, word: &str) -> String {
    let output = Command::new(program).arg(word).output();
    // nginx says it on standard error.
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

/// Daemons stand in /usr/sbin, which is not in every user's path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// What starting and ending a program depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Threads it has when it is ready.
    pub(crate) threads: usize,
    /// Bulk has a configuration of its own, and an address of its own.
    pub(crate) bulk_apart: bool,
    /// It has children, which only it can end.
    pub(crate) has_children: bool,
}

impl Program {
    fn of(kind: Kind) -> Self {
        Self {
            name: kind.name(),
            threads: kind.threads(),
            bulk_apart: kind != Kind::Ringbolt,
            has_children: kind == Kind::Nginx,
        }
    }
}

/// A running contestant. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    /// Where the configuration for bulk listens; the same as `address` where one serves both.
    pub(crate) address_bulk: SocketAddr,
    pub(crate) processes: Vec<u32>,
    child: Child,
    _folder: TempDir,
}

impl Peer {
    /// Starts it in front of `origin` and waits until it listens with all its threads.
    pub(crate) fn start(
        kind: Kind,
        programs: &Programs,
        origin: SocketAddr,
        on: Cores,
    ) -> Result<Self, String> {
        Self::launch(Program::of(kind), origin, on, |places| command(kind, programs, places))
    }

    /// As [`Peer::start`], for any program: `command` makes it listen where it is told.
    pub(crate) fn launch(
        program: Program,
        origin: SocketAddr,
        on: Cores,
        command: impl FnOnce(&Places<'_>) -> Result<Command, String>,
    ) -> Result<Self, String> {
        let folder = TempDir::with_prefix("ringbolt-bench-")
            .map_err(|error| format!("no temporary folder: {error}"))?;
        let [address, bulk] = free_addresses().map_err(|error| format!("no free port: {error}"))?;
        let address_bulk = if program.bulk_apart { bulk } else { address };
        let log = folder.path().join("output");
        let output =
            File::create(&log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let errors =
            output.try_clone().map_err(|error| format!("cannot write {}: {error}", log.display()))?;

        let places = Places { address, address_bulk, origin, folder: folder.path() };
        let mut command = command(&places)?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // The child inherits the core of the thread that starts it.
        cores::pin(on.proxy)?;
        let started = command.spawn();
        cores::pin(on.load)?;
        let child = started.map_err(|error| format!("cannot start {}: {error}", program.name))?;

        let mut peer = Self { program, address, address_bulk, processes: Vec::new(), child, _folder: folder };
        peer.wait_until_ready().map_err(|reason| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{} {reason}; it said:\n{said}", program.name)
        })?;
        Ok(peer)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            // nginx listens before it has started its worker.
            let processes = proc::tree(self.child.id());
            if proc::thread_names(&processes).len() >= self.program.threads
                && TcpStream::connect(self.address).is_ok()
            {
                self.processes = processes;
                return Ok(());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Err(format!("does not listen with all its threads after {} s", READY_TIMEOUT.as_secs()))
    }

    /// Whether it has all the processes it started with.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGTERM drains Ringbolt, which holds open tunnels; of nginx it also ends the worker.
        if self.program.has_children
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
            let deadline = Instant::now() + STOP_TIMEOUT;
            while Instant::now() < deadline && self.is_alive() {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is filled into a configuration or a command line.
pub(crate) struct Places<'a> {
    pub(crate) address: SocketAddr,
    address_bulk: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) folder: &'a Path,
}

impl Places<'_> {
    fn fill(&self, template: &str) -> String {
        template
            .replace("@LISTEN@", &self.address.to_string())
            .replace("@LISTEN_BULK@", &self.address_bulk.to_string())
            .replace("@LISTEN_PORT@", &self.address.port().to_string())
            .replace("@ORIGIN@", &self.origin.to_string())
            .replace("@ORIGIN_PORT@", &self.origin.port().to_string())
            .replace("@FOLDER@", &self.folder.display().to_string())
    }

    /// Writes a configuration and says where.
    pub(crate) fn write(&self, template: &str) -> Result<PathBuf, String> {
        let path = self.folder.join("configuration");
        fs::write(&path, self.fill(template))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }
}

/// A program that ends when this one ends, in whatever way.
pub(crate) fn bound_to_this(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    // Huge pages hide growth of up to 2 MiB in the first page that is touched. Only mimalloc reads this.
    command.env("MIMALLOC_ALLOW_THP", "0");
    command
}

fn command(kind: Kind, programs: &Programs, places: &Places<'_>) -> Result<Command, String> {
    let mut command = bound_to_this(match kind {
        Kind::Ringbolt => &programs.ringbolt,
        Kind::Nginx => &programs.nginx,
        Kind::Haproxy => &programs.haproxy,
    });
    match kind {
        Kind::Ringbolt => {
            command.arg("run");
            command.args(["--listen", &places.address.to_string(), "--backend", &places.origin.to_string()]);
            command.args(["--workers", "1", "--admin", "off", "--log-level", "warn"]);
        }
        Kind::Nginx => {
            command.arg("-p").arg(places.folder).arg("-c").arg(places.write(NGINX_CONF)?);
        }
        Kind::Haproxy => {
            command.arg("-db").arg("-f").arg(places.write(HAPROXY_CFG)?);
        }
    }
    Ok(command)
}

/// Two loopback addresses nobody listens on.
fn free_addresses() -> std::io::Result<[SocketAddr; 2]> {
    // Both at once, or they could be the same.
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?, two.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_configurations_is_filled() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let places = Places {
            address: address(1),
            address_bulk: address(2),
            origin: address(3),
            folder: Path::new("/folder"),
        };
        for template in [NGINX_CONF, HAPROXY_CFG] {
            let (head, filled) = template.split_once("by ringbolt-bench.").unwrap();
            assert!(head.contains("@NAME@"));
            let filled = places.fill(filled);
            assert!(!filled.contains('@'), "{filled}");
            for port in 1..=3 {
                assert!(filled.contains(&format!("127.0.0.1:{port}")), "{filled}");
            }
        }
    }

    #[test]
    fn a_missing_program_is_not_found_and_a_present_one_is() {
        assert_eq!(find_program("no-such-program-anywhere"), None);
        assert!(find_program("sh").is_some());
    }

    #[test]
    fn a_missing_proxy_says_what_builds_it() {
        let text = Programs::find(Some(PathBuf::from("/nowhere/ringbolt"))).unwrap_err();
        assert!(text.contains("cargo xtask bench peers"), "{text}");
    }
}
