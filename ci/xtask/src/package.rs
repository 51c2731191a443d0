//! `cargo xtask package`: a Debian package, a tarball with checksums and a list of what is in the program.
//!
//! The same tree and program give the same bytes: every file has the time of SOURCE_DATE_EPOCH, or of the last commit,
//! and names come in order. What is packed stands in `packaging/`, and the unit in `kernel-tuning/`.

mod layout;
mod lifecycle;
mod sbom;
pub(crate) mod twice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringbolt_vm::Arch;

use self::lifecycle::Check;
use crate::{arm64, release, steps};

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Package {
    arch: Arch,
    /// A program that has been built; `None`: build it.
    binary: Option<PathBuf>,
    /// Another version than the workspace's.
    version: Option<String>,
    /// Where the packages go; `None`: target/package.
    out: Option<PathBuf>,
    /// Where it is tried; `None`: it is only made.
    check: Option<Check>,
}

impl Package {
    /// For this architecture, and nothing said.
    fn of(arch: Arch) -> Self {
        Self { arch, binary: None, version: None, out: None, check: None }
    }
}

/// Reads the words behind `package`.
pub(crate) fn parse(words: &[String]) -> Result<Package, String> {
    let mut package = Package::of(Arch::native().unwrap_or(Arch::Amd64));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "check" => package.check = Some(Check::System),
            "container" => package.check = Some(Check::Container),
            "--arch" => {
                package.arch = match value()?.as_str() {
                    "amd64" => Arch::Amd64,
                    "arm64" => Arch::Arm64,
                    other => return Err(format!("no packages are made for {other:?}: amd64 or arm64")),
                };
            }
            "--binary" => package.binary = Some(value()?.into()),
            "--version" => package.version = Some(value()?.clone()),
            "--out" => package.out = Some(value()?.into()),
            other => return Err(format!("`package` takes no {other:?}")),
        }
    }
    Ok(package)
}

pub(crate) fn run(root: &Path, package: &Package) -> Result<(), String> {
    let binary = match &package.binary {
        Some(binary) => binary.clone(),
        None if Arch::native() == Some(package.arch) => release::proxy(root)?,
        None if package.arch == Arch::Arm64 => arm64::daemon(root, "release")?,
        None => return Err("give a program of the other architecture with --binary".to_owned()),
    };
    let out =
        package.out.clone().map_or_else(|| release::target().map(|target| target.join("package")), Ok)?;
    if let Some(check) = package.check {
        return check.run(root, package, &binary, &out);
    }
    let made = make(root, package, &binary, &out)?;
    made.iter().for_each(|path| println!("{}", path.display()));
    Ok(())
}

/// Builds everything into `out`; returns the files.
fn make(root: &Path, package: &Package, binary: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let version = package.version.clone().map_or_else(|| workspace_version(root), Ok)?;
    let arch = debian(package.arch);
    let epoch = epoch(root)?;
    let folder = out.join("root");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| told(&folder, &error))?;
    }
    let sbom = sbom::write(root, &version)?;
    let tree = layout::Tree { root, folder: &folder, version: &version, arch, epoch };
    tree.fill(binary, &sbom)?;

    let name = format!("ringbolt_{version}_{arch}");
    let deb = out.join(format!("{name}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&folder).arg(&deb);
    steps::succeed(build.env("SOURCE_DATE_EPOCH", epoch.to_string()).stdout(std::process::Stdio::null()))?;
    let tarball = out.join(format!("{name}.tar.gz"));
    steps::succeed(Command::new("sh").arg("-c").arg(format!(
        "tar -C '{}' --exclude ./DEBIAN --sort=name --mtime=@{epoch} --owner=0 --group=0 --numeric-owner \
         --format=gnu -cf - . | gzip -9n >'{}'",
        folder.display(),
        tarball.display()
    )))?;
    let list = out.join(format!("{name}.cdx.json"));
    fs::write(&list, sbom).map_err(|error| told(&list, &error))?;
    let files = [&deb, &tarball, &list].map(|path| path.file_name().unwrap_or_default().to_owned());
    let sums = out.join(format!("{name}.sha256"));
    let summed = Command::new("sha256sum").current_dir(out).args(files).output();
    let summed = summed.map_err(|error| format!("sha256sum: {error}"))?;
    fs::write(&sums, summed.stdout).map_err(|error| told(&sums, &error))?;
    Ok(vec![deb, tarball, list, sums])
}

/// Debian's name of an architecture.
fn debian(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "amd64",
        Arch::Arm64 => "arm64",
    }
}

fn workspace_version(root: &Path) -> Result<String, String> {
    let manifest = read(&root.join("Cargo.toml"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = version.and_then(|rest| rest.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| "Cargo.toml has no version".to_owned())
}

/// Seconds since 1970 that every file is dated with.
fn epoch(root: &Path) -> Result<u64, String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().map_err(|_| "SOURCE_DATE_EPOCH is a number of seconds".to_owned());
    }
    let output = Command::new("git").current_dir(root).args(["log", "-1", "--format=%ct"]).output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map_err(|_| "set SOURCE_DATE_EPOCH: there is no commit to take the time of".to_owned())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| told(path, &error))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace_root;

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let root = workspace_root(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let folder = std::env::temp_dir().join(format!("ringbolt-package-{}", std::process::id()));
        // Any program will do.
        let words = ["--binary", "/bin/true", "--version", "9.8.7"].map(str::to_owned);
        let package = parse(&words).unwrap();
        let made = |name: &str| {
            let files = make(&root, &package, Path::new("/bin/true"), &folder.join(name)).unwrap();
            files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
        };
        let (first, second) = (made("first"), made("second"));
        let deb = folder.join(format!("first/ringbolt_9.8.7_{}.deb", debian(package.arch)));
        let list = Command::new("dpkg-deb").arg("--contents").arg(&deb).output().unwrap();
        let _ = fs::remove_dir_all(&folder);
        assert!(first == second, "a package differs from itself");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        for path in [
            "./usr/bin/ringbolt\n",
            "./usr/lib/systemd/system/ringbolt.service\n",
            "./usr/lib/sysusers.d/ringbolt.conf\n",
            "./etc/ringbolt/ringbolt.toml\n",
            "./usr/share/man/man1/ringbolt-run.1.gz\n",
            "./usr/share/bash-completion/completions/ringbolt\n",
            "./usr/share/doc/ringbolt/changelog.gz\n",
            "./usr/share/doc/ringbolt/ringbolt.cdx.json\n",
        ] {
            assert!(list.contains(path), "{path:?} is not in\n{list}");
        }
        assert!(list.lines().all(|line| line.contains("root/root")), "{list}");
    }

    #[test]
    fn words_are_understood_or_refused() {
        let words = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(words("--arch arm64 --binary x").unwrap().arch, Arch::Arm64);
        assert_eq!(words("check").unwrap().check, Some(Check::System));
        assert_eq!(words("container").unwrap().check, Some(Check::Container));
        assert!(words("--arch mips").is_err() && words("--binary").is_err() && words("x").is_err());
    }
}
