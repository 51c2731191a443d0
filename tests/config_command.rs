//! What was ordered at run time can be seen, and written into the file.
//!
//! Fails with a dump that means something else than what is in effect, with comments that are lost, or with somebody's
//! changes that are written over.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use ringbolt_harness::{Options, Ringbolt};
use serde_json::Value;

/// Nobody is connected to.
const FILE: &str = "\
# Operators of the night shift: ask first.
[admin]
socket = \"FOLDER/admin.sock\"

[[listener]]
address = \"127.0.0.1:0\" # any port

[upstream.u]
# From left to right.
backends = [
  \"127.0.0.1:1\", # the first
  { name = \"b\", address = \"127.0.0.1:2\", weight = 2 }, # the second
  \"127.0.0.1:3\", # the third
]
queue = 7
";

fn start() -> Ringbolt {
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { config: Some(FILE.to_owned()), ..options })
}

fn order(ringbolt: &Ringbolt, arguments: &[&str]) -> String {
    let (code, said) = ringbolt.order(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

fn orders(ringbolt: &Ringbolt) {
    order(ringbolt, &["drain", "127.0.0.1:1"]);
    order(ringbolt, &["weight", "b", "5"]);
    order(ringbolt, &["add", "u", "127.0.0.1:4", "--name", "d", "--maxconn", "9"]);
    order(ringbolt, &["maintenance", "d"]);
    order(ringbolt, &["remove", "127.0.0.1:3"]);
}

const DIFFERENCES: &str = "\
u/127.0.0.1:1: state: file up, ordered drain
u/b: weight: file 2, ordered 5
u/d: added: 127.0.0.1:4
u/127.0.0.1:3: removed
";

/// What the file says with [`orders`] in it.
fn expected(before: &str) -> String {
    before
        .replace("  \"127.0.0.1:1\",", "  { address = \"127.0.0.1:1\", state = \"drain\" },")
        .replace("weight = 2", "weight = 5")
        .replace(
            "  \"127.0.0.1:3\", # the third",
            "  { name = \"d\", address = \"127.0.0.1:4\", state = \"maintenance\", maxconn = 9 },",
        )
}

/// How backends stand, but for what says where that comes from.
fn standings(ringbolt: &Ringbolt) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&order(ringbolt, &["backends", "--json"])).expect("a list");
    let told = |mut backend: Value| {
        let fields = backend.as_object_mut().expect("an object");
        let origin = (fields.remove("origin"), fields.remove("ordered"));
        assert!(origin.0.is_some() && origin.1.is_some());
        backend
    };
    all.into_iter().map(told).collect()
}

#[test]
fn a_dump_means_what_is_in_effect() {
    let ringbolt = start();
    let before = ringbolt.configuration();
    assert_eq!(ringbolt.order(&["config", "--diff"]), (Some(0), String::new()));
    let dump = order(&ringbolt, &["config", "--dump"]);
    let note = "# Flags of the command line that stand above this file: --engine, --workers, --admin, --log-format\n";
    assert_eq!(dump, format!("{note}{before}"));
    orders(&ringbolt);
    assert_eq!(ringbolt.order(&["config", "--diff"]), (Some(1), DIFFERENCES.to_owned()));
    let status: Value = serde_json::from_str(&order(&ringbolt, &["status", "--json"])).expect("an object");
    assert_eq!(status["differences"], 4);
    let (code, said) = ringbolt.order(&["config", "--diff", "--json"]);
    let told: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &told[0]["change"], &told[1]["ordered"]), (Some(1), &"state".into(), &5.into()));
    let dump = order(&ringbolt, &["config", "--dump"]);
    assert_eq!(dump, format!("{note}{}", expected(&before)));
    // It is a file that is accepted, and serving by it changes nothing.
    let beside = ringbolt.folder().join("dump.toml");
    fs::write(&beside, &dump).expect("the folder is writable");
    let check = Command::new(env!("CARGO_BIN_EXE_ringbolt")).args(["check", "-c"]).arg(&beside).output();
    assert!(check.expect("it runs").status.success(), "{dump}");
    let in_effect = standings(&ringbolt);
    ringbolt.configure(&dump);
    order(&ringbolt, &["reload"]);
    assert_eq!(ringbolt.order(&["config", "--diff"]), (Some(0), String::new()));
    assert_eq!(standings(&ringbolt), in_effect);
}

