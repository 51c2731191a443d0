//! Unmodified Socket.IO and Engine.IO servers, one process each.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::Process;
use crate::{install, socketio_folder};

/// How long a server may take to listen: generous, because several start at once on few cores.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// socket.io 2, speaks EIO=3.
    SocketIo2,
    /// socket.io 3 with `allowEIO3`.
    SocketIo3,
    /// socket.io 4 with `allowEIO3`.
    SocketIo4,
    /// python-socketio on uvicorn, speaks EIO=4.
    Python,
    /// engine.io 1.8 alone, the last with binary framing of every answer; speaks EIO=3.
    EngineIo1,
    /// engine.io 3 alone, speaks EIO=3.
    EngineIo3,
    /// engine.io 6 alone with `allowEIO3`.
    EngineIo6,
}

impl Kind {
    const COUNT: usize = Self::EngineIo6 as usize + 1;

    /// Protocol generations that this server speaks.
    #[must_use]
    pub fn generations(self) -> &'static [u8] {
        match self {
            Self::SocketIo2 | Self::EngineIo1 | Self::EngineIo3 => &[3],
            Self::SocketIo3 | Self::SocketIo4 | Self::EngineIo6 => &[3, 4],
            Self::Python => &[4],
        }
    }

    fn command(self) -> Command {
        let kind = match self {
            Self::SocketIo2 => "2",
            Self::SocketIo3 => "3",
            Self::SocketIo4 => "4",
            Self::EngineIo1 => "engine1",
            Self::EngineIo3 => "engine3",
            Self::EngineIo6 => "engine6",
            Self::Python => {
                let mut command = install::python();
                command.arg("server.py");
                return command;
            }
        };
        let mut command = Command::new("node");
        command.args(["server.js", kind]);
        command
    }
}

/// Running backends of one kind. They end with this value, and at the latest with the test's process: they watch
/// their standard input, so that a group kept in a `static` leaves nothing behind.
#[derive(Debug)]
pub struct Backends {
    kind: Kind,
    addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
}

impl Backends {
    /// Three backends of this kind, started once and shared by the tests of this process.
    ///
    /// For tests that leave their backends as they found them.
    ///
    /// # Panics
    /// If one does not listen within 60 s.
    pub fn shared(kind: Kind) -> &'static Self {
        static SHARED: [OnceLock<Backends>; Kind::COUNT] = [const { OnceLock::new() }; Kind::COUNT];
        SHARED[kind as usize].get_or_init(|| Self::start(kind, 3))
    }

    /// Starts `count` servers named `backend-1` and so on, and waits until all listen.
    ///
    /// # Panics
    /// If one does not listen within 60 s.
    #[must_use]
    pub fn start(kind: Kind, count: usize) -> Self {
        install::install();
        let start = |number| {
            let name = format!("backend-{number}");
            let mut command = kind.command();
            command.current_dir(socketio_folder()).env("BACKEND_NAME", &name);
            Process::spawn(name, &mut command)
        };
        let processes: Vec<Process> = (1..=count).map(start).collect();
        let port = |process: &Process| process.line("port", START_LIMIT, port_of);
        let addresses = processes.iter().map(|process| ([127, 0, 0, 1], port(process)).into()).collect();
        Self { kind, addresses, processes }
    }

    /// What these backends are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where they listen.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Their processes, in the order of the addresses.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// What the servers wrote beyond their ports: warnings, and the trace of one that died.
    pub(crate) fn account(&self) -> String {
        let said = |process: &Process| process.output().split_once('\n').map(|(_, rest)| rest.to_owned());
        self.processes.iter().filter_map(said).map(|rest| format!("\na backend wrote:\n{rest}")).collect()
    }
}

fn port_of(line: &str) -> Option<u16> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["port"].as_u64()?.try_into().ok()
}
