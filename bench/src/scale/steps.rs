//! The steps of one run: open more tunnels, measure, and again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::kernel::Memory;
use super::proxy::Proxy;
use super::talk::{self, Talk};
use crate::cores::{self, Cores};
use crate::load::connect::{self, Link, Purpose};
use crate::load::origin::Play;
use crate::load::{NoClients, Stage};
use crate::proc;

/// Opened before memory is read for the first time, so that what is set up once is not counted.
const FIRST: usize = 100;
/// Tunnels opened between two looks at memory and clock.
const BATCH: usize = 1_000;
/// Batches between two lines that tell how far it is.
const PROGRESS_BATCHES: usize = 10;
/// How long one of them may take, on an emulated processor that others use too, or that is stopped for a while.
const BATCH_TIMEOUT: Duration = Duration::from_secs(900);
/// Part of the tunnels that talk, and the fewest.
const TALKING_PERCENT: usize = 1;
const TALKING_MIN: usize = 100;
/// After opening, before anything is read: what proxy and kernel do late is done.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the proxy is watched while nothing moves, and while some talk.
const MEASURED: Duration = Duration::from_secs(10);
/// How long the last echo may take.
const QUIET_TIMEOUT: Duration = Duration::from_secs(10);
/// Opening ends when no more than this is left, or the kernel would begin to kill.
const MEMORY_SPARE: u64 = 192 * 1024 * 1024;
/// Kinds of kernel objects that are named.
const CACHES_SHOWN: usize = 12;

/// What to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Open at each step, in all; rising.
    pub(super) tunnels: Vec<usize>,
    /// Messages a second.
    pub(super) rate: u32,
    /// For opening.
    pub(super) limit: Duration,
}

/// What one step gave. Bytes are growth since the first tunnels, for each tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) tunnels: usize,
    /// Since the first of all tunnels; measuring is not counted.
    pub(super) seconds_to_open: f64,
    pub(super) own_bytes: f64,
    /// Of all four sockets, and of both ends' event queues.
    pub(super) slab_bytes: f64,
    /// Slabs by name, each in bytes a tunnel.
    pub(super) caches: Vec<(String, f64)>,
    /// Pages of all TCP buffers.
    pub(super) tcp_pages: u64,
    /// Memory the machine has left.
    pub(super) available_mib: u64,
    /// Processor time of the proxy for a message, while some talk; or why it cannot be told.
    pub(super) message_microseconds: Result<f64, String>,
    pub(super) talking: usize,
    /// Messages that were echoed while it was measured.
    pub(super) messages: u64,
    /// Processor time of the proxy in a second in which nothing moves.
    pub(super) idle_milliseconds: f64,
    pub(super) threads: Vec<String>,
}

/// Takes the steps, in order, and hands each to `done`. Where tunnels cannot all be opened, those that are
/// open are measured as a last step.
///
/// # Errors
///
/// Why there are fewer tunnels than were asked for, or what else went wrong.
pub(super) fn take(plan: &Plan, mut done: impl FnMut(&Step)) -> Result<(), String> {
    let most = plan.tunnels.last().copied().ok_or("no step")?;
    let cores = Cores::choose()?;
    cores::pin(cores.load)?;
    let stage =
        Stage::on(Ipv4Addr::UNSPECIFIED).map_err(|error| format!("cannot open the origin: {error}"))?;
    let proxy = Proxy::start(most + FIRST, stage.origin.address().port(), cores)?;
    let mut run = Run { stage, proxy, open: 0, links: Vec::new(), spent: Duration::ZERO };
    run.stage.origin.play = Play::Echo { length: talk::MESSAGE_BYTES, read_every: 1 };
    run.open_together(FIRST)?;
    run.stage.run_for(&mut NoClients, SETTLE);
    let before = Before { own: run.own_memory()?, kernel: Memory::read()? };
    run.spent = Duration::ZERO;
    for tunnels in &plan.tunnels {
        let talking = (tunnels * TALKING_PERCENT / 100).max(TALKING_MIN);
        let opened = run.open_until(FIRST + tunnels - talking, plan.limit);
        // The talkers come last, so that each step has its own and most tunnels never speak.
        let outcome = opened.and_then(|()| run.open_together(talking));
        done(&run.measure(&before, plan.rate)?);
        outcome?;
    }
    Ok(())
}

/// Memory before the tunnels that count.
struct Before {
    own: u64,
    kernel: Memory,
}

