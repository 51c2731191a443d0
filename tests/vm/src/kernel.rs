//! A kernel of Debian's cloud flavour: which package, where its image is, what its modules depend on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Arch;
use crate::packages::{self, Packages};

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// Holds `modules.dep` and what it names.
    modules: PathBuf,
}

/// The newest kernel whose version begins with `version`, or the one an earlier run has unpacked for it.
pub(crate) fn find(packages: &Packages, arch: Arch, version: &str) -> Result<Kernel, String> {
    let name = format!("kernel-{}-{version}", arch.name());
    let native =
        Arch::native().ok_or(format!("machines of {} are not known here", std::env::consts::ARCH))?;
    let depmod = packages.busybox(native)?;
    let package = || {
        let pattern = format!("^linux-image-{}.*-cloud-{}$", version.replace('.', "\\."), arch.name());
        let names = packages.search(arch, &pattern)?;
        newest(&names, version)
            .cloned()
            .ok_or(format!("Debian's sources on this machine offer no {} kernel {version}", arch.name()))
    };
    let root = packages.unpacked(&name, arch, package, |root| {
        let modules = only_folder(&root.join("lib/modules"))?;
        let release = modules.file_name().unwrap_or_default();
        packages::finish(Command::new(depmod).arg("depmod").arg("-b").arg(root).arg(release))
    })?;
    let modules = only_folder(&root.join("lib/modules"))?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Kernel { image: root.join(format!("boot/vmlinuz-{release}")), modules })
}

impl Kernel {
    /// Files of these modules and of all they depend on, each after what it depends on.
    pub(crate) fn load_order(&self, names: &[String]) -> Result<Vec<PathBuf>, String> {
        let path = self.modules.join("modules.dep");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut order: Vec<&str> = Vec::new();
        for name in names {
            let line = text.lines().find_map(|line| {
                let (file, needed) = line.split_once(':')?;
                (module_name(file) == name.replace('-', "_")).then_some((file, needed))
            });
            let (file, needed) = line.ok_or(format!("the kernel has no module {name}"))?;
            // What a module needs is listed with the last to load first.
            for file in needed.split_whitespace().rev().chain([file]) {
                if !order.contains(&file) {
                    order.push(file);
                }
            }
        }
        Ok(order.into_iter().map(|file| self.modules.join(file)).collect())
    }
}

/// Name of a module in the kernel, from its file: `kernel/crypto/af-alg.ko.xz` is `af_alg`.
fn module_name(file: &str) -> String {
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    name.split_once(".ko").map_or(name, |(name, _)| name).replace('-', "_")
}

/// Of `linux-image-6.1.0-56-cloud-amd64` and the like, the one with the greatest numbers. `6.1` is not the beginning
/// of `6.12`.
fn newest<'a>(names: &'a [String], version: &str) -> Option<&'a String> {
    let matches = |name: &&String| {
        let rest = name.strip_prefix("linux-image-").and_then(|name| name.strip_prefix(version));
        // A name without digits after the version is a package that only depends on another.
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()) && numbers(rest).len() > 1)
    };
    names.iter().filter(matches).max_by_key(|name| numbers(name))
}

/// The whole numbers in a text; of the architecture's name too, which is the same in all.
fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn only_folder(path: &Path) -> Result<PathBuf, String> {
    let mut entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match (entries.next(), entries.next()) {
        (Some(Ok(entry)), None) => Ok(entry.path()),
        _ => Err(format!("{}: expected one folder in it", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_version_is_found_by_numbers() {
        let names = [
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
        ]
        .map(str::to_owned);
        let found = |version| newest(&names, version).map(String::as_str);
        assert_eq!(found("6.12"), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(found("6.12.99"), Some("linux-image-6.12.99+deb12-cloud-amd64"));
        assert_eq!(found("6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(found("6.8"), None);
    }

    #[test]
    fn a_module_is_loaded_after_what_it_needs() {
        let modules = std::env::temp_dir().join(format!("ringbolt-vm-modules.{}", std::process::id()));
        fs::create_dir_all(&modules).unwrap();
        let dep =
            "kernel/a.ko.xz: kernel/b-c.ko.xz kernel/d.ko.xz\nkernel/d.ko.xz:\nkernel/e.ko: kernel/d.ko.xz\n";
        fs::write(modules.join("modules.dep"), dep).unwrap();
        let kernel = Kernel { image: PathBuf::new(), modules: modules.clone() };
        let order = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            kernel.load_order(&names)
        };
        let expected = ["kernel/d.ko.xz", "kernel/b-c.ko.xz", "kernel/a.ko.xz", "kernel/e.ko"];
        assert_eq!(order(&["a", "e", "d"]), Ok(expected.map(|file| modules.join(file)).to_vec()));
        assert_eq!(order(&["x"]), Err("the kernel has no module x".to_owned()));
        fs::remove_dir_all(modules).unwrap();
    }
}
