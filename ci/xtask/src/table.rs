//! `kernel-tuning/kernels.md`: what each kernel offers, as `ringbolt doctor --host` has found it out there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Columns of the report of `ringbolt doctor --host`: how bad, and of what.
const SEVERITY_WIDTH: usize = 9;
const CHECK_WIDTH: usize = 15;

/// Checks that are about the kernel and not about the machine.
const CHECKS: [&str; 4] = ["io_uring", "receives", "kTLS", "splice"];

/// What was found, by check.
pub(crate) type Found = BTreeMap<String, String>;

/// The checks in the lines of a report; what else is among them is passed over.
pub(crate) fn checks(lines: &[String]) -> Found {
    let mut found = Found::new();
    for line in lines {
        if let Some((_, kernel)) = line.split_once("this machine, Linux ") {
            found.insert("kernel".to_owned(), kernel.to_owned());
        }
        let is_severity = ["ok ", "WARNING ", "FAULT "].iter().any(|word| line.starts_with(word));
        let (Some(check), Some(seen)) = (
            line.get(SEVERITY_WIDTH..SEVERITY_WIDTH + CHECK_WIDTH),
            line.get(SEVERITY_WIDTH + CHECK_WIDTH..),
        ) else {
            continue;
        };
        if is_severity && CHECKS.contains(&check.trim_end()) {
            found.insert(check.trim_end().to_owned(), seen.to_owned());
        }
    }
    found
}

/// The page, from what was found on each kernel.
///
/// # Errors
///
/// A kernel has told nothing of some check.
pub(crate) fn page(by_kernel: &[(&str, Found)]) -> Result<String, String> {
    let mut text = HEAD.to_owned();
    let names: Vec<String> = by_kernel.iter().map(|(name, _)| format!("Linux {name}")).collect();
    text.push_str(&format!("| | {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len() + 1)));
    for check in ["kernel"].iter().chain(&CHECKS) {
        let cells = by_kernel.iter().map(|(name, found)| {
            found.get(*check).cloned().ok_or(format!("Linux {name} has told nothing of {check}"))
        });
        text.push_str(&format!("| {check} | {} |\n", cells.collect::<Result<Vec<_>, _>>()?.join(" | ")));
    }
    Ok(text)
}

/// Writes the page.
pub(crate) fn write(path: &Path, by_kernel: &[(&str, Found)]) -> Result<(), String> {
    let text = page(by_kernel)? + NOTES;
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

const HEAD: &str = "\
# What each kernel offers

Found out by trying, by `ringbolt doctor --host` in guests with Debian's cloud kernels; `cargo xtask kernels` writes this
page anew whenever it runs the tests there, `cargo xtask kernels table` without the tests.

";

const NOTES: &str = "
What it means:

| feature | since | without it |
| --- | --- | --- |
| multishot poll | Linux 5.13 | the proxy runs on epoll and says so |
| COOP_TASKRUN, SINGLE_ISSUER, DEFER_TASKRUN | 5.19, 6.0, 6.1 | completions interrupt the worker: more processor time for the same work |
| multishot receive into a ring of buffers | 6.0 | directions that chat are polled and read like all others |
| kTLS | 4.17; AES-256-GCM and TLS 1.3 5.1; ChaCha20 5.11 | TLS tunnels keep their keys and partial records in user space and are not spliced |
| change of kTLS keys | 6.14 | a tunnel whose client changes its keys, which few do, is closed |
| `kernel.io_uring_disabled` | 6.6 | nobody can forbid io_uring by a setting; seccomp and security modules can |
| `SO_INCOMING_CPU` among listeners on one port (`workers.steer`) | 6.2 | connections are spread evenly all the same |
| `net.ipv4.tcp_migrate_req` | 5.14 | connections that wait at a listener which closes are reset |

Ubuntu 24.04 has 6.8. Debian offers no kernel of that version, so it is not in the table.
";

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "this machine, Linux 6.1.0-56\n\
        ok       io_uring       multishot poll; flags: A\n\
        WARNING  receives       none\n                        run another\n\
        ok       kTLS           Tls13\n\
        ok       splice         pipes of 256 KiB\n\
        ok       clock          synchronised\n\
        ok but not a report, whatever it says\n";

    #[test]
    fn a_report_becomes_a_column() {
        let lines: Vec<String> = REPORT.lines().map(str::to_owned).collect();
        let found = checks(&lines);
        assert_eq!(found.len(), 5, "{found:?}");
        let page = page(&[("6.1", found.clone()), ("6.12", found)]).unwrap();
        assert!(
            page.contains("\n| | Linux 6.1 | Linux 6.12 |\n| --- | --- | --- |\n| kernel | 6.1.0-56 |"),
            "{page}"
        );
        assert!(page.contains("\n| receives | none | none |\n"), "{page}");
    }

    #[test]
    fn a_kernel_that_was_not_asked_is_no_column() {
        let text = page(&[("6.1", Found::new())]).unwrap_err();
        assert_eq!(text, "Linux 6.1 has told nothing of kernel");
    }
}
