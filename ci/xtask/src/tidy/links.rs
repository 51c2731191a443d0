//! Rule: a link of a Markdown file to a file of this project leads somewhere.

use std::path::{Component, Path, PathBuf};

use super::{File, Violation};

/// Checks the links of every Markdown file; `exists` takes a path relative to the workspace.
pub(super) fn check(files: &[File], exists: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in targets(&file.text) {
            let here = resolve(&file.path, target);
            if !here.as_deref().is_some_and(&exists) {
                found.push(Violation::new(&file.path, line, format!("the link to {target:?} leads nowhere")));
            }
        }
    }
    found
}

/// Targets of links to local files, with their line. Code blocks are no prose.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', ' ', '#']).next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere {
                found.push((index + 1, target));
            }
        }
    }
    found
}

/// The target as a path from the workspace's root; `None` when it leaves the workspace.
pub(super) fn resolve(from: &str, target: &str) -> Option<PathBuf> {
    let mut path = match target.strip_prefix('/') {
        Some(_) => PathBuf::new(),
        None => Path::new(from).parent()?.to_path_buf(),
    };
    for part in Path::new(target.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let known = ["README.md", "docs/demo.png", "docs/decisions"];
        let exists = |path: &Path| known.iter().any(|known| Path::new(known) == path);
        check(&[file], exists).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_refused() {
        let expected = ["docs/a.md:2: the link to \"gone.md\" leads nowhere"];
        assert_eq!(broken("docs/a.md", "fine\n[x](gone.md)\n"), expected);
        assert_eq!(broken("README.md", "![x](demo.png) [y](../up.md)").len(), 2);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in
            ["[x](demo.png)", "[x](../README.md#top)", "[x](/README.md)", "[x](decisions/)", "[x](#here)"]
        {
            assert_eq!(broken("docs/a.md", text), [""; 0], "{text}");
        }
        assert_eq!(broken("a.md", "[x](https://example.org/y)\n```\n[x](gone)\n```\n"), [""; 0]);
    }
}
