//! Texts that users meet, compared with files of the source tree.
//!
//! `UPDATE_GOLDEN=1 cargo test -p ringbolt` writes the files anew; read the difference before you
//! commit it.

use std::fs;
use std::path::{Path, PathBuf};

/// A path below this crate.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Asserts that `text` is what the file holds.
#[track_caller]
pub(crate) fn assert_same(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 cargo test -p ringbolt updates it", file.display());
}
