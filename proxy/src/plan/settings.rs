//! Each limit of the machine and of the configuration: what is needed, what there is, and how to get more.

use std::collections::BTreeSet;

use ringbolt_core::limits::PLACEMENT_LOAD_PERCENT;
use serde::Serialize;

use super::{Extent, Host, costs, recommended};
use crate::config::{BackendState, Config};

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(super) name: &'static str,
    pub(super) needed: u64,
    /// `None`: this machine, or the configuration, does not tell.
    pub(super) present: Option<u64>,
    /// `None` where there is no present value.
    pub(super) suffices: Option<bool>,
    /// Why so much is needed.
    pub(super) reason: String,
    /// How to get it; `None` where it suffices.
    pub(super) remedy: Option<String>,
}

impl Setting {
    fn new(name: &'static str, needed: u64, present: Option<u64>, reason: &str, remedy: String) -> Self {
        let suffices = present.map(|present| present >= needed);
        let remedy = (suffices != Some(true)).then_some(remedy);
        Self { name, needed, present, suffices, reason: reason.to_owned(), remedy }
    }

    /// A kernel setting that is one number.
    fn sysctl(name: &'static str, needed: u64, present: Option<u64>, reason: &str) -> Self {
        Self::new(name, needed, present, reason, format!("sysctl {name}={needed}"))
    }
}

/// Different addresses of backends that take new sessions.
pub(super) fn backend_addresses(config: &Config) -> usize {
    let backends = config.upstreams.values().flat_map(|upstream| &upstream.backends);
    let taking = backends.filter(|backend| backend.state == BackendState::Up);
    taking.map(|backend| backend.address).collect::<BTreeSet<_>>().len()
}

/// Everything that can stand in the way, the machine's memory first.
pub(super) fn all(extent: &Extent, host: &Host, memory_bytes: u64, message_pages: u64) -> Vec<Setting> {
    let mut settings = vec![memory(host, memory_bytes)];
    if let Some(present) = extent.connections_max {
        let needed = u64::from(extent.tunnels);
        settings.push(Setting::new(
            "limits.connections",
            needed,
            Some(present.into()),
            "a tunnel is a client connection",
            format!("limits.connections = {needed} in the configuration"),
        ));
    }
    settings.extend(files(extent, host));
    settings.push(backends(extent, host));
    settings.push(tcp_mem(host, message_pages));
    settings.extend(fixed(extent, host));
    if let Some(present) = host.conntrack_max {
        settings.push(Setting::new(
            "net.netfilter.nf_conntrack_max",
            2 * u64::from(extent.tunnels),
            Some(present),
            "connection tracking is loaded; a tunnel is two connections",
            "exempt the proxy's ports from connection tracking, or raise it".to_owned(),
        ));
    }
    settings
}

fn memory(host: &Host, needed: u64) -> Setting {
    Setting::new(
        "available memory, bytes",
        needed,
        host.memory_bytes,
        "the sum above",
        "a machine with more memory".to_owned(),
    )
}

fn files(extent: &Extent, host: &Host) -> [Setting; 3] {
    let needed = extent.descriptors();
    let open = host.files_open.unwrap_or(0);
    [
        Setting::new(
            "LimitNOFILE",
            needed,
            Some(host.descriptors),
            "two descriptors a tunnel and some for the process; present is the hard limit of this shell",
            format!("LimitNOFILE={needed} in the systemd unit, or ulimit -Hn {needed}"),
        ),
        Setting::sysctl("fs.nr_open", needed, host.nr_open, "no process may have a higher LimitNOFILE"),
        Setting::sysctl("fs.file-max", needed + open, host.file_max, "and what other programs have open"),
    ]
}

/// Enough addresses for the ports there are: a connection to one address takes one local port, and finds one
/// quickly only among half of them.
fn backends(extent: &Extent, host: &Host) -> Setting {
    // The fullest backend has this part more than an equal share.
    let placed = u64::from(extent.tunnels) * u64::from(PLACEMENT_LOAD_PERCENT) / 100;
    let ports = quick(host.ports.unwrap_or(0));
    let needed = placed.div_ceil(ports).max(1);
    Setting::new(
        "backend addresses",
        needed,
        extent.backend_addresses.map(|count| count as u64),
        &format!(
            "a tunnel takes a local port for its address; {ports}, half of those in \
                  net.ipv4.ip_local_port_range, are found quickly"
        ),
        remedy_for_ports(placed, needed),
    )
}

fn remedy_for_ports(placed: u64, needed: u64) -> String {
    let tuned = placed.div_ceil(quick(recommended::ports())).max(1);
    format!("{needed} backends, or several addresses a backend; {tuned} with the range of kernel-tuning")
}

/// Of this many ports, those that are found quickly.
fn quick(ports: u64) -> u64 {
    (ports * costs::PORTS_QUICK_PERCENT / 100).max(1)
}

fn tcp_mem(host: &Host, message_pages: u64) -> Setting {
    let used = host.tcp_pages_used.unwrap_or(0);
    let percent = costs::TALKING_PERCENT;
    let needed = message_pages + used;
    Setting::new(
        "net.ipv4.tcp_mem, pressure",
        needed,
        host.tcp_pages_pressure,
        &format!("pages for {percent} % of the tunnels with a message under way; idle ones take none"),
        format!("the second number of sysctl net.ipv4.tcp_mem at least {needed}"),
    )
}

/// What is recommended whatever the number of tunnels, and pipes, which follow the number of workers.
fn fixed(extent: &Extent, host: &Host) -> [Setting; 2] {
    let somaxconn = recommended::number("net.core.somaxconn");
    let pages = extent.pipes() * costs::PIPE_BYTES / host.page_bytes;
    // 0 is no limit.
    let present = host.pipe_pages_soft.map(|pages| if pages == 0 { u64::MAX } else { pages });
    [
        Setting::sysctl(
            "net.core.somaxconn",
            somaxconn,
            host.somaxconn,
            "clients that reconnect all at once",
        ),
        Setting::sysctl("fs.pipe-user-pages-soft", pages, present, "all pipes of all workers at full size"),
    ]
}
