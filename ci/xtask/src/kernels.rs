//! `cargo xtask kernels`: the daemon's core tests on the kernels it is meant for, on both engines, and the table of
//! what each of them offers.

use std::path::Path;
use std::time::Duration;

use ringbolt_vm::{Arch, Machine};

use crate::suite::{self, Part};
use crate::{ktls, packages, steps, table};

/// Debian 12's and 13's.
pub(crate) const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// Since Linux 6.6: Debian's 6.12 has it.
const FORBIDDEN: &str = "kernel.io_uring_disabled=2";
/// Ends a guest that hangs, and no other: an emulated processor is slow, and its machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What the kernel offers, as the daemon sees it: the source of the table.
/// It warns of limits, which are of no account in a guest.
const HOST: Part = Part::program("daemon", "doctor --host").accepting(3);
/// A sid is known to all workers in time, and everything of a session follows it.
const AFFINITY: Part = Part::tests("affinity_engine_io", "the_sid_is_known posts_preflights");
/// What is under way, and what waits, when another process takes over.
const HANDOVER: Part = Part::tests("upgrade", "what_is_under_way connections_that_wait");
/// On each kernel.
const PARTS: [Part; 9] = [
    HOST,
    Part::program(ktls::PROGRAM, ""),
    Part::tests("lifecycle_engine", "auto_uses_the_ring epoll_is_used"),
    Part::tests("tune", "--ignored"),
    AFFINITY,
    AFFINITY.on_epoll(),
    HANDOVER,
    HANDOVER.on_epoll(),
    // Their names say the engine.
    Part::tests("tunnels", "chat bulk_is tls_tunnels"),
];
/// Where io_uring is forbidden and nothing says which engine.
const PARTS_FORBIDDEN: [Part; 3] = [Part::tests("lifecycle_engine", "--ignored"), AFFINITY, HANDOVER];

/// Runs the tests in a guest of each kernel, and in another where io_uring is forbidden. With the word `table`, only
/// asks each kernel what it offers, and writes the table.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<(), String> {
    let only_table = match words {
        [] => false,
        [word] if word == "table" => true,
        _ => return Err("`kernels` takes nothing or `table`".to_owned()),
    };
    let arch =
        Arch::native().ok_or("guests have the architecture of this machine, which is not known here")?;
    packages::install(&packages::vm_tools(arch))?;
    let every: Vec<Part> = PARTS.into_iter().chain(PARTS_FORBIDDEN).collect();
    let mut built = if only_table {
        suite::build(|| steps::cargo(root), &[], &[])?
    } else {
        suite::build(|| steps::cargo(root), &every, &[ktls::PROGRAM])?
    };
    built.name_daemon(HOST.program);

    let machine = |kernel| Machine {
        timeout: TIMEOUT,
        modules: ktls::modules(),
        // Time in the guest stands still while this machine is busy with something else: no test is late for that.
        clock_counts_instructions: true,
        cpus: 1,
        ..Machine::new(arch, kernel)
    };
    let parts = if only_table { &PARTS[..1] } else { &PARTS };
    let mut offered = Vec::new();
    for kernel in KERNELS {
        eprintln!("== Linux {kernel}");
        let mut lines = Vec::new();
        suite::run(&machine(kernel), &built, parts, |line| lines.push(line.to_owned()))?;
        offered.push((kernel, table::checks(&lines)));
    }
    if !only_table {
        eprintln!("== Linux 6.12, {FORBIDDEN}");
        let machine = Machine { sysctls: vec![FORBIDDEN.to_owned()], ..machine("6.12") };
        suite::run(&machine, &built, &PARTS_FORBIDDEN, |_| {})?;
    }
    table::write(&root.join("kernel-tuning/kernels.md"), &offered)
}
