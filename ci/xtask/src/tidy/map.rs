//! Rule: every file and folder that ARCHITECTURE.md names in code spans is there, so that the map does not outlive its land.

use std::path::{Path, PathBuf};

use super::{File, Violation};

const MAP: &str = "ARCHITECTURE.md";

/// Folders that its paths begin in.
const BASES: [&str; 3] = ["", "proxy", "proxy/src"];

/// Checks the map; `exists` takes a path relative to the workspace.
pub(super) fn check(files: &[File], exists: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else { return Vec::new() };
    let lines = map.text.lines().enumerate();
    let named = lines.flat_map(|(index, line)| paths(line).map(move |path| (index + 1, path)));
    let is_gone = |path: &str| !BASES.iter().any(|base| exists(&PathBuf::from(base).join(path)));
    named
        .filter(|(_, path)| is_gone(path))
        .map(|(line, path)| Violation::new(MAP, line, format!("names {path}, which is not there")))
        .collect()
}

/// The code spans of a line that are Rust files or folders.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let is_path =
        |span: &&str| (span.ends_with(".rs") || span.ends_with('/')) && !span.contains(' ') && span.len() > 1;
    line.split('`').skip(1).step_by(2).filter(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_that_is_gone_is_refused() {
        let text = "`tunnel.rs` and `core/src/pace.rs`\n`gone.rs`, `gone/`, `a / b/` and `/`\n";
        let map = File { path: MAP.to_owned(), text: text.to_owned() };
        let known = ["proxy/src/tunnel.rs", "proxy/core/src/pace.rs"];
        let found = check(&[map], |path| known.iter().any(|known| Path::new(known) == path));
        let found: Vec<String> = found.into_iter().map(|violation| violation.to_string()).collect();
        let expected = ["gone.rs", "gone/"].map(|path| format!("{MAP}:2: names {path}, which is not there"));
        assert_eq!(found, expected);
    }
}
