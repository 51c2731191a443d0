//! What is in the program: every crate with its version, licence and checksum, as CycloneDX 1.5.
//!
//! From `cargo tree`, which knows what the program is built of, and Cargo.lock, which knows the checksums. No serial number
//! and no time: the same tree gives the same list.

use std::collections::BTreeMap;
use std::path::Path;

use super::read;
use crate::steps;

/// The list for the workspace's proxy.
pub(super) fn write(root: &Path, version: &str) -> Result<String, String> {
    let mut tree = steps::cargo(root);
    tree.args(["tree", "--locked", "--package", "ringbolt", "--edges", "normal,build", "--prefix", "none"]);
    tree.args(["--no-dedupe", "--format", "{p}|{l}"]);
    let output = tree.output().map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let crates = crates(&String::from_utf8_lossy(&output.stdout));
    let sums = sums(&read(&root.join("Cargo.lock"))?);
    Ok(document(version, &crates, &sums))
}

/// Name and version of each crate, with its licence; our own are not among them.
fn crates(tree: &str) -> BTreeMap<(String, String), String> {
    let line = |line: &str| {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        // A path in brackets: of this workspace.
        let is_own = words.any(|word| word.starts_with("(/"));
        (!is_own).then(|| ((name.to_owned(), version.to_owned()), licence.to_owned()))
    };
    tree.lines().filter_map(line).collect()
}

/// Checksums of Cargo.lock by name and version.
fn sums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
    };
    let package =
        |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    lock.split("[[package]]").filter_map(package).collect()
}

type Named = BTreeMap<(String, String), String>;

fn document(version: &str, crates: &Named, sums: &Named) -> String {
    let component = |((name, version), licence): (&(String, String), &String)| {
        let sum = sums.get(&(name.clone(), version.clone()));
        let hashes = sum.map_or(String::new(), |sum| {
            format!(",\n      \"hashes\": [{{ \"alg\": \"SHA-256\", \"content\": {} }}]", quoted(sum))
        });
        let licences = if licence.is_empty() {
            String::new()
        } else {
            format!(
                ",\n      \"licenses\": [{{ \"expression\": {} }}]",
                quoted(&licence.replace('/', " OR "))
            )
        };
        format!(
            "    {{\n      \"type\": \"library\",\n      \"name\": {},\n      \"version\": {},\n      \"purl\": {}{licences}{hashes}\n    }}",
            quoted(name),
            quoted(version),
            quoted(&format!("pkg:cargo/{name}@{version}"))
        )
    };
    let components: Vec<String> = crates.iter().map(component).collect();
    format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \"metadata\": {{\n    \
         \"component\": {{ \"type\": \"application\", \"name\": \"ringbolt\", \"version\": {} }}\n  }},\n  \
         \"components\": [\n{}\n  ]\n}}\n",
        quoted(version),
        components.join(",\n")
    )
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            _ if char.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_have_their_licence_and_checksum_and_our_own_are_left_out() {
        let tree = "ringbolt v0.1.0 (/a/proxy)|MIT\nlibc v0.2.1|MIT/Apache-2.0\nserde v1.0.0 (proc-macro)|MIT\nlibc v0.2.1|MIT/Apache-2.0\n";
        let lock = "version = 4\n[[package]]\nname = \"libc\"\nversion = \"0.2.1\"\nchecksum = \"ab\"\n";
        let text = document("1", &crates(tree), &sums(lock));
        for part in ["\"pkg:cargo/libc@0.2.1\"", "\"MIT OR Apache-2.0\"", "\"content\": \"ab\"", "\"serde\""]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(text.matches("\"library\"").count(), 2, "{text}");
    }
}
