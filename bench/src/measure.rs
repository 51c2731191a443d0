//! The measures: what load makes a row of the table, in which unit, and which bar it is held to.

use crate::load::bulk::Way;
use crate::peer::Kind;

/// What a row is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Processor time of one request, message or upgrade.
    CpuMicroseconds,
    /// Processor time of 2^30 bytes.
    CpuSecondsPerGib,
    /// Own memory of one idle connection.
    Bytes,
    /// Processor time of one second in which nothing happens.
    CpuMillisecondsPerSecond,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuMicroseconds => "CPU µs",
            Self::CpuSecondsPerGib => "CPU s/GiB",
            Self::Bytes => "bytes",
            Self::CpuMillisecondsPerSecond => "CPU ms/s",
        }
    }
}

/// What Ringbolt's figure is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// At most this part of a contestant's figure.
    Ratio(f64, Kind),
    /// At most this figure.
    Figure(f64),
    /// None was agreed.
    None,
}

/// Load that saturates a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Polls { connections: usize },
    Visits,
    Upgrades,
    Echo { length: usize, tunnels: usize },
    Bulk { tunnels: usize, way: Way },
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

const fn cpu(key: &'static str, title: &'static str, bar: f64) -> Measure {
    Measure { key, title, unit: Unit::CpuMicroseconds, bar: Bar::Ratio(bar, Kind::Nginx) }
}

const fn bulk(key: &'static str, title: &'static str) -> Measure {
    Measure { key, title, unit: Unit::CpuSecondsPerGib, bar: Bar::Ratio(0.7, Kind::Haproxy) }
}

const fn echo(length: usize, tunnels: usize) -> Load {
    Load::Echo { length, tunnels }
}

/// Rows of saturating load, in the order of the table.
pub(crate) const LOADED: [(Measure, Load); 12] = [
    (cpu("get-64", "keep-alive GET, 64 connections", 0.75), Load::Polls { connections: 64 }),
    (cpu("get-512", "keep-alive GET, 512 connections", 0.75), Load::Polls { connections: 512 }),
    (cpu("get-new", "polling GET on a new connection", 0.9), Load::Visits),
    (cpu("upgrade", "upgrade + close", 0.9), Load::Upgrades),
    (cpu("echo-64-200", "64 B message echoed, 200 tunnels", 0.8), echo(64, 200)),
    (cpu("echo-1k-200", "1 KiB message echoed, 200 tunnels", 0.8), echo(1024, 200)),
    (cpu("echo-64-2000", "64 B message echoed, 2,000 tunnels", 0.6), echo(64, 2000)),
    (cpu("echo-1k-2000", "1 KiB message echoed, 2,000 tunnels", 0.6), echo(1024, 2000)),
    (bulk("bulk-up-1", "bulk to the origin, 1 tunnel"), Load::Bulk { tunnels: 1, way: Way::Up }),
    (bulk("bulk-down-1", "bulk to the client, 1 tunnel"), Load::Bulk { tunnels: 1, way: Way::Down }),
    (bulk("bulk-up-32", "bulk to the origin, 32 tunnels"), Load::Bulk { tunnels: 32, way: Way::Up }),
    (bulk("bulk-down-32", "bulk to the client, 32 tunnels"), Load::Bulk { tunnels: 32, way: Way::Down }),
];

const fn idle_cpu(key: &'static str, title: &'static str) -> Measure {
    Measure { key, title, unit: Unit::CpuMillisecondsPerSecond, bar: Bar::Figure(1.0) }
}

pub(crate) const SILENCE: Measure =
    cpu("echo-silence", "64 B message echoed after silence, 9,000 tunnels, 1 % talk", 0.85);
pub(crate) const TUNNEL_MEMORY: Measure = Measure {
    key: "memory-tunnel",
    title: "own memory of an idle tunnel, of 9,000",
    unit: Unit::Bytes,
    bar: Bar::Figure(256.0),
};
pub(crate) const KEEP_ALIVE_MEMORY: Measure = Measure {
    key: "memory-keep-alive",
    title: "own memory of an idle keep-alive connection, of 9,000",
    unit: Unit::Bytes,
    bar: Bar::None,
};
pub(crate) const IDLE_EMPTY: Measure = idle_cpu("idle-empty", "nothing open");
pub(crate) const IDLE_TUNNELS: Measure = idle_cpu("idle-tunnels", "9,000 idle tunnels");
pub(crate) const IDLE_KEEP_ALIVE: Measure = idle_cpu("idle-keep-alive", "9,000 idle keep-alive connections");

/// Rows of idle connections, in the order of the table.
pub(crate) const CROWDED: [Measure; 6] =
    [SILENCE, TUNNEL_MEMORY, KEEP_ALIVE_MEMORY, IDLE_EMPTY, IDLE_TUNNELS, IDLE_KEEP_ALIVE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<&str> = LOADED.iter().map(|(measure, _)| measure.key).collect();
        keys.extend(CROWDED.iter().map(|measure| measure.key));
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
