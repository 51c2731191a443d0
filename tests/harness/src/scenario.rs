//! One scenario of `tests/socketio`, run by a real client through every lane of a test.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::backends::Backends;
use crate::process::Process;
use crate::{install, socketio_folder};

/// What a client program may take beyond the scenario's limit, to start and to end.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The client of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// socket.io-client 2, or engine.io-client 3.
    Node2,
    /// socket.io-client 3.
    Node3,
    /// socket.io-client 4, or engine.io-client 6.
    Node4,
    /// python-socketio.
    Python,
}

/// One way to the backends, with a name for messages.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Such as `uring-2`.
    pub name: String,
    /// Where the clients connect: `http://127.0.0.1:8080`.
    pub url: String,
}

impl Lane {
    /// A lane over plain HTTP.
    #[must_use]
    pub fn plain(name: impl Into<String>, address: SocketAddr) -> Self {
        Self { name: name.into(), url: format!("http://{address}") }
    }
}

/// A scenario, its client, and what is behind the lanes.
#[derive(Clone, Copy, Debug)]
pub struct Scenario<'a> {
    /// Name in `client.js` or `client.py`.
    pub name: &'a str,
    /// Who runs it.
    pub client: Client,
    /// How long it may take.
    pub limit: Duration,
}

impl Scenario<'_> {
    /// Runs the scenario through all lanes with one client process.
    ///
    /// # Panics
    /// If it does not hold on every lane; the message is the client's own account, lane by lane.
    pub fn run(self, backends: &Backends, lanes: &[Lane]) {
        self.run_believing(None, backends, lanes);
    }

    /// As [`Self::run`], where the client believes certificates of this issuer.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn run_believing(self, issuer: Option<&Path>, backends: &Backends, lanes: &[Lane]) {
        install::install();
        let mut command = self.command(backends);
        command.current_dir(socketio_folder()).arg("--limit").arg(self.limit.as_secs().to_string());
        for lane in lanes {
            command.arg("--lane").arg(format!("{}={}", lane.name, lane.url));
        }
        if let Some(issuer) = issuer {
            // As node, Python's ssl and requests call it.
            for variable in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
                command.env(variable, issuer);
            }
        }
        let mut process = Process::spawn(format!("client of {}", self.name), &mut command);
        let status = process.wait(self.limit + START_LIMIT);
        let output = process.whole_output();
        let Self { name, client, .. } = self;
        assert!(status.success(), "{name} with {client:?}: {}{}", account(&output), backends.account());
    }

    fn command(self, backends: &Backends) -> Command {
        let version = match self.client {
            Client::Node2 => "2",
            Client::Node3 => "3",
            Client::Node4 => "4",
            Client::Python => {
                let mut command = install::python();
                command.args(["client.py", self.name]);
                return command;
            }
        };
        let mut command = Command::new("node");
        command.args(["client.js", self.name, "--version", version]);
        for address in backends.addresses() {
            command.arg("--backend").arg(format!("http://{address}"));
        }
        for generation in backends.kind().generations() {
            command.arg("--eio").arg(generation.to_string());
        }
        command
    }
}

/// The lanes that failed and why, for people; the whole output if the client did not get that far.
fn account(output: &str) -> String {
    let result = output.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let Some(Value::Array(lanes)) = result.map(|mut result| result["results"].take()) else {
        return output.to_owned();
    };
    let failed = lanes.iter().filter(|lane| lane["ok"] == false);
    failed
        .map(|lane| {
            let text = |key| lane[key].as_str().unwrap_or_default();
            format!("\nlane {}: {}", text("lane"), text("error"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_names_the_failed_lanes_only() {
        let output = concat!(
            "a warning of the client\n",
            r#"{"ok":false,"results":[{"lane":"a","ok":true},{"lane":"b","ok":false,"error":"400"}]}"#
        );
        assert_eq!(account(output), "\nlane b: 400");
        assert_eq!(account("died early"), "died early");
    }
}
