//! The commands to the running process, and what they send it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config;

/// Where a packaged daemon has its `admin.socket`.
const DEFAULT_SOCKET: &str = "/run/ringbolt/admin.sock";

const RELOAD_NOTES: &str = "\
Whatever is wrong with the file, the old configuration serves on. Exit codes: 0 served, 78 the file is refused,
1 it could not be put into effect or the process does not answer. Without admin.socket in the configuration:
kill -HUP, and the log tells how it went.";

const UPGRADE_NOTES: &str = "\
The new process gets the listening sockets, the sessions and the open tunnels; no tunnel is closed. The old one
finishes the requests it has begun and ends. Whatever is wrong with the new one, the old one serves on with all it
has. Exit codes: 0 upgraded, 1 not upgraded or the process does not answer. Without admin.socket in the
configuration: kill -USR2, and the log tells how it went.";

const SESSIONS_NOTES: &str = "\
Of a sid only a keyed digest is kept: `ringbolt session SID` prints it for a sid that is at hand. Sessions on
WebSocket are tunnels, whose sids nobody says any more: they are in a backend's load and not in the list. LEFT_OUT is
how many more there are than were printed.";

pub(super) const CONFIG_NOTES: &str = "\
--write keeps comments and order, and needs the right to write beside the file. `ringbolt reload` behind it makes what
was ordered the file's. Backends that DNS or a backends_file has named are not in the file, nor is what was ordered of
them.

Exit codes: 0 done, 1 not. With --diff: 0 nothing differs, 1 something does, 2 it cannot be told.";

/// How the running process is reached.
#[derive(Args, Debug)]
pub(crate) struct Reach {
    /// The process' admin.socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// How an answer is printed.
#[derive(Args, Debug)]
pub(crate) struct Form {
    #[command(flatten)]
    reach: Reach,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Form {
    fn print(&self) -> Print {
        if self.json { Print::Text } else { Print::Table }
    }
}

/// A backend of the running process.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// Its name, or UPSTREAM/NAME
    backend: String,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `ringbolt config`.
#[derive(Args, Debug)]
pub(crate) struct Configuration {
    /// Print a file that means what is in effect: the file as it was loaded, with what was ordered in it
    #[arg(long, required_unless_present_any = ["diff", "write"], conflicts_with_all = ["diff", "write"])]
    pub(crate) dump: bool,

    /// Print what was ordered that the file does not say
    #[arg(long, conflicts_with = "write")]
    pub(crate) diff: bool,

    /// Write what was ordered into the file, which must be as it was loaded
    #[arg(long)]
    pub(crate) write: bool,

