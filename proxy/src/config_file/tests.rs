//! A file that is changed says what was meant, and everything else of it stays as it was.
//!
//! Fails with a comment that is lost or moved to another entry, or with a file that is written over somebody's changes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::replace::replace;
use super::*;
use crate::differences::{Added, Change};

fn told(text: &str, changes: &[(&str, Change)]) -> Told {
    let difference = |(backend, change): &(&str, Change)| Difference {
        upstream: "u".to_owned(),
        backend: (*backend).to_owned(),
        change: change.clone(),
    };
    Told {
        file: "a.toml".to_owned(),
        text: format!("[[listener]]\naddress = \"127.0.0.1:0\" # ours\n{text}"),
        flags: Vec::new(),
        waiting: Vec::new(),
        differences: changes.iter().map(difference).collect(),
    }
}

/// The text behind the listener, changed.
fn result(text: &str, changes: &[(&str, Change)]) -> String {
    let told = told(text, changes);
    let Changed { text, left_out } = changed(&told).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(left_out.is_empty(), "{left_out:?}");
    text.strip_prefix("[[listener]]\naddress = \"127.0.0.1:0\" # ours\n").unwrap().to_owned()
}

fn state(ordered: &str) -> Change {
    Change::State { file: "up".to_owned(), ordered: ordered.to_owned() }
}

fn weight(ordered: u32) -> Change {
    Change::Weight { file: 1, ordered }
}

fn added(address: &str) -> Added {
    Added { address: address.to_owned(), weight: 1, state: "up".to_owned(), backup: false, maxconn: None }
}

