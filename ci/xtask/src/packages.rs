//! The programs that tests and budgets need beside Rust, and the Debian packages they come from.
//!
//! Only what is missing is installed, and it is said before it is done. Node and Python packages
//! are no business of this file: the tests install them from their own lock files.

use std::process::{Command, Stdio};

use ringbolt_vm::Arch;

use crate::steps;

/// A program that tests or budgets need.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Shell words that succeed where it is installed.
    probe: &'static str,
    /// The Debian package it comes from.
    package: &'static str,
    /// What needs it, for the reader of the message.
    reason: &'static str,
}

impl Tool {
    /// A tool that one command alone needs.
    pub(crate) const fn new(probe: &'static str, package: &'static str, reason: &'static str) -> Self {
        Self { probe, package, reason }
    }
}

/// What `cargo xtask check` needs.
pub(crate) const TOOLS: [Tool; 13] = [
    Tool { probe: "command -v node", package: "nodejs", reason: "Socket.IO servers and clients" },
    Tool { probe: "command -v npm", package: "npm", reason: "installs the Node packages of the tests" },
    Tool { probe: "command -v python3", package: "python3", reason: "python-socketio" },
    Tool {
        probe: "python3 -c 'import ensurepip'",
        package: "python3-venv",
        reason: "installs the Python packages of the tests",
    },
    Tool { probe: "command -v nginx", package: "nginx-light", reason: "tests of the doctor" },
    Tool { probe: "command -v haproxy", package: "haproxy", reason: "tests of the doctor" },
    Tool { probe: "command -v chromium", package: "chromium", reason: "browser test of the demo" },
    Tool { probe: "command -v openssl", package: "openssl", reason: "the other TLS, as client and server" },
    Tool { probe: "command -v curl", package: "curl", reason: "a TLS client" },
    Tool { probe: "command -v testssl", package: "testssl.sh", reason: "looks for weaknesses of TLS" },
    Tool {
        probe: "command -v valgrind",
        package: "valgrind",
        reason: "counts instructions, for the budgets",
    },
    Tool {
        probe: "command -v redis-server",
        package: "redis-server",
        reason: "the shared directory of sessions",
    },
    Tool { probe: "command -v promtool", package: "prometheus", reason: "tests metrics and alerts" },
];

/// What C code of dependencies needs to be built for arm64. Apart from [`TOOLS`]: no test here needs it.
pub(crate) const CROSS_C: [Tool; 2] = [
    Tool {
        probe: "command -v aarch64-linux-gnu-gcc",
        package: "gcc-aarch64-linux-gnu",
        reason: "compiles and links for arm64",
    },
    Tool {
        probe: "test -e /usr/aarch64-linux-gnu/lib/libc.a",
        package: "libc6-dev-arm64-cross",
        reason: "the C library of arm64",
    },
];

/// A compiler with a standard library for arm64, where the toolchain in use has none.
pub(crate) const CROSS_RUST: [Tool; 1] = [Tool {
    probe: "test \"$(dpkg-query -W -f '${db:Status-Abbrev}' rustc-web)\" = 'ii '",
    package: "rustc-web",
    reason: "compiles Rust for arm64",
}];

/// What a guest of this architecture needs. Apart from [`TOOLS`], because it is large.
pub(crate) fn vm_tools(arch: Arch) -> [Tool; 1] {
    let (_, package) = arch.emulator();
    let probe = match arch {
        Arch::Amd64 => "command -v qemu-system-x86_64",
        Arch::Arm64 => "command -v qemu-system-aarch64",
    };
    [Tool { probe, package, reason: "runs programs on other kernels" }]
}

/// Installs what is missing. The error says exactly what to install by hand.
pub(crate) fn install(tools: &[Tool]) -> Result<(), String> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !succeeds(tool.probe)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        eprintln!("installing Debian package {} ({})", tool.package, tool.reason);
    }
    if !succeeds("command -v apt-get") {
        return Err(by_hand(&missing, "this machine has no apt-get"));
    }
    let root = succeeds(r#"test "$(id -u)" = 0"#);
    if !root && !succeeds("command -v sudo") {
        return Err(by_hand(&missing, "it takes root, and there is no sudo"));
    }
    // An old or partly broken package list may still do: the installation is what decides.
    if let Err(reason) = steps::succeed(apt_get(root).args(["-qq", "update"])) {
        eprintln!("{reason}; going on with the package list as it is");
    }
    let mut install = apt_get(root);
    install.args(["-qq", "install", "-y", "--no-install-recommends"]);
    install.args(missing.iter().map(|tool| tool.package));
    steps::succeed(&mut install).map_err(|reason| by_hand(&missing, &reason))
}

fn apt_get(root: bool) -> Command {
    // `env` and not `Command::env`, because sudo drops the environment.
    // A machine that has just been started may be installing something itself.
    let words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
    let (program, rest) = if root { (words[0], &words[1..]) } else { ("sudo", &words[..]) };
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::inherit()).stdout(Stdio::null());
    command
}

fn succeeds(probe: &str) -> bool {
    Command::new("sh")
        .args(["-c", probe])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn by_hand(missing: &[&Tool], reason: &str) -> String {
    let mut text = format!("cannot install what the tests need: {reason}\n  install these by hand:");
    for tool in missing {
        text.push_str(&format!("\n    {:<14} for: {}", tool.package, tool.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_installed_is_named_with_its_reason() {
        let chromium = TOOLS.iter().find(|tool| tool.package == "chromium").unwrap();
        let text = by_hand(&[chromium], "no network");
        assert!(text.contains("no network") && text.contains("chromium       for: browser test"), "{text}");
    }

    #[test]
    fn a_guest_needs_the_emulator_it_is_started_with() {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let [tool] = vm_tools(arch);
            assert!(tool.probe.ends_with(arch.emulator().0), "{tool:?}");
        }
    }

    #[test]
    fn sudo_is_used_by_ordinary_users_only() {
        assert_eq!(apt_get(true).get_program(), "env");
        assert_eq!(apt_get(false).get_program(), "sudo");
    }

    #[test]
    fn a_probe_tells_present_from_missing() {
        assert!(succeeds("command -v sh"));
        assert!(!succeeds("command -v no-such-program-anywhere"));
    }
}
