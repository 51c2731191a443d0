//! What the user asked for: the words of the command line, and the nearest command to a misspelt one.

use crate::package::{self, Package};

/// Text of `--help`.
pub(crate) const HELP: &str = "\
The project's own commands.

Usage: cargo xtask COMMAND

Commands:
  demo    build the release proxy and run a chat on three Socket.IO backends behind it
          (options after the word go to the demo: `cargo xtask demo --listen 127.0.0.1:0`)
  bench   build for release and measure (bench/README.md):
          `bench peers [--quick]`     the proxy beside nginx and HAProxy; `bench plots` draws it again
          `bench tls [--quick]`       TLS beside nginx, HAProxy and hitch
          `bench with PROGRAM`        lends the proxies to another load tool
          `bench runtimes [--quick]`  the same relay on our reactor, monoio and tokio-uring
          `bench edges [--quick]`     what evidence is worth to fleets of edges, simulated
          `bench log [--quick]`       the proxy with an access log beside the proxy without
          `bench budgets`             instructions and bytes, held against bench/budgets.toml
          `bench micro [FILTER]`      time of the same units of work, by criterion
          `bench scale`               one proxy process with more and more tunnels, in a guest up to a million
  vm      run a program on another kernel, under qemu: `cargo xtask vm --kernel 6.1 -- PROGRAM` (see --help there)
  ktls    what the proxy relies on of kTLS, checked under qemu on Linux 6.1 and 6.12;
          `ktls proxy` checks tunnels through the proxy,
          `ktls upgrade` over an upgrade; `ktls compare` counts instructions of TLS records in
          user space and in the kernel
  arm64   build for arm64 and run core and black-box tests on an arm64 kernel under qemu;
          `arm64 build [--profile NAME]` builds the static daemon (for release) and prints its path
  kernels run core, black-box and kTLS tests on Linux 6.1 and 6.12 under qemu, on both engines, and write
          kernel-tuning/kernels.md; `kernels table` only writes it
  check   all that CI runs: fmt, tidy, clippy, tools, build, budgets, test
  test    the part of it that runs tests: tools, build, test
  tidy    rules of the source tree that no compiler checks
  tools   install the Debian packages that tests need and that are missing
  fuzz-smoke  search a minute for inputs that break a promise of a parser, for each fuzz target
          (`cargo xtask fuzz-smoke [--seconds N] [TARGET...]`; not part of CI's check)
  soak    torn, stalled and hostile connections for a quarter of an hour, or `--minutes N`, on each engine; then
          nothing may be left (the part of it that CI runs takes half a minute)
  package  a Debian package, a tarball, checksums and a list of what is in the program, in target/package
          (`--arch amd64|arm64`, `--binary FILE`, `--version V`, `--out FOLDER`); `package check` installs, upgrades
          under open tunnels and removes it in a Debian system of its own, `package container` runs it in a container
  book    the documents as a book in target/book, by mdBook, which is installed below target if it is missing
  release  packages of both architectures, each program built twice, compared, and started on a kernel of its own

Options:
  -h, --help    print this text
";

/// Every command by its word, in the order of the help text.
const WORDS: [&str; 15] = [
    "demo",
    "bench",
    "vm",
    "ktls",
    "arm64",
    "kernels",
    "check",
    "test",
    "tidy",
    "tools",
    "fuzz-smoke",
    "soak",
    "package",
    "book",
    "release",
];

/// How long a soak takes on each engine, settling aside.
const SOAK_MINUTES: u32 = 15;

/// A command of the project.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Check,
    Test,
    Tidy,
    Tools,
    Book,
    /// With the options for the demo itself.
    Demo(Vec<String>),
    /// With the measurement and its options.
    Bench(Vec<String>),
    /// With the guest's options and the program.
    Vm(Vec<String>),
    /// With nothing, `proxy` or `compare`.
    Ktls(Vec<String>),
    Package(Package),
    Release,
    /// With nothing, or `build` and its options.
    Arm64(Vec<String>),
    /// With nothing, or `table`.
    Kernels(Vec<String>),
    /// With its options and targets.
    FuzzSmoke(Vec<String>),
    /// For this many minutes.
    Soak(u32),
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(words: &[String]) -> Result<Command, String> {
    let Some((word, rest)) = words.split_first() else {
        return Ok(Command::Help);
    };
    let command = match word.as_str() {
        "-h" | "--help" | "help" => Command::Help,
        "demo" => return Ok(Command::Demo(rest.to_vec())),
        "bench" => return Ok(Command::Bench(rest.to_vec())),
        "vm" => return Ok(Command::Vm(rest.to_vec())),
        "ktls" => return Ok(Command::Ktls(rest.to_vec())),
        "package" => return package::parse(rest).map(Command::Package),
        "kernels" => return Ok(Command::Kernels(rest.to_vec())),
        "arm64" => return Ok(Command::Arm64(rest.to_vec())),
        "fuzz-smoke" => return Ok(Command::FuzzSmoke(rest.to_vec())),
        "soak" => return soak(rest),
        "check" => Command::Check,
        "test" => Command::Test,
        "tidy" => Command::Tidy,
        "tools" => Command::Tools,
        "book" => Command::Book,
        "release" => Command::Release,
        unknown => return Err(format!("no command {unknown:?}; did you mean `{}`?", nearest(unknown))),
    };
    match rest.first().map(String::as_str) {
        None => Ok(command),
        Some("-h" | "--help") => Ok(Command::Help),
        Some(surplus) => Err(format!("`{word}` takes no {surplus:?}")),
    }
}

fn soak(words: &[String]) -> Result<Command, String> {
    let minutes = match words {
        [] => Some(SOAK_MINUTES),
        [option, number] if option == "--minutes" => number.parse().ok().filter(|minutes| *minutes > 0),
        _ => None,
    };
    minutes.map(Command::Soak).ok_or_else(|| "`soak` takes `--minutes` and a number above 0".to_owned())
}

/// The command that takes the fewest changed letters to reach.
fn nearest(unknown: &str) -> &'static str {
    WORDS.into_iter().min_by_key(|word| distance(unknown, word)).unwrap_or(WORDS[0])
}

