//! The quick start works: the demo starts, its chat runs in a real browser, over TLS too, and it leaves nothing behind.
//!
//! Fails when a session loses its backend, when an upgrade does not get through, when the page has
//! an error in the browser's console, or when a stopped demo leaves the proxy running. What the
//! browser checks step by step stands in `chat.mjs`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use ringbolt_harness::browser_folder;
use ringbolt_harness::tls::self_signed;
use rustix::process::{Pid, Signal, kill_process};

const DEMO: &str = env!("CARGO_BIN_EXE_ringbolt-demo");

/// A running demo. Asked to stop when dropped, so that a failed test leaves no proxy behind.
struct Demo {
    child: Child,
    url: String,
}

impl Demo {
    /// Starts the demo on free ports and waits for its line with the address.
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(options: &[&OsStr]) -> Self {
        let proxy = Path::new(DEMO).with_file_name("ringbolt");
        assert!(proxy.is_file(), "no {}: run `cargo build -p ringbolt` first", proxy.display());
        let mut child = Command::new(DEMO)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        // Bounded by the demo itself: it gives up and ends when the proxy does not listen in time.
        stdout.read_line(&mut line).expect("the demo prints text");
        let url = line.split(' ').find(|word| word.starts_with("http"));
        let url = url.unwrap_or_else(|| panic!("the demo prints no address, but {line:?}")).to_owned();
        Self { child, url }
    }

    fn address(&self) -> SocketAddr {
        self.url.split('/').nth(2).and_then(|address| address.parse().ok()).expect("an address")
    }

    fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.child.wait().expect("the demo ends")
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("the demo can be signalled");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.terminate();
            // A test that fails already has its reason; this one would only hide it.
            let _ended = self.child.wait();
        }
    }
}

/// Chats in a real browser, which leaves its screenshots in a folder of this name.
fn chat(demo: &Demo, screenshots: &str) {
    let folder = browser_folder();
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join(screenshots);
    std::fs::create_dir_all(&screenshots).expect("a folder for screenshots");
    let status = Command::new("node")
        .arg(folder.join("chat.mjs"))
        .arg(&demo.url)
        .arg(&screenshots)
        .status()
        .expect("node is installed");
    assert!(status.success(), "the browser saw a failure; screenshots so far: {}", screenshots.display());
}

#[test]
fn the_chat_works_in_a_browser_through_the_proxy() {
    chat(&Demo::start(), "browser");
}

#[test]
fn the_chat_works_over_tls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = self_signed(folder.path(), "127.0.0.1");
    let both = folder.path().join("both.pem");
    let read = |file| std::fs::read_to_string(file).expect("a PEM file");
    std::fs::write(&both, read(files.certificate) + &read(files.key)).expect("a file");
    let demo = Demo::start_with(&["--tls".as_ref(), both.as_ref()]);
    assert!(demo.url.starts_with("https://"), "{}", demo.url);
    chat(&demo, "browser-tls");
}

#[test]
fn a_stopped_demo_leaves_no_proxy_behind() {
    let demo = Demo::start();
    let address = demo.address();
    TcpStream::connect(address).expect("the proxy listens");
    let status = demo.stop();
    assert!(status.success(), "{status}");
    TcpStream::connect(address).expect_err("the proxy is gone");
}

#[test]
fn a_taken_port_is_named_and_ends_the_demo() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let mut child = Command::new(DEMO)
        .args(["--listen", &address])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut text = String::new();
    child.stderr.take().expect("stderr is piped").read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("the demo ends").code(), Some(1));
    assert!(text.contains(&address) && text.contains("--listen 127.0.0.1:0"), "{text}");
}
