//! What is in the guest: the initramfs, and the script that is its first process.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::{Machine, Program, libraries};

/// Stands before what the program writes.
pub(crate) const BEGIN: &str = "ringbolt-vm: the program begins";
/// Stands behind it, followed by the exit status.
pub(crate) const END: &str = "ringbolt-vm: the program ended with ";
/// Stands before the reason why the program was not started.
pub(crate) const FAILED: &str = "ringbolt-vm: failed: ";

/// The folder of the program, apart from busybox.
const FOLDER: &str = "/program";

/// The initramfs of a run.
pub(crate) fn archive(
    machine: &Machine,
    program: &Program,
    busybox: &Path,
    modules: &[PathBuf],
) -> Result<Vec<u8>, String> {
    let mut archive = Archive::default();
    for folder in ["/dev", "/proc", "/sys", "/tmp", "/etc"] {
        archive.folder(folder);
    }
    archive.file("/bin/busybox", &read(busybox)?);
    archive.link("/bin/sh", "busybox");

    let name = file_name(&program.path)?;
    let own = (program.path.clone(), Path::new(FOLDER).join(&name));
    let mut present: Vec<PathBuf> = Vec::new();
    for (here, there) in [own].iter().chain(&program.files) {
        archive.file(&there.to_string_lossy(), &read(here)?);
        for library in libraries::of(here, machine.arch)? {
            if !present.contains(&library) {
                archive.file(&library.to_string_lossy(), &read(&library)?);
                present.push(library);
            }
        }
    }
    let mut loaded = Vec::new();
    for module in modules {
        let path = format!("/modules/{}", file_name(module)?);
        archive.file(&path, &read(module)?);
        loaded.push(path);
    }
    let command: Vec<String> = std::iter::once(format!("{FOLDER}/{name}"))
        .chain(program.arguments.iter().cloned())
        .map(|word| quoted(&word))
        .collect();
    archive.file("/init", script(&loaded, &machine.sysctls, &command.join(" ")).as_bytes());
    Ok(archive.finish())
}

/// The first process. Its standard streams are the console. Programs that were brought come before busybox'.
fn script(modules: &[String], sysctls: &[String], command: &str) -> String {
    let mut text = format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin\n\
         export PATH={FOLDER}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp\n\
         fail() {{ dmesg | tail -n 20; echo \"{FAILED}$1\"; poweroff -f; }}\n\
         mount -t devtmpfs dev /dev || fail 'mounting /dev'\n\
         mount -t proc proc /proc || fail 'mounting /proc'\n\
         mount -t sysfs sys /sys || fail 'mounting /sys'\n\
         ip link set lo up || fail 'starting loopback'\n"
    );
    for module in modules {
        text.push_str(&format!("insmod {0} || fail 'loading '{0}\n", quoted(module)));
    }
    for setting in sysctls {
        text.push_str(&format!("sysctl -w {0} >/dev/null || fail 'setting '{0}\n", quoted(setting)));
    }
    // As many descriptors as the kernel allows. Messages of the kernel are kept out of the output; where the
    // program was killed, they tell why.
    text.push_str(&format!(
        "ulimit -n $(cat /proc/sys/fs/nr_open)\n\
         dmesg -n 1\n\
         echo '{BEGIN}'\n\
         {command} </dev/null\n\
         status=$?\n\
         [ $status -lt 128 ] || dmesg | tail -n 20\n\
         echo \"{END}$status\"\n\
         poweroff -f\n"
    ));
    text
}

/// A word for the shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn file_name(path: &Path) -> Result<String, String> {
    let name = path.file_name().ok_or(format!("{}: not a file", path.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_word_passes_the_shell_unchanged() {
        for word in ["plain", "two words", "it's", "$HOME `id` \"x\" \\", "", "line\nbreak"] {
            let printed = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
            assert_eq!(String::from_utf8(printed.unwrap().stdout).unwrap(), word);
        }
    }

    #[test]
    fn the_script_is_one_a_shell_understands_and_stops_where_the_kernel_refuses() {
        let script =
            script(&["/modules/tls.ko".to_owned()], &["fs.nr_open=5".to_owned()], "'/program/x' 'a b'");
        let checked = Command::new("sh").args(["-n", "-c", &script]).status();
        assert!(checked.unwrap().success(), "{script}");
        assert!(script.contains("insmod '/modules/tls.ko' || fail"), "{script}");
        assert!(script.contains("sysctl -w 'fs.nr_open=5' >/dev/null || fail"), "{script}");
    }
}