/// Letters to insert, remove or replace to turn `from` into `to` (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for word in WORDS {
            assert!(HELP.contains(&format!("\n  {word} ")), "{word} is not in the help");
            assert_ne!(parsed(word), Ok(Command::Help), "{word}");
        }
    }

    #[test]
    fn nothing_or_help_gives_help() {
        for line in ["", "--help", "-h", "help", "check --help"] {
            assert_eq!(parsed(line), Ok(Command::Help), "{line}");
        }
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        for (typed, meant) in [
            ("chek", "check"),
            ("tests", "test"),
            ("tydi", "tidy"),
            ("dmeo", "demo"),
            ("tool", "tools"),
            ("bnch", "bench"),
        ] {
            let text = parsed(typed).unwrap_err();
            assert!(text.contains(&format!("`{meant}`")), "{typed}: {text}");
        }
    }

    #[test]
    fn options_of_other_programs_are_passed_on_and_surplus_words_refused() {
        let options = vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()];
        assert_eq!(parsed("demo --listen 127.0.0.1:0"), Ok(Command::Demo(options)));
        let options = vec!["peers".to_owned(), "--quick".to_owned()];
        assert_eq!(parsed("bench peers --quick"), Ok(Command::Bench(options)));
        assert_eq!(parsed("soak --minutes 3"), Ok(Command::Soak(3)));
        assert_eq!(parsed("soak"), Ok(Command::Soak(SOAK_MINUTES)));
        assert!(parsed("soak --minutes 0").is_err() && parsed("soak 3").is_err());
        assert_eq!(parsed("check fast"), Err("`check` takes no \"fast\"".to_owned()));
    }

    #[test]
    fn distance_counts_changed_letters() {
        for (from, to, expected) in
            [("", "tidy", 4), ("tidy", "tidy", 0), ("tdy", "tidy", 1), ("tiddy", "tidy", 1)]
        {
            assert_eq!(distance(from, to), expected, "{from} to {to}");
        }
    }
}
