//! The command line: `run`, `check`, `plan`, `doctor`, `version`, the orders to a running process, and `-t` as in nginx.
//!
//! Decides what was asked for and turns flags into a [`Config`]; does none of it. Values are read by
//! the same rules as in the file.

mod orders;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Admin, Affinity, Config, Engine, LogFormat, LogLevel, Refused};
use crate::import;

pub(crate) use self::orders::{Ask, Configuration, Order, Print};

/// Exit code for a configuration that is refused: EX_CONFIG of sysexits.h.
///
/// Not 1, so that a service manager can be told not to try again
/// (`RestartPreventExitStatus=78` in a systemd unit).
pub(crate) const EXIT_CONFIG: u8 = 78;

/// `ringbolt --version` and `ringbolt version`.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    format!("{version} ({arch}-linux, engines: uring, epoll)")
});

const EXIT_CODES: &str = "\
Exit codes:
  0    done; after SIGTERM or SIGINT: drained
  1    the start or the run failed
  2    the command line is not understood
  78   the configuration is refused
  130  a second SIGINT ended the process at once
  143  a second SIGTERM ended the process at once";

const RUN_USAGE: &str = "\
ringbolt run -c <FILE> [OPTIONS]
       ringbolt run --listen <ADDRESS>... --backend <ADDRESS>... [OPTIONS]";

const WITHOUT_FILE: &str = "Without a file";

const OVER_FILE: &str = "Instead of what the file says";

const RUN_EXAMPLES: &str = "\
Signals:
  SIGHUP           read the configuration file again and serve by it
  SIGUSR1          open the access log anew
  SIGUSR2          start the program at the path of this one and hand everything over to it
  SIGTERM, SIGINT  drain: no new connections, finish what is under way until timeouts.drain, then exit
  a second one     exit at once

Examples:
  ringbolt run -c /etc/ringbolt.toml
  ringbolt run --listen 0.0.0.0:8080 --backend 10.0.0.1:3000 --backend 10.0.0.2:3000";

const TOP_NOTES: &str = "\
q ends it, the arrows scroll the backends. It changes nothing.

Examples:
  ringbolt top
  ringbolt top --address 127.0.0.1:9180 --once";

const PLAN_NOTES: &str = "\
Reads /proc and changes nothing. What one tunnel costs was measured; kernel-tuning/README.md says how.

Examples:
  ringbolt plan --tunnels 1000000
  ringbolt plan --tunnels 200000 -c /etc/ringbolt.toml --json";

const TUNE_NOTES: &str = "\
Changes nothing without --apply, and nothing for longer than until the next boot.

Exit codes: 0 every setting suffices, or was changed; 3 one is below; 1 one could not be changed.

Examples:
  ringbolt tune --tunnels 1000000
  ringbolt tune -c /etc/ringbolt.toml --apply
  ringbolt tune --revert";

const DOCTOR_NOTES: &str = "\
Sends no message of the application and closes the sessions it opens. Works against any proxy.

Exit codes: 0 nothing is wrong, 3 a warning, 4 a fault; 1 it could not look.

Examples:
  ringbolt doctor http://chat.example.com
  ringbolt doctor --quick --json http://10.0.0.1:8080/app/chat.io/
  ringbolt doctor --host -c /etc/ringbolt.toml";

const IMPORT_NOTES: &str = "\
Prints the new configuration, and on standard error every directive that is not in it, with its line and why.
Names of servers stay names, which Ringbolt looks up while it serves. Changes nothing, reads no other file.

Exit codes: 0 all of it is there or not needed, 3 something is missing; 1 there is nothing to serve.

Examples:
  ringbolt import /etc/nginx/nginx.conf > ringbolt.toml
  ringbolt import --resolve app01=10.0.0.1 -o /etc/ringbolt/ringbolt.toml /etc/haproxy/haproxy.cfg";

/// Edge proxy for Socket.IO and WebSocket services: every session stays with its backend.
#[derive(Parser, Debug)]
#[command(
    name = "ringbolt",
    version = VERSION.as_str(),
    after_help = EXIT_CODES,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    test: Test,
}

/// `ringbolt -t -c FILE`
#[derive(Args, Debug)]
struct Test {
    /// Check the configuration and exit, as `ringbolt check` does
    #[arg(short = 't', long = "test", requires = "config")]
    test: bool,

