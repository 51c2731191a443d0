//! Rules for every text: no open ends, no path of one machine, no host of a package registry.

use super::{File, Violation, source};

/// Marks of unfinished work.
const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// First folders of paths that exist on one machine only.
const MACHINE_FOLDERS: [&str; 3] = ["work", "root", "home"];
/// Hosts that package managers fetch from, in parts so that this list passes its own rule. A lock
/// file or script that names one cannot be used with a mirror.
const REGISTRY_HOSTS: [(&str, &str); 7] = [
    ("crates", "io"),
    ("registry.npmjs", "org"),
    ("registry.yarnpkg", "com"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("deb.debian", "org"),
    ("proxy.golang", "org"),
];

/// Applies the rules to one file.
pub(super) fn check(file: &File) -> Vec<Violation> {
    if file.path.ends_with("Cargo.lock") {
        // Cargo writes the registry's address into it and leaves no choice.
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut report = |text: String| found.push(Violation::new(&file.path, index + 1, text));
        if let Some(folder) = machine_path(line) {
            report(format!("a path of one machine: {folder}"));
        }
        if let Some((name, end)) =
            REGISTRY_HOSTS.iter().find(|(name, end)| line.contains(&format!("{name}.{end}")))
        {
            report(format!("names the package registry host {name}.{end}"));
        }
    }
    if !is_generated(&file.path) {
        found.extend(check_marks(file));
    }
    found
}

/// Written by a tool: its words are nobody's words.
pub(super) fn is_generated(path: &str) -> bool {
    path.ends_with("package-lock.json") || path.ends_with(".min.js")
}

fn check_marks(file: &File) -> Vec<Violation> {
    prose_and_code(file)
        .into_iter()
        .filter_map(|(line, text)| {
            let mark = words(&text).find(|word| MARKS.contains(word))?.to_owned();
            Some(Violation::new(&file.path, line, format!("`{mark}`: do it, or open an issue")))
        })
        .collect()
}

/// Numbered lines without the texts inside Rust code, which may speak about the rules.
fn prose_and_code(file: &File) -> Vec<(usize, String)> {
    let lines: Vec<String> = if file.path.ends_with(".rs") {
        source::split(&file.text).into_iter().map(|line| line.code + " " + &line.comment).collect()
    } else {
        file.text.lines().map(str::to_owned).collect()
    };
    lines.into_iter().enumerate().map(|(index, line)| (index + 1, line)).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The start of a path below one of the machine folders, if the line holds one.
fn machine_path(line: &str) -> Option<String> {
    MACHINE_FOLDERS.iter().map(|folder| format!("/{folder}/")).find(|start| {
        line.match_indices(start.as_str()).any(|(at, _)| {
            // After a name, a dot or a bracket it is the middle of a longer path or address.
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '-' | '_' | '}' | '~'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn unfinished_work_is_refused_in_prose_and_code_but_not_in_rust_texts() {
        let expected = ["a.rs:1: `TODO`: do it, or open an issue"];
        assert_eq!(violations("a.rs", "// TODO: later\nlet rule = \"TODO\";\n"), expected);
        assert_eq!(violations("a.md", "fine\nFIXME\n"), ["a.md:2: `FIXME`: do it, or open an issue"]);
        assert_eq!(violations("a.sh", "mktemp nameXXXXXX\n"), [""; 0]);
        assert_eq!(violations("a/x.min.js", "TODO\n"), [""; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_refused_even_in_texts() {
        for folder in MACHINE_FOLDERS {
            let line = format!("let path = \"/{folder}/somebody/data\";\n");
            assert_eq!(violations("a.rs", &line), [format!("a.rs:1: a path of one machine: /{folder}/")]);
            assert_eq!(violations("a.md", &format!("/{folder}/x\n")).len(), 1);
            assert_eq!(violations("a.md", &format!("./tests/{folder}/x and a.example/{folder}/\n")), [""; 0]);
        }
    }

    #[test]
    fn a_registry_host_is_refused_everywhere_but_in_cargo_lock() {
        for (name, end) in REGISTRY_HOSTS {
            let line = format!("\"https://{name}.{end}/x\"\n");
            let expected = format!("a/package-lock.json:1: names the package registry host {name}.{end}");
            assert_eq!(violations("a/package-lock.json", &line), [expected]);
            assert_eq!(violations("Cargo.lock", &line), [""; 0]);
        }
    }
}
