//! What `kernel-tuning/sysctl.d/90-ringbolt.conf` recommends, so that the plan and `kernel-tuning/check.sh` agree.

/// The file itself, as it is installed.
const FILE: &str = include_str!("../../../kernel-tuning/sysctl.d/90-ringbolt.conf");

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
    let value = FILE.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    value.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
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
}
