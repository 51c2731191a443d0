//! Where a run takes place: in a network namespace of its own if that is allowed, and with priority if
//! that is asked for.
//!
//! Congestion control belongs to the namespace. With bbr, the default of many machines, pacing makes bulk
//! on loopback a matter of luck, so a namespace of its own gets one that does not pace. Done by
//! becoming `unshare` and then this program again, which needs no unsafe call.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::setpriority_process;

/// What `arranged` says in a namespace of its own.
const OWN: &str = "in a network namespace of its own";
/// The first that may be had: in a namespace only those that tcp_allowed_congestion_control of the machine
/// names, which is reno at least.
const CONGESTION_CONTROLS: [&str; 2] = ["cubic", "reno"];
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// Only where sched_autogroup is built in, and there it counts for more than the process' own priority.
const SESSION_PRIORITY: &str = "/proc/self/autogroup";
const HIGHEST_PRIORITY: i32 = -20;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Surroundings {
    /// Stay in the machine's network, with its congestion control
    #[arg(long)]
    host_network: bool,
    /// Run at nice -20 (root only): a quieter table, and a machine that does little else meanwhile
    #[arg(long)]
    priority: bool,
    /// How the network was arranged, said by the program that started this one
    #[arg(long, hide = true, value_name = "TEXT")]
    arranged: Option<String>,
}

impl Surroundings {
    /// Arranges them; where that takes another start, does not return. Says for the table which network it is.
    pub(crate) fn enter(&self) -> Result<String, String> {
        let Some(arranged) = &self.arranged else { return self.arrange() };
        if arranged == OWN {
            open_loopback(Command::new("ip"))?;
            // The table names what is in force, also where this is refused.
            let _ = CONGESTION_CONTROLS.iter().find(|name| fs::write(CONGESTION_CONTROL, name).is_ok());
        }
        if self.priority {
            setpriority_process(None, HIGHEST_PRIORITY)
                .map_err(|error| format!("cannot take priority: {error}"))?;
            if Path::new(SESSION_PRIORITY).exists() {
                fs::write(SESSION_PRIORITY, HIGHEST_PRIORITY.to_string())
                    .map_err(|error| format!("cannot give the session priority: {error}"))?;
            }
        }
        Ok(arranged.clone())
    }

    fn arrange(&self) -> Result<String, String> {
        let mut words: Vec<OsString> = Vec::new();
        if self.priority {
            // A session of its own, or the terminal would have the priority too; it ends with this one.
            words.extend(["setsid", "--wait", "setpriv", "--pdeathsig", "TERM", "--"].map(OsString::from));
        }
        let unshare = ["unshare", "--net", "--"];
        let network = if self.host_network {
            "in the machine's network, as asked".to_owned()
        } else {
            let mut trial = Command::new(unshare[0]);
            trial.args(&unshare[1..]).arg("ip");
            match open_loopback(trial) {
                Ok(()) => {
                    words.extend(unshare.map(OsString::from));
                    OWN.to_owned()
                }
                Err(reason) => {
                    format!("in the machine's network, because one of its own was refused: {reason}")
                }
            }
        };
        if words.is_empty() {
            return Ok(network);
        }
        let own =
            std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
        let mut arguments = std::env::args_os().skip(1);
        words.push(own.into());
        // Behind the command's name: what follows may be another program's arguments.
        words.extend(arguments.next());
        words.extend(["--arranged".into(), network.into()]);
        words.extend(arguments);
        let error = Command::new(&words[0]).args(&words[1..]).exec();
        Err(format!("cannot start {}: {error}", words[0].display()))
    }
}

/// A new namespace's loopback is down. `ip` is the command that runs `ip`.
fn open_loopback(mut ip: Command) -> Result<(), String> {
    let output = ip
        .args(["link", "set", "lo", "up"])
        .output()
        .map_err(|error| format!("{}: {error}", ip.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no reason given").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(arranged: Option<&str>) -> Surroundings {
        Surroundings { host_network: true, priority: false, arranged: arranged.map(str::to_owned) }
    }

    #[test]
    fn the_machines_network_takes_no_second_start() {
        assert_eq!(surroundings(None).enter().as_deref(), Ok("in the machine's network, as asked"));
        assert_eq!(surroundings(Some("as said")).enter().as_deref(), Ok("as said"));
    }

    #[test]
    fn a_program_that_is_missing_or_refuses_is_named_with_its_reason() {
        let missing = open_loopback(Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(missing.contains("no-such-program-anywhere"), "{missing}");
        let mut refusing = Command::new("sh");
        refusing.args(["-c", "echo not allowed >&2; exit 1"]);
        assert_eq!(open_loopback(refusing).unwrap_err(), "not allowed");
    }
}
