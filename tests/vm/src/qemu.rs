//! qemu: its command line, its console, and its end.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::guest::{BEGIN, END, FAILED};
use crate::limits::{OUTPUT_BYTES_MAX, POWER_OFF_TIMEOUT, TAIL_LINES_MAX};
use crate::{Arch, Machine};

/// Boots, hands each line of the program to `line`, and gives its exit status.
pub(crate) fn run(
    machine: &Machine,
    image: &Path,
    initramfs: &Path,
    line: impl FnMut(&str),
) -> Result<i32, String> {
    let deadline = Instant::now() + machine.timeout;
    let (program, package) = machine.arch.emulator();
    Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| format!("cannot start {program} (Debian package {package}): {error}"))?;
    let mut child = command(machine, image, initramfs)
        .spawn()
        .map_err(|error| format!("cannot start setpriv (Debian package util-linux): {error}"))?;
    let lines = child.stdout.take().map(lines_of).ok_or("qemu has no output")?;
    let emulator = Emulator(child);
    let outcome = watch(&lines, deadline, line);
    if outcome.is_ok() {
        // The guest switches itself off: what it writes until then is dropped.
        let deadline = Instant::now() + POWER_OFF_TIMEOUT;
        while lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
    }
    drop(emulator);
    outcome.map_err(|reason| format!("Linux {} on {}: {reason}", machine.kernel, machine.arch.name()))
}

fn command(machine: &Machine, image: &Path, initramfs: &Path) -> Command {
    let (program, _) = machine.arch.emulator();
    // Ends the guest when this program ends in whatever way.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    let console = match machine.arch {
        Arch::Amd64 => {
            command.args(["-machine", "q35", "-cpu", "max"]);
            "ttyS0"
        }
        Arch::Arm64 => {
            // Emulating the real algorithm of pointer authentication doubles the time of everything.
            let model = if machine.arch.is_native() { "max" } else { "max,pauth-impdef=on" };
            command.args(["-machine", "virt", "-cpu", model]);
            "ttyAMA0"
        }
    };
    if machine.clock_counts_instructions {
        command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]);
    } else {
        command.args(["-accel", if is_accelerated(machine.arch) { "kvm" } else { "tcg,thread=multi" }]);
    }
    command.args(["-smp", &machine.cpus.to_string(), "-m", &format!("{}M", machine.memory_mib)]);
    command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    // A panic reboots at once, which ends qemu. An emulated processor stands still whenever this machine is busy:
    // neither a watchdog, nor the check of one clock against another, nor that of the timer's interrupt at boot is to
    // take that for a fault.
    let mut parameters =
        format!("console={console} quiet loglevel=3 panic=-1 nowatchdog tsc=reliable no_timer_check");
    for parameter in &machine.parameters {
        parameters.push(' ');
        parameters.push_str(parameter);
    }
    command.args(["-append", &parameters]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Whether this machine can run the guest's instructions itself.
fn is_accelerated(arch: Arch) -> bool {
    let offered = || OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    // Inside some virtual machines there is a KVM without hardware below it, on which only kernels made for it boot.
    let flags = || fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let in_hardware = || flags().split_whitespace().any(|flag| matches!(flag, "vmx" | "svm"));
    arch.is_native() && offered() && (arch != Arch::Amd64 || in_hardware())
}

/// A running guest, ended when dropped.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of the console, read by a thread of their own so that waiting for one can end. The thread ends with qemu.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    // A full channel lets the guest wait.
    let (sender, receiver) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut whole = Vec::new();
        loop {
            whole.clear();
            // A line without an end is cut, so that it cannot fill the memory.
            let read = reader.by_ref().take(OUTPUT_BYTES_MAX as u64).read_until(b'\n', &mut whole);
            if !matches!(read, Ok(1..)) {
                return;
            }
            let text = String::from_utf8_lossy(&whole).trim_end_matches(['\r', '\n']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Reads the console until the program has ended.
fn watch(lines: &Receiver<String>, deadline: Instant, mut line: impl FnMut(&str)) -> Result<i32, String> {
    let mut tail: VecDeque<String> = VecDeque::new();
    let mut written: Option<usize> = None;
    loop {
        let text = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => return Err(ended("the time limit has passed", &tail)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ended("the guest ended before the program did", &tail));
            }
        };
        if let Some(bytes) = &mut written {
            if let Some((before, status)) = text.split_once(END) {
                // The program's last line may have had no end.
                if !before.is_empty() {
                    line(before);
                }
                return status.trim().parse().map_err(|_| format!("no exit status: {text:?}"));
            }
            line(&text);
            *bytes += text.len();
            if *bytes > OUTPUT_BYTES_MAX {
                return Err(format!("the program has written more than {OUTPUT_BYTES_MAX} bytes"));
            }
        } else if text.contains(BEGIN) {
            written = Some(0);
        } else if let Some((_, reason)) = text.split_once(FAILED) {
            return Err(ended(reason, &tail));
        }
        if tail.len() == TAIL_LINES_MAX {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

fn ended(reason: &str, tail: &VecDeque<String>) -> String {
    let mut text = format!("{reason}; the end of its console:");
    for line in tail {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Exit status or error, and the lines, of a console with this text.
    fn watched(console: &'static str) -> (Result<i32, String>, Vec<String>) {
        let mut seen = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let outcome = watch(&lines_of(console.as_bytes()), deadline, |line| seen.push(line.to_owned()));
        (outcome, seen)
    }

    #[test]
    fn only_the_program_is_heard_and_its_status_is_told() {
        let console = "booting\r\nringbolt-vm: the program begins\r\none\r\n\r\ntworingbolt-vm: the program ended with 3\r\nmore";
        let (outcome, seen) = watched(console);
        assert_eq!((outcome, seen), (Ok(3), ["one", "", "two"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_guest_that_ends_early_shows_its_last_words() {
        let (outcome, seen) = watched("ringbolt-vm: the program begins\nhello\nKernel panic\n");
        assert_eq!(seen, ["hello", "Kernel panic"]);
        let text = outcome.unwrap_err();
        assert!(text.starts_with("the guest ended before the program did"), "{text}");
        assert!(text.ends_with("\n  hello\n  Kernel panic"), "{text}");
        let (outcome, _) = watched("no such key\nringbolt-vm: failed: setting fs.x=1\n");
        assert_eq!(outcome.unwrap_err(), "setting fs.x=1; the end of its console:\n  no such key");
    }

    #[test]
    fn a_guest_that_says_nothing_is_given_up_at_the_limit() {
        let (_sender, silent) = mpsc::sync_channel(1);
        let text = watch(&silent, Instant::now(), |_| {}).unwrap_err();
        assert!(text.starts_with("the time limit has passed"), "{text}");
    }
}
