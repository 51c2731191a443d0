//! Rules of the source tree that neither the compiler nor clippy checks.
//!
//! A rule is a pure function from a file's text to violations, so that each is tested on a text
//! that breaks it. This file walks the tree and hands every text to every rule.

mod figures;
pub(crate) mod links;
mod manifest;
mod map;
mod names;
mod rules_table;
mod rust;
mod source;
mod text;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// What tools keep in the tree; `.git` is a file in a worktree.
const FOREIGN: [&str; 8] =
    [".git", "target", "node_modules", ".venv", "__pycache__", ".pytest_cache", ".hypothesis", ".issues"];

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Relative to the workspace, with forward slashes.
    path: String,
    /// Counted from 1; 0 is the file as a whole.
    line: usize,
    text: String,
}

impl Violation {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path)?;
        if self.line > 0 {
            write!(formatter, ":{}", self.line)?;
        }
        write!(formatter, ": {}", self.text)
    }
}

/// A file of the project, as the rules see it.
#[derive(Debug)]
struct File {
    /// Relative to the workspace, with forward slashes.
    path: String,
    text: String,
}

/// Checks the whole tree, prints every violation and fails if there is one.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let files = read_tree(root).map_err(|error| format!("cannot read the source tree: {error}"))?;
    let mut violations: Vec<Violation> = files.iter().flat_map(check).collect();
    violations.extend(rust::check_roots(&files));
    violations.extend(rules_table::check(&files));
    violations.extend(figures::check(&files));
    violations.extend(links::check(&files, |path| root.join(path).exists()));
    violations.extend(map::check(&files, |path| root.join(path).exists()));
    violations.sort();
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => Err(format!("{count} places break a rule of the source tree, see above")),
    }
}

/// Every rule that looks at one file at a time.
fn check(file: &File) -> Vec<Violation> {
    let mut found = names::check(&file.path);
    found.extend(text::check(file));
    found.extend(vocabulary::check(file));
    found.extend(manifest::check(file));
    if file.path.ends_with(".rs") {
        found.extend(rust::check(file));
    }
    found
}

/// Every text file of the project. Pictures and other binary files are left out.
fn read_tree(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = folder.join(entry.file_name());
            if FOREIGN.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                files.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_like_a_compiler_message() {
        assert_eq!(Violation::new("a/b.rs", 7, "too long").to_string(), "a/b.rs:7: too long");
        assert_eq!(Violation::new("a/b.rs", 0, "too long").to_string(), "a/b.rs: too long");
    }

    #[test]
    fn the_walk_finds_this_file_and_no_foreign_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = read_tree(root).unwrap();
        assert!(files.iter().any(|file| file.path == "src/tidy/mod.rs"));
        assert!(files.iter().all(|file| !file.path.starts_with("target")));
    }
}
