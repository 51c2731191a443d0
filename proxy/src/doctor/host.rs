//! `ringbolt doctor --host`: whether this machine lets the proxy do what it can, and what to change.
//!
//! [`Facts::gather`] asks the kernel, by trying where it can; everything else is pure. What a number of tunnels takes is
//! the business of `ringbolt plan`, and kernel settings are that of `ringbolt tune`.

mod memory;

use std::fs;

use ringbolt_reactor::{KtlsSupport, Pipe, RingRefusal, RingSupport, limits};

use super::finding::{Finding, Report};
use crate::config::{Config, Limits};
use crate::descriptors;
use crate::plan::{Extent, Host, Plan};

/// What this machine is and does at present.
struct Facts {
    /// Release of the kernel.
    kernel: String,
    ring: Result<RingSupport, RingRefusal>,
    ktls: KtlsSupport,
    /// Bytes that a new pipe holds.
    pipe: Result<usize, std::io::Error>,
    /// Hard limit of descriptors.
    descriptors: u64,
    /// The smallest limit of the control groups this process is in.
    memory_limit: Option<memory::Limit>,
    clock_source: Option<String>,
    clock_is_synchronised: Option<bool>,
    /// Connections that connection tracking has room for; `None` where it is not loaded.
    tracked_max: Option<u64>,
    /// Names of kernel settings below what is recommended.
    settings_below: Vec<String>,
}

/// What the configuration, or the defaults, ask of the machine.
struct Needs {
    connections: u32,
    descriptors: u64,
    /// For that many tunnels.
    memory_bytes: u64,
}

/// Clock sources that are read without entering the kernel.
const QUICK_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"];

/// Everything there is to say about this machine.
pub(super) fn look(config: Option<&Config>) -> Report {
    let host = Host::read();
    let facts = Facts::gather(config, &host);
    let needs = Needs::new(config, &host);
    Report {
        url: format!("this machine, Linux {}", facts.kernel),
        hops: Vec::new(),
        findings: findings(&facts, &needs),
    }
}

impl Facts {
    fn gather(config: Option<&Config>, host: &Host) -> Self {
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self {
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            ring: ringbolt_reactor::probe_ring(),
            ktls: ringbolt_reactor::probe_ktls(),
            pipe: Pipe::new().map(|pipe| pipe.capacity()),
            descriptors: host.descriptors(),
            memory_limit: memory::smallest(),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_is_synchronised: ringbolt_reactor::clock_is_synchronised(),
            tracked_max: host.tracked_max(),
            settings_below: crate::tune::below(config),
        }
    }
}

impl Needs {
    fn new(config: Option<&Config>, host: &Host) -> Self {
        let connections =
            config.map_or_else(|| Limits::default().connections, |config| config.limits.connections);
        let extent = Extent::new(connections, config, crate::cores());
        let reserve = descriptors::reserve(extent.workers, extent.listeners);
        Self {
            connections,
            descriptors: descriptors::needed(connections, reserve),
            memory_bytes: Plan::new(&extent, host).memory_bytes,
        }
    }
}

fn findings(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let mut findings = io_uring(&facts.ring);
    findings.push(ktls(&facts.ktls));
    findings.push(splice(&facts.pipe));
    findings.push(files(facts.descriptors, needs));
    findings.push(memory(facts.memory_limit.as_ref(), needs));
    findings.extend(clock(facts));
    if let Some(max) = facts.tracked_max {
        findings.push(Finding::warning(
            "tracking",
            format!("connection tracking is loaded, with room for {max} connections; a tunnel takes two"),
            "exempt the proxy's ports from it (notrack), or raise net.netfilter.nf_conntrack_max:\n\
             kernel-tuning/README.md has the rules",
        ));
    }
    findings.push(settings(&facts.settings_below));
    findings
}

/// Two checks: the ring as such, and receives of the kernel by itself.
fn io_uring(ring: &Result<RingSupport, RingRefusal>) -> Vec<Finding> {
    match ring {
        Err(refusal) => {
            let seen = format!("{} ({}); the proxy runs on epoll", refusal.cause, refusal.error);
            vec![Finding::warning("io_uring", seen, refusal.cure)]
        }
        Ok(RingSupport { flags, receives }) => {
            let seen = format!("multishot poll; flags: {flags}");
            let received = if *receives {
                Finding::ok(
                    "receives",
                    "multishot receive into a ring of buffers: busy small messages take it",
                )
            } else {
                Finding::warning(
                    "receives",
                    "no multishot receive: busy small messages cost a system call each",
                    "run Linux 6.1 or newer",
                )
            };
            vec![Finding::ok("io_uring", seen), received]
        }
    }
}

