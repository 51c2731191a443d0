//! Rules for Rust files: they say what they are for, stay short, and keep `unsafe` in its place.

use std::path::PathBuf;

use super::{File, Violation, links, source};

/// A file with this many lines is refused.
const LINES_REFUSED_FROM: usize = 500;
/// The only crate that may be unsafe.
const UNSAFE_CRATE: &str = "proxy/reactor/";
const FORBID: &str = "#![forbid(unsafe_code)]";
/// Placeholders the compiler accepts.
const PLACEHOLDERS: [&str; 3] = ["dbg!", "todo!", "unimplemented!"];

/// Rules that look at one file.
pub(super) fn check(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(Violation::new(
            &file.path,
            1,
            "a file opens with `//!`: what it decides and must not know",
        ));
    }
    let lines = file.text.lines().count();
    if lines >= LINES_REFUSED_FROM {
        let text =
            format!("{lines} lines; a file has fewer than {LINES_REFUSED_FROM}: split it by what it does");
        found.push(Violation::new(&file.path, 0, text));
    }
    let may_be_unsafe = file.path.starts_with(UNSAFE_CRATE);
    for (index, line) in source::split(&file.text).iter().enumerate() {
        let mut words = line.code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!');
        if !may_be_unsafe && words.clone().any(|word| word == "unsafe") {
            found.push(Violation::new(&file.path, index + 1, format!("`unsafe` outside {UNSAFE_CRATE}")));
        }
        if let Some(word) = words.find(|word| PLACEHOLDERS.contains(word)) {
            found.push(Violation::new(&file.path, index + 1, format!("`{word}` left in the source")));
        }
    }
    found
}

/// Every crate root but the unsafe crate's forbids unsafe code.
pub(super) fn check_roots(files: &[File]) -> Vec<Violation> {
    let manifests: Vec<&File> = files.iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    let folders: Vec<&str> =
        manifests.iter().filter_map(|file| file.path.strip_suffix("Cargo.toml")).collect();
    let named: Vec<PathBuf> = manifests.iter().flat_map(|file| named_roots(file)).collect();
    files
        .iter()
        .filter(|file| file.path.ends_with(".rs") && !file.path.starts_with(UNSAFE_CRATE))
        .filter(|file| {
            folders.iter().any(|folder| is_root(file.path.strip_prefix(folder)))
                || named.contains(&PathBuf::from(&file.path))
        })
        .filter(|file| !source::split(&file.text).iter().any(|line| line.code.trim() == FORBID))
        .map(|file| Violation::new(&file.path, 0, format!("a crate root without `{FORBID}`")))
        .collect()
}

/// Crate roots that a manifest names by their path.
fn named_roots(manifest: &File) -> Vec<PathBuf> {
    manifest
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("path = \"")?.strip_suffix('"'))
        .filter(|path| path.ends_with(".rs"))
        .filter_map(|path| links::resolve(&manifest.path, path))
        .collect()
}

/// Whether a path inside a package is where a crate starts.
fn is_root(path: Option<&str>) -> bool {
    let Some(path) = path else { return false };
    if matches!(path, "src/lib.rs" | "src/main.rs" | "build.rs") {
        return true;
    }
    let single = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|name| !name.contains('/') && name.ends_with(".rs"))
    };
    ["src/bin/", "tests/", "benches/", "examples/", "fuzz_targets/"].into_iter().any(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(&file(path, text)).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_file_without_its_opening_words_is_refused() {
        assert_eq!(violations("a.rs", "//! Reads.\nfn f() {}\n"), [""; 0]);
        assert!(violations("a.rs", "// Reads.\nfn f() {}\n")[0].starts_with("a.rs:1: a file opens with"));
    }

    #[test]
    fn a_file_of_500_lines_is_refused_and_of_499_is_not() {
        let text = |lines: usize| format!("//! Reads.\n{}", "fn f() {}\n".repeat(lines - 1));
        assert_eq!(violations("a.rs", &text(499)), [""; 0]);
        assert!(violations("a.rs", &text(500))[0].starts_with("a.rs: 500 lines"));
    }

    #[test]
    fn unsafe_code_is_refused_outside_its_crate_only() {
        let text = "//! Reads; not unsafe.\nfn f() { unsafe { g() } }\n// unsafe\nlet s = \"unsafe\";\n";
        assert_eq!(violations("proxy/src/a.rs", text), ["proxy/src/a.rs:2: `unsafe` outside proxy/reactor/"]);
        assert_eq!(violations("proxy/reactor/src/a.rs", text), [""; 0]);
    }

    #[test]
    fn placeholders_are_refused_in_code_only() {
        let text = "//! Reads.\nfn f() { todo!() }\n// todo! in prose\nfn g() { dbg!(1); }\n";
        assert_eq!(
            violations("a.rs", text),
            ["a.rs:2: `todo!` left in the source", "a.rs:4: `dbg!` left in the source"]
        );
    }

    #[test]
    fn a_crate_root_must_forbid_unsafe_code() {
        let bare = "//! Root.\n";
        let safe = "//! Root.\n#![forbid(unsafe_code)]\n";
        let commented = "//! Root.\n// #![forbid(unsafe_code)]\n";
        let files = [
            file("a/Cargo.toml", ""),
            file("a/src/main.rs", bare),
            file("a/src/part.rs", bare),
            file("a/tests/black_box.rs", commented),
            file("a/tests/black_box/part.rs", bare),
            file("b/Cargo.toml", "[[test]]\nname = \"far\"\npath = \"../far/far.rs\"\n"),
            file("far/far.rs", bare),
            file("far/near.rs", bare),
            file("b/src/lib.rs", safe),
            file("proxy/reactor/Cargo.toml", ""),
            file("proxy/reactor/src/lib.rs", bare),
        ];
        let paths: Vec<String> = check_roots(&files).into_iter().map(|violation| violation.path).collect();
        assert_eq!(paths, ["a/src/main.rs", "a/tests/black_box.rs", "far/far.rs"]);
    }
}
