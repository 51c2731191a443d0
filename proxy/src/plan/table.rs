//! The plan as text for a terminal.

use std::fmt;

use super::{Memory, Plan, Setting};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tunnels, workers) = (grouped(self.tunnels.into()), self.workers);
        writeln!(f, "{tunnels} tunnels in one process with {workers} workers\n")?;
        memory_line(f, "memory while idle", "count", "bytes each", "MiB")?;
        for line in &self.memory {
            memory(f, line)?;
        }
        memory_line(f, "and at most, under load", "", "", "")?;
        for line in &self.memory_under_load {
            memory(f, line)?;
        }
        memory_line(f, "in all", "", "", &mebibytes(self.memory_bytes))?;
        writeln!(f)?;
        setting_line(f, "limit", "needed", "this machine", "")?;
        for line in &self.settings {
            setting(f, line)?;
        }
        let missing: Vec<&Setting> = self.settings.iter().filter(|line| line.remedy.is_some()).collect();
        if missing.is_empty() {
            return write!(f, "\nthis machine is ready for them");
        }
        write!(f, "\nto change first:")?;
        for line in missing {
            let remedy = line.remedy.as_deref().unwrap_or_default();
            write!(f, "\n  {}: {remedy}\n      ({})", line.name, line.reason)?;
        }
        Ok(())
    }
}

fn memory(f: &mut fmt::Formatter<'_>, line: &Memory) -> fmt::Result {
    memory_line(f, line.name, &grouped(line.count), &grouped(line.bytes_each), &mebibytes(line.bytes))
}

fn memory_line(f: &mut fmt::Formatter<'_>, name: &str, count: &str, each: &str, total: &str) -> fmt::Result {
    let line = format!("{name:<28} {count:>14} {each:>12} {total:>10}");
    writeln!(f, "{}", line.trim_end())
}

fn setting(f: &mut fmt::Formatter<'_>, line: &Setting) -> fmt::Result {
    let present = match line.present {
        None => "unknown".to_owned(),
        // The greatest number of the kernel and of a process stand for no limit.
        Some(no_limit) if no_limit >= i64::MAX as u64 => "no limit".to_owned(),
        Some(present) => grouped(present),
    };
    let verdict = match line.suffices {
        None => "?",
        Some(true) => "ok",
        Some(false) => "BELOW",
    };
    setting_line(f, line.name, &grouped(line.needed), &present, verdict)
}

fn setting_line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    needed: &str,
    present: &str,
    verdict: &str,
) -> fmt::Result {
    let line = format!("{name:<30} {needed:>16} {present:>16}  {verdict}");
    writeln!(f, "{}", line.trim_end())
}

fn mebibytes(bytes: u64) -> String {
    grouped(bytes.div_ceil(1024 * 1024))
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