fn ktls(support: &KtlsSupport) -> Finding {
    if support.is_offered() {
        return Finding::ok("kTLS", support.to_string());
    }
    let error = support.refusal.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
    let seen =
        format!("refused{error}: TLS tunnels keep their records in user space, take more memory, no splice");
    Finding::warning("kTLS", seen, "modprobe tls, and a line `tls` in /etc/modules-load.d/ringbolt.conf")
}

fn splice(pipe: &Result<usize, std::io::Error>) -> Finding {
    let kib = |bytes: usize| bytes / 1024;
    match pipe {
        Ok(bytes) if *bytes >= limits::PIPE_BYTES => {
            Finding::ok("splice", format!("pipes of {} KiB", kib(*bytes)))
        }
        Ok(bytes) => Finding::warning(
            "splice",
            format!(
                "pipes of {} KiB in place of {}: bulk costs more calls",
                kib(*bytes),
                kib(limits::PIPE_BYTES)
            ),
            "raise fs.pipe-user-pages-soft and fs.pipe-max-size: ringbolt tune",
        ),
        Err(error) => Finding::fault("splice", format!("no pipe: {error}"), "see the limit of open files"),
    }
}

fn files(hard_limit: u64, needs: &Needs) -> Finding {
    let Needs { connections, descriptors, .. } = needs;
    if hard_limit >= *descriptors {
        return Finding::ok("descriptors", format!("{hard_limit}, enough for {connections} connections"));
    }
    Finding::warning(
        "descriptors",
        format!(
            "{hard_limit} (hard limit of this shell), and limits.connections = {connections} takes {descriptors}: \
             fewer connections are accepted"
        ),
        "LimitNOFILE= in the systemd unit, or ulimit -Hn; fs.nr_open is the most there may be",
    )
}

fn memory(limit: Option<&memory::Limit>, needs: &Needs) -> Finding {
    const MIB: u64 = 1024 * 1024;
    let (wanted, connections) = (needs.memory_bytes.div_ceil(MIB), needs.connections);
    match limit {
        None => Finding::ok("cgroup memory", "no limit"),
        Some(limit) if limit.bytes >= needs.memory_bytes => Finding::ok(
            "cgroup memory",
            format!("{} MiB in {}, enough for {connections} tunnels", limit.bytes / MIB, limit.group),
        ),
        Some(limit) => Finding::warning(
            "cgroup memory",
            format!(
                "{} MiB in {}, kernel memory of sockets included; limits.connections = {connections} tunnels take {wanted}",
                limit.bytes / MIB,
                limit.group
            ),
            "raise MemoryMax= and MemoryHigh= of the service (or the container's limit), or lower limits.connections;\n\
             ringbolt plan has the sum",
        ),
    }
}

fn clock(facts: &Facts) -> Vec<Finding> {
    let source = facts.clock_source.as_ref().map(|source| {
        if QUICK_CLOCKS.contains(&source.as_str()) {
            return Finding::ok("clock source", source.clone());
        }
        Finding::warning(
            "clock source",
            format!("{source}: every look at the clock is a system call, and slow"),
            "see the kernel's log for why it left tsc; clocksource=tsc tsc=reliable on its command line where that is sound",
        )
    });
    let synchronised = facts.clock_is_synchronised.map(|right| {
        if right {
            return Finding::ok("clock", "synchronised");
        }
        Finding::warning(
            "clock",
            "not synchronised: certificates are judged, and session tickets shared, by a clock nobody sets",
            "run chrony or systemd-timesyncd (in a container: on its host)",
        )
    });
    source.into_iter().chain(synchronised).collect()
}

fn settings(below: &[String]) -> Finding {
    if below.is_empty() {
        return Finding::ok("settings", "all as recommended");
    }
    Finding::warning(
        "settings",
        format!("below what is recommended: {}", below.join(", ")),
        "ringbolt tune says what each is for; ringbolt tune --apply sets them",
    )
}

#[cfg(test)]
mod tests;
