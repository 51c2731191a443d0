//! Thousands of idle connections on a fresh process: what they cost in memory, at rest, and when one speaks.

use std::time::Duration;

use crate::cores::Cores;
use crate::load::connect::{self, Purpose};
use crate::load::origin::Play;
use crate::load::silence::{self, Silence};
use crate::load::{NoClients, Stage};
use crate::measure::{
    IDLE_EMPTY, IDLE_KEEP_ALIVE, IDLE_TUNNELS, KEEP_ALIVE_MEMORY, Measure, SILENCE, TUNNEL_MEMORY,
};
use crate::peer::{Kind, Peer, Programs};
use crate::proc;
use crate::sample::{self, Clocks, Sample, Times, Window};

/// As many as fit two processes with 20,000 descriptors each: a tunnel takes two in both.
const CONNECTIONS: usize = 9_000;
/// Opened first, so that what a process sets up once is not counted.
const FIRST: usize = 100;
/// After opening, before anything is read: what the proxy does late is done.
const SETTLE: Duration = Duration::from_millis(700);
/// How long closing all may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What one contestant gave, each with its row.
pub(crate) type Rows = Vec<(Measure, Result<Sample, String>)>;

/// All measurements with idle connections, and the names of the threads while tunnels are open.
pub(crate) fn take(
    stage: &mut Stage,
    kind: Kind,
    programs: &Programs,
    times: Times,
    cores: Cores,
) -> Result<(Rows, Vec<String>), String> {
    let mut rows = Vec::new();
    let peer = Peer::start(kind, programs, stage.origin.address(), cores)?;
    let window = Window { peer: &peer, times, cores };
    rows.push((IDLE_EMPTY, idle(stage, &window)));

    stage.origin.play = Play::Echo { length: silence::MESSAGE_BYTES, read_every: 1 };
    let first = connect::open(stage, peer.address, Purpose::Tunnel, FIRST)?;
    stage.run_for(&mut NoClients, SETTLE);
    let before = proc::own_memory(&peer.processes)?;
    let tunnels = connect::open(stage, peer.address, Purpose::Tunnel, CONNECTIONS)?;
    stage.run_for(&mut NoClients, SETTLE);
    rows.push((TUNNEL_MEMORY, memory(&peer, before)));
    rows.push((IDLE_TUNNELS, idle(stage, &window)));
    let threads = proc::thread_names(&peer.processes);
    rows.push((SILENCE, window.measure(stage, Silence::new(&tunnels), 1e6)));
    drop((first, tunnels));
    sample::close_tunnels(stage, CLOSE_TIMEOUT)?;
    stage.take_faults();

    drop(peer);
    let peer = Peer::start(kind, programs, stage.origin.address(), cores)?;
    let window = Window { peer: &peer, times, cores };
    let first = connect::open(stage, peer.address, Purpose::Session, FIRST)?;
    stage.run_for(&mut NoClients, SETTLE);
    let before = proc::own_memory(&peer.processes)?;
    let sessions = connect::open(stage, peer.address, Purpose::Session, CONNECTIONS)?;
    stage.run_for(&mut NoClients, SETTLE);
    rows.push((KEEP_ALIVE_MEMORY, memory(&peer, before)));
    rows.push((IDLE_KEEP_ALIVE, idle(stage, &window)));
    drop((first, sessions));
    Ok((rows, threads))
}

fn memory(peer: &Peer, before: u64) -> Result<Sample, String> {
    let after = proc::own_memory(&peer.processes)?;
    Ok(Sample { figure: after.saturating_sub(before) as f64 / CONNECTIONS as f64, ..Sample::default() })
}

fn idle(stage: &mut Stage, window: &Window<'_>) -> Result<Sample, String> {
    stage.run_for(&mut NoClients, window.times.warm_up);
    let before = Clocks::read(window)?;
    std::thread::sleep(window.times.measured);
    let mut sample = Clocks::read(window)?.since(&before);
    sample.figure *= 1000.0 / window.times.measured.as_secs_f64();
    Ok(sample)
}
