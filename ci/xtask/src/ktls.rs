//! `cargo xtask ktls`: what the proxy relies on of kTLS, checked on the kernels it is meant for; with the word
//! `compare`, what it costs there.

use std::path::Path;
use std::time::Duration;

use ringbolt_vm::{Arch, Machine, Program};

use crate::{packages, release, steps};

/// Package and program of the checks.
const PROGRAM: &str = "ringbolt-ktls";
/// Debian 12's and 13's.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// A guest loads none by itself. amd64's: they are named for the processor's instructions.
const MODULES: [&str; 7] =
    ["tls", "gcm", "ghash_generic", "aesni_intel", "chacha20poly1305", "chacha_x86_64", "poly1305_x86_64"];

/// How long a guest may take whose clock counts instructions.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(600);

/// Builds the program and runs it in a guest of each kernel.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<(), String> {
    let compares = match words {
        [] => false,
        [word] if word == "compare" => true,
        _ => return Err("`ktls` takes nothing, or `compare`".to_owned()),
    };
    let arch =
        Arch::native().ok_or("guests have the architecture of this machine, which is not known here")?;
    packages::install(&packages::vm_tools(arch))?;
    steps::succeed(steps::cargo(root).args(["build", "--quiet", "-p", PROGRAM]))?;
    let program = Program::new(release::target()?.join("debug").join(PROGRAM), words.to_vec());
    for kernel in KERNELS {
        eprintln!("== Linux {kernel}");
        let modules = MODULES.map(str::to_owned).into();
        let mut machine = Machine { modules, ..Machine::new(arch, kernel) };
        if compares {
            // Seconds of an emulated processor say nothing; instructions say what they say on any.
            machine =
                Machine { clock_counts_instructions: true, cpus: 1, timeout: COMPARE_TIMEOUT, ..machine };
        }
        match machine.run(&program, |line| println!("{line}"))? {
            0 => {}
            status => return Err(format!("the checks ended with {status} on Linux {kernel}")),
        }
    }
    Ok(())
}
