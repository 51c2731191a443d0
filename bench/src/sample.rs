//! One measurement of one contestant: load on, warm up, measure, let it end.

use std::time::{Duration, Instant};

use crate::cores::Cores;
use crate::load::bulk::{Bulk, Way};
use crate::load::connect::{self, Purpose};
use crate::load::echo::{self, Echo};
use crate::load::exchange::Exchange;
use crate::load::origin::Play;
use crate::load::paced::{Paced, Wire};
use crate::load::storm::Storm;
use crate::load::visit::Visits;
use crate::load::{self, NoClients, Stage};
use crate::measure::{Load, Unit};
use crate::peer::Peer;
use crate::{proc, statistics};

/// How long the last of the work under way may take to end.
const QUIET_TIMEOUT: Duration = Duration::from_secs(3);
/// How long all clients of a storm may take to be back.
const STORM_TIMEOUT: Duration = Duration::from_secs(20);
/// Part of a fixed rate that must have been held; what an interrupted load misses is not made up for.
const RATE_HELD: f64 = 0.8;
/// Sessions whose polls come on new connections.
const SESSIONS: usize = 64;

/// How long the parts of a measurement take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Times {
    /// Of so many milliseconds.
    pub(crate) const fn of(warm_up: u64, measured: u64) -> Self {
        Self { warm_up: Duration::from_millis(warm_up), measured: Duration::from_millis(measured) }
    }
}

/// What a measurement gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// In the unit of its row.
    pub(crate) figure: f64,
    /// Microseconds.
    pub(crate) latency: Option<Latency>,
    /// Units of work, or bytes of bulk, in a second. Shows a proxy that stalls; it is no figure to compare.
    pub(crate) per_second: Option<f64>,
    /// Wall time.
    pub(crate) seconds: f64,
    /// Names of the proxy's threads at the end of what was measured.
    pub(crate) threads: Vec<String>,
    /// Part of the time the proxy was on its core.
    pub(crate) proxy_busy: f64,
    /// Part of the time the load was on its core.
    pub(crate) load_busy: f64,
    /// Part of the time other programs were on the proxy's core.
    pub(crate) foreign: f64,
}

/// Microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Sample {
    /// The same sample as another row: this is its figure, and what the first row shows is not repeated.
    pub(crate) fn seen_as(&self, unit: Unit) -> Result<Self, String> {
        let figure = match unit {
            Unit::P99Microseconds => self.latency.map(|latency| latency.p99),
            Unit::Milliseconds => Some(self.seconds * 1000.0),
            _ => None,
        };
        let figure = figure.ok_or_else(|| format!("nothing was measured in {}", unit.name()))?;
        Ok(Self { figure, ..Self::default() })
    }
}

/// Measures saturating load. The error says why the figure cannot be trusted.
pub(crate) fn take(
    stage: &mut Stage,
    peer: &Peer,
    load: Load,
    times: Times,
    cores: Cores,
) -> Result<Sample, String> {
    let outcome = run(stage, peer, load, times, cores);
    // Faults after this are those of closing: bytes under way in bulk are lost then, as they must be.
    let left_open = close_tunnels(stage, QUIET_TIMEOUT);
    stage.take_faults();
    outcome.and_then(|sample| left_open.map(|()| sample))
}

/// Waits until the tunnels of a measurement are gone, also on the proxy's side, so that the next one
/// begins with none. The error says how many it has forgotten.
pub(crate) fn close_tunnels(stage: &mut Stage, limit: Duration) -> Result<(), String> {
    if stage.run(&mut NoClients, limit, |_, origin| origin.tunnels == 0) {
        return Ok(());
    }
    let count = stage.origin.close_tunnels();
    Err(format!(
        "{count} tunnels still open at the origin {} s after their clients had closed",
        limit.as_secs()
    ))
}

fn run(stage: &mut Stage, peer: &Peer, load: Load, times: Times, cores: Cores) -> Result<Sample, String> {
    let window = Window { peer, times, cores };
    match load {
        Load::Polls { connections } => {
            let links = connect::open(stage, peer.address, Purpose::Session, connections)?;
            let clients = Exchange::new(&mut stage.net, links);
            window.measure(stage, clients, 1e6)
        }
        Load::Visits => {
            let links = connect::open(stage, peer.address, Purpose::Session, SESSIONS)?;
            let sids: Vec<String> = links.into_iter().map(|link| link.sid).collect();
            window.measure(stage, Visits::polls(peer.address, &sids), 1e6)
        }
        Load::Upgrades => {
            stage.origin.play = Play::Swallow;
            let clients = Visits::upgrades(peer.address, &stage.origin);
            window.measure(stage, clients, 1e6)
        }
        Load::Echo { length, tunnels } => {
            stage.origin.play = Play::Echo { length, read_every: echo::READ_EVERY };
            let links = connect::open(stage, peer.address, Purpose::Tunnel, tunnels)?;
            let clients = Echo::new(&mut stage.net, links, length);
            window.measure(stage, clients, 1e6)
        }
        Load::Bulk { tunnels, way } => {
            stage.origin.play = if way == Way::Up { Play::Swallow } else { Play::Flood };
            let links = connect::open(stage, peer.address_bulk, Purpose::Tunnel, tunnels)?;
            let clients = Bulk::new(&mut stage.net, &stage.origin, links, way);
            window.measure(stage, clients, 1_073_741_824.0)
        }
        Load::PacedPolls { connections, rate } => {
            let links = connect::open(stage, peer.address, Purpose::Session, connections)?;
            window.measure_paced(stage, Paced::new(&links, Wire::Polls, rate), rate)
        }
        Load::PacedEcho { length, tunnels, rate } => {
            stage.origin.play = Play::Echo { length, read_every: 1 };
            let links = connect::open(stage, peer.address, Purpose::Tunnel, tunnels)?;
            window.measure_paced(stage, Paced::new(&links, Wire::Messages { length }, rate), rate)
        }
        Load::Storm { tunnels } => {
            stage.origin.play = Play::Swallow;
            let links = connect::open(stage, peer.address, Purpose::Tunnel, tunnels)?;
            stage.run_for(&mut NoClients, times.warm_up);
            window.measure_storm(stage, Storm::new(peer.address, links), tunnels)
        }
    }
}

