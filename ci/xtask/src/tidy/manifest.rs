//! Rules for manifests: one place for versions, no feature by default, a reason for every dependency.

use super::{File, Violation};

/// Applies the rules to a Cargo manifest or an npm lock file; other files pass.
pub(super) fn check(file: &File) -> Vec<Violation> {
    match file.path.as_str() {
        "Cargo.toml" => check_lines(file, "[workspace.dependencies]", wrong_in_workspace),
        path if path.ends_with("/Cargo.toml") => check_lines(file, "dependencies]", wrong_in_member),
        path if path.ends_with("package-lock.json") => check_npm_lock(file),
        _ => Vec::new(),
    }
}

/// Applies `wrong` to every dependency line of the tables whose header ends with `header`.
fn check_lines(file: &File, header: &str, wrong: fn(&str) -> Option<&'static str>) -> Vec<Violation> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.ends_with(header);
        } else if inside
            && !line.is_empty()
            && !line.starts_with('#')
            && let Some(text) = wrong(line)
        {
            found.push(Violation::new(&file.path, index + 1, text));
        }
    }
    found
}

fn wrong_in_workspace(line: &str) -> Option<&'static str> {
    if line.contains("path = ") {
        return None;
    }
    if !line.contains("default-features = false") {
        return Some("a dependency without `default-features = false`");
    }
    let reason = line.rsplit_once("} #").map(|(_, reason)| reason.trim());
    if reason.is_none_or(str::is_empty) {
        return Some("a dependency without its reason in a comment behind it");
    }
    None
}

fn wrong_in_member(line: &str) -> Option<&'static str> {
    let from_workspace = line.contains(".workspace = true") || line.contains("workspace = true,");
    let plain = line.contains("{ workspace = true }");
    (!from_workspace && !plain).then_some("versions stand in the root manifest: use `workspace = true`")
}

fn check_npm_lock(file: &File) -> Vec<Violation> {
    let resolved =
        file.text.lines().enumerate().find(|(_, line)| line.trim_start().starts_with("\"resolved\""));
    let text = "a lock file with addresses; put `omit-lockfile-registry-resolved=true` in .npmrc beside it";
    resolved.map(|(index, _)| Violation::new(&file.path, index + 1, text)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_dependency_needs_its_features_and_its_reason() {
        let text = "\
[workspace.dependencies]
own = { path = \"own\" }
good = { version = \"1\", default-features = false } # reads
silent = { version = \"1\", default-features = false }
empty = { version = \"1\", default-features = false } #
fat = { version = \"1\" } # reads
short = \"1\"

[workspace.lints.rust]
other = \"warn\"
";
        assert_eq!(lines_found("Cargo.toml", text), [4, 5, 6, 7]);
    }

    #[test]
    fn a_member_names_no_version() {
        let text = "\
[package]
version = \"1\"
[dependencies]
a.workspace = true
b = { workspace = true, features = [\"x\"] }
c = { version = \"1\" }
[target.'cfg(unix)'.dev-dependencies]
d = \"1\"
e = { workspace = true }
";
        assert_eq!(lines_found("proxy/Cargo.toml", text), [6, 8]);
    }

    #[test]
    fn an_npm_lock_holds_no_address() {
        let text = "{\n  \"resolved\": \"https://mirror.example/x.tgz\"\n}\n";
        assert_eq!(lines_found("tests/browser/package-lock.json", text), [2]);
        assert_eq!(lines_found("tests/browser/package-lock.json", "{\n}\n"), [0; 0]);
    }
}
