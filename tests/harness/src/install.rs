//! Node and Python packages of the tests, installed from their lock files once per checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use crate::socketio_folder;

/// Installs what the scenarios need, unless it is there already.
///
/// Concerns the whole checkout: other test processes that want the same wait for this one.
///
/// # Panics
/// If npm, Python or a package is missing; the message holds the tool's own words.
pub fn install() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let folder = socketio_folder();
        let lock_file = folder.join("package-lock.json");
        let lock = File::open(&lock_file).expect("package-lock.json");
        // Released when the file is closed, also if this process dies.
        lock.lock().expect("lock package-lock.json against other test processes");
        let npm = |folder: &Path| {
            run(Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(folder));
        };
        unless_stamped(&lock_file, &folder.join("node_modules"), || npm(&folder));
        let venv = venv();
        unless_stamped(&folder.join("requirements.txt"), &venv, || {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
            let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement", "requirements.txt"];
            run(interpreter().args(pip));
        });
    });
}

/// The folder of the browser tests, with the browser's driver installed.
///
/// # Panics
/// If npm or the package is missing; the message holds npm's own words.
#[must_use]
pub fn browser_folder() -> PathBuf {
    static DONE: Once = Once::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser");
    DONE.call_once(|| {
        let lock_file = folder.join("package-lock.json");
        let lock = File::open(&lock_file).expect("package-lock.json");
        lock.lock().expect("lock package-lock.json against other test processes");
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
        unless_stamped(&lock_file, &folder.join("node_modules"), || run(&mut npm));
    });
    folder
}

/// The Python of the installed packages, in the folder of the programs that use them.
///
/// # Panics
/// As [`install`], which it does first.
#[must_use]
pub fn python() -> Command {
    install();
    interpreter()
}

fn interpreter() -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command.current_dir(socketio_folder());
    command
}

fn venv() -> PathBuf {
    socketio_folder().join(".venv")
}

/// Runs `install` unless `installed` holds a copy of the lock file it was made from.
///
/// The copy lives in the installed folder and is written last, so that half an installation, or a folder that
/// somebody removed, is installed again.
fn unless_stamped(lock_file: &Path, installed: &Path, install: impl FnOnce()) {
    let wanted = fs::read(lock_file).unwrap_or_else(|error| panic!("{}: {error}", lock_file.display()));
    let stamp = installed.join(".installed-from");
    if fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return;
    }
    install();
    fs::write(&stamp, wanted).unwrap_or_else(|error| panic!("{}: {error}", stamp.display()));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
