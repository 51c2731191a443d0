//! What the access log is written to may be slow, stuck, restarted or moved away: requests do not notice, and no line is
//! lost that could be kept, or without being told of.
//!
//! Fails with a proxy that stands still beside a reader that hangs, with gaps in a log that nobody knows of, and with lines
//! lost at each rotation.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Options, Ringbolt};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::Signal;
use serde_json::Value;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LIMIT: Duration = Duration::from_secs(60);

fn start(backend: &Backend, output: &str) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [\"{}\"]\n[access_log]\noutput = \"{output}\"\n",
        backend.address()
    );
    Ringbolt::start(&Options {
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO");
}

/// The end of a FIFO that is read from, before there is a writer.
fn reading_end(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).expect("a FIFO to read")
}

fn lines_that_were(ringbolt: &Ringbolt, result: &str) -> f64 {
    ringbolt.metrics()[&*format!("ringbolt_access_log_lines_total{{result=\"{result}\"}}")]
}

fn path_of(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    line["path"].as_str().expect("a path").to_owned()
}

/// A reader that hangs: requests go on, what does not fit is counted, and said once the reader goes on.
#[test]
fn a_reader_that_hangs_costs_lines_and_nothing_else() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::answering(OK));
    let path = folder.path().join("fifo");
    fifo(&path);
    let reader = reading_end(&path);
    let mut ringbolt = start(&backend, &path.display().to_string());
    // A line of some kilobytes, so that there need not be many.
    let long = "x".repeat(1000);
    let request = format!(
        "GET /{long}?{long} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {long}\r\nReferer: {long}\r\n\r\n"
    );
    let mut wire = Wire::connect(ringbolt.address());
    let (mut asked, mut slowest) = (0_u32, Duration::ZERO);
    while asked % 256 != 0 || asked == 0 || lines_that_were(&ringbolt, "dropped") == 0.0 {
        let began = Instant::now();
        assert_eq!(wire.exchange(&request).status(), 200);
        slowest = slowest.max(began.elapsed());
        asked += 1;
        assert!(asked < 50_000, "nothing is dropped");
    }
    assert!(slowest < Duration::from_secs(5), "a request took {slowest:?}");
    rustix::fs::fcntl_setfl(&reader, OFlags::empty()).expect("an option of an open FIFO");
    let reading =
        thread::spawn(move || BufReader::new(File::from(reader)).lines().map_while(Result::ok).count());
    let said = ringbolt.process().line("what was dropped", LIMIT, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line["message"] == "the access log was too slow, lines were dropped";
        is_it.then(|| line["lines"].as_u64().expect("a number"))
    });
    assert!(said > 0);
    assert!(ringbolt.terminate().success());
    let read = reading.join().expect("the reader ends with the writer");
    assert_eq!(read as u64 + said, u64::from(asked), "lines are written, or said to be dropped");
}

/// Opening it would wait for ever.
#[test]
fn a_fifo_that_nobody_reads_ends_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fifo");
    fifo(&path);
    let file = folder.path().join("ringbolt.toml");
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"127.0.0.1:1\"]\n\
         [admin]\naddress = \"off\"\n[access_log]\noutput = \"{}\"\n",
        path.display()
    );
    fs::write(&file, config).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringbolt"))
        .args(["run", "-c"])
        .arg(file)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("access_log.output"), "{text}");
}

/// Rotation under load: every request has its line in one of the files.
#[test]
fn no_line_is_lost_while_files_are_moved_away() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::answering(OK));
    let file = |name: &str| folder.path().join(name);
    let mut ringbolt = start(&backend, &file("log").display().to_string());
    let address = ringbolt.address();
    let asking: Vec<_> = (0..4)
        .map(|client| {
            thread::spawn(move || {
                let mut wire = Wire::connect(address);
                for number in 0..500 {
                    let request = format!("GET /{client}/{number} HTTP/1.1\r\nHost: a.example\r\n\r\n");
                    assert_eq!(wire.exchange(request).status(), 200);
                }
            })
        })
        .collect();
    for rotation in 0..5 {
        fs::rename(file("log"), file(&format!("log.{rotation}"))).expect("the file is there");
        ringbolt.signal(Signal::USR1);
        let deadline = Instant::now() + LIMIT;
        while !file("log").exists() {
            assert!(Instant::now() < deadline, "no new file");
            thread::yield_now();
        }
    }
    asking.into_iter().for_each(|client| client.join().expect("every request is answered"));
    assert!(ringbolt.terminate().success());
    let files = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file").path());
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).expect("text")).collect();
    let lines: Vec<String> = texts.iter().flat_map(|text| text.lines()).map(path_of).collect();
    let distinct: BTreeSet<&String> = lines.iter().collect();
    assert_eq!((lines.len(), distinct.len()), (2000, 2000));
}

/// A syslog daemon that is started again has another socket at the same path.
#[test]
fn a_syslog_daemon_that_comes_back_gets_lines_again() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::answering(OK));
    let path = folder.path().join("log");
    let listen = || {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("an option of an open socket");
        socket
    };
    let receive = |socket: &UnixDatagram| {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).expect("a line");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    // Nobody is there yet: that is no reason not to start.
    let ringbolt = start(&backend, &format!("syslog:{}", path.display()));
    let mut wire = Wire::connect(ringbolt.address());
    let mut ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(wire.exchange(request).status(), 200);
    };
    let first = listen();
    ask("/first");
    assert!(receive(&first).contains("/first"));
    drop(first);
    fs::remove_file(&path).expect("it was there");
    ask("/lost");
    ringbolt.process().line("the access log cannot be written", LIMIT, |line| {
        line.contains("the access log cannot be written").then_some(())
    });
    assert_eq!(ringbolt.metrics()["ringbolt_access_log_lost_total"], 1.0);
    let second = listen();
    ask("/second");
    assert!(receive(&second).contains("/second"));
}
