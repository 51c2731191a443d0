//! `ringbolt import FILE`: the configuration of another proxy as Ringbolt's, and a word about all that is not in it.
//!
//! Reads the file that is given and no other, asks nobody, and changes nothing. The
//! result is checked by the rules of the daemon before anybody sees it. The readers of
//! directives are our own: what is needed of each format is some dozen lines, and a crate that knows every directive
//! (nginx-config) fails at one it does not, where people need to hear of it.

mod addresses;
mod draft;
mod haproxy;
mod nginx;
mod report;
mod stunnel;
mod traefik;
mod tree;
mod words;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub(crate) use self::addresses::Resolver;
use self::draft::Draft;
pub(crate) use self::report::Report;
use self::words::SyntaxError;
use crate::cli;
use crate::config::Config;

/// Exit code where something of the source is not in the new file.
const EXIT_INCOMPLETE: u8 = 3;

/// What is said of everything that binds a client to a backend by something else than its sid.
const SID_BINDS: &str = "sessions are bound by their sid, from any address and without a cookie; if plain requests need \
     their backend too, set `affinity` to \"client-ip\" or \"cookie:NAME\"";

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
    Traefik,
    Stunnel,
}

impl Kind {
    /// Reads the value of `--from`.
    ///
    /// # Errors
    /// It is none of those that are known.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "nginx" => Ok(Self::Nginx),
            "haproxy" => Ok(Self::Haproxy),
            "traefik" => Ok(Self::Traefik),
            "stunnel" => Ok(Self::Stunnel),
            _ => Err("it is one of nginx, haproxy, traefik, stunnel".to_owned()),
        }
    }

    /// Whose file this is, by what only one of them writes.
    fn of(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        let begins = |words: &[&str]| {
            lines().any(|line| words.contains(&line.split_ascii_whitespace().next().unwrap_or_default()))
        };
        if traefik::is_one(text) {
            Some(Self::Traefik)
        } else if lines().any(|line| line.ends_with('{') || line.ends_with(';')) {
            Some(Self::Nginx)
        } else if begins(&["frontend", "backend", "listen", "defaults"]) {
            Some(Self::Haproxy)
        } else if lines().any(|line| line.starts_with('[')) && lines().any(|line| line.starts_with("accept"))
        {
            Some(Self::Stunnel)
        } else {
            None
        }
    }
}

/// Translates and prints; the exit code tells whether anything is missing.
///
/// # Errors
/// The file cannot be read or holds nothing that could be served, or the new one cannot be written.
pub(crate) fn run(
    asked: &cli::Import,
    mut out: impl Write,
    mut remarks: impl Write,
) -> Result<ExitCode, String> {
    let file = asked.file.display().to_string();
    let text = read(&asked.file).map_err(|error| format!("{file}: {error}"))?;
    let kind = asked.from.or_else(|| Kind::of(&text));
    let kind = kind.ok_or_else(|| format!("{file}: say whose file this is with --from"))?;
    let resolver = Resolver::new(asked.resolve.iter().cloned());
    let (made, report) = translate(kind, &file, &text, &resolver)?;
    let shown = |error: io::Error| format!("the new configuration cannot be written: {error}");
    match &asked.output {
        Some(path) => {
            File::create_new(path).and_then(|mut new| new.write_all(made.as_bytes())).map_err(shown)?
        }
        None => out.write_all(made.as_bytes()).map_err(shown)?,
    }
    // Fails only when nobody reads any more; the exit code still tells.
    let _ = writeln!(remarks, "{report}");
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) })
}

fn read(path: &Path) -> Result<String, String> {
    String::from_utf8(crate::config::content(path)?).map_err(|_| "is not UTF-8".to_owned())
}

/// The text of Ringbolt's file, and what became of the rest. `file` is the source's name in comments and messages.
///
/// # Errors
/// The source is not of this form, or nothing is left of it.
pub(crate) fn translate(
    kind: Kind,
    file: &str,
    text: &str,
    resolver: &Resolver,
) -> Result<(String, Report), String> {
    let mut draft = Draft::default();
    let read = match kind {
        Kind::Nginx => nginx::translate(text, resolver, &mut draft),
        Kind::Haproxy => haproxy::translate(text, resolver, &mut draft),
        Kind::Traefik => traefik::translate(text, resolver, &mut draft),
        Kind::Stunnel => stunnel::translate(text, resolver, &mut draft),
    };
    read.map_err(|SyntaxError { line, problem }| format!("{file}:{line}: {problem}"))?;
    let (draft, report) = draft.finish(file)?;
    let name = Path::new(file).file_name().map_or_else(|| file.into(), |name| name.to_string_lossy());
    let made = draft.write(&name);
    match Config::parse("the new file", &made) {
        Ok(_) => Ok((made, report)),
        // A mistake of ours: nobody is left alone with it.
        Err(refused) => {
            Err(format!("{file}: was translated to what Ringbolt refuses; please report it\n{refused}"))
        }
    }
}

#[cfg(test)]
mod tests;
