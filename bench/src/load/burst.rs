//! One burst through every tunnel, both ways, after which all are idle again.
//!
//! Some clients read nothing until all others are done, and are sent more than the kernel takes for
//! them, so that the proxy has bytes it cannot pass on.

use std::os::fd::AsFd;
use std::time::Duration;

use super::connect::Link;
use super::origin::{Origin, Play};
use super::{Clients, Net, Stage, Turn, WAIT_MAX};

/// Of each way, for a client that reads at once.
pub(crate) const BYTES: u64 = 64 * 1024;
/// To a client that reads late: more than a send buffer of the kernel takes, which is 4 MiB where tcp_wmem
/// is not changed.
const BYTES_SLOW: u64 = 8 * 1024 * 1024;
/// So many read late. What the kernel holds for all of them stays far below its limit, tcp_mem.
const SLOW: usize = 32;
/// So many tunnels move their burst at once.
const UNDER_WAY_MAX: usize = 256;
/// In this time the proxy has filled up for those who read late.
const FILL: Duration = Duration::from_millis(500);
/// How long each part may take.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Burst<'a> {
    links: &'a [Link],
    /// Bytes each is still owed.
    owed: Vec<u64>,
    next: usize,
    /// Those before this position may begin.
    until: usize,
    /// Those before this position do not read yet.
    deaf: usize,
    /// Of those who read.
    under_way: usize,
    again: Vec<u32>,
}

/// Moves a burst through every tunnel. The error says what was missing.
pub(crate) fn run(stage: &mut Stage, links: &[Link]) -> Result<(), String> {
    let slow = SLOW.min(links.len());
    let mut burst = Burst {
        links,
        owed: vec![0; links.len()],
        next: 0,
        until: slow,
        deaf: slow,
        under_way: 0,
        again: Vec::new(),
    };
    stage.origin.play = Play::Answer { after: BYTES, with: BYTES_SLOW };
    stage.run_for(&mut burst, FILL);
    stage.origin.play = Play::Answer { after: BYTES, with: BYTES };
    burst.until = links.len();
    let done = |burst: &Burst<'_>, _: &Origin| burst.next == links.len() && burst.under_way == 0;
    let quick_done = stage.run(&mut burst, TIMEOUT, done);
    burst.hear();
    let all_done = quick_done && stage.run(&mut burst, TIMEOUT, done);
    match stage.take_faults().first {
        Some(fault) => Err(fault),
        None if !all_done => {
            let missing = burst.owed.iter().filter(|owed| **owed > 0).count();
            Err(format!("{missing} tunnels did not get all bytes of the burst"))
        }
        None => Ok(()),
    }
}

impl Burst<'_> {
    fn begin(&mut self, net: &mut Net) {
        let is_deaf = self.next < self.deaf;
        self.owed[self.next] = if is_deaf { BYTES_SLOW } else { BYTES };
        self.under_way += usize::from(!is_deaf);
        net.send_message(self.links[self.next].fd.as_fd(), usize::try_from(BYTES).unwrap_or(0));
        self.next += 1;
    }

    /// All read from now on: what has arrived for the deaf raises no event any more.
    fn hear(&mut self) {
        self.again.extend((0..self.deaf).filter_map(|index| u32::try_from(index).ok()));
        self.under_way += std::mem::take(&mut self.deaf);
    }
}

impl Clients for Burst<'_> {
    fn ready(&mut self, net: &mut Net, index: u32, closing: bool) {
        let position = index as usize;
        let Some(link) = self.links.get(position) else { return };
        if closing {
            return net.faults.add(|| "the proxy closed a tunnel after its burst".to_owned());
        }
        if position < self.deaf {
            return;
        }
        let (bytes, turn) = net.swallow(link.fd.as_fd());
        if turn == Turn::Again {
            self.again.push(index);
        }
        let owed = self.owed[position];
        if bytes > owed {
            return net.faults.add(|| format!("{} bytes beyond the burst", bytes - owed));
        }
        self.owed[position] -= bytes;
        if bytes > 0 && bytes == owed {
            self.under_way -= 1;
        }
    }

    fn turn(&mut self, net: &mut Net, _origin: &mut Origin) -> Duration {
        for index in std::mem::take(&mut self.again) {
            self.ready(net, index, false);
        }
        while self.next < self.until && self.under_way < UNDER_WAY_MAX {
            self.begin(net);
        }
        if self.again.is_empty() { WAIT_MAX } else { Duration::ZERO }
    }
}