#[test]
fn what_was_ordered_is_written_into_the_file_and_nothing_else_of_it_changes() {
    let ringbolt = start();
    let before = ringbolt.configuration();
    assert!(order(&ringbolt, &["config", "--write"]).contains("nothing to write"));
    orders(&ringbolt);
    let in_effect = standings(&ringbolt);
    let said = order(&ringbolt, &["config", "--write"]);
    assert!(said.contains("written, differences: 4"), "{said}");
    assert_eq!(ringbolt.configuration(), expected(&before));
    order(&ringbolt, &["reload"]);
    assert_eq!(ringbolt.order(&["config", "--diff"]), (Some(0), String::new()));
    assert_eq!(standings(&ringbolt), in_effect);
    // From now on it is the file's.
    ringbolt.configure(&before);
    order(&ringbolt, &["reload"]);
    let back = standings(&ringbolt);
    assert_eq!((back.len(), &back[0]["state"], &back[1]["weight"]), (3, &"up".into(), &2.into()));
}

#[test]
fn a_file_that_has_changed_or_may_not_be_written_stays_as_it_is() {
    let ringbolt = start();
    orders(&ringbolt);
    let file = ringbolt.folder().join("ringbolt.toml");
    let refused = |why: &str| {
        let before = ringbolt.configuration();
        let files = || fs::read_dir(ringbolt.folder()).expect("a folder").count();
        let count = files();
        let (code, said) = ringbolt.order(&["config", "--write"]);
        assert!(code == Some(1) && said.contains(why) && said.contains("nothing was changed"), "{said}");
        assert_eq!((ringbolt.configuration(), files()), (before, count));
        assert_eq!(ringbolt.order(&["config", "--diff"]), (Some(1), DIFFERENCES.to_owned()));
    };
    let before = ringbolt.configuration();
    ringbolt.configure(&before.replace("queue = 7", "queue = 8"));
    refused("has changed since it was loaded: `ringbolt reload` first");
    order(&ringbolt, &["reload"]);
    fs::set_permissions(&file, Permissions::from_mode(0o444)).expect("a file of ours");
    refused("is read-only");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("a file of ours");
    order(&ringbolt, &["config", "--write"]);
    assert_eq!(ringbolt.configuration(), expected(&before).replace("queue = 7", "queue = 8"));
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn what_the_file_does_not_name_is_told_and_left_out() {
    let ringbolt = start();
    let list = ringbolt.folder().join("list.toml");
    fs::write(list, "backends = [\"127.0.0.1:8\"]\n").expect("the folder is writable");
    ringbolt.configure(
        &ringbolt.configuration().replace("queue = 7", "queue = 7\nbackends_file = \"list.toml\""),
    );
    order(&ringbolt, &["reload"]);
    order(&ringbolt, &["weight", "127.0.0.1:8", "3"]);
    let before = ringbolt.configuration();
    let (code, said) = ringbolt.order(&["config", "--write"]);
    assert!(
        code == Some(1) && said.contains("u/127.0.0.1:8: weight: file 1, ordered 3: not in the file"),
        "{said}"
    );
    assert_eq!(ringbolt.configuration(), before);
    let nobody = Command::new(env!("CARGO_BIN_EXE_ringbolt"))
        .args(["config", "--diff", "--socket", "/nonexistent/admin.sock"])
        .output();
    assert_eq!(nobody.expect("it runs").status.code(), Some(2));
}
