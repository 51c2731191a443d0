//! What was changed and the values before: a file of JSON, written before the first change and complete at any moment.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A setting that was, or is to be, changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// All changes that have not been taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    changes: Vec<Change>,
}

impl Record {
    /// `None`: there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes it in place of the one before, or removes that where nothing is left to record.
    pub(super) fn store(&self, path: &Path) -> Result<(), String> {
        let stored = if self.is_empty() { remove(path) } else { self.write(path) };
        stored.map_err(|error| format!("{}: the record cannot be written: {error}", path.display()))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    /// One more change. Of a setting that was changed before, the first value stays the one to bring back.
    pub(super) fn add(&mut self, change: &Change) {
        match self.find(&change.name) {
            Some(known) => known.after.clone_from(&change.after),
            None => self.changes.push(change.clone()),
        }
    }

    /// The kernel has made this value of it.
    pub(super) fn is_now(&mut self, name: &str, value: &str) {
        if let Some(known) = self.find(name) {
            value.clone_into(&mut known.after);
        }
    }

    /// It could not be changed and still has the value that was read.
    pub(super) fn forget_unchanged(&mut self, name: &str, present: &str) {
        self.changes.retain(|change| change.name != name || change.before != present);
        self.is_now(name, present);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn latest_first(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().rev()
    }

    fn find(&mut self, name: &str) -> Option<&mut Change> {
        self.changes.iter_mut().find(|change| change.name == name)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