struct Run {
    stage: Stage,
    proxy: Proxy,
    /// All of them, the first included.
    open: usize,
    /// Never closed before the end. Each group was opened together, and events come by position in the last.
    links: Vec<Vec<Link>>,
    /// Time of opening.
    spent: Duration,
}

impl Run {
    /// Opens until there are `target` tunnels.
    fn open_until(&mut self, target: usize, limit: Duration) -> Result<(), String> {
        while self.open < target {
            if self.spent > limit {
                return Err(format!("the time for opening is over at {} tunnels", self.open));
            }
            if Memory::read()?.available < MEMORY_SPARE {
                return Err(format!("the memory is used up at {} tunnels", self.open));
            }
            let count = BATCH.min(target - self.open);
            self.open_together(count)?;
            if self.links.len().is_multiple_of(PROGRESS_BATCHES) {
                eprintln!("{} tunnels after {:.0} s", self.open, self.spent.as_secs_f64());
            }
        }
        Ok(())
    }

    /// Opens `count` tunnels as one group.
    fn open_together(&mut self, count: usize) -> Result<(), String> {
        let began = Instant::now();
        let timeout = BATCH_TIMEOUT * u32::try_from(count.div_ceil(BATCH)).unwrap_or(u32::MAX);
        let address = self.proxy.address(self.open);
        self.links.push(connect::open_within(&mut self.stage, address, Purpose::Tunnel, count, timeout)?);
        self.open += count;
        self.spent += began.elapsed();
        Ok(())
    }

    fn own_memory(&self) -> Result<u64, String> {
        proc::own_memory(&self.proxy.processes())
    }

    fn measure(&mut self, before: &Before, rate: u32) -> Result<Step, String> {
        self.stage.run_for(&mut NoClients, SETTLE);
        let lost = (self.open as u64).saturating_sub(self.stage.origin.tunnels);
        if lost > 0 {
            return Err(format!("{lost} of {} tunnels were closed while they were idle", self.open));
        }
        let processes = self.proxy.processes();
        let own = self.own_memory()?.saturating_sub(before.own);
        let kernel = Memory::read()?;
        let tunnels = self.open - FIRST;
        let each = |bytes: u64| bytes as f64 / tunnels.max(1) as f64;
        let clock = || proc::cpu_time(&processes);
        let at_rest = clock()?;
        std::thread::sleep(MEASURED);
        let idle = clock()?.saturating_sub(at_rest);

        let (message_microseconds, messages) = match self.talk(rate) {
            Ok((spent, messages)) => (Ok(spent.as_secs_f64() * 1e6 / messages as f64), messages),
            Err(fault) => (Err(fault), 0),
        };
        Ok(Step {
            tunnels,
            seconds_to_open: self.spent.as_secs_f64(),
            own_bytes: each(own),
            slab_bytes: each(kernel.slab.saturating_sub(before.kernel.slab)),
            caches: kernel
                .grown(&before.kernel, CACHES_SHOWN)
                .into_iter()
                .map(|(name, bytes)| (name, each(bytes)))
                .collect(),
            tcp_pages: kernel.tcp_pages,
            available_mib: kernel.available / (1024 * 1024),
            message_microseconds,
            talking: self.links.last().map_or(0, Vec::len),
            messages,
            idle_milliseconds: idle.as_secs_f64() * 1e3 / MEASURED.as_secs_f64(),
            threads: proc::thread_names(&processes),
        })
    }
    /// Lets the last group talk. Gives the proxy's processor time, and the messages echoed in it.
    fn talk(&mut self, rate: u32) -> Result<(Duration, u64), String> {
        let processes = self.proxy.processes();
        let group = self.links.last().ok_or("no tunnel is open")?;
        let mut talk = Talk::new(group, rate);
        let start = proc::cpu_time(&processes)?;
        self.stage.run_for(&mut talk, MEASURED);
        let spent = proc::cpu_time(&processes)?.saturating_sub(start);
        let messages = talk.echoed;
        talk.stopping = true;
        let quiet = self.stage.run(&mut talk, QUIET_TIMEOUT, |talk, _| talk.under_way == 0);
        match self.stage.take_faults().first {
            Some(fault) => Err(fault),
            None if !quiet || messages == 0 => Err("some messages were never echoed".to_owned()),
            None => Ok((spent, messages)),
        }
    }
}
