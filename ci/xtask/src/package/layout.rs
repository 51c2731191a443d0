//! What stands where in a package.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{read, told};
use crate::steps;

/// A file of the source, where it goes, and its mode.
const FILES: [(&str, &str, u32); 8] = [
    ("kernel-tuning/systemd/ringbolt.service", "usr/lib/systemd/system/ringbolt.service", 0o644),
    ("packaging/debian/ringbolt.sysusers", "usr/lib/sysusers.d/ringbolt.conf", 0o644),
    ("packaging/ringbolt.toml", "etc/ringbolt/ringbolt.toml", 0o644),
    ("packaging/completions/ringbolt.bash", "usr/share/bash-completion/completions/ringbolt", 0o644),
    ("packaging/completions/_ringbolt", "usr/share/zsh/vendor-completions/_ringbolt", 0o644),
    ("packaging/completions/ringbolt.fish", "usr/share/fish/vendor_completions.d/ringbolt.fish", 0o644),
    ("packaging/debian/copyright", "usr/share/doc/ringbolt/copyright", 0o644),
    ("LICENSE-MIT", "usr/share/doc/ringbolt/LICENSE-MIT", 0o644),
];

/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Whom Debian's tools name as the one to ask.
const MAINTAINER: &str = "The authors of Ringbolt <ringbolt@example.org>";

/// A package's folder.
pub(super) struct Tree<'a> {
    pub(super) root: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) version: &'a str,
    /// Debian's name of the architecture.
    pub(super) arch: &'static str,
    pub(super) epoch: u64,
}

