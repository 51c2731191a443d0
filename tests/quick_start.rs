//! The page of the quick start does what it says, typed as it stands.
//!
//! Fails when a command, file or promise of docs/quick-start.md is wrong: it is the first thing that anybody tries. Only
//! the build and the installation of packages are replaced, by the program and packages of the tests; and addresses, so
//! that several of these may run at once.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ringbolt_harness::{Process, install, own_address};
use rustix::process::{Pid, Signal, kill_process_group};

const LIMIT: Duration = Duration::from_secs(60);

const END: &str = "THE END OF THE PAGE";

const PAGE: &str = include_str!("../docs/quick-start.md");

/// Typed behind the command that starts the proxy: a person waits before looking whether all are up.
const WAIT: &str =
    "until [ $(ringbolt backends --socket $SOCKET 2>/dev/null | grep -c ' up ') = 3 ]; do sleep 0.1; done";

/// The files that the page shows, each behind a line with its name, and the commands, in their order.
fn read_page(page: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut files, mut commands) = (Vec::new(), Vec::new());
    let mut named = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let text: String =
                lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |mut text, line| {
                    let _ = writeln!(text, "{line}");
                    text
                });
            files.extend(named.take().map(|name| (name, text)));
        } else if let Some(command) = line.strip_prefix("    ") {
            commands.push(command.to_owned());
        } else if let Some(name) =
            line.split('`').nth(1).filter(|name| name.ends_with(".js") || *name == "ringbolt.toml")
        {
            named = Some(name.to_owned());
        }
    }
    (files, commands)
}

/// The page's commands as one script that ends at the first that fails.
fn script(commands: &[String]) -> String {
    let mut script = String::from("set -eu\n");
    for command in commands {
        let is_replaced = ["cargo ", "export PATH", "npm "].iter().any(|start| command.starts_with(start));
        if !is_replaced {
            let _ = writeln!(script, "{command}");
        }
        if command.starts_with("ringbolt run") {
            let _ = writeln!(script, "{WAIT}");
        }
    }
    script + "echo " + END + "\n"
}

fn link_package(folder: &Path, name: &str) {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/socketio/node_modules");
    let package = packages.canonicalize().expect("installed packages").join(format!("{name}-v4"));
    symlink(package, folder.join("node_modules").join(name)).expect("a link to the package");
}

#[test]
fn the_page_does_what_it_says() {
    install();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = own_address().ip().to_string();
    let socket = folder.path().join("admin.sock").display().to_string();
    let own = |text: &str| {
        let admin = format!("[admin]\naddress = \"{address}:9180\"");
        let text = text.replace("[admin]", &admin).replace("/tmp/ringbolt.sock", &socket);
        let text = text.replace("DNS:localhost", &format!("IP:{address}"));
        text.replace("127.0.0.1", &address).replace("localhost", &address)
    };
    let (files, commands) = read_page(PAGE);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["server.js", "ringbolt.toml", "client.js"], "files of the page");
    for (name, text) in &files {
        fs::write(folder.path().join(name), own(text)).expect("a writable folder");
    }
    fs::create_dir(folder.path().join("node_modules")).expect("a writable folder");
    ["socket.io", "socket.io-client"].iter().for_each(|name| link_package(folder.path(), name));
    let program = Path::new(env!("CARGO_BIN_EXE_ringbolt")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("PATH"));
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(own(&script(&commands))).current_dir(folder.path());
    bash.env_clear().env("PATH", path).env("HOME", folder.path()).env("SOCKET", &socket).process_group(0);
    let process = Process::spawn("quick start", &mut bash);
    let group = Pid::from_raw(i32::try_from(process.pid()).expect("a process id")).expect("not zero");
    process.line("the end of the page", LIMIT, |line| (line == END).then_some(()));
    let told = process.output();
    // Servers and proxy end here, and not by the page's words, which would end those of others too.
    kill_process_group(group, Signal::KILL).expect("they run");
    let sessions: Vec<&str> = told.lines().filter(|line| line.starts_with("session ")).collect();
    assert_eq!(sessions.len(), 12, "{told}");
    assert!(sessions.iter().all(|line| line.contains("over websocket on 300")), "{told}");
    for port in ["3001", "3002", "3003"] {
        assert!(sessions.iter().any(|line| line.ends_with(port)), "none on {port}: {told}");
    }
    assert!(!told.contains("FAILED") && told.contains("ringbolt_affinity_decisions_total"), "{told}");
}
