//! Rule: a file or folder is named for what it holds.

use super::Violation;

/// Names that say only that somebody did not know where to put it.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// Refuses a path with an empty name in any of its parts.
pub(super) fn check(path: &str) -> Vec<Violation> {
    path.split('/')
        .map(|part| part.split('.').next().unwrap_or(part))
        .filter(|stem| EMPTY_NAMES.contains(stem))
        .map(|stem| Violation::new(path, 0, format!("`{stem}` says nothing; name it for what it holds")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_refused_in_files_and_folders() {
        for path in ["proxy/src/utils.rs", "proxy/helpers/mod.rs", "tests/common/mod.rs", "misc"] {
            assert_eq!(check(path).len(), 1, "{path}");
        }
    }

    #[test]
    fn names_that_say_something_pass() {
        for path in ["proxy/src/common_log.rs", "tests/harness/src/lib.rs", ".cargo/config.toml"] {
            assert_eq!(check(path), [], "{path}");
        }
    }
}
