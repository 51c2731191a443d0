//! The measures: what load makes which rows of the table, in which unit, and the bar each is held to.

use serde::Serialize;

use crate::load::bulk::Way;
use crate::peer::Kind;

/// What a row is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Processor time of one request, message or upgrade.
    CpuMicroseconds,
    /// Processor time of 2^30 bytes.
    CpuSecondsPerGib,
    /// Wall time that 99 % of the requests or messages do not exceed.
    P99Microseconds,
    /// Wall time from beginning to end.
    Milliseconds,
    /// Own memory of one idle connection.
    Bytes,
    /// Processor time of one second in which nothing happens.
    CpuMillisecondsPerSecond,
    Threads,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuMicroseconds => "CPU µs",
            Self::CpuSecondsPerGib => "CPU s/GiB",
            Self::P99Microseconds => "µs, p99",
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::CpuMillisecondsPerSecond => "CPU ms/s",
            Self::Threads => "threads",
        }
    }
}

/// What Ringbolt's figure is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "String")]
pub(crate) enum Bar {
    /// At most this part of a contestant's figure.
    Ratio(f64, Kind),
    /// At most this figure.
    Figure(f64),
    /// None was agreed.
    None,
}

impl From<Bar> for String {
    fn from(bar: Bar) -> Self {
        match bar {
            Bar::Ratio(most, to) => format!("{most} of {}", to.name()),
            Bar::Figure(most) => most.to_string(),
            Bar::None => Self::new(),
        }
    }
}

/// What the proxies have to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Polls {
        connections: usize,
    },
    Visits,
    Upgrades,
    Echo {
        length: usize,
        tunnels: usize,
    },
    Bulk {
        tunnels: usize,
        way: Way,
    },
    /// `rate` in this and the next is that of all connections, in a second.
    PacedPolls {
        connections: usize,
        rate: u32,
    },
    PacedEcho {
        length: usize,
        tunnels: usize,
        rate: u32,
    },
    Storm {
        tunnels: usize,
    },
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Its name in the JSON file and on the command line.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) bar: Bar,
}

/// A load and its rows. The first is what it costs; a second one is another side of the same samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) load: Load,
    pub(crate) cost: Measure,
    pub(crate) second: Option<Measure>,
}

const fn measure(key: &'static str, title: &'static str, unit: Unit, bar: Bar) -> Measure {
    Measure { key, title, unit, bar }
}

const fn cpu(key: &'static str, title: &'static str, bar: f64) -> Measure {
    measure(key, title, Unit::CpuMicroseconds, Bar::Ratio(bar, Kind::Nginx))
}

const fn saturated(key: &'static str, title: &'static str, bar: f64, load: Load) -> Loaded {
    Loaded { load, cost: cpu(key, title, bar), second: None }
}

const fn bulk(key: &'static str, title: &'static str, tunnels: usize, way: Way) -> Loaded {
    let cost = measure(key, title, Unit::CpuSecondsPerGib, Bar::Ratio(0.7, Kind::Haproxy));
    Loaded { load: Load::Bulk { tunnels, way }, cost, second: None }
}

