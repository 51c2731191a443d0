//! A run of TLS terminators: Ringbolt, nginx, HAProxy and hitch in front of the same origin, every row, every
//! round, each in turn.

mod table;
mod terminator;

use std::time::Duration;

use rustls::HandshakeKind;

use crate::begun::Begun;
use crate::cores::{self, Cores};
use crate::load::origin::Play;
use crate::load::tls::Dialer;
use crate::load::tls::bulk::TlsBulk;
use crate::load::tls::connect;
use crate::load::tls::visit::Handshakes;
use crate::load::{NoClients, Stage};
use crate::measure::Unit;
use crate::peer::Peer;
use crate::report::{Contestant, Rounds};
use crate::sample::{self, Sample, Times, Window};
use crate::{Tls, plots, proc, results};

use self::table::{Bar, Row, Table};
use self::terminator::{Kit, Terminator};

/// What the proxies have to do.
#[derive(Clone, Copy, Debug)]
enum Work {
    Handshakes { resume: bool },
    Bulk { tunnels: usize },
    Idle,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Its name in the JSON file and on the command line.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    bar: Bar,
    work: Work,
}

pub(crate) const MEASURES: [Measure; 5] = [
    Measure {
        key: "tls-full",
        title: "full TLS handshake",
        unit: Unit::CpuMicroseconds,
        bar: Bar::OfNginx(0.65),
        work: Work::Handshakes { resume: false },
    },
    Measure {
        key: "tls-resumed",
        title: "resumed TLS handshake",
        unit: Unit::CpuMicroseconds,
        bar: Bar::OfNginx(1.0),
        work: Work::Handshakes { resume: true },
    },
    Measure {
        key: "tls-bulk-1",
        title: "bulk to the client, 1 TLS tunnel",
        unit: Unit::CpuSecondsPerGib,
        bar: Bar::OfBest(1.0),
        work: Work::Bulk { tunnels: 1 },
    },
    Measure {
        key: "tls-bulk-32",
        title: "bulk to the client, 32 TLS tunnels",
        unit: Unit::CpuSecondsPerGib,
        bar: Bar::OfBest(1.0),
        work: Work::Bulk { tunnels: 32 },
    },
    Measure {
        key: "tls-memory",
        title: "own memory of an idle TLS tunnel, of 2,000",
        unit: Unit::Bytes,
        bar: Bar::Figure(8000.0),
        work: Work::Idle,
    },
];

/// Idle tunnels. Fewer than of plain ones: the clients' part of a TLS handshake takes a while.
const TUNNELS: usize = 2_000;
/// Opened first, so that what a process sets up once is not counted.
const FIRST: usize = 100;
/// After opening, before memory is read: what the proxy does late is done.
const SETTLE: Duration = Duration::from_millis(700);
/// How long closing all may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes before resumption is expected of each: more than there are under way at once.
const PRIMING: u64 = 64;
const PRIMING_TIMEOUT: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    times: Times,
    memory_rounds: usize,
}

const FULL: Extent = Extent { rounds: 5, times: Times::of(200, 1500), memory_rounds: 2 };
const QUICK: Extent = Extent { rounds: 2, times: Times::of(100, 500), memory_rounds: 1 };

/// Measures, prints the table and writes it to the results folder.
pub(crate) fn run(options: &Tls) -> Result<(), String> {
    let begun =
        Begun::now("tls", &options.surroundings, options.quick, options.only.as_deref(), &options.results)?;
    let kit = Kit::prepare(options.ringbolt.clone())?;
    let contestants: Vec<Terminator> = Terminator::ALL
        .into_iter()
        .filter(|terminator| !(options.without_ringbolt && *terminator == Terminator::Ringbolt))
        .collect();
    let extent = if options.quick { QUICK } else { FULL };
    let cores = Cores::choose()?;
    cores::pin(cores.load)?;
    let stage = Stage::new().map_err(|error| format!("cannot open the origin: {error}"))?;

    let threads = vec![Vec::new(); contestants.len()];
    let mut bench = Bench { stage, kit, contestants, cores, extent, threads };
    let mut rows = Vec::new();
    let mut foreign = Vec::new();
    for measure in &MEASURES {
        if options.only.as_ref().is_some_and(|text| !measure.key.contains(text.as_str())) {
            continue;
        }
        eprintln!("{} ...", measure.title);
        let rounds = bench.measure(measure)?;
        let timed = rounds.iter().flatten().flatten().filter(|sample| sample.seconds > 0.0);
        foreign.extend(timed.map(|sample| sample.foreign));
        rows.push(Row::new(measure, &bench.contestants, &rounds));
    }

    // A table without Ringbolt is for the eye only.
    let writes = begun.writes && !options.without_ringbolt;
    let table = Table {
        run: begun.end(extent.rounds, extent.times.measured, &foreign),
        contestants: bench.described(),
        rows,
    };
    publish(&table, options, writes)
}

struct Bench {
    stage: Stage,
    kit: Kit,
    contestants: Vec<Terminator>,
    cores: Cores,
    extent: Extent,
    /// Names of each contestant's threads after the load that made the most.
    threads: Vec<Vec<String>>,
}

