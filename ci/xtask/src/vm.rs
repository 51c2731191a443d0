//! `cargo xtask vm`: runs a program on another kernel.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ringbolt_vm::{Arch, Machine, Program};

use crate::packages;

/// Text of `cargo xtask vm --help`.
const HELP: &str = "\
Runs a program on a Debian kernel under qemu, with loopback only, and ends with its exit status.

Usage: cargo xtask vm [OPTIONS] -- PROGRAM [ARGUMENTS]

Options:
  --kernel VERSION       beginning of the kernel's version: 6.1, 6.12 (default: 6.12)
  --arch ARCH            amd64 or arm64 (default: this machine's); for another, the program must be linked
                         statically: RUSTFLAGS=-Ctarget-feature=+crt-static
  --memory MIB           memory of the guest (default: 1024)
  --cpus COUNT           processors of the guest (default: 2)
  --timeout SECONDS      end the guest after this time (default: 120)
  --module NAME          load a module first, with what it depends on; may be repeated
  --sysctl NAME=VALUE    change a setting first; may be repeated
  --parameter WORD       a word for the kernel's command line; may be repeated
  --clock WHAT           `real`, or `instructions`: it moves a nanosecond with each of them, so that processor
                         times do not depend on what else this machine does (default: real)
  --file HERE[:THERE]    put a file or program into the guest, at the same path or another; may be repeated

Exit codes: the program's; 125 if the guest has not told one.
";

/// Exit code of a run that has told nothing of the program, as of `docker run`.
const EXIT_NO_STATUS: u8 = 125;

/// Runs what the words say, and is done with the program's exit status.
pub(crate) fn run(words: &[String]) -> Result<ExitCode, String> {
    let Some((machine, program)) = parse(words)? else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    packages::install(&packages::vm_tools(machine.arch))?;
    match machine.run(&program, |line| println!("{line}")) {
        Ok(status) => Ok(u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)),
        Err(reason) => {
            eprintln!("xtask: {reason}");
            Ok(ExitCode::from(EXIT_NO_STATUS))
        }
    }
}

/// `None`: the help was asked for.
fn parse(words: &[String]) -> Result<Option<(Machine, Program)>, String> {
    let mut machine = Machine::new(Arch::native().unwrap_or(Arch::Amd64), "6.12");
    let mut files: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut words = words.iter();
    loop {
        let word = words.next().ok_or("no program; see `cargo xtask vm --help`")?;
        if matches!(word.as_str(), "-h" | "--help") {
            return Ok(None);
        }
        if word == "--" {
            break;
        }
        if !word.starts_with("--") {
            return Err(format!("the program comes behind `--`: `cargo xtask vm [OPTIONS] -- {word}`"));
        }
        let value = words.next().ok_or(format!("{word} takes a value"))?;
        let number = || value.parse::<u32>().map_err(|_| format!("{word}: {value:?} is no whole number"));
        match word.as_str() {
            "--kernel" => machine.kernel.clone_from(value),
            "--arch" => machine.arch = Arch::named(value).ok_or(format!("no architecture {value:?}"))?,
            "--memory" => machine.memory_mib = number()?,
            "--cpus" => machine.cpus = number()?,
            "--timeout" => machine.timeout = Duration::from_secs(number()?.into()),
            "--module" => machine.modules.push(value.clone()),
            "--sysctl" => machine.sysctls.push(value.clone()),
            "--parameter" => machine.parameters.push(value.clone()),
            "--clock" => machine.clock_counts_instructions = clock(value)?,
            "--file" => {
                let (here, there) = value.split_once(':').unwrap_or((value, value));
                files.push((Path::new(here).to_path_buf(), Path::new(there).to_path_buf()));
            }
            _ => return Err(format!("no option {word}; see `cargo xtask vm --help`")),
        }
    }
    let path = words.next().ok_or("no program behind `--`")?;
    let program = Program { files, ..Program::new(path, words.cloned()) };
    Ok(Some((machine, program)))
}

fn clock(word: &str) -> Result<bool, String> {
    match word {
        "real" => Ok(false),
        "instructions" => Ok(true),
        _ => Err(format!("--clock: {word:?} is neither `real` nor `instructions`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<(Machine, Program)>, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_option_of_the_help_is_understood() {
        for line in HELP.lines().filter(|line| line.starts_with("  --")) {
            let option = line.split_whitespace().next().unwrap();
            let value = match option {
                "--arch" => "arm64",
                "--clock" => "instructions",
                _ => "7",
            };
            assert!(parsed(&format!("{option} {value} -- x")).is_ok(), "{option}");
        }
        assert!(parsed("--help").unwrap().is_none());
    }

    #[test]
    fn options_change_the_machine_and_the_rest_is_the_program() {
        let line =
            "--kernel 6.1 --timeout 5 --module tls --module gcm --file a:/b --file /c -- prog --kernel x";
        let (machine, program) = parsed(line).unwrap().unwrap();
        assert_eq!((machine.kernel.as_str(), machine.timeout), ("6.1", Duration::from_secs(5)));
        assert_eq!(machine.modules, ["tls", "gcm"]);
        assert_eq!(program.files, [("a".into(), "/b".into()), ("/c".into(), "/c".into())]);
        assert_eq!((program.path, program.arguments), ("prog".into(), vec!["--kernel".into(), "x".into()]));
    }

    #[test]
    fn a_mistake_is_named() {
        for (line, expected) in [
            ("", "no program"),
            ("--", "no program"),
            ("prog", "comes behind"),
            ("--memory x -- prog", "--memory: \"x\" is no whole number"),
            ("--arch mips -- prog", "no architecture \"mips\""),
            ("--clock 7 -- prog", "--clock: \"7\" is neither"),
            ("--speed 9 -- prog", "no option --speed"),
            ("--kernel", "--kernel takes a value"),
        ] {
            let text = parsed(line).unwrap_err();
            assert!(text.contains(expected), "{line}: {text}");
        }
    }
}
