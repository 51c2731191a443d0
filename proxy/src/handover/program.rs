//! Which program the next process is: the one at the path of this one, with the same arguments.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Set for a process that is to take over; the other process is on its standard input.
pub(super) const VARIABLE: &str = "RINGBOLT_TAKES_OVER";

/// What this process was started as. Asked for at the start: later the file may have been replaced, and then the
/// kernel knows it as deleted.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process.
    ///
    /// # Errors
    /// `/proc` is not mounted and the name says not where the program is.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        Ok(Self { path: path(&name)?, arguments: arguments.collect() })
    }

    /// Starts the program that is there now, with `line` as its standard input. What it logs goes where ours goes.
    pub(super) fn start(&self, line: OwnedFd) -> io::Result<Child> {
        Command::new(&self.path)
            .args(&self.arguments)
            .env(VARIABLE, "1")
            // Sockets and the watchdog were given to this process alone.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(line))
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

/// A name with a slash is kept with the symbolic links in it, because an upgrade may change what they point to.
fn path(name: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') { std::path::absolute(name) } else { env::current_exe() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_as_it_was_said_and_a_name_is_looked_up() {
        assert_eq!(path(OsStr::new("/a/link")).unwrap(), PathBuf::from("/a/link"));
        assert_eq!(path(OsStr::new("./b")).unwrap(), env::current_dir().unwrap().join("b"));
        assert_eq!(path(OsStr::new("ringbolt")).unwrap(), env::current_exe().unwrap());
    }
}
