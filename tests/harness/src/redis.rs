//! `redis-server`, which `cargo xtask tools` installs: empty at each start, and nothing of it left behind.

// tidy: allow cluster, what Redis calls servers that share the keys among them

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::own_address;
use crate::process::Process;
use crate::tls::Authority;

/// How long a server may take to listen, or a command to be done.
const LIMIT: Duration = Duration::from_secs(30);

/// Parts of a cluster's keys.
const SLOTS: usize = 16_384;

/// A server at an address of its own, which it has again when it is started again.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    arguments: Vec<String>,
    /// What `redis-cli` needs to be let in.
    login: Vec<String>,
    process: Option<Process>,
    _folder: TempDir,
}

impl Redis {
    /// A server for everybody.
    ///
    /// # Panics
    /// If it does not listen within 30 s.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[], &[])
    }

    /// A server that wants this password.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn with_password(password: &str) -> Self {
        Self::with(&["--requirepass", password], &["-a", password, "--no-auth-warning"])
    }

    /// A server that speaks TLS alone, with a certificate of this issuer for its address.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn with_tls(authority: &Authority) -> Self {
        let address = own_address();
        let files = authority.issue("redis", &[&address.ip().to_string()]);
        let path = |file: PathBuf| file.display().to_string();
        let (certificate, key, issuer) = (path(files.certificate), path(files.key), path(authority.file()));
        let port = address.port().to_string();
        let server = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &issuer];
        Self::at(address, &[&server[..], &files].concat(), &["--tls", "--cacert", &issuer])
    }

    /// A cluster of as many, each with its share of the slots.
    ///
    /// # Panics
    /// As [`Self::start`], or if they do not find each other.
    #[must_use]
    pub fn cluster<const COUNT: usize>() -> [Self; COUNT] {
        let servers = [(); COUNT].map(|()| {
            let address = own_address();
            let (port, host) = (address.port().to_string(), address.ip().to_string());
            // The others see a connection from another address of the loopback.
            Self::at(
                address,
                &["--port", &port, "--cluster-enabled", "yes", "--cluster-announce-ip", &host],
                &[],
            )
        });
        let first = servers[0].address;
        for (number, redis) in servers.iter().enumerate() {
            let slots = [number, number + 1].map(|number| SLOTS * number / COUNT);
            let [from, to] = [slots[0], slots[1] - 1].map(|slot| slot.to_string());
            redis.ask(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]);
            // Each its own, or they have to settle first which of them is right.
            redis.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            redis.ask(&["CLUSTER", "MEET", &first.ip().to_string(), &first.port().to_string()]);
        }
        let deadline = Instant::now() + LIMIT;
        let known = format!("cluster_known_nodes:{COUNT}\r\n");
        let is_ready = |redis: &Self| {
            let info = redis.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains(&known)
        };
        while !servers.iter().all(is_ready) {
            assert!(Instant::now() < deadline, "the cluster does not begin");
            thread::sleep(Duration::from_millis(20));
        }
        servers
    }

    fn with(server: &[&str], login: &[&str]) -> Self {
        let address = own_address();
        Self::at(address, &[&["--port", &address.port().to_string()], server].concat(), login)
    }

    fn at(address: SocketAddr, server: &[&str], login: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (host, at) = (address.ip().to_string(), folder.path().display().to_string());
        let own = ["--bind", &host, "--dir", &at, "--save", "", "--appendonly", "no", "--daemonize", "no"];
        let arguments = [&own[..], server].concat().into_iter().map(str::to_owned).collect();
        let login = login.iter().map(|&word| word.to_owned()).collect();
        let mut redis = Self { address, arguments, login, process: None, _folder: folder };
        redis.restart();
        redis
    }

    /// Starts it, or again and empty after [`Self::kill`].
    ///
    /// # Panics
    /// If it does not listen within 30 s.
    pub fn restart(&mut self) {
        self.process =
            Some(Process::spawn("redis-server", Command::new("redis-server").args(&self.arguments)));
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "nobody listens on {}", self.address);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once, with all it holds.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Makes it hang, or go on.
    ///
    /// # Panics
    /// If it was killed.
    pub fn hang(&self, hangs: bool) {
        let process = self.process.as_ref().expect("a server that runs");
        process.signal(if hangs { Signal::STOP } else { Signal::CONT });
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers to a command.
    ///
    /// # Panics
    /// If `redis-cli` cannot be run or says that something is wrong.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
        let output =
            command.args(&self.login).args(words).output().expect("redis-cli, of redis-server's package");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.starts_with("ERR"), "{words:?}: {said}");
        said
    }

    /// How often a command was carried out, such as `get`.
    #[must_use]
    pub fn calls(&self, command: &str) -> usize {
        let stats = self.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}