const LINES: &str = "\
# The service.
[upstream.u]   # u
backends = [
  # the old ones
  \"10.0.0.1:1\", # one
  { name = \"b\", address = \"10.0.0.2:1\", weight = 2 }, # two
  # the last
  \"10.0.0.3:1\" # three
] # all
queue = 5
";

#[test]
fn entries_are_changed_where_they_stand() {
    let changes = [("10.0.0.1:1", state("drain")), ("b", weight(7)), ("b", state("maintenance"))];
    let expected = LINES
        .replace("\"10.0.0.1:1\"", "{ address = \"10.0.0.1:1\", state = \"drain\" }")
        .replace("weight = 2 }", "weight = 7, state = \"maintenance\" }");
    assert_eq!(result(LINES, &changes), expected);
    let named = "[upstream.u]\nbackends = [{ address = \"10.0.0.1:1\", name = \"x\" }, \"10.0.0.2:1\"]\n";
    let expected =
        "[upstream.u]\nbackends = [{ address = \"10.0.0.1:1\", name = \"x\", weight = 3 }, \"10.0.0.2:1\"]\n";
    assert_eq!(result(named, &[("x", weight(3))]), expected);
}

#[test]
fn a_removed_entry_takes_its_own_comment_along_and_no_other() {
    let without = |name: &str| result(LINES, &[(name, Change::Removed)]);
    let gone = |lines: &[&str]| lines.iter().fold(LINES.to_owned(), |text, line| text.replace(line, ""));
    assert_eq!(without("10.0.0.1:1"), gone(&["  \"10.0.0.1:1\", # one\n"]));
    assert_eq!(without("b"), gone(&["  { name = \"b\", address = \"10.0.0.2:1\", weight = 2 }, # two\n"]));
    assert_eq!(without("10.0.0.3:1"), gone(&["  \"10.0.0.3:1\" # three\n"]).replace("}, # two", "} # two"));
    let short = "[upstream.u]\nbackends = [\"10.0.0.1:1\", \"10.0.0.2:1\", \"10.0.0.3:1\"]\n";
    for (name, left) in [("10.0.0.1:1", [2, 3]), ("10.0.0.2:1", [1, 3]), ("10.0.0.3:1", [1, 2])] {
        let [first, second] = left.map(|number| format!("\"10.0.0.{number}:1\""));
        let expected = format!("[upstream.u]\nbackends = [{first}, {second}]\n");
        assert_eq!(result(short, &[(name, Change::Removed)]), expected);
    }
}

#[test]
fn an_added_entry_stands_behind_the_others_on_a_line_like_theirs() {
    let whole =
        Added { weight: 3, state: "drain".to_owned(), backup: true, maxconn: Some(9), ..added("10.0.0.9:1") };
    let change = [("n", Change::Added(whole)), ("10.0.0.8:1", Change::Added(added("https://10.0.0.8:1")))];
    let entries = "{ name = \"n\", address = \"10.0.0.9:1\", weight = 3, state = \"drain\", backup = true, maxconn = 9 }";
    let written = result(LINES, &change);
    assert!(
        written.contains(&format!("# three\n  {entries},\n  \"https://10.0.0.8:1\"\n] # all\n")),
        "{written}"
    );
    assert!(written.starts_with(LINES.split("  \"10.0.0.3").next().unwrap()), "{written}");
    for (text, expected) in [
        ("backends = [\"10.0.0.1:1\"]", "backends = [\"10.0.0.1:1\", \"10.0.0.7:1\"]"),
        (
            "backends = [\n  \"10.0.0.1:1\", # one\n]",
            "backends = [\n  \"10.0.0.1:1\", # one\n  \"10.0.0.7:1\",\n]",
        ),
        ("backends = [\n  \"10.0.0.1:1\"\n]", "backends = [\n  \"10.0.0.1:1\",\n  \"10.0.0.7:1\"\n]"),
        ("backends_file = \"b.toml\"", "backends_file = \"b.toml\"\nbackends = [\"10.0.0.7:1\"]"),
    ] {
        let change = [("10.0.0.7:1", Change::Added(added("10.0.0.7:1")))];
        assert_eq!(
            result(&format!("[upstream.u]\n{text}\n"), &change),
            format!("[upstream.u]\n{expected}\n")
        );
    }
}

#[test]
fn tables_of_their_own_are_entries_too() {
    let text = "\
[[upstream.u.backends]]
address = \"10.0.0.1:1\"
weight = 2 # twice

# the second
[[upstream.u.backends]]
name = \"b\"
address = \"10.0.0.2:1\"

[limits]
sids = 7
";
    let changes =
        [("10.0.0.1:1", weight(5)), ("b", state("drain")), ("c", Change::Added(added("10.0.0.3:1")))];
    let written = result(text, &changes);
    let b = "name = \"b\"\naddress = \"10.0.0.2:1\"\nstate = \"drain\"\n";
    let c = "[[upstream.u.backends]]\nname = \"c\"\naddress = \"10.0.0.3:1\"\n";
    assert!(written.contains("weight = 5 # twice\n\n# the second\n[["), "{written}");
    assert!(written.contains(b) && written.contains(c), "{written}");
    assert!(!result(text, &[("b", Change::Removed)]).contains("10.0.0.2"));
}

#[test]
fn what_has_no_place_or_would_mean_something_else_is_not_written() {
    let text = "[upstream.u]\nbackends = [\"chat.example:1\"]\n";
    let found = told(text, &[("10.0.0.5:1", weight(2))]);
    let Changed { text: written, left_out } = changed(&found).unwrap();
    assert_eq!((written, left_out.len()), (found.text.clone(), 1));
    // TLS of the upstream is that of each of its backends.
    let text = "[upstream.u]\ntls = { server_name = \"b.example\" }\nbackends = [\"10.0.0.1:1\"]\n";
    let told = told(text, &[("c", Change::Added(added("10.0.0.3:1")))]);
    assert!(changed(&told).unwrap_err().contains("edit it by hand"));
    let last = self::told("[upstream.u]\nbackends = [\"10.0.0.1:1\"]\n", &[("10.0.0.1:1", Change::Removed)]);
    assert!(changed(&last).unwrap_err().contains("is empty"));
}

#[test]
fn a_file_is_replaced_whole_and_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("a.toml"), folder.path().join("link"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    let inode = fs::metadata(&file).unwrap().ino();
    replace(&link, "old", "new").unwrap();
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), metadata.mode() & 0o7777), ("new", 0o640));
    assert!(metadata.ino() != inode && link.is_symlink());
    let refused = replace(&file, "old", "other").unwrap_err();
    assert!(refused.contains("has changed since it was loaded"), "{refused}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let refused = replace(&file, "new", "other").unwrap_err();
    assert!(refused.contains("is read-only"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
}