    /// With --diff: print JSON for programs
    #[arg(long, requires = "diff")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// A command to the running process.
#[derive(Subcommand, Debug)]
pub(crate) enum Order {
    /// Make the running process serve by its configuration file as it is now
    #[command(after_help = RELOAD_NOTES)]
    Reload(Reach),
    /// Make the running process start the program that is now at its path and hand everything over to it
    #[command(after_help = UPGRADE_NOTES)]
    Upgrade(Reach),
    /// Print what the running process is doing
    Status(Form),
    /// Print the backends of the running process and how they stand
    Backends(Form),
    /// Print which backend has a session
    Session {
        /// The session's sid
        sid: String,
        #[command(flatten)]
        form: Form,
    },
    /// Print the living sessions whose sids are known, with the number of each backend before them
    #[command(after_help = SESSIONS_NOTES)]
    Sessions {
        /// Only those of this backend: its name, or UPSTREAM/NAME
        #[arg(long)]
        backend: Option<String>,
        /// Print at most this many sessions (default: 100), up to 10000
        #[arg(long, value_name = "COUNT")]
        limit: Option<u32>,
        #[command(flatten)]
        form: Form,
    },
    /// Give a backend no new sessions; it keeps its own
    Drain {
        #[command(flatten)]
        named: Named,
        /// Close its tunnels and polling sessions evenly over this time, such as 10m
        #[arg(long, value_name = "DURATION", value_parser = config::duration, conflicts_with = "rate")]
        over: Option<Duration>,
        /// Close at most this many of them a second
        #[arg(long, value_name = "COUNT")]
        rate: Option<u32>,
    },
    /// Give a backend nothing at all; open tunnels go on
    Maintenance(Named),
    /// Give a backend new sessions again
    Enable(Named),
    /// Change a backend's weight
    Weight {
        #[command(flatten)]
        named: Named,
        /// From 1 to 1000
        weight: u32,
    },
    /// Add a backend to an upstream
    Add {
        /// The upstream's name
        upstream: String,
        /// IP address and port
        address: String,
        /// By default the address
        #[arg(long)]
        name: Option<String>,
        /// From 1 to 1000
        #[arg(long)]
        weight: Option<u32>,
        /// It gets new sessions only while no other backend can
        #[arg(long)]
        backup: bool,
        /// Requests and tunnels at once
        #[arg(long, value_name = "COUNT")]
        maxconn: Option<u32>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take a backend out of its upstream: its tunnels go on, its sessions are unknown
    Remove(Named),
    /// Forget what was ordered about a backend: what the file says holds again
    Reset(Named),
}

/// How the answer to an order is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Print {
    /// As it is.
    Text,
    /// An object or a list of them, for people.
    Table,
}

/// A request to the running process.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) socket: &'a PathBuf,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Value>,
    pub(crate) print: Print,
}

impl Order {
    /// What is sent for it.
    pub(crate) fn ask(&self) -> Ask<'_> {
        let get = |form: &Form, path| (path, None, form.print());
        let post = |path, body| (path, Some(body), Print::Text);
        let state = |named: &Named, state| {
            post("/backends/state", json!({ "backend": named.backend, "state": state }))
        };
        let (socket, (path, body, print)) = match self {
            Self::Reload(reach) => (&reach.socket, post("/reload", Value::Null)),
            Self::Upgrade(reach) => (&reach.socket, post("/upgrade", Value::Null)),
            Self::Status(form) => (&form.reach.socket, get(form, "/status")),
            Self::Backends(form) => (&form.reach.socket, get(form, "/backends")),
            Self::Session { sid, form } => {
                (&form.reach.socket, ("/session", Some(json!({ "sid": sid })), form.print()))
            }
            Self::Sessions { backend, limit, form } => {
                let question = json!({ "backend": backend, "limit": limit });
                (&form.reach.socket, ("/sessions", Some(question), form.print()))
            }
            Self::Drain { named, over, rate } => {
                let over = over.map(|over| over.as_secs());
                let order =
                    json!({ "backend": named.backend, "state": "drain", "over_seconds": over, "rate": rate });
                (&named.reach.socket, post("/backends/state", order))
            }
            Self::Maintenance(named) => (&named.reach.socket, state(named, "maintenance")),
            Self::Enable(named) => (&named.reach.socket, state(named, "up")),
            Self::Weight { named, weight } => {
                let order = json!({ "backend": named.backend, "weight": weight });
                (&named.reach.socket, post("/backends/weight", order))
            }
            Self::Add { upstream, address, name, weight, backup, maxconn, reach } => {
                let order = json!({
                    "upstream": upstream, "address": address, "name": name, "weight": weight,
                    "backup": backup, "maxconn": maxconn,
                });
                (&reach.socket, post("/backends/add", order))
            }
            Self::Remove(named) => {
                (&named.reach.socket, post("/backends/remove", json!({ "backend": named.backend })))
            }
            Self::Reset(named) => {
                (&named.reach.socket, post("/backends/reset", json!({ "backend": named.backend })))
            }
        };
        let method = if body.is_some() { "POST" } else { "GET" };
        Ask { socket, method, path, body, print }
    }
}
