//! kTLS on a real kernel: everything the proxy relies on, checked byte for byte. Runs in a guest, where the
//! module is loaded: `cargo xtask ktls`.
//!
//! A check that fails panics, which ends the program with a status of its own. An argument names the checks that
//! run: those whose name contains it. `compare` measures instead, what records
//! cost that are sealed here or there; `proxy PROGRAM` checks the proxy instead, and `upgrade PROGRAM` its tunnels over an upgrade.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a check fails by a panic")]

mod checks;
mod compare;
mod proxy;
mod session;
mod traffic;

use ringbolt_reactor::probe_ktls;

fn main() {
    let support = probe_ktls();
    println!("kTLS: {support}");
    assert!(support.is_offered(), "this kernel has no kTLS");
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match wanted.as_str() {
        "compare" => return compare::run(),
        "proxy" => return proxy::run(&std::env::args().nth(2).expect("the proxy's path")),
        "upgrade" => return proxy::upgrade(&std::env::args().nth(2).expect("the proxy's path")),
        _ => {}
    }
    for (name, check) in checks::ALL.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        check(&support);
        println!("passed: {name}");
    }
}
