//! The shared libraries a program needs, and whether it is for the guest's architecture at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Arch;

/// `e_machine` of the ELF header.
const MACHINES: [(u16, Arch); 2] = [(62, Arch::Amd64), (183, Arch::Arm64)];
/// `p_type` of the program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// Libraries, and the loader, of an executable, where they are on this machine and will be in the guest.
/// A file that is no executable of a compiler, such as a script, needs none.
///
/// # Errors
///
/// The program is for another architecture, or needs libraries of another architecture than this machine's.
pub(crate) fn of(path: &Path, arch: Arch) -> Result<Vec<PathBuf>, String> {
    let content = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Some((machine, dynamic)) = header(&content) else { return Ok(Vec::new()) };
    if machine != Some(arch) {
        return Err(format!("{} is not a program for {}", path.display(), arch.name()));
    }
    if !dynamic {
        return Ok(Vec::new());
    }
    if !arch.is_native() {
        return Err(format!(
            "{} needs shared libraries, which this machine has for its own architecture only: \
             link it with -C target-feature=+crt-static",
            path.display()
        ));
    }
    let output = Command::new("ldd").arg(path).output();
    let output = output.map_err(|error| format!("cannot start ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("not found") {
        return Err(format!("{}: not all of its libraries are found: {text}", path.display()));
    }
    Ok(listed(&text))
}

/// Paths in the output of ldd: behind an arrow, or alone where it is the loader.
fn listed(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let found = line.split_once("=> ").map_or(line.trim(), |(_, found)| found);
        found.starts_with('/').then(|| PathBuf::from(found.split(" (").next().unwrap_or(found)))
    };
    text.lines().filter_map(path).collect()
}

/// Of a 64-bit little-endian ELF file: its architecture, and whether it names a loader. `None`: another file.
fn header(content: &[u8]) -> Option<(Option<Arch>, bool)> {
    if content.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let two = |at: usize| Some(u16::from_le_bytes(content.get(at..at + 2)?.try_into().ok()?));
    let number = two(18)?;
    let arch = MACHINES.iter().find(|(known, _)| *known == number).map(|(_, arch)| *arch);
    let table = usize::try_from(u64::from_le_bytes(content.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(two(54)?), usize::from(two(56)?));
    let kind = |index: usize| {
        let at = table.checked_add(index * size)?;
        Some(u32::from_le_bytes(content.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    Some((arch, (0..count).any(|index| kind(index) == Some(PT_INTERP))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file for arm64 with two program headers, of kind 1 and of this one.
    fn elf(kind: u8) -> Vec<u8> {
        let mut file = vec![0; 64 + 2 * 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (file[18], file[32], file[54], file[56]) = (183, 64, 56, 2);
        (file[64], file[64 + 56]) = (1, kind);
        file
    }

    #[test]
    fn a_static_program_is_told_from_one_with_a_loader() {
        assert_eq!(header(&elf(3)), Some((Some(Arch::Arm64), true)));
        assert_eq!(header(&elf(2)), Some((Some(Arch::Arm64), false)));
        assert_eq!(header(&elf(3)[..100]), Some((Some(Arch::Arm64), false)), "cut off");
    }

    #[test]
    fn this_program_needs_its_loader_and_a_script_needs_nothing() {
        let own = std::env::current_exe().unwrap();
        let (arch, dynamic) = header(&fs::read(&own).unwrap()).unwrap();
        assert_eq!(arch, Arch::native());
        let libraries = of(&own, arch.unwrap()).unwrap();
        assert_eq!(dynamic, libraries.iter().any(|path| path.to_string_lossy().contains("/ld-")));
        assert!(libraries.iter().all(|path| path.is_file()), "{libraries:?}");
        assert_eq!(header(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn a_program_for_another_architecture_is_refused() {
        let own = std::env::current_exe().unwrap();
        let other = if Arch::Amd64.is_native() { Arch::Arm64 } else { Arch::Amd64 };
        let text = of(&own, other).unwrap_err();
        assert!(text.ends_with(&format!("is not a program for {}", other.name())), "{text}");
    }

    #[test]
    fn the_output_of_ldd_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x0)\n";
        assert_eq!(listed(text), [PathBuf::from("/lib/x/libm.so.6"), PathBuf::from("/lib64/ld.so.2")]);
    }
}
