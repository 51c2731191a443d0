//! What a syslog daemon would get: the access log, line by line, as soon as it is written.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// For a line; sessions are found to have expired seconds after they have.
const WAIT: Duration = Duration::from_secs(30);

/// A socket such as /dev/log.
#[derive(Debug)]
pub struct Syslog {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Syslog {
    /// A socket of its own.
    ///
    /// # Panics
    /// If there can be none.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it opens a socket")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("log")).expect("a socket");
        socket.set_read_timeout(Some(WAIT)).expect("a timeout");
        Self { socket, folder }
    }

    /// `[access_log]` that leads here, with more settings.
    #[must_use]
    pub fn section(&self, more: &str) -> String {
        format!("[access_log]\noutput = \"syslog:{}/log\"\n{more}\n", self.folder.path().display())
    }

    /// The next line.
    ///
    /// # Panics
    /// If none comes, or none in syslog's form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut message = [0; 8192];
        let length = self.socket.recv(&mut message).expect("a line of the access log");
        let text = String::from_utf8(message[..length].to_vec()).expect("text");
        let (head, line) = text.split_once(": ").expect("a syslog header");
        assert!(head.starts_with("<134>ringbolt[") && head.ends_with(']'), "{text}");
        line.to_owned()
    }

    /// The next line, which is JSON.
    ///
    /// # Panics
    /// As [`Self::text`], or if it is none.
    #[must_use]
    pub fn line(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Whether all that was written has been read.
    ///
    /// # Panics
    /// If the socket fails.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.socket.set_nonblocking(true).expect("an option of an open socket");
        let left = self.socket.recv(&mut [0; 1]);
        self.socket.set_nonblocking(false).expect("an option of an open socket");
        left.is_err()
    }
}
