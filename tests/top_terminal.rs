//! `ringbolt top` in a terminal: it draws what the process does, follows the terminal's size, and leaves the terminal as
//! it was.
//!
//! Fails with an operator whose terminal is garbled, or shows numbers of another moment.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringbolt_harness::raw::{ACCEPTED, Backend, UPGRADE, Wire};
use ringbolt_harness::{Options, Ringbolt};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use vt100::{Parser, Screen};

const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// A terminal of a size, and the program in it. Dropping it kills the program.
struct Terminal {
    master: File,
    /// As the program found it.
    before: Termios,
    parser: Arc<Mutex<Parser>>,
    child: Child,
}

impl Terminal {
    fn start(ringbolt: &Ringbolt, (width, height): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal of ours");
        unlockpt(&master).expect("a terminal of ours");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let slave = || File::options().read(true).write(true).open(path).expect("its other end");
        tcsetwinsize(&master, size(width, height)).expect("its size");
        let before = tcgetattr(&master).expect("its settings");
        // Only the first process of a session hears that its terminal's size changes.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_ringbolt"), "top", "--address"]);
        command.arg(ringbolt.admin().to_string()).env("TERM", "xterm-256color");
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().expect("the program runs");
        let parser = Arc::new(Mutex::new(Parser::new(height, width, 0)));
        let (drawn, mut reader) =
            (Arc::clone(&parser), File::from(master.try_clone().expect("a descriptor")));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The last program that has the other end open closes it: EIO.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                drawn.lock().process(&bytes[..length]);
            }
        });
        Self { master: File::from(master), before, parser, child }
    }

    /// Waits until the screen is like this.
    fn shows(&self, what: &str, is: impl Fn(&Screen) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is(self.parser.lock().screen()) {
            let shown = || self.parser.lock().screen().contents();
            assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}; it shows\n{}", shown());
            thread::sleep(PAUSE);
        }
    }

    fn resize(&self, (width, height): (u16, u16)) {
        self.parser.lock().screen_mut().set_size(height, width);
        tcsetwinsize(&self.master, size(width, height)).expect("another size");
    }

    fn press(&mut self, key: &str) {
        self.master.write_all(key.as_bytes()).expect("somebody reads keys");
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(PAUSE);
        }
    }

    /// Nothing is left of the program: what was there before it is shown again, with the cursor, and keys are echoed.
    fn is_restored(&self) {
        self.shows("the screen that was there before", |screen| {
            !screen.alternate_screen() && !screen.hide_cursor()
        });
        let now = tcgetattr(self.master.as_fd()).expect("its settings");
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(width: u16, height: u16) -> Winsize {
    Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A proxy of two backends, and tunnels through it.
fn proxy(tunnels: usize) -> (Ringbolt, [Backend; 2], Vec<Wire>) {
    let backends = [(); 2].map(|()| {
        Backend::start(|_, wire| {
            wire.send(ACCEPTED);
            while wire.read_ever().is_ok() {}
        })
    });
    let [north, east] = [0, 1].map(|index: usize| backends[index].address());
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.chat]\nbalance = \"round-robin\"\nbackends = [\n\
         {{ name = \"north\", address = \"{north}\" }},\n{{ name = \"east\", address = \"{east}\" }},\n]\n"
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let open = || {
        let mut wire = Wire::connect(ringbolt.address());
        assert_eq!(wire.exchange(UPGRADE).status(), 101);
        wire
    };
    let wires = (0..tunnels).map(|_| open()).collect();
    (ringbolt, backends, wires)
}

/// The line of the screen that begins with these words, by its words.
fn row(screen: &Screen, first: &str) -> Vec<String> {
    let contents = screen.contents();
    let line = contents.lines().find(|line| line.starts_with(first)).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn it_draws_backends_and_numbers_and_leaves_on_q() {
    let (ringbolt, _backends, mut tunnels) = proxy(6);
    let mut terminal = Terminal::start(&ringbolt, (80, 24));
    terminal.shows("its own screen", Screen::alternate_screen);
    for backend in ["chat/east", "chat/north"] {
        terminal.shows("three tunnels at each backend", |screen| {
            row(screen, backend).get(1..3).is_some_and(|words| words == ["up", "3"])
        });
    }
    terminal.shows("all tunnels", |screen| screen.contents().contains("tunnels 6 "));
    terminal.shows("the version", |screen| row(screen, "Ringbolt").contains(&"ready".to_owned()));
    assert!(terminal.parser.lock().screen().hide_cursor());
    tunnels.truncate(2);
    terminal.shows("the tunnels that are left", |screen| screen.contents().contains("tunnels 2 "));
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
    terminal.is_restored();
}

#[test]
fn it_follows_the_size_of_its_terminal() {
    let (ringbolt, _backends, _tunnels) = proxy(1);
    let mut terminal = Terminal::start(&ringbolt, (20, 4));
    terminal.shows("what fits", |screen| screen.contents().starts_with("Ringbolt"));
    terminal.resize((80, 24));
    terminal.shows("the backends", |screen| row(screen, "chat/north").len() > 3);
    terminal.resize((1, 1));
    terminal.shows("one character", |screen| screen.contents().trim().len() <= 1);
    terminal.resize((120, 40));
    terminal.shows("the backends again", |screen| row(screen, "chat/east").len() > 3);
    terminal.press("\u{3}");
    assert_eq!(terminal.end().code(), Some(0), "Ctrl-C is a key here");
    terminal.is_restored();
}

#[test]
fn it_says_that_the_process_is_gone_and_goes_on_asking() {
    let (ringbolt, _backends, _tunnels) = proxy(1);
    let mut terminal = Terminal::start(&ringbolt, (80, 24));
    terminal.shows("the backends", |screen| row(screen, "chat/north").len() > 3);
    drop(ringbolt);
    terminal.shows("that there is no answer", |screen| screen.contents().starts_with("no answer from "));
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
    terminal.is_restored();
}
