//! `bench with PROGRAM`: starts each proxy in turn, in front of the same origin and with the same
//! configuration as in the table, and runs a program of somebody else against it.
//!
//! The origin answers polls and sends back whatever comes through a tunnel.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::With;
use crate::cores::{self, Cores};
use crate::load::connect::{self, Purpose};
use crate::load::origin::Play;
use crate::load::{NoClients, Stage};
use crate::peer::{Kind, Peer, Programs};

/// How long a program may take with one proxy.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks whether it has ended: the origin shares its core.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(options: &With) -> Result<(), String> {
    let network = options.surroundings.enter()?;
    let programs = Programs::find(options.ringbolt.clone())?;
    let cores = Cores::choose()?;
    // The program inherits it.
    cores::pin(cores.load)?;
    let mut stage = Stage::new().map_err(|error| format!("cannot open the origin: {error}"))?;
    println!(
        "loopback {network}; congestion control {}",
        crate::machine::setting("net/ipv4/tcp_congestion_control")
    );
    for kind in Kind::ALL {
        let peer = Peer::start(kind, &programs, stage.origin.address(), cores)?;
        stage.origin.play = Play::Mirror;
        let session = connect::open(&mut stage, peer.address, Purpose::Session, 1)?;
        let sid = session.first().map(|link| link.sid.as_str()).unwrap_or_default();
        println!("\n== {}: {}", kind.name(), programs.version(kind));
        let status = attend(&mut stage, start(options, &peer, kind, sid)?)?;
        if let Some(fault) = stage.take_faults().first {
            return Err(format!("{}: {fault}", kind.name()));
        }
        if !status.success() {
            return Err(format!("{}: the program ended with {status}", kind.name()));
        }
    }
    Ok(())
}

fn start(options: &With, peer: &Peer, kind: Kind, sid: &str) -> Result<Child, String> {
    let [program, arguments @ ..] = options.program.as_slice() else { return Err("no program".to_owned()) };
    let processes: Vec<String> = peer.processes.iter().map(u32::to_string).collect();
    let address: SocketAddr = peer.address;
    Command::new(program)
        .args(arguments)
        .env("NAME", kind.name())
        .env("ADDRESS", address.to_string())
        .env("SID", sid)
        .env("PIDS", processes.join(" "))
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))
}

/// Is the origin until the program has ended.
fn attend(stage: &mut Stage, mut child: Child) -> Result<ExitStatus, String> {
    let looks = TIMEOUT.as_millis() / LOOK_INTERVAL.as_millis();
    for _ in 0..looks {
        stage.run_for(&mut NoClients, LOOK_INTERVAL);
        if let Some(status) = child.try_wait().map_err(|error| format!("cannot wait for it: {error}"))? {
            return Ok(status);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("the program had not ended after {} s", TIMEOUT.as_secs()))
}
