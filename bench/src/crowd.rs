//! Thousands of idle connections on a fresh process: what they cost in memory, at rest, and when one speaks.

use std::time::Duration;

use crate::cores::Cores;
use crate::load::connect::{self, Link, Purpose};
use crate::load::origin::Play;
use crate::load::paced::{Paced, Wire};
use crate::load::{NoClients, Stage, burst};
use crate::measure::{
    BURST_MEMORY, IDLE_EMPTY, IDLE_GROWTH, IDLE_KEEP_ALIVE, IDLE_TUNNELS, KEEP_ALIVE_MEMORY, Measure,
    SILENCE, TUNNEL_MEMORY,
};
use crate::peer::{Kind, Peer, Programs};
use crate::proc;
use crate::sample::{self, Clocks, Sample, Times, Window};

/// As many as fit two processes with 20,000 descriptors each: a tunnel takes two in both.
const CONNECTIONS: usize = 9_000;
/// Opened first, so that what a process sets up once is not counted.
const FIRST: usize = 100;
/// Of all tunnels in a second: 1 % of them in each tenth, so that each has been silent for ten seconds.
const MESSAGES_PER_SECOND: u32 = 900;
const MESSAGE_BYTES: usize = 64;
/// Between a burst and the look at what is left of it.
const AFTER_BURST: Duration = Duration::from_secs(4);
/// After opening, before anything is read: what the proxy does late is done.
const SETTLE: Duration = Duration::from_millis(700);
/// How long closing all may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What one contestant gave, each with its row.
pub(crate) type Rows = Vec<(Measure, Result<Sample, String>)>;

/// All measurements with idle connections.
pub(crate) fn take(
    stage: &mut Stage,
    kind: Kind,
    programs: &Programs,
    times: Times,
    cores: Cores,
) -> Result<Rows, String> {
    let mut rows = tunnels(stage, kind, programs, times, cores)?;
    rows.extend(sessions(stage, kind, programs, times, cores)?);
    Ok(rows)
}

fn tunnels(
    stage: &mut Stage,
    kind: Kind,
    programs: &Programs,
    times: Times,
    cores: Cores,
) -> Result<Rows, String> {
    let mut rows = Vec::new();
    let peer = Peer::start(kind, programs, stage.origin.address(), cores)?;
    let window = Window { peer: &peer, times, cores };
    let empty = idle(stage, &window);

    stage.origin.play = Play::Echo { length: MESSAGE_BYTES, read_every: 1 };
    let Idle { first, tunnels, before, memory: of_tunnels } = open_tunnels(stage, &peer)?;
    rows.push((TUNNEL_MEMORY, of_tunnels));
    let idling = idle(stage, &window);
    rows.push((IDLE_GROWTH, growth(&empty, &idling)));
    rows.extend([(IDLE_EMPTY, empty), (IDLE_TUNNELS, idling)]);
    let talk = Paced::new(&tunnels, Wire::Messages { length: MESSAGE_BYTES }, MESSAGES_PER_SECOND);
    rows.push((SILENCE, window.measure(stage, talk, 1e6)));
    let burst = burst::run(stage, &tunnels);
    stage.run_for(&mut NoClients, AFTER_BURST);
    rows.push((BURST_MEMORY, burst.and_then(|()| memory(&peer, before))));
    drop((first, tunnels));
    sample::close_tunnels(stage, CLOSE_TIMEOUT)?;
    stage.take_faults();
    Ok(rows)
}

fn sessions(
    stage: &mut Stage,
    kind: Kind,
    programs: &Programs,
    times: Times,
    cores: Cores,
) -> Result<Rows, String> {
    let mut rows = Vec::new();
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
    Ok(rows)
}

/// Tunnels in which nothing moves.
#[derive(Debug)]
pub(crate) struct Idle {
    first: Vec<Link>,
    tunnels: Vec<Link>,
    /// Own memory when the first of them were open.
    before: u64,
    /// Own memory of one of the others.
    pub(crate) memory: Result<Sample, String>,
}

/// Opens tunnels through a fresh process.
pub(crate) fn open_tunnels(stage: &mut Stage, peer: &Peer) -> Result<Idle, String> {
    let first = connect::open(stage, peer.address, Purpose::Tunnel, FIRST)?;
    stage.run_for(&mut NoClients, SETTLE);
    let before = proc::own_memory(&peer.processes)?;
    let tunnels = connect::open(stage, peer.address, Purpose::Tunnel, CONNECTIONS)?;
    stage.run_for(&mut NoClients, SETTLE);
    Ok(Idle { first, tunnels, before, memory: memory(peer, before) })
}

fn memory(peer: &Peer, before: u64) -> Result<Sample, String> {
    let after = proc::own_memory(&peer.processes)?;
    Ok(Sample { figure: after.saturating_sub(before) as f64 / CONNECTIONS as f64, ..Sample::default() })
}

fn growth(from: &Result<Sample, String>, to: &Result<Sample, String>) -> Result<Sample, String> {
    let figure = to.as_ref().map_err(Clone::clone)?.figure - from.as_ref().map_err(Clone::clone)?.figure;
    Ok(Sample { figure: figure.max(0.0), ..Sample::default() })
}

fn idle(stage: &mut Stage, window: &Window<'_>) -> Result<Sample, String> {
    stage.run_for(&mut NoClients, window.times.warm_up);
    let before = Clocks::read(window)?;
    std::thread::sleep(window.times.measured);
    let mut sample = Clocks::read(window)?.since(&before);
    sample.figure *= 1000.0 / window.times.measured.as_secs_f64();
    Ok(sample)
}