    /// The configuration file for -t
    #[arg(short, long, value_name = "FILE", requires = "test")]
    config: Option<PathBuf>,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve, with a configuration file or with the addresses given here
    #[command(override_usage = RUN_USAGE, after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Read a configuration file, report everything that is wrong with it, and exit
    Check {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    #[command(flatten)]
    Order(Order),
    /// Print the configuration in effect or how it differs from its file, or write that into the file
    #[command(after_help = orders::CONFIG_NOTES)]
    Config(Configuration),
    /// Show in the terminal what the running process does, renewed every second
    #[command(after_help = TOP_NOTES)]
    Top(Top),
    /// Print what a number of tunnels takes, and whether this machine gives it
    #[command(after_help = PLAN_NOTES)]
    Plan(Plan),
    /// Print the kernel's settings beside what a number of tunnels takes, set them, or take that back
    #[command(after_help = TUNE_NOTES)]
    Tune(Tune),
    /// Translate the configuration of nginx, HAProxy or stunnel, and say what is missing
    #[command(after_help = IMPORT_NOTES)]
    Import(Import),
    /// Play a client of a service through whatever stands in front of it, and say what is wrong
    #[command(after_help = DOCTOR_NOTES)]
    Doctor(Doctor),
    /// Print version, architecture and engines
    Version,
}

/// Flags of `ringbolt top`.
#[derive(Args, Debug)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) reach: orders::Reach,

    /// Ask admin.address instead of the socket
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
    pub(crate) address: Option<SocketAddr>,

    /// Print one frame as text and exit
    #[arg(long)]
    pub(crate) once: bool,
}

/// Flags of `ringbolt plan`.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Tunnels open at the same time
    #[arg(long, value_name = "COUNT", value_parser = tunnel_count)]
    pub(crate) tunnels: u32,

    /// Take workers, engine, limits and backends from this configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print JSON for programs, in bytes and numbers
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `ringbolt tune`.
#[derive(Args, Debug)]
pub(crate) struct Tune {
    /// Tunnels open at the same time; by default limits.connections
    #[arg(long, value_name = "COUNT", value_parser = tunnel_count)]
    pub(crate) tunnels: Option<u32>,

    /// Take workers, engine, limits and listeners from this configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Set what is below; the values before are kept in the record
    #[arg(long)]
    pub(crate) apply: bool,

    /// Bring the values of the record back
    #[arg(long, conflicts_with_all = ["apply", "json", "tunnels", "config"])]
    pub(crate) revert: bool,

    /// Where the values before are kept
    #[arg(long, value_name = "FILE", default_value = "/var/lib/ringbolt/tune.json")]
    pub(crate) record: PathBuf,

    /// Print JSON for programs
    #[arg(long, conflicts_with = "apply")]
    pub(crate) json: bool,
}

/// Flags of `ringbolt import`.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The configuration of the other proxy
    pub(crate) file: PathBuf,

    /// Whose it is: nginx, haproxy, traefik, stunnel (default: seen from what it says)
    #[arg(long, value_name = "PROXY", value_parser = import::Kind::parse)]
    pub(crate) from: Option<import::Kind>,

    /// Write to this new file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// The address to write in place of a server's name; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = resolved)]
    pub(crate) resolve: Vec<(String, IpAddr)>,
}

