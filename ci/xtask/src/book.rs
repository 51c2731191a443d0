//! `cargo xtask book`: the documents as a book in `target/book`, made by mdBook.
//!
//! mdBook takes one folder and leaves links that lead out of it broken. So the book begins with the README, and what
//! its pages link to elsewhere in the tree stands in it too, at its own place beside `docs`: other pages as chapters,
//! pictures and sources as files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{cargo, succeed};
use crate::tidy::links;

/// Makes the book, and mdBook first if it is not installed.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let source = root.join("target/book-source");
    collect(root, &source).map_err(|error| format!("cannot collect the pages: {error}"))?;
    let mut command = Command::new(program(root)?);
    let book = root.join("target/book");
    command.arg("build").arg(&source).arg("--dest-dir").arg(&book).env("MDBOOK_BOOK__SRC", ".");
    succeed(&mut command)?;
    println!("{}", book.join("docs/quick-start.html").display());
    Ok(())
}

/// The installed mdBook, or one that is built into `target/tools`.
fn program(root: &Path) -> Result<PathBuf, String> {
    if Command::new("mdbook").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok("mdbook".into());
    }
    let tools = root.join("target/tools");
    let program = tools.join("bin/mdbook");
    if !program.exists() {
        let install = ["install", "--locked", "--no-default-features", "mdbook", "--root"];
        succeed(cargo(root).args(install).arg(&tools))?;
    }
    Ok(program)
}

/// Puts `docs` and all that it links to into `to`, with a table of contents that has both.
fn collect(root: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let mut pages = Vec::new();
    copy_folder(root, Path::new("docs"), to, &mut pages)?;
    pages.push(PathBuf::from("README.md"));
    let mut elsewhere = BTreeSet::new();
    while let Some(page) = pages.pop() {
        if !page.starts_with("docs") {
            copy(root, &page, to)?;
        }
        if !is_page(&page) {
            continue;
        }
        let text = fs::read_to_string(root.join(&page))?;
        for path in links::linked(&page.to_string_lossy(), &text) {
            // What is found here is looked at in its turn. A folder has no page.
            if !path.starts_with("docs") && root.join(&path).is_file() && elsewhere.insert(path.clone()) {
                pages.push(path);
            }
        }
    }
    let contents = fs::read_to_string(root.join("docs/SUMMARY.md"))?;
    fs::write(to.join("SUMMARY.md"), contents_of(&contents, root, &elsewhere)?)?;
    fs::remove_file(to.join("docs/SUMMARY.md"))?;
    copy(root, Path::new("book.toml"), to)
}

/// The table of contents, one folder further up, and behind it the pages that are not in `docs`.
fn contents_of(contents: &str, root: &Path, elsewhere: &BTreeSet<PathBuf>) -> io::Result<String> {
    let first = "# Summary\n\n- [Ringbolt](README.md)";
    let mut whole =
        contents.replace("](", "](docs/").replace("](docs/../", "](").replacen("# Summary\n", first, 1);
    whole += "\n# Elsewhere in the project\n\n";
    for page in elsewhere.iter().filter(|page| is_page(page)) {
        let link = format!("({})", page.display());
        if whole.contains(&link) {
            continue;
        }
        let text = fs::read_to_string(root.join(page))?;
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("untitled");
        whole += &format!("- [{}]{link}\n", title.replace(['[', ']'], ""));
    }
    Ok(whole)
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "md")
}

fn copy_folder(root: &Path, folder: &Path, to: &Path, copied: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let path = folder.join(entry?.file_name());
        if root.join(&path).is_dir() {
            copy_folder(root, &path, to, copied)?;
        } else {
            copy(root, &path, to)?;
            copied.push(path);
        }
    }
    Ok(())
}

fn copy(root: &Path, path: &Path, to: &Path) -> io::Result<()> {
    let goal = to.join(path);
    if let Some(folder) = goal.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(root.join(path), goal).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contents_have_pages_of_docs_and_those_they_link_to() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let elsewhere = BTreeSet::from([PathBuf::from("ci/README.md"), PathBuf::from("book.toml")]);
        let contents = contents_of("# Summary\n\n- [A](a.md)\n", &root, &elsewhere).unwrap();
        let expected = "# Summary\n\n- [Ringbolt](README.md)\n- [A](docs/a.md)\n\n# Elsewhere in the project\n\n- [What CI runs](ci/README.md)\n";
        assert_eq!(contents, expected);
    }
}
