//! How many connections fit the file descriptors that the process may open.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::start::StartError;

/// A client connection and, while it is served or tunnelled, its upstream connection.
const PER_CONNECTION: u64 = 2;

/// stdin, stdout, stderr, the admin address and its clients, the housekeeping runtime, files being read.
const PER_PROCESS: u64 = 64;

/// Event queue, mailbox, reserves of the listeners, a few pipes, pooled upstream connections between two requests.
const PER_WORKER: u64 = 64;

/// Descriptors the process needs beside its connections: every worker has each listener once.
pub(crate) fn reserve(workers: usize, listeners: usize) -> u64 {
    PER_PROCESS + workers as u64 * (PER_WORKER + listeners as u64)
}

/// Connections that fit `nofile` descriptors of which `reserve` are kept for other uses.
pub(crate) fn connections_that_fit(nofile: u64, reserve: u64) -> u32 {
    let fit = nofile.saturating_sub(reserve) / PER_CONNECTION;
    u32::try_from(fit).unwrap_or(u32::MAX)
}

/// Descriptors that this many connections need.
pub(crate) fn needed(connections: u32, reserve: u64) -> u64 {
    u64::from(connections) * PER_CONNECTION + reserve
}

/// Raises the process' soft limit to its hard limit and gives the number of client connections that
/// it may have: `wanted`, or fewer, which is logged with what to change.
///
/// # Errors
///
/// Not a single connection would fit.
pub(crate) fn prepare(wanted: u32, reserve: u64) -> Result<u32, StartError> {
    let nofile = raise();
    let fit = connections_that_fit(nofile, reserve);
    if fit >= wanted {
        return Ok(wanted);
    }
    let nr_open = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let descriptors_needed = needed(wanted, reserve);
    let advice = advice(descriptors_needed, nr_open);
    if fit == 0 {
        return Err(StartError::new(format!(
            "the process may open {nofile} file descriptors and needs {} for a single connection, \
             {descriptors_needed} for limits.connections = {wanted}; {advice}",
            needed(1, reserve)
        )));
    }
    tracing::warn!(
        limits_connections = wanted,
        connections = fit,
        descriptors = nofile,
        descriptors_needed,
        "too few file descriptors for limits.connections, fewer connections are accepted; {advice}"
    );
    Ok(fit)
}

/// The limit after raising it as far as an ordinary process may; `u64::MAX` for none.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current.unwrap_or(u64::MAX);
    let hard = maximum.unwrap_or(u64::MAX);
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// How an operator gets `needed` descriptors. No process may have more than `fs.nr_open`.
fn advice(needed: u64, nr_open: Option<u64>) -> String {
    let raise = format!("raise them with LimitNOFILE={needed} in the systemd unit or ulimit -n {needed}");
    match nr_open {
        Some(bound) if bound < needed => format!("{raise}, after sysctl fs.nr_open={needed}"),
        _ => raise,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_descriptors_a_connection_beside_the_reserve() {
        let reserve = reserve(2, 1);
        assert_eq!(reserve, 64 + 2 * 65);
        assert_eq!(connections_that_fit(1024, reserve), (1024 - 194) / 2);
        assert_eq!(connections_that_fit(100, reserve), 0);
        assert_eq!(connections_that_fit(u64::MAX, reserve), u32::MAX);
        assert_eq!(needed(1_000_000, reserve), 2_000_194);
    }

    #[test]
    fn the_advice_names_what_stands_in_the_way() {
        assert_eq!(
            advice(5000, Some(1 << 20)),
            "raise them with LimitNOFILE=5000 in the systemd unit or ulimit -n 5000"
        );
        assert!(advice(2_000_194, Some(1 << 20)).ends_with(", after sysctl fs.nr_open=2000194"));
    }

    #[test]
    fn a_limit_below_the_reserve_is_a_start_error() {
        let told = prepare(10, u64::MAX / 4).expect_err("nothing fits").to_string();
        assert!(told.contains("limits.connections = 10; raise them with LimitNOFILE="), "{told}");
        assert_eq!(prepare(1, 0), Ok(1));
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    proptest! {
        #[test]
        fn what_is_needed_fits(connections: u32, reserve in 0..1_000_000_u64) {
            prop_assert_eq!(connections_that_fit(needed(connections, reserve), reserve), connections);
            prop_assert!(connections_that_fit(needed(connections, reserve) - 1, reserve) < connections.max(1));
        }
    }
}
