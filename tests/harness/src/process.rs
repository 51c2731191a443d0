//! A child process whose output is kept, and which never outlives its value.
//!
//! Decides how a wait ends: with what was waited for, or with a panic that shows the output so far.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A running child process. Dropping it kills it; if the test is failing, its output is shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Names the process even after its number was given to another one.
    pidfd: OwnedFd,
    output: Arc<Output>,
}

/// What the process has written so far to stdout and stderr, by line.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    lines: Vec<String>,
    streams_open: usize,
}

impl Process {
    /// Starts `command` with piped standard streams; `name` is for messages.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Self {
        let name = name.into();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .unwrap_or_else(|error| panic!("{name}: pidfd_open: {error}"));
        let output = Arc::new(Output::default());
        output.state.lock().streams_open = 2;
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let output = Arc::clone(&output);
            thread::spawn(move || output.keep(stream));
        }
        Self { name, child, pidfd, output }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input. A process that has ended already is left to say why.
    ///
    /// # Panics
    /// If that cannot be written to.
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a piped stream");
        match writeln!(stdin, "{line}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                panic!("{}: standard input: {error}", self.name)
            }
            _ => {}
        }
    }

    /// Everything written so far, both streams in the order of arrival.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.state.lock().lines.join("\n")
    }

    /// What `wanted` makes of the first line it accepts, past or to come.
    ///
    /// # Panics
    /// If there is none within `limit`, or both streams end without one.
    pub fn line<T>(&self, what: &str, limit: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        let mut state = self.output.state.lock();
        let mut seen = 0;
        loop {
            for line in &state.lines[seen..] {
                if let Some(value) = wanted(line) {
                    return value;
                }
            }
            seen = state.lines.len();
            let ended = state.streams_open == 0;
            if ended || self.output.changed.wait_until(&mut state, deadline).timed_out() {
                let cause = if ended { "its output ended".to_owned() } else { format!("{limit:?} passed") };
                panic!("{}: no {what}: {cause}; it wrote:\n{}", self.name, state.lines.join("\n"));
            }
        }
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// If the process is still there after `limit`.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Sends `signal`; nothing happens if the process has ended.
    pub fn signal(&self, signal: Signal) {
        // ESRCH, the only refusal possible for a child of ours, means that it has ended already.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// If it is still there after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        assert!(
            ends_within(&self.pidfd, &self.name, limit),
            "{}: still running after {limit:?}:\n{}",
            self.name,
            self.output()
        );
        self.child.wait().unwrap_or_else(|error| panic!("{}: wait: {error}", self.name))
    }

    /// Everything the ended process wrote.
    ///
    /// # Panics
    /// If a process it left behind keeps its streams open for more than 10 s.
    #[must_use]
    pub fn whole_output(&self) -> String {
        let deadline = Instant::now() + KILL_LIMIT;
        let mut state = self.output.state.lock();
        while state.streams_open > 0 {
            let late = self.output.changed.wait_until(&mut state, deadline).timed_out();
            assert!(!late, "{}: ended, but its output goes on", self.name);
        }
        state.lines.join("\n")
    }
}

/// A pidfd becomes readable when its process ends.
fn ends_within(pidfd: &OwnedFd, name: &str, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{name}: poll: {error}"),
        }
    }
}

/// A process that another one has started. Dropping it kills it.
#[derive(Debug)]
pub struct Grandchild {
    pid: u32,
    pidfd: OwnedFd,
}

impl Grandchild {
    /// The process of this number; `None` if there is none any more.
    #[must_use]
    pub fn find(pid: u32) -> Option<Self> {
        let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Some(Self { pid, pidfd: pidfd_open(number, PidfdFlags::empty()).ok()? })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends `signal`; nothing happens if the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// If it is still there after `limit`.
    pub fn wait(&self, limit: Duration) {
        assert!(ends_within(&self.pidfd, "grandchild", limit), "{}: still running after {limit:?}", self.pid);
    }
}

impl Drop for Grandchild {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if ends_within(&self.pidfd, &self.name, KILL_LIMIT) {
            // Its status was asked for by `wait`, or is of no interest.
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("---- output of {} ----\n{}", self.name, self.output());
        }
    }
}

impl Output {
    fn keep(&self, stream: impl Read) {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            self.state.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
            self.changed.notify_all();
        }
        self.state.lock().streams_open -= 1;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socketio_folder;

    const LIMIT: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Process {
        Process::spawn("shell", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn lines_of_both_streams_are_found() {
        let process = shell("echo first; echo second >&2");
        process.line("second line", LIMIT, |line| (line == "second").then_some(()));
        process.line("first line", LIMIT, |line| (line == "first").then_some(()));
    }

    #[test]
    #[should_panic(expected = "shell: no greeting: its output ended; it wrote:\ngood bye")]
    fn a_line_that_cannot_come_any_more_is_not_waited_for() {
        shell("echo good bye").line("greeting", LIMIT, |line| (line == "hello").then_some(()));
    }

    #[test]
    #[should_panic(expected = "shell: no greeting: 50ms passed")]
    fn a_line_is_waited_for_within_the_limit() {
        shell("read forever").line("greeting", Duration::from_millis(50), |_| None::<()>);
    }

    #[test]
    #[should_panic(expected = "shell: still running after 50ms")]
    fn an_end_is_waited_for_within_the_limit() {
        shell("read forever").wait(Duration::from_millis(50));
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("read forever");
        let folder = format!("/proc/{}", process.pid());
        assert!(std::fs::exists(&folder).unwrap());
        drop(process);
        assert!(!std::fs::exists(&folder).unwrap());
    }

    #[test]
    fn the_filter_refuses_io_uring_and_nothing_else() {
        let script = "import ctypes\n\
            call = ctypes.CDLL(None, use_errno=True).syscall\n\
            for number in range(423, 430):\n    call(number, -1, 0)\n    print(number, ctypes.get_errno() == 1)";
        let filter = socketio_folder().join("without_io_uring.py");
        let mut command = Command::new("python3");
        command.arg(filter).args(["--", "python3", "-c", script]);
        let mut process = Process::spawn("filter", &mut command);
        assert!(process.wait(LIMIT).success(), "{}", process.whole_output());
        let output = process.whole_output();
        let refused: Vec<&str> = output.lines().filter_map(|line| line.strip_suffix(" True")).collect();
        assert_eq!(refused, ["425", "426", "427"]);
    }
}