/// Flags of `ringbolt doctor`.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Of the service, as its clients reach it: http[s]://HOST[:PORT][/PATH/]; the path is /socket.io/ by default
    #[arg(required_unless_present = "host", conflicts_with = "host")]
    pub(crate) url: Option<String>,

    /// Look at this machine instead: what its kernel offers, limits, clock, settings
    #[arg(long)]
    pub(crate) host: bool,

    /// With --host: take limits and listeners from this configuration file
    #[arg(short, long, value_name = "FILE", requires = "host")]
    pub(crate) config: Option<PathBuf>,

    /// Generation of Engine.IO: 4 for Socket.IO 3 and 4, 3 for Socket.IO 1 and 2
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(3..=4))]
    pub(crate) eio: u8,

    /// Sessions to open when looking for lost ones
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) sessions: u16,

    /// How long a tunnel is kept open, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 65, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) idle: u64,

    /// Believe the issuers in this PEM file, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// Go on whatever is wrong with the certificate
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Leave out what takes long: the held poll and the idle tunnel
    #[arg(long)]
    pub(crate) quick: bool,

    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `ringbolt run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "listen",
        conflicts_with_all = ["listen", "backend", "affinity"]
    )]
    config: Option<PathBuf>,

    /// Listen here; may be repeated; port 0: any free port
    #[arg(long, value_name = "ADDRESS", help_heading = WITHOUT_FILE)]
    #[arg(value_parser = config::listen_address, requires = "backend")]
    listen: Vec<SocketAddr>,

    /// Send requests here; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = WITHOUT_FILE)]
    #[arg(value_parser = config::backend_address, requires = "listen")]
    backend: Vec<SocketAddr>,

    /// What binds a session to its backend:
    /// engine-io (default), client-ip, header:NAME, cookie:NAME, none
    #[arg(long, value_name = "AFFINITY", help_heading = WITHOUT_FILE, verbatim_doc_comment)]
    #[arg(value_parser = config::affinity, requires = "listen")]
    affinity: Option<Affinity>,

    /// How workers learn that a socket is ready: uring, epoll,
    /// or auto (default): io_uring, or epoll where the kernel refuses it
    #[arg(long, value_name = "ENGINE", help_heading = OVER_FILE, verbatim_doc_comment)]
    #[arg(value_parser = config::engine)]
    engine: Option<Engine>,

    /// Worker threads (default: one for each core)
    #[arg(long, value_name = "COUNT", help_heading = OVER_FILE, value_parser = worker_count)]
    workers: Option<usize>,

    /// Address of metrics and health, or off (default: 127.0.0.1:9180)
    #[arg(long, value_name = "ADDRESS", help_heading = OVER_FILE, value_parser = admin)]
    admin: Option<AdminFlag>,

    /// Form of log lines: text (default), json
    #[arg(long, value_name = "FORMAT", help_heading = OVER_FILE, value_parser = config::log_format)]
    log_format: Option<LogFormat>,

    /// Least important events to log: error, warn, info (default), debug, trace
    #[arg(long, value_name = "LEVEL", help_heading = OVER_FILE, value_parser = config::log_level)]
    log_level: Option<LogLevel>,
}

/// An address or `off`. Of its own because an `Option` would mean an absent flag to clap.
#[derive(Clone, Copy, Debug)]
enum AdminFlag {
    Off,
    At(SocketAddr),
}

impl Cli {
    /// What was asked for. `-t` is `check`.
    pub(crate) fn into_command(self) -> Command {
        match (self.command, self.test.config) {
            (Some(command), _) => command,
            (None, Some(config)) => Command::Check { config },
            // Without arguments clap has shown the help and left already.
            (None, None) => Command::Version,
        }
    }
}

impl Run {
    /// The configuration file, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The flags that stand above the file.
    pub(crate) fn above_file(&self) -> Vec<&'static str> {
        let given = [
            ("--engine", self.engine.is_some()),
            ("--workers", self.workers.is_some()),
            ("--admin", self.admin.is_some()),
            ("--log-format", self.log_format.is_some()),
            ("--log-level", self.log_level.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }

    /// The configuration: the file's or the flags', with the other flags applied to it; and the file's text.
    ///
    /// # Errors
    ///
    /// The configuration is refused.
    pub(crate) fn read(&self) -> Result<(Config, String), Refused> {
        let (mut config, text) = match &self.config {
            Some(file) => Config::read(file)?,
            None => {
                let affinity = self.affinity.clone().unwrap_or_default();
                (Config::without_file(&self.listen, &self.backend, affinity)?, String::new())
            }
        };
        if let Some(engine) = self.engine {
            config.workers.engine = engine;
        }
        if let Some(workers) = self.workers {
            config.workers.count = Some(workers);
        }
        match self.admin {
            Some(AdminFlag::Off) => config.admin = None,
            Some(AdminFlag::At(address)) => config.admin = Some(Admin { address }),
            None => {}
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        if let Some(level) = self.log_level {
            config.log.level = level;
        }
        match config.token_problem() {
            Some(problem) => Err(Refused::whole("command line", &format!("--admin: {problem}"))),
            None => Ok((config, text)),
        }
    }
}

fn resolved(text: &str) -> Result<(String, IpAddr), String> {
    text.split_once('=')
        .and_then(|(name, address)| Some((name.to_owned(), address.parse().ok()?)))
        .ok_or_else(|| "expected NAME=ADDRESS, for example app01=10.0.0.1".to_owned())
}

fn tunnel_count(text: &str) -> Result<u32, String> {
    let range = config::bounds::TABLE_ENTRIES;
    let refused = || format!("expected a whole number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|count| range.contains(count)).ok_or_else(refused)
}

fn worker_count(text: &str) -> Result<usize, String> {
    let most = config::bounds::WORKERS_MAX;
    text.parse()
        .ok()
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

fn admin(text: &str) -> Result<AdminFlag, String> {
    match text {
        "off" => Ok(AdminFlag::Off),
        _ => config::listen_address(text)
            .map(AdminFlag::At)
            .map_err(|problem| format!(r#"{problem}, or "off""#)),
    }
}

#[cfg(test)]
mod pages;
#[cfg(test)]
mod tests;
