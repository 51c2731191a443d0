//! `cargo xtask ktls`: what the proxy relies on of kTLS, checked on the kernels it is meant for; with the word
//! `proxy`, the proxy itself, with `upgrade`, its tunnels over an upgrade, and with `compare`, what records cost.

use std::path::Path;
use std::time::Duration;

use ringbolt_vm::{Arch, Machine, Program};

use crate::kernels::KERNELS;
use crate::{packages, release, steps};

/// Package and program of the checks.
pub(crate) const PROGRAM: &str = "ringbolt-ktls";
/// Package and program of the proxy, and where it is in the guest.
const PROXY: &str = "ringbolt";
const PROXY_THERE: &str = "/proxy/ringbolt";
/// A guest loads none by itself. amd64's: they are named for the processor's instructions.
const MODULES: [&str; 7] =
    ["tls", "gcm", "ghash_generic", "aesni_intel", "chacha20poly1305", "chacha_x86_64", "poly1305_x86_64"];

/// How long a guest may take whose clock counts instructions.
const SLOW_TIMEOUT: Duration = Duration::from_secs(600);

/// What a guest loads first.
pub(crate) fn modules() -> Vec<String> {
    MODULES.map(str::to_owned).into()
}

/// Builds the program and runs it in a guest of each kernel.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<(), String> {
    let word = match words {
        [] => "",
        [word] if ["compare", "proxy", "upgrade"].contains(&word.as_str()) => word,
        _ => return Err("`ktls` takes nothing, `proxy`, `upgrade` or `compare`".to_owned()),
    };
    let arch =
        Arch::native().ok_or("guests have the architecture of this machine, which is not known here")?;
    packages::install(&packages::vm_tools(arch))?;
    let built = release::target()?.join("debug");
    steps::succeed(steps::cargo(root).args(["build", "--quiet", "-p", PROGRAM, "-p", PROXY]))?;
    let mut program = Program::new(built.join(PROGRAM), words.to_vec());
    if word == "proxy" || word == "upgrade" {
        program.files.push((built.join(PROXY), PROXY_THERE.into()));
        program.arguments.push(PROXY_THERE.to_owned());
    }
    for kernel in KERNELS {
        eprintln!("== Linux {kernel}");
        let mut machine = Machine { modules: modules(), ..Machine::new(arch, kernel) };
        if word == "upgrade" {
            machine = Machine { cpus: 1, timeout: SLOW_TIMEOUT, ..machine };
        } else if !word.is_empty() {
            // An emulated processor's seconds say nothing; instructions say what they say on any.
            machine = Machine { clock_counts_instructions: true, cpus: 1, timeout: SLOW_TIMEOUT, ..machine };
        }
        match machine.run(&program, |line| println!("{line}"))? {
            0 => {}
            status => return Err(format!("the checks ended with {status} on Linux {kernel}")),
        }
    }
    Ok(())
}
