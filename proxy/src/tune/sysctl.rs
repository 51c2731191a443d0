//! Kernel settings by their names, below `/proc/sys` or, in tests, below any folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Sysctls {
    root: PathBuf,
}

impl Sysctls {
    pub(super) fn of_this_machine() -> Self {
        Self::below(Path::new("/proc/sys"))
    }

    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The present value with single blanks; `None` where the kernel has no such setting.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Sets it and gives the value that the kernel made of it.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or has no such setting.
    pub(super) fn set(&self, name: &str, value: &str) -> io::Result<String> {
        // Never created: a setting is there or it is not.
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.path(name))?;
        // The line's end is what empties a list: a write of nothing changes nothing.
        file.write_all(format!("{value}\n").as_bytes())?;
        self.get(name).ok_or(io::ErrorKind::NotFound.into())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.replace('.', "/"))
    }
}
