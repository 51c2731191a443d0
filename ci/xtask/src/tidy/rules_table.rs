//! Rule: a test that docs/http-rules.md names exists, and each of its rules names one.
//!
//! A test is named as `file::function`, by the stem of its file. A table of promises whose proofs were
//! renamed or removed would read as well as before.

use std::path::Path;

use super::{File, Violation};

const TABLE: &str = "docs/http-rules.md";

/// Checks the table against the tests of all files.
pub(super) fn check(files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    for table in files.iter().filter(|file| file.path == TABLE) {
        for (index, line) in table.text.lines().enumerate() {
            let named: Vec<(&str, &str)> = tests_named(line).collect();
            for (stem, function) in &named {
                if !files.iter().any(|file| has_stem(file, stem) && has_test(file, function)) {
                    let text = format!("there is no test `{stem}::{function}`");
                    found.push(Violation::new(TABLE, index + 1, text));
                }
            }
            if is_rule(line) && named.is_empty() {
                found.push(Violation::new(TABLE, index + 1, "a rule without a test"));
            }
        }
    }
    found
}

/// The code spans of a line that have the form of a test's name.
fn tests_named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|span| span.split_once("::"))
        .filter(move |(stem, function)| is_name(stem) && is_name(function))
}

/// A row of the table that begins with the number of a rule.
fn is_rule(line: &str) -> bool {
    let first = line.strip_prefix('|').and_then(|row| row.split('|').next());
    first.is_some_and(|cell| cell.trim().parse::<u32>().is_ok())
}

fn has_stem(file: &File, stem: &str) -> bool {
    let path = Path::new(&file.path);
    path.extension().is_some_and(|extension| extension == "rs")
        && path.file_stem().is_some_and(|it| it == stem)
}

/// Whether a function of this name stands below a line `#[test]`.
fn has_test(file: &File, function: &str) -> bool {
    let start = format!("fn {function}(");
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(table: &str) -> Vec<String> {
        let source = "#[test]\nfn it_holds() {}\n\nfn no_test() {}\n";
        let files = [(TABLE, table), ("tests/http_a.rs", source), ("tests/http_b.rs", "")];
        let files = files.map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() });
        check(&files).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_test_that_does_not_exist_is_refused() {
        assert_eq!(violations("| 1 | x | `http_a::it_holds` |"), [""; 0]);
        for name in ["http_a::gone", "http_b::it_holds", "http_a::no_test"] {
            let expected = format!("docs/http-rules.md:2: there is no test `{name}`");
            assert_eq!(violations(&format!("\n| 1 | x | `http_a::it_holds`, `{name}` |")), [expected]);
        }
    }

    #[test]
    fn a_rule_names_a_test_and_other_rows_need_not() {
        assert_eq!(violations("| 12 | x | `a b` |"), ["docs/http-rules.md:1: a rule without a test"]);
        assert_eq!(violations("| # | rule |\n| --- | --- |\n| nginx | `a::b c` |\n"), [""; 0]);
    }
}