impl Bench {
    fn described(&self) -> Vec<Contestant> {
        let pairs = self.contestants.iter().zip(&self.threads);
        pairs.map(|(terminator, threads)| self.kit.contestant(*terminator, threads.clone())).collect()
    }

    /// All rounds of one row, in the order of the contestants. The order of turns turns with the round.
    fn measure(&mut self, measure: &Measure) -> Result<Vec<Rounds>, String> {
        let count = self.contestants.len();
        let mut rounds: Vec<Rounds> = vec![Vec::new(); count];
        if let Work::Idle = measure.work {
            for round in 0..self.extent.memory_rounds {
                for turn in 0..count {
                    let index = (round + turn) % count;
                    rounds[index].push(self.memory(self.contestants[index]));
                }
            }
            return Ok(rounds);
        }
        let mut peers = self
            .contestants
            .iter()
            .map(|terminator| self.kit.start(*terminator, self.stage.origin.address(), self.cores))
            .collect::<Result<Vec<Peer>, String>>()?;
        for round in 0..self.extent.rounds {
            for turn in 0..count {
                let index = (round + turn) % count;
                let sample = self.take(&peers[index], measure.work);
                if !peers[index].is_alive() {
                    let name = peers[index].program.name;
                    return Err(format!("{name} ended in the middle of {}", measure.title));
                }
                if let Ok(sample) = &sample
                    && sample.threads.len() > self.threads[index].len()
                {
                    self.threads[index].clone_from(&sample.threads);
                }
                rounds[index].push(sample);
            }
        }
        Ok(rounds)
    }

    /// One measurement of load. The error says why the figure cannot be trusted.
    fn take(&mut self, peer: &Peer, work: Work) -> Result<Sample, String> {
        let window = Window { peer, times: self.extent.times, cores: self.cores };
        let outcome = match work {
            Work::Handshakes { resume } => self.handshakes(&window, resume),
            Work::Bulk { tunnels } => self.bulk(&window, tunnels),
            Work::Idle => Err("there is no load on idle tunnels".to_owned()),
        };
        // Faults after this are those of closing: bytes under way in bulk are lost then, as they must be.
        let left_open = sample::close_tunnels(&mut self.stage, CLOSE_TIMEOUT);
        self.stage.take_faults();
        outcome.and_then(|sample| left_open.map(|()| sample))
    }

    fn handshakes(&mut self, window: &Window<'_>, resume: bool) -> Result<Sample, String> {
        let dialer = Dialer::new(&self.kit.certificate, resume)?;
        let mut clients = Handshakes::new(window.peer.address, dialer);
        if resume {
            let primed =
                self.stage.run(&mut clients, PRIMING_TIMEOUT, |clients, _| clients.done() >= PRIMING);
            if !primed {
                let fault = self.stage.take_faults().first.unwrap_or_default();
                return Err(format!("{} TLS handshakes in time; {fault}", clients.done()));
            }
        }
        clients.expected = Some(if resume { HandshakeKind::Resumed } else { HandshakeKind::Full });
        window.measure(&mut self.stage, clients, 1e6)
    }

    fn bulk(&mut self, window: &Window<'_>, tunnels: usize) -> Result<Sample, String> {
        self.stage.origin.play = Play::Flood;
        let dialer = Dialer::new(&self.kit.certificate, false)?;
        let links = connect::open(&mut self.stage, window.peer.address_bulk, &dialer, tunnels)?;
        window.measure(&mut self.stage, TlsBulk::new(links), 1_073_741_824.0)
    }

    /// Of a fresh process, because memory that was used before hides growth.
    fn memory(&mut self, terminator: Terminator) -> Result<Sample, String> {
        let peer = self.kit.start(terminator, self.stage.origin.address(), self.cores)?;
        let memory = self.idle(&peer);
        drop(peer);
        sample::close_tunnels(&mut self.stage, CLOSE_TIMEOUT)?;
        self.stage.take_faults();
        memory
    }

    fn idle(&mut self, peer: &Peer) -> Result<Sample, String> {
        self.stage.origin.play = Play::Swallow;
        let dialer = Dialer::new(&self.kit.certificate, false)?;
        let first = connect::open(&mut self.stage, peer.address, &dialer, FIRST)?;
        self.stage.run_for(&mut NoClients, SETTLE);
        let before = proc::own_memory(&peer.processes)?;
        let tunnels = connect::open(&mut self.stage, peer.address, &dialer, TUNNELS)?;
        self.stage.run_for(&mut NoClients, SETTLE);
        let growth = proc::own_memory(&peer.processes)?.saturating_sub(before);
        drop((first, tunnels));
        Ok(Sample { figure: growth as f64 / TUNNELS as f64, ..Sample::default() })
    }
}

fn publish(table: &Table, options: &Tls, writes: bool) -> Result<(), String> {
    let markdown = table.markdown();
    println!("{markdown}");
    if writes {
        results::keep(&options.results, "tls", &markdown, table)?;
        plots::draw(&options.results)?;
    }
    match table.refused() {
        0 => Ok(()),
        count => Err(format!("{count} rows could not be measured, see above")),
    }
}
