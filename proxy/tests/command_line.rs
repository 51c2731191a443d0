//! The command line keeps its promises: texts, streams and exit codes of the real program.
//!
//! Fails when a script, a service manager or an operator would no longer understand the daemon.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const VALID: &str =
    "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.chat]\nbackends = [\"127.0.0.1:1\"]\n";

fn ringbolt(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbolt"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn outcome(arguments: &[&str]) -> (Option<i32>, String, String) {
    told(&ringbolt(arguments).output().unwrap())
}

/// A configuration file in a folder that goes with it.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringbolt.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// A running daemon, killed when the test ends early.
struct Daemon {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    /// Its ready line.
    ready: String,
}

impl Daemon {
    /// Starts the daemon and waits until it serves.
    fn start(arguments: &[&str]) -> Self {
        Self::attempt(arguments).unwrap_or_else(|(_, log)| panic!("ended before it was ready: {log}"))
    }

    /// Starts the daemon; exit code and log if it ends before it serves.
    fn attempt(arguments: &[&str]) -> Result<Self, (Option<i32>, String)> {
        let mut child = ringbolt(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self { child, stderr, ready: String::new() };
        let mut log = String::new();
        loop {
            let mut line = String::new();
            if daemon.stderr.read_line(&mut line).unwrap() == 0 {
                return Err((daemon.child.wait().unwrap().code(), log));
            }
            if line.contains("ready") && line.contains("workers") {
                daemon.ready = line;
                return Ok(daemon);
            }
            log.push_str(&line);
        }
    }

    /// The value of a key of the ready line.
    fn value(&self, key: &str) -> &str {
        let value = self.ready.split(&format!(" {key}=")).nth(1).expect("key in the ready line");
        value.split_ascii_whitespace().next().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; exit code and the rest of the log.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let (code, stdout, stderr) = outcome(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("Exit codes:"), "{stdout}");
    for arguments in [["version"], ["--version"], ["-V"]] {
        let (code, stdout, _) = outcome(&arguments);
        assert_eq!(code, Some(0));
        let version = env!("CARGO_PKG_VERSION");
        assert!(stdout.starts_with(&format!("ringbolt {version} (")) && stdout.ends_with(")\n"), "{stdout}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [&["run"][..], &["serve"], &["run", "--listen", "8080", "--backend", "127.0.0.1:1"]] {
        let (code, stdout, stderr) = outcome(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("error:"), "{stderr}");
    }
}

#[test]
fn a_check_tells_valid_from_refused() {
    let (_folder, valid) = file(VALID);
    let valid = valid.to_str().unwrap();
    for arguments in [["check", "-c", valid], ["-t", "-c", valid]] {
        let expected = format!("{valid}: valid; listeners: 1, routes: 0, upstreams: 1, backends: 1\n");
        assert_eq!(outcome(&arguments), (Some(0), expected, String::new()));
    }
    let (_folder, refused) = file(&VALID.replace("address", "adress"));
    let refused = refused.to_str().unwrap();
    for arguments in [["check", "-c", refused], ["-t", "-c", refused], ["run", "-c", refused]] {
        let (code, stdout, stderr) = outcome(&arguments);
        assert_eq!((code, stdout.as_str()), (Some(78), ""), "{stderr}");
        let expected = format!("{refused}:2:1: listener.adress: unknown key; did you mean `address`?\n");
        assert!(stderr.contains(&expected), "{stderr}");
    }
}

/// The plan as JSON, made where a process may open `descriptors` files.
fn planned(descriptors: u32, arguments: &str) -> serde_json::Value {
    let script = format!("ulimit -n {descriptors} && exec \"$0\" plan --json {arguments}");
    let output = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_ringbolt")]).output().unwrap();
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

fn setting<'a>(plan: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let settings = plan["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["name"] == name).unwrap_or_else(|| panic!("no {name}: {plan}"))
}

#[test]
fn a_plan_compares_what_is_needed_with_what_the_process_may_open() {
    let plan = planned(1000, "--tunnels 400");
    let limit = setting(&plan, "LimitNOFILE");
    assert_eq!((&limit["present"], &limit["suffices"]), (&1000.into(), &true.into()), "{limit}");

    let plan = planned(1000, "--tunnels 1000000");
    let limit = setting(&plan, "LimitNOFILE");
    assert_eq!(limit["suffices"], false, "{limit}");
    let needed = limit["needed"].as_u64().unwrap();
    assert!((2_000_000..2_100_000).contains(&needed), "{limit}");
    assert!(limit["remedy"].as_str().unwrap().contains(&format!("LimitNOFILE={needed}")), "{limit}");
    assert_eq!((&plan["tunnels"], &plan["suffices"]), (&1_000_000.into(), &false.into()));
    // The two sockets of each alone.
    assert!(plan["memory_bytes"].as_u64().unwrap() > 5_000_000_000, "{plan}");
}

#[test]
fn a_plan_takes_workers_limits_and_backends_from_the_file() {
    let text = format!("[workers]\ncount = 3\n[limits]\nconnections = 50\n{VALID}");
    let (_folder, path) = file(&text);
    let path = path.to_str().unwrap();
    let plan = planned(1000, &format!("--tunnels 60 -c {path}"));
    assert_eq!(plan["workers"], 3);
    assert_eq!(setting(&plan, "limits.connections")["suffices"], false);
    assert_eq!(setting(&plan, "backend addresses")["present"], 1);

    let (code, stdout, _) = outcome(&["plan", "--tunnels", "60", "-c", path]);
    assert_eq!(code, Some(0));
    let line = stdout.lines().find(|line| line.starts_with("limits.connections")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["limits.connections", "60", "50", "BELOW"]);

    let (_folder, refused) = file(&text.replace("count", "cuont"));
    let (code, stdout, stderr) = outcome(&["plan", "--tunnels", "60", "-c", refused.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (Some(78), ""), "{stderr}");
}

#[test]
fn a_taken_port_is_exit_code_1_and_says_how_to_see_by_whom() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let address = taken.to_string();
    let free = "127.0.0.1:0";
    for (listen, admin, key) in
        [(address.as_str(), free, "listener.address"), (free, address.as_str(), "admin.address")]
    {
        let arguments = ["run", "--listen", listen, "--backend", "127.0.0.1:1", "--admin", admin];
        let Err((code, stderr)) = Daemon::attempt(&arguments) else { panic!("{key} is not noticed") };
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&format!("{key}: cannot listen on {address}")), "{stderr}");
        assert!(stderr.contains(&format!("ss -ltnp 'sport = :{}'", taken.port())), "{stderr}");
    }
}

#[test]
fn a_signal_ends_a_ready_daemon_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let arguments = ["run", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1"];
        let mut daemon =
            Daemon::start(&[&arguments[..], &["--admin", "127.0.0.1:0", "--workers", "2"]].concat());
        assert_eq!((daemon.value("workers"), daemon.value("backends")), ("2", "1"));

        let mut admin = TcpStream::connect(daemon.value("admin")).unwrap();
        admin.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("ready\n"), "{answer}");

        daemon.signal(signal);
        let (code, log) = daemon.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("draining") && log.contains("drained"), "{log}");
    }
}

#[test]
fn a_json_log_holds_nothing_but_json() {
    let (_folder, path) = file(VALID);
    let path = path.to_str().unwrap();
    let mut daemon = Daemon::start(&["run", "-c", path, "--admin", "off", "--log-format", "json"]);
    let ready: serde_json::Value = serde_json::from_str(&daemon.ready).unwrap();
    assert_eq!((&ready["message"], &ready["admin"]), (&"ready".into(), &"off".into()));
    daemon.signal(Signal::TERM);
    let (_, log) = daemon.end();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
