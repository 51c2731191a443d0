//! Debian packages: found and downloaded by apt, unpacked, never installed.
//!
//! apt works on lists and archives in our own folder, so that it takes no root, knows the other
//! architecture without `dpkg --add-architecture`, and leaves the machine's own state alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Arch;

/// What was downloaded and unpacked stays here and is used again, without a network.
#[derive(Debug)]
pub(crate) struct Packages {
    cache: PathBuf,
}

impl Packages {
    pub(crate) fn new(cache: &Path) -> Self {
        Self { cache: cache.to_path_buf() }
    }

    /// busybox for an architecture, linked against nothing.
    pub(crate) fn busybox(&self, arch: Arch) -> Result<PathBuf, String> {
        let name = format!("busybox-{}", arch.name());
        let folder = self.unpacked(&name, arch, || Ok("busybox-static".to_owned()), |_| Ok(()))?;
        Ok(folder.join("bin/busybox"))
    }

    /// The folder `name` with the content of a package: as it was left by an earlier run, or downloaded,
    /// unpacked and completed by `complete`. Whoever is first of two at the same time wins, the other's is dropped.
    pub(crate) fn unpacked(
        &self,
        name: &str,
        arch: Arch,
        package: impl FnOnce() -> Result<String, String>,
        complete: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let folder = self.cache.join(name);
        if folder.is_dir() {
            return Ok(folder);
        }
        self.update(arch)?;
        let package = package()?;
        let scratch = Scratch::folder(&self.cache, name)?;
        eprintln!("downloading Debian package {package}");
        let mut download = self.apt("apt-get", arch)?;
        download.args(["-qq", "download", &format!("{package}:{}", arch.name())]);
        finish(download.current_dir(scratch.path()).stdout(Stdio::null()))?;
        let root = scratch.path().join("root");
        let archives = fs::read_dir(scratch.path()).map_err(|error| failed(scratch.path(), &error))?;
        for archive in archives.flatten() {
            finish(Command::new("dpkg-deb").arg("-x").arg(archive.path()).arg(&root))?;
        }
        complete(&root)?;
        match fs::rename(&root, &folder) {
            Err(error) if !folder.is_dir() => Err(failed(&folder, &error)),
            _ => Ok(folder),
        }
    }

    /// Names of packages that match a regular expression.
    pub(crate) fn search(&self, arch: Arch, pattern: &str) -> Result<Vec<String>, String> {
        let mut search = self.apt("apt-cache", arch)?;
        let output = search
            .args(["search", "--names-only", pattern])
            .output()
            .map_err(|error| format!("cannot start apt-cache: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect())
    }

    /// Fetches the lists of packages. Done before every download, because archives vanish with the next version.
    fn update(&self, arch: Arch) -> Result<(), String> {
        eprintln!("fetching Debian's list of packages for {}", arch.name());
        finish(self.apt("apt-get", arch)?.args(["-qq", "update"]))
    }

    fn apt(&self, program: &str, arch: Arch) -> Result<Command, String> {
        let state = self.cache.join("apt");
        for folder in ["lists/partial", "archives/partial"] {
            let folder = state.join(folder);
            fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        }
        let mut command = Command::new(program);
        for option in [
            format!("Dir::State::Lists={}", state.join("lists").display()),
            format!("Dir::Cache={}", state.display()),
            format!("APT::Architecture={}", arch.name()),
            format!("APT::Architectures={}", arch.name()),
            // As root, apt would drop to a user who cannot write here.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.stdin(Stdio::null());
        Ok(command)
    }
}

/// Runs a command to its end; its complaints are in the error.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// A file or folder that goes with this value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn file(cache: &Path, name: &str, content: &[u8]) -> Result<Self, String> {
        let scratch = Self::place(cache, name)?;
        fs::write(&scratch.0, content).map_err(|error| failed(&scratch.0, &error))?;
        Ok(scratch)
    }

    fn folder(cache: &Path, name: &str) -> Result<Self, String> {
        let scratch = Self::place(cache, name)?;
        fs::create_dir_all(&scratch.0).map_err(|error| failed(&scratch.0, &error))?;
        Ok(scratch)
    }

    fn place(cache: &Path, name: &str) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(cache).map_err(|error| failed(cache, &error))?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Self(cache.join(format!("{name}.{}-{number}", std::process::id()))))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Either a file or a folder.
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}
