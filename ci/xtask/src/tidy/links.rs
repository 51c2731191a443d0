//! Rules: a link of a Markdown file to a file of this project leads somewhere, to a heading that is there; and the book's
//! table of contents has every page of `docs`.

use std::path::{Component, Path, PathBuf};

use super::{File, Violation};

/// Table of contents of the book.
const CONTENTS: &str = "docs/SUMMARY.md";

/// Checks the links of every Markdown file; `exists` takes a path relative to the workspace.
pub(super) fn check(files: &[File], exists: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in targets(&file.text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let here =
                if path.is_empty() { Some(PathBuf::from(&file.path)) } else { resolve(&file.path, path) };
            let leads = here.as_deref().is_some_and(|here| {
                let page =
                    files.iter().find(|page| Path::new(&page.path) == here && page.path.ends_with(".md"));
                let has_heading = page.is_none_or(|page| headings(&page.text).any(|known| known == heading));
                (path.is_empty() || exists(here)) && (heading.is_empty() || has_heading)
            });
            if !leads {
                found.push(Violation::new(&file.path, line, format!("the link to {target:?} leads nowhere")));
            }
        }
    }
    found.extend(missing_pages(files));
    found
}

/// Headings as links name them: small letters, no punctuation, hyphens for blanks.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let mut in_code = false;
    let lines = text.lines().filter(move |line| {
        in_code ^= line.trim_start().starts_with("```");
        !in_code && line.starts_with('#')
    });
    lines.map(|line| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let title: String = line.trim_start_matches('#').trim().chars().filter(kept).collect();
        title.to_lowercase().replace(' ', "-")
    })
}

/// Pages of the book that its table of contents does not have.
fn missing_pages(files: &[File]) -> Vec<Violation> {
    let Some(contents) = files.iter().find(|file| file.path == CONTENTS) else { return Vec::new() };
    let listed: Vec<PathBuf> =
        targets(&contents.text).iter().filter_map(|(_, target)| resolve(CONTENTS, target)).collect();
    let pages = files.iter().filter(|file| file.path.starts_with("docs/") && file.path.ends_with(".md"));
    pages
        .filter(|page| page.path != CONTENTS && !listed.contains(&PathBuf::from(&page.path)))
        .map(|page| Violation::new(&page.path, 0, format!("is not in {CONTENTS}")))
        .collect()
}

/// The files that a page links to, as paths from the workspace's root.
pub(crate) fn linked(page: &str, text: &str) -> Vec<PathBuf> {
    let paths = targets(text).into_iter().map(|(_, target)| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty()).filter_map(|path| resolve(page, path)).collect()
}

/// Targets of links to local files and headings, with their line. Code blocks are no prose.
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
            let target = rest.split([')', ' ']).next().unwrap_or_default();
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
        assert_eq!(broken("docs/a.md", "[x](#there)\n# Here\n").len(), 1);
        assert_eq!(broken("docs/a.md", "[x](#here)\n```\n# Here\n```\n").len(), 1);
    }

    #[test]
    fn the_book_has_every_page() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file(CONTENTS, "- [a](a.md)\n"),
            file("docs/a.md", ""),
            file("docs/b/c.md", ""),
            file("d.md", ""),
        ];
        let found: Vec<String> = missing_pages(&files).into_iter().map(|found| found.to_string()).collect();
        assert_eq!(found, ["docs/b/c.md: is not in docs/SUMMARY.md"]);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[x](demo.png)",
            "[x](../README.md#top)",
            "[x](/README.md)",
            "[x](decisions/)",
            "[x](#here-it-is)",
        ] {
            let text = format!("{text}\n## `Here` it is\n");
            assert_eq!(broken("docs/a.md", &text), [""; 0], "{text}");
        }
        assert_eq!(broken("a.md", "[x](https://example.org/y)\n```\n[x](gone)\n```\n"), [""; 0]);
    }
}
