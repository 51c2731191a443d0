//! `ringbolt plan`: what a number of tunnels takes, and whether this machine gives it.
//!
//! Pure but for [`Host::read`]: from the number, the configuration and the machine's values to two tables. What one
//! tunnel costs is measured and stands in `costs.rs`; what the project recommends whatever the number stands in
//! `kernel-tuning/sysctl.d/90-ringbolt.conf` and is read from there.

mod costs;
mod host;
pub(crate) mod recommended;
mod settings;
mod table;

use serde::Serialize;

pub(crate) use self::host::Host;
use self::settings::Setting;
use crate::config::{Config, Engine};
use crate::descriptors;
use crate::limits::PIPES_MAX;

/// What is planned for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) tunnels: u32,
    pub(crate) workers: usize,
    pub(crate) listeners: usize,
    pub(crate) engine: Engine,
    /// Of `limits.connections`; `None` without a configuration.
    pub(crate) connections_max: Option<u32>,
    /// Different addresses of backends that take new sessions; `None` without a configuration.
    pub(crate) backend_addresses: Option<usize>,
}

impl Extent {
    /// One listener, and a worker for each of `cores`, where no configuration says otherwise.
    pub(crate) fn new(tunnels: u32, config: Option<&Config>, cores: usize) -> Self {
        let Some(config) = config else {
            return Self {
                tunnels,
                workers: cores,
                listeners: 1,
                engine: Engine::Auto,
                connections_max: None,
                backend_addresses: None,
            };
        };
        Self {
            tunnels,
            workers: config.workers.count.unwrap_or(cores),
            listeners: config.listeners.len(),
            engine: config.workers.engine,
            connections_max: Some(config.limits.connections),
            backend_addresses: Some(settings::backend_addresses(config)),
        }
    }

    /// File descriptors of the process.
    fn descriptors(&self) -> u64 {
        descriptors::needed(self.tunnels, descriptors::reserve(self.workers, self.listeners))
    }

    /// Pipes that bulk transfers may hold at once.
    fn pipes(&self) -> u64 {
        (self.workers * PIPES_MAX) as u64
    }
}

/// One line of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    /// Bytes of each of them.
    pub(crate) bytes_each: u64,
    pub(crate) bytes: u64,
}

impl Memory {
    fn new(name: &'static str, count: u64, bytes_each: u64) -> Self {
        Self { name, count, bytes_each, bytes: count * bytes_each }
    }
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) tunnels: u32,
    pub(crate) workers: usize,
    /// While all tunnels are idle.
    pub(crate) memory: Vec<Memory>,
    /// At most, when bytes are under way.
    pub(crate) memory_under_load: Vec<Memory>,
    pub(crate) memory_bytes: u64,
    pub(crate) settings: Vec<Setting>,
    /// Whether every setting of this machine is known and suffices.
    pub(crate) suffices: bool,
}

impl Plan {
    pub(crate) fn new(extent: &Extent, host: &Host) -> Self {
        let tunnels = u64::from(extent.tunnels);
        let polled = match extent.engine {
            Engine::Auto | Engine::Uring => {
                Memory::new("io_uring polls", 2 * tunnels, costs::RING_POLL_BYTES)
            }
            Engine::Epoll => Memory::new("epoll entries", 2 * tunnels, costs::EPOLL_ENTRY_BYTES),
        };
        let memory = vec![
            Memory::new("tunnels, own memory", tunnels, costs::TUNNEL_BYTES),
            Memory::new("process", 1, costs::PROCESS_BYTES),
            Memory::new("workers", extent.workers as u64, costs::WORKER_BYTES),
            Memory::new("sockets in the kernel", 2 * tunnels, costs::SOCKET_BYTES),
            polled,
            Memory::new(
                "descriptor table",
                extent.descriptors().next_power_of_two(),
                costs::DESCRIPTOR_BYTES,
            ),
        ];
        let talking = tunnels * costs::TALKING_PERCENT / 100;
        let memory_under_load = vec![
            Memory::new("messages under way", talking, costs::MESSAGE_PAGES * host.page_bytes),
            Memory::new("pipes of bulk tunnels", extent.pipes(), costs::PIPE_BYTES),
        ];
        let memory_bytes = memory.iter().chain(&memory_under_load).map(|line| line.bytes).sum();
        let settings = settings::all(extent, host, memory_bytes, talking * costs::MESSAGE_PAGES);
        let suffices = settings.iter().all(|setting| setting.suffices == Some(true));
        let (tunnels, workers) = (extent.tunnels, extent.workers);
        Self { tunnels, workers, memory, memory_under_load, memory_bytes, settings, suffices }
    }

    /// What is needed of a limit, by its name in [`Self::settings`].
    pub(crate) fn needed(&self, name: &str) -> Option<u64> {
        self.settings.iter().find(|setting| setting.name == name).map(|setting| setting.needed)
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts always become JSON")
    }
}

#[cfg(test)]
mod tests;
