//! Every input of the corpus keeps every promise of its target.
//!
//! The corpus holds the known faults of other proxies, and whatever fuzzing found here. Fails when one of
//! them comes back; the message is that of the broken promise, and the file's name is printed above it.
#![forbid(unsafe_code)]

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use ringbolt_fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: DirEntry| entry.file_name().into_string().expect("a name in UTF-8");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

#[test]
fn every_target_keeps_its_promises_on_its_corpus() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let names = names(&folder);
        assert!(names.len() >= 5, "{}: {} inputs are no corpus", target.name, names.len());
        for name in names {
            println!("{}/{name}", target.name);
            (target.run)(&fs::read(folder.join(name)).unwrap());
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let mut targets = TARGETS.map(|target| target.name);
    targets.sort_unstable();
    assert_eq!(names(&corpus()), targets);
}