/// At a fixed rate the bar is the latency: no worse than nginx at the same load.
const fn paced(keys: [&'static str; 2], title: &'static str, load: Load) -> Loaded {
    let second = measure(keys[1], title, Unit::P99Microseconds, Bar::Ratio(1.0, Kind::Nginx));
    Loaded { load, cost: measure(keys[0], title, Unit::CpuMicroseconds, Bar::None), second: Some(second) }
}

const fn echo(length: usize, tunnels: usize) -> Load {
    Load::Echo { length, tunnels }
}

/// Well below what any of the contestants can do on a core: they cost 10 to 35 µs each when saturated.
const MESSAGES_PER_SECOND: u32 = 10_000;
const POLLS_PER_SECOND: u32 = 5_000;

const fn paced_echo(length: usize, tunnels: usize) -> Load {
    Load::PacedEcho { length, tunnels, rate: MESSAGES_PER_SECOND }
}

const PACED_POLLS: Load = Load::PacedPolls { connections: 64, rate: POLLS_PER_SECOND };

const STORM: Loaded = Loaded {
    load: Load::Storm { tunnels: 5_000 },
    cost: measure("storm", "5,000 tunnels cut at once, each reconnect", Unit::CpuMicroseconds, Bar::None),
    second: Some(measure(
        "storm-back",
        "5,000 tunnels cut at once, until all are back",
        Unit::Milliseconds,
        Bar::None,
    )),
};

/// Rows of load, in the order of the table.
pub(crate) const LOADED: [Loaded; 18] = [
    saturated("get-64", "keep-alive GET, 64 connections", 0.75, Load::Polls { connections: 64 }),
    saturated("get-512", "keep-alive GET, 512 connections", 0.75, Load::Polls { connections: 512 }),
    paced(["get-rate", "get-rate-p99"], "keep-alive GET, 64 connections, 5,000/s", PACED_POLLS),
    saturated("get-new", "polling GET on a new connection", 0.9, Load::Visits),
    saturated("upgrade", "upgrade + close", 0.9, Load::Upgrades),
    saturated("echo-64-200", "64 B message echoed, 200 tunnels", 0.8, echo(64, 200)),
    saturated("echo-1k-200", "1 KiB message echoed, 200 tunnels", 0.8, echo(1024, 200)),
    saturated("echo-64-2000", "64 B message echoed, 2,000 tunnels", 0.6, echo(64, 2000)),
    saturated("echo-1k-2000", "1 KiB message echoed, 2,000 tunnels", 0.6, echo(1024, 2000)),
    paced(
        ["echo-rate-64-200", "echo-rate-64-200-p99"],
        "64 B message echoed, 200 tunnels, 10,000/s",
        paced_echo(64, 200),
    ),
    paced(
        ["echo-rate-1k-200", "echo-rate-1k-200-p99"],
        "1 KiB message echoed, 200 tunnels, 10,000/s",
        paced_echo(1024, 200),
    ),
    paced(
        ["echo-rate-64-2000", "echo-rate-64-2000-p99"],
        "64 B message echoed, 2,000 tunnels, 10,000/s",
        paced_echo(64, 2000),
    ),
    paced(
        ["echo-rate-1k-2000", "echo-rate-1k-2000-p99"],
        "1 KiB message echoed, 2,000 tunnels, 10,000/s",
        paced_echo(1024, 2000),
    ),
    bulk("bulk-up-1", "bulk to the origin, 1 tunnel", 1, Way::Up),
    bulk("bulk-down-1", "bulk to the client, 1 tunnel", 1, Way::Down),
    bulk("bulk-up-32", "bulk to the origin, 32 tunnels", 32, Way::Up),
    bulk("bulk-down-32", "bulk to the client, 32 tunnels", 32, Way::Down),
    STORM,
];

const fn idle_cpu(key: &'static str, title: &'static str, most: f64) -> Measure {
    measure(key, title, Unit::CpuMillisecondsPerSecond, Bar::Figure(most))
}

pub(crate) const SILENCE: Measure =
    cpu("echo-silence", "64 B message echoed after silence, 9,000 tunnels, 1 % talk", 0.85);
pub(crate) const TUNNEL_MEMORY: Measure =
    measure("memory-tunnel", "own memory of an idle tunnel, of 9,000", Unit::Bytes, Bar::Figure(256.0));
pub(crate) const BURST_MEMORY: Measure = measure(
    "memory-burst",
    "own memory of an idle tunnel, of 9,000, after a burst in each",
    Unit::Bytes,
    Bar::Figure(256.0),
);
pub(crate) const KEEP_ALIVE_MEMORY: Measure = measure(
    "memory-keep-alive",
    "own memory of an idle keep-alive connection, of 9,000",
    Unit::Bytes,
    Bar::None,
);
pub(crate) const IDLE_EMPTY: Measure = idle_cpu("idle-empty", "nothing open", 1.0);
pub(crate) const IDLE_TUNNELS: Measure = idle_cpu("idle-tunnels", "9,000 idle tunnels", 1.0);
/// The bar is 11 ns a second for each tunnel: nothing is done for it.
pub(crate) const IDLE_GROWTH: Measure =
    idle_cpu("idle-growth", "9,000 idle tunnels, beyond nothing open", 0.1);
pub(crate) const IDLE_KEEP_ALIVE: Measure =
    idle_cpu("idle-keep-alive", "9,000 idle keep-alive connections", 1.0);

/// Rows of idle connections, in the order of the table.
pub(crate) const CROWDED: [Measure; 8] = [
    SILENCE,
    TUNNEL_MEMORY,
    BURST_MEMORY,
    KEEP_ALIVE_MEMORY,
    IDLE_EMPTY,
    IDLE_TUNNELS,
    IDLE_GROWTH,
    IDLE_KEEP_ALIVE,
];

/// Of all loads together, the last row.
pub(crate) const THREADS: Measure = measure(
    "threads",
    "threads beyond workers and housekeeping, most under any load",
    Unit::Threads,
    Bar::Figure(0.0),
);

/// Every row, in the order of the table.
#[cfg(test)]
pub(crate) fn all() -> Vec<Measure> {
    let loaded = LOADED.iter().flat_map(|loaded| [Some(loaded.cost), loaded.second]).flatten();
    loaded.chain(CROWDED).chain([THREADS]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<&str> = all().iter().map(|measure| measure.key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