impl Tree<'_> {
    /// Puts everything in its place.
    pub(super) fn fill(&self, binary: &Path, sbom: &str) -> Result<(), String> {
        for (from, to, mode) in FILES {
            self.put(to, &read(&self.root.join(from))?, mode)?;
        }
        self.program(binary)?;
        self.put("usr/share/doc/ringbolt/ringbolt.cdx.json", sbom, 0o644)?;
        self.put("usr/share/doc/ringbolt/changelog", &self.changelog()?, 0o644)?;
        self.zip("usr/share/doc/ringbolt/changelog")?;
        self.put("usr/share/doc/ringbolt/NEWS", &read(&self.root.join("CHANGELOG.md"))?, 0o644)?;
        self.zip("usr/share/doc/ringbolt/NEWS")?;
        let settings = read(&self.root.join("kernel-tuning/sysctl.d/90-ringbolt.conf"))?;
        // An example: a package does not change the machine's settings by itself.
        self.put("usr/share/doc/ringbolt/examples/90-ringbolt.conf", &settings, 0o644)?;
        for page in entries(&self.root.join("packaging/man"))? {
            let to = format!("usr/share/man/man1/{page}");
            self.put(&to, &read(&self.root.join("packaging/man").join(&page))?, 0o644)?;
            self.zip(&to)?;
        }
        for script in SCRIPTS {
            let text = read(&self.root.join("packaging/debian").join(script))?;
            self.put(&format!("DEBIAN/{script}"), &text, 0o755)?;
        }
        self.put("DEBIAN/conffiles", "/etc/ringbolt/ringbolt.toml\n", 0o644)?;
        self.put("DEBIAN/control", &self.control(binary)?, 0o644)?;
        self.sums()?;
        self.date(self.folder)
    }

    fn put(&self, to: &str, text: &str, mode: u32) -> Result<(), String> {
        let path = self.folder.join(to);
        let folder = path.parent().unwrap_or(self.folder);
        fs::create_dir_all(folder).map_err(|error| told(folder, &error))?;
        fs::write(&path, text).map_err(|error| told(&path, &error))?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|error| told(&path, &error))
    }

    /// The program without its symbols: a fifth of the size.
    fn program(&self, binary: &Path) -> Result<(), String> {
        self.put("usr/bin/ringbolt", "", 0o755)?;
        let strip = if self.arch == "arm64" && !cfg!(target_arch = "aarch64") {
            "aarch64-linux-gnu-strip"
        } else {
            "strip"
        };
        let mut command = Command::new(strip);
        command.arg("--strip-unneeded").arg("-o").arg(self.folder.join("usr/bin/ringbolt")).arg(binary);
        steps::succeed(&mut command)
    }

    fn zip(&self, path: &str) -> Result<(), String> {
        steps::succeed(Command::new("gzip").arg("-9n").arg(self.folder.join(path)))
    }

    fn control(&self, binary: &Path) -> Result<String, String> {
        let mut readelf = Command::new("readelf");
        let output = readelf.args(["--version-info", "--wide"]).arg(binary).output();
        let output = output.map_err(|error| format!("readelf: {error}"))?;
        let versions = String::from_utf8_lossy(&output.stdout);
        // A static program needs none.
        let libc = libc_needed(&versions)
            .map_or(String::new(), |minor| format!("libc6 (>= 2.{minor}), libgcc-s1, "));
        let kib = size(self.folder)?.div_ceil(1024);
        Ok(format!(
            "Package: ringbolt\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
             Section: net\nPriority: optional\nInstalled-Size: {kib}\n\
             Depends: {libc}systemd | systemd-standalone-sysusers\n\
             Description: edge proxy for Socket.IO and WebSocket services\n \
             Ties every Socket.IO session to the backend that issued it, by the sid of\n \
             its Engine.IO handshake: no cookie, no change to the servers. Ends TLS,\n \
             passes TCP on, keeps a million idle tunnels in little memory, and is\n \
             upgraded without closing one of them.\n",
            self.version, self.arch
        ))
    }

    /// In the form that Debian's tools read; what has changed stands in the project's own.
    fn changelog(&self) -> Result<String, String> {
        let mut date = Command::new("date");
        let output = date.args(["--utc", "--rfc-email", &format!("--date=@{}", self.epoch)]).output();
        let output = output.map_err(|error| format!("date: {error}"))?;
        Ok(format!(
            "ringbolt ({}) stable; urgency=medium\n\n  * What has changed stands in NEWS.gz beside this file.\n\n \
             -- {MAINTAINER}  {}",
            self.version,
            String::from_utf8_lossy(&output.stdout)
        ))
    }

    fn sums(&self) -> Result<(), String> {
        let script = "find etc usr -type f ! -path 'etc/*' -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
        let output = Command::new("sh").current_dir(self.folder).args(["-c", script]).output();
        let output = output.map_err(|error| format!("md5sum: {error}"))?;
        self.put("DEBIAN/md5sums", &String::from_utf8_lossy(&output.stdout), 0o644)
    }

    /// Dates everything, what is inside a folder first.
    fn date(&self, path: &Path) -> Result<(), String> {
        if path.is_dir() {
            fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(|error| told(path, &error))?;
            for entry in entries(path)? {
                self.date(&path.join(entry))?;
            }
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch);
        File::open(path).and_then(|file| file.set_modified(time)).map_err(|error| told(path, &error))
    }
}

/// Names in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<String>, String> {
    let all = fs::read_dir(folder).map_err(|error| told(folder, &error))?;
    let mut names: Vec<String> =
        all.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn size(path: &Path) -> Result<u64, String> {
    if !path.is_dir() {
        return fs::metadata(path).map(|found| found.len()).map_err(|error| told(path, &error));
    }
    let inside = entries(path)?.iter().map(|name| size(&path.join(name))).collect::<Result<Vec<_>, _>>()?;
    Ok(inside.iter().sum())
}

/// The newest version 2.N of the C library among those that a program asks for.
fn libc_needed(versions: &str) -> Option<u32> {
    let number = |rest: &str| rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok();
    versions.split("GLIBC_2.").skip(1).filter_map(number).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_the_c_library_is_found() {
        assert_eq!(libc_needed("Name: GLIBC_2.2.5  Flags: none\nName: GLIBC_2.34  Flags"), Some(34));
        assert_eq!(libc_needed("No version information found"), None);
    }
}
