//! What each setting should be: at least what is recommended and what is needed, and never less than it is.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::record::Change;
use super::sysctl::Sysctls;
use crate::config::Config;
use crate::plan::{Plan, recommended};

/// One setting of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// `None`: this kernel has no such setting.
    pub(super) present: Option<String>,
    /// What it would be set to; the present value where that suffices.
    pub(super) wanted: String,
    pub(super) reason: String,
}

impl Row {
    /// It is there and does not suffice.
    pub(super) fn is_below(&self) -> bool {
        self.present.as_ref().is_some_and(|present| *present != self.wanted)
    }

    pub(super) fn change(&self) -> Option<Change> {
        let before = self.present.clone().filter(|_| self.is_below())?;
        Some(Change { name: self.name.to_owned(), before, after: self.wanted.clone() })
    }
}

/// How two values of a setting compare, and what suffices for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// One number, of which more is more.
    AtLeast,
    /// The same, where 0 is no limit.
    AtLeastOrZero,
    /// A mode.
    Exactly,
    /// The first and last of a range, of which the wider is more.
    Range,
}

/// Every setting of the recommended file has a rule.
pub(super) const RULES: [(&str, Rule); 7] = [
    ("fs.nr_open", Rule::AtLeast),
    ("fs.file-max", Rule::AtLeast),
    ("net.core.somaxconn", Rule::AtLeast),
    (PORT_RANGE, Rule::Range),
    ("net.ipv4.tcp_tw_reuse", Rule::Exactly),
    ("net.ipv4.tcp_migrate_req", Rule::Exactly),
    ("fs.pipe-user-pages-soft", Rule::AtLeastOrZero),
];

const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
const TCP_MEM: &str = "net.ipv4.tcp_mem";
/// In `ringbolt plan`: the second of its three numbers.
const TCP_PRESSURE: &str = "net.ipv4.tcp_mem, pressure";

/// The settings of the file, then those that follow from the numbers and the configuration alone.
pub(super) fn rows(sysctls: &Sysctls, plan: &Plan, config: Option<&Config>) -> Vec<Row> {
    let recommended = recommended::entries().into_iter().map(|entry| {
        let rule =
            RULES.iter().find(|(name, _)| *name == entry.name).map_or(Rule::Exactly, |(_, rule)| *rule);
        let needed = plan.needed(entry.name).unwrap_or(0);
        let present = sysctls.get(entry.name);
        let wanted = wanted(rule, present.as_deref(), entry.value, needed);
        Row { name: entry.name, present, wanted, reason: entry.reason().to_owned() }
    });
    let mut rows: Vec<Row> = recommended.collect();
    rows.push(tcp_mem(sysctls, plan.needed(TCP_PRESSURE).unwrap_or(0)));
    rows.extend(config.map(|config| reserved(sysctls, &rows, config)));
    rows
}

fn wanted(rule: Rule, present: Option<&str>, recommended: &str, needed: u64) -> String {
    let at_least = recommended.parse().unwrap_or(0).max(needed).to_string();
    let Some(present) = present else {
        return if rule == Rule::Exactly || rule == Rule::Range { recommended.to_owned() } else { at_least };
    };
    let number = |text: &str| text.parse().unwrap_or(0_u64);
    let suffices = match rule {
        Rule::AtLeast => number(present) >= number(&at_least),
        Rule::AtLeastOrZero => present == "0" || number(present) >= number(&at_least),
        Rule::Exactly => present == recommended,
        Rule::Range => width(present) >= width(recommended),
    };
    match rule {
        _ if suffices => present.to_owned(),
        Rule::Exactly | Rule::Range => recommended.to_owned(),
        Rule::AtLeast | Rule::AtLeastOrZero => at_least,
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once(' ')?;
    Some(low.parse().ok()?..=high.parse().ok()?)
}

fn width(text: &str) -> usize {
    range(text).map_or(0, |range| range.count())
}

/// Pages of all TCP buffers: all well below the first number, saved from the second, refused from the third. Raised
/// in the kernel's own proportions of 3, 4 and 6 (`tcp_init_mem`).
fn tcp_mem(sysctls: &Sysctls, needed: u64) -> Row {
    let present = sysctls.get(TCP_MEM);
    let numbers: Vec<u64> =
        present.iter().flat_map(|text| text.split(' ')).filter_map(|word| word.parse().ok()).collect();
    let raised = |index: usize, least: u64| numbers.get(index).copied().unwrap_or(0).max(least);
    let suffices = numbers.get(1).is_some_and(|pressure| *pressure >= needed);
    let wanted = match &present {
        Some(present) if suffices => present.clone(),
        _ => format!("{} {} {}", raised(0, needed * 3 / 4), raised(1, needed), raised(2, needed * 3 / 2)),
    };
    let reason = "Pages of socket buffers while bytes are under way".to_owned();
    Row { name: TCP_MEM, present, wanted, reason }
}

/// A listener's port inside the range of local ports can be taken by an outgoing connection while the proxy is not
/// running, and then it does not start.
fn reserved(sysctls: &Sysctls, rows: &[Row], config: &Config) -> Row {
    let local = rows.iter().find(|row| row.name == PORT_RANGE).and_then(|row| range(&row.wanted));
    let listening = config.listeners.iter().map(|listener| listener.address.port());
    let listening = listening.chain(config.admin.iter().map(|admin| admin.address.port()));
    let inside: BTreeSet<u16> =
        listening.filter(|port| local.as_ref().is_some_and(|range| range.contains(port))).collect();
    let present = sysctls.get(RESERVED);
    let known = present.clone().unwrap_or_default();
    let is_known = |port: &u16| {
        known.split(',').any(|item| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            first.parse().is_ok_and(|first: u16| first <= *port)
                && last.parse().is_ok_and(|last: u16| *port <= last)
        })
    };
    let missing = inside.iter().filter(|port| !is_known(port)).map(u16::to_string);
    let all: Vec<String> =
        Some(known.clone()).filter(|known| !known.is_empty()).into_iter().chain(missing).collect();
    let reason = "Ports of listeners that outgoing connections must not take".to_owned();
    Row { name: RESERVED, present, wanted: all.join(","), reason }
}
