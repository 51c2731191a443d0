//! One file in place of another, at once and for good: whoever reads it finds the old text or the new one, over a loss
//! of power too. It keeps its owner and its mode.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use crate::config::content;

/// Puts `new` in place of what `file` holds, which must be `old`. A symbolic link stays, and what it leads to is replaced.
///
/// # Errors
/// Why the file is as it was.
pub(super) fn replace(file: &Path, old: &str, new: &str) -> Result<(), String> {
    let refused = |why: &dyn std::fmt::Display| format!("{}: {why}; nothing was changed", file.display());
    let target = fs::canonicalize(file).map_err(|error| refused(&error))?;
    let metadata = fs::metadata(&target).map_err(|error| refused(&error))?;
    if metadata.permissions().readonly() {
        return Err(refused(&"is read-only"));
    }
    let holds_old = || match content(&target) {
        Ok(bytes) if bytes == old.as_bytes() => Ok(()),
        Ok(_) => Err(refused(&"has changed since it was loaded: `ringbolt reload` first")),
        Err(why) => Err(refused(&why)),
    };
    holds_old()?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let cannot =
        |error: io::Error| refused(&format!("{} cannot be written beside it: {error}", beside.display()));
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(cannot)?;
    let put = fill(opened, &metadata, new)
        .map_err(cannot)
        .and_then(|()| holds_old())
        .and_then(|()| fs::rename(&beside, &target).map_err(|error| refused(&error)));
    if put.is_err() {
        // Fails where it is gone, which is what is wanted.
        let _ = fs::remove_file(&beside);
        return put;
    }
    // The file is in its place; only that it stays there over a loss of power may not be known.
    let folder = target.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| {
        format!("{}: written, but {} cannot be synced: {error}", file.display(), folder.display())
    })
}

fn fill(mut opened: File, like: &Metadata, text: &str) -> io::Result<()> {
    opened.write_all(text.as_bytes())?;
    let own = opened.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&opened, Some(like.uid()), Some(like.gid()))?;
    }
    opened.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    opened.sync_all()
}
