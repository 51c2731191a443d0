//! The proxy as a child process: found, started, listened to, stopped.
//!
//! All it knows of `ringbolt` is what any operator knows: the command line, the JSON log lines on
//! stderr, and that SIGTERM ends it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// How long the daemon may take to listen. Far more than a loaded test machine needs.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the daemon may take to finish after SIGTERM; open chats would hold it much longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Last log lines kept to explain an early end of the daemon.
const LAST_WORDS_LINES_MAX: usize = 20;

/// A running `ringbolt run`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// What it logged last, for the report of an early end.
    last_words: VecDeque<String>,
}

/// What one line of the daemon's log means to the demo.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// It listens; the first of its listeners.
    Ready(SocketAddr),
    /// A warning, an error, or text that is no log line: worth showing.
    Notice(String),
    /// Everything else.
    Routine,
}

impl Daemon {
    /// Starts the daemon on `listen`, in front of `backends`; over TLS with the certificate and key of `tls`.
    pub(crate) async fn start(
        listen: SocketAddr,
        admin: SocketAddr,
        tls: Option<&Path>,
        backends: &[SocketAddr],
    ) -> Result<Self, String> {
        let program = find()?;
        let mut command = Command::new(&program);
        let config = tls.map(|file| config(listen, file, backends)).transpose()?;
        match &config {
            Some(_) => drop(command.args(["run", "--config", "/dev/stdin"])),
            None => {
                command.arg("run").arg("--listen").arg(listen.to_string());
                for backend in backends {
                    command.arg("--backend").arg(backend.to_string());
                }
            }
        }
        command.arg("--admin").arg(admin.to_string()).args(["--log-format", "json"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal reaches the whole foreground group. The daemon takes a second
            // signal as "at once", so it must get only the one that `stop` sends.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        // Dropped behind the text, so that the daemon finds its end.
        if let Some(mut stdin) = child.stdin.take() {
            let written = stdin.write_all(config.unwrap_or_default().as_bytes()).await;
            written.map_err(|error| format!("cannot give the proxy its configuration: {error}"))?;
        }
        let Some(stderr) = child.stderr.take() else {
            return Err("the daemon has no stderr to read".to_owned());
        };
        Ok(Self { child, log: BufReader::new(stderr).lines(), last_words: VecDeque::new() })
    }

    /// Waits until the daemon listens, and returns the address it really has.
    pub(crate) async fn ready(&mut self) -> Result<SocketAddr, String> {
        match timeout(READY_TIMEOUT, self.until_ready()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(format!("the proxy did not listen within {} s", READY_TIMEOUT.as_secs())),
        }
    }

    async fn until_ready(&mut self) -> Result<SocketAddr, String> {
        while let Some(event) = self.next_event().await {
            if let Event::Ready(address) = event {
                return Ok(address);
            }
        }
        Err(self.end().await)
    }

    /// Shows the daemon's warnings until it ends, and returns how it ended.
    pub(crate) async fn watch(&mut self) -> String {
        while let Some(event) = self.next_event().await {
            if let Event::Notice(text) = event {
                eprintln!("ringbolt: {text}");
            }
        }
        self.end().await
    }

    /// The next line of its log; `None` when the log ended, which means that the daemon did.
    async fn next_event(&mut self) -> Option<Event> {
        let line = self.log.next_line().await.ok().flatten()?;
        let event = read_event(&line);
        if let Event::Notice(text) = &event {
            if self.last_words.len() == LAST_WORDS_LINES_MAX {
                self.last_words.pop_front();
            }
            self.last_words.push_back(text.clone());
        }
        Some(event)
    }

    async fn end(&mut self) -> String {
        describe_end(self.child.wait().await.ok(), &self.last_words)
    }

    /// Asks the daemon to finish, and ends it when it takes longer than a demo may.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !asked || timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            // It may have ended by itself meanwhile: then there is nothing to kill.
            let _already_ended = self.child.kill().await;
        }
    }
}

/// A configuration with TLS, which has no flags.
fn config(listen: SocketAddr, tls: &Path, backends: &[SocketAddr]) -> Result<String, String> {
    let file = std::path::absolute(tls).map_err(|error| format!("{}: {error}", tls.display()))?;
    let backends: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
    Ok(format!(
        "[[listener]]\naddress = \"{listen}\"\n[listener.tls]\ncertificates = [{{ certificate = {file:?} }}]\n\
         [upstream.chat]\nbackends = {backends:?}\n"
    ))
}

/// The daemon's executable: it is built into the same folder as this one.
fn find() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    let program = own.with_file_name("ringbolt");
    if program.is_file() { Ok(program) } else { Err(missing(&program)) }
}

fn missing(program: &Path) -> String {
    format!("there is no proxy at {}; `cargo xtask demo` builds both and starts the demo", program.display())
}

/// Reads one log line. With `tracing-subscriber` the message stands below "fields".
fn read_event(line: &str) -> Event {
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        return Event::Notice(line.to_owned());
    };
    let fields = entry.get("fields").unwrap_or(&entry);
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    if text("message") == Some("ready") {
        let first = text("listeners").and_then(|list| list.split([',', ' ']).next());
        if let Some(address) = first.and_then(|address| address.parse().ok()) {
            return Event::Ready(address);
        }
    }
    match entry.get("level").and_then(Value::as_str) {
        Some("WARN" | "ERROR") => Event::Notice(text("message").unwrap_or(line).to_owned()),
        _ => Event::Routine,
    }
}

fn describe_end(status: Option<ExitStatus>, last_words: &VecDeque<String>) -> String {
    let mut text = match status {
        Some(status) => format!("the proxy ended by itself ({status})"),
        None => "the proxy ended by itself".to_owned(),
    };
    for line in last_words {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read_nested_or_flat() {
        let expected = Event::Ready("127.0.0.1:4711".parse().unwrap());
        let nested = r#"{"level":"INFO","fields":{"message":"ready","listeners":"127.0.0.1:4711"}}"#;
        assert_eq!(read_event(nested), expected);
        let flat = r#"{"level":"INFO","message":"ready","listeners":"127.0.0.1:4711, [::1]:4711"}"#;
        assert_eq!(read_event(flat), expected);
    }

    #[test]
    fn a_ready_line_without_an_address_is_not_taken_for_ready() {
        assert_eq!(read_event(r#"{"level":"INFO","fields":{"message":"ready"}}"#), Event::Routine);
    }

    #[test]
    fn warnings_and_plain_text_are_shown_and_routine_is_not() {
        let warning = r#"{"level":"WARN","fields":{"message":"falling back to epoll"}}"#;
        assert_eq!(read_event(warning), Event::Notice("falling back to epoll".into()));
        assert_eq!(read_event("error: port taken"), Event::Notice("error: port taken".into()));
        assert_eq!(read_event(r#"{"level":"INFO","fields":{"message":"reloaded"}}"#), Event::Routine);
    }

    #[test]
    fn an_early_end_is_told_with_the_last_words() {
        let words = VecDeque::from(["port taken".to_owned()]);
        assert_eq!(describe_end(None, &words), "the proxy ended by itself\n  port taken");
    }
}
