//! What `kernel-tuning/sysctl.d/90-ringbolt.conf` recommends, so that the plan, `ringbolt tune` and
//! `kernel-tuning/check.sh` agree.

/// The file itself, as it is installed.
const FILE: &str = include_str!("../../../kernel-tuning/sysctl.d/90-ringbolt.conf");

/// A setting of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    /// The comment above it: reason, cost, measured effect and default.
    pub(crate) comment: String,
}

impl Entry {
    /// What it is for.
    pub(crate) fn reason(&self) -> &str {
        self.comment.split_once(". ").map_or(self.comment.as_str(), |(sentence, _)| sentence)
    }
}

/// Every setting, in the order of the file.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut comment = String::new();
    for line in FILE.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text.trim_start());
            comment.push(' ');
        } else if let Some((name, value)) = line.split_once('=') {
            let comment = std::mem::take(&mut comment).trim_end().to_owned();
            entries.push(Entry { name: name.trim(), value: value.trim(), comment });
        } else {
            comment.clear();
        }
    }
    entries
}

/// The number recommended for a setting; of two, the first. 0 for one that the file leaves alone.
pub(super) fn number(name: &str) -> u64 {
    numbers(name).first().copied().unwrap_or(0)
}

/// Local ports in the recommended range.
pub(super) fn ports() -> u64 {
    match numbers("net.ipv4.ip_local_port_range")[..] {
        [low, high] => high - low + 1,
        _ => 0,
    }
}

fn numbers(name: &str) -> Vec<u64> {
    let entry = entries().into_iter().find(|entry| entry.name == name);
    let words = entry.map_or("", |entry| entry.value).split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_understood() {
        assert_eq!(number("net.core.somaxconn"), 16_384);
        assert_eq!(ports(), 55_296);
        assert_eq!(number("net.core"), 0);
    }

    /// What the file's head promises of each setting.
    #[test]
    fn every_setting_has_its_reason_cost_effect_and_default() {
        for Entry { name, comment, .. } in entries() {
            for part in ["Cost: ", "Measured: ", "Default: "] {
                assert!(comment.contains(part), "{name} has no {part}");
            }
            assert!(!comment.starts_with("Cost: "), "{name} has no reason");
        }
    }

    #[test]
    fn the_kernel_knows_every_setting_or_the_file_says_since_when_it_does() {
        for Entry { name, comment, .. } in entries() {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            let is_explained = comment.contains("Since Linux");
            assert!(is_explained || std::path::Path::new(&path).exists(), "{path}");
        }
    }
}