/// The part of a run in which is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) times: Times,
    pub(crate) cores: Cores,
}

impl Window<'_> {
    /// Lets the clients work; `scale` times the seconds of a unit are the figure.
    pub(crate) fn measure<C: load::Load>(
        &self,
        stage: &mut Stage,
        mut clients: C,
        scale: f64,
    ) -> Result<Sample, String> {
        stage.run_for(&mut clients, self.times.warm_up);
        *clients.tally() = load::Tally::default();
        let before = Clocks::read(self)?;
        stage.run_for(&mut clients, self.times.measured);
        let after = Clocks::read(self)?;
        let threads = proc::thread_names(&self.peer.processes);
        let tally = std::mem::take(clients.tally());
        clients.stop();
        let quiet = stage.run(&mut clients, QUIET_TIMEOUT, |clients, _| clients.is_quiet());
        let faults = stage.take_faults();
        match faults.first {
            Some(fault) => return Err(format!("{} faults; first: {fault}", faults.count)),
            None if !quiet => return Err("some work under way was never finished".to_owned()),
            None if tally.done == 0 => return Err("nothing was done".to_owned()),
            None => {}
        }
        let mut sample = after.since(&before);
        sample.threads = threads;
        sample.per_second = Some(tally.done as f64 / (after.wall - before.wall).as_secs_f64());
        sample.figure *= scale / tally.done as f64;
        sample.latency = latency(tally.latencies);
        Ok(sample)
    }

    /// Refuses a figure of less load than was asked for: the others had more.
    fn measure_paced(&self, stage: &mut Stage, clients: Paced<'_>, rate: u32) -> Result<Sample, String> {
        let sample = self.measure(stage, clients, 1e6)?;
        let held = sample.per_second.unwrap_or_default();
        if held < RATE_HELD * f64::from(rate) {
            return Err(format!("{held:.0} a second instead of {rate}: something else has the load's core"));
        }
        Ok(sample)
    }

    /// Cuts all tunnels at the origin and measures until the last client has another.
    fn measure_storm(&self, stage: &mut Stage, mut storm: Storm, tunnels: usize) -> Result<Sample, String> {
        let before = Clocks::read(self)?;
        stage.origin.close_tunnels();
        let over = stage.run(&mut storm, STORM_TIMEOUT, Storm::is_over);
        let after = Clocks::read(self)?;
        let threads = proc::thread_names(&self.peer.processes);
        let faults = stage.take_faults();
        match faults.first {
            Some(fault) => return Err(format!("{} faults; first: {fault}", faults.count)),
            None if !over => return Err(format!("{} of {tunnels} clients came back", storm.tally.done)),
            None => {}
        }
        let mut sample = after.since(&before);
        sample.figure *= 1e6 / tunnels as f64;
        sample.threads = threads;
        sample.latency = latency(storm.tally.latencies);
        Ok(sample)
    }
}

fn latency(mut nanoseconds: Vec<u32>) -> Option<Latency> {
    nanoseconds.sort_unstable();
    let at =
        |per_mille| statistics::percentile(&nanoseconds, per_mille).map(|value| f64::from(value) / 1000.0);
    Some(Latency { p50: at(500)?, p99: at(990)?, p999: at(999)? })
}

/// All clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    wall: Instant,
    proxy: Duration,
    load: Duration,
    core: Duration,
}

impl Clocks {
    pub(crate) fn read(window: &Window<'_>) -> Result<Self, String> {
        Ok(Self {
            proxy: proc::cpu_time(&window.peer.processes)?,
            load: proc::own_cpu_time()?,
            core: proc::core_busy_time(window.cores.proxy)?,
            wall: Instant::now(),
        })
    }

    /// With the proxy's seconds as figure.
    pub(crate) fn since(&self, before: &Self) -> Sample {
        let wall = (self.wall - before.wall).as_secs_f64();
        let proxy = (self.proxy - before.proxy).as_secs_f64();
        let core = self.core.saturating_sub(before.core).as_secs_f64();
        Sample {
            figure: proxy,
            seconds: wall,
            proxy_busy: proxy / wall,
            load_busy: (self.load - before.load).as_secs_f64() / wall,
            // The core's clock has ticks of 10 ms.
            foreign: ((core - proxy) / wall).max(0.0),
            ..Sample::default()
        }
    }
}
