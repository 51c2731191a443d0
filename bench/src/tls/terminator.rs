//! The contestants and what they are started with: a certificate, and a configuration each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::cores::Cores;
use crate::load::tls::SERVER_NAME;
use crate::machine;
use crate::peer::{self, Peer, Places, Program};
use crate::report::Contestant;

const RINGBOLT_TOML: &str = include_str!("../../peers/ringbolt-tls.toml");
const NGINX_CONF: &str = include_str!("../../peers/nginx-tls.conf");
const HAPROXY_CFG: &str = include_str!("../../peers/haproxy-tls.cfg");
const HITCH_CONF: &str = include_str!("../../peers/hitch.conf");

/// A program that terminates TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminator {
    Ringbolt,
    Nginx,
    Haproxy,
    Hitch,
}

impl Terminator {
    pub(crate) const ALL: [Self; 4] = [Self::Ringbolt, Self::Nginx, Self::Haproxy, Self::Hitch];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringbolt => "Ringbolt",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Hitch => "hitch",
        }
    }

    /// What it is called on disk, and in Debian.
    fn program(self) -> &'static str {
        match self {
            Self::Ringbolt => "ringbolt",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Hitch => "hitch",
        }
    }

    fn started(self) -> Program {
        Program {
            name: self.name(),
            // One worker, and for all but HAProxy what keeps house.
            threads: if self == Self::Haproxy { 1 } else { 2 },
            bulk_apart: self == Self::Nginx,
            has_children: matches!(self, Self::Nginx | Self::Hitch),
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Ringbolt => RINGBOLT_TOML,
            Self::Nginx => NGINX_CONF,
            Self::Haproxy => HAPROXY_CFG,
            Self::Hitch => HITCH_CONF,
        }
    }

    fn command(self, program: &Path, places: &Places<'_>, folder: &Path) -> Result<Command, String> {
        let template = self.template().replace("@CERTIFICATES@", &folder.display().to_string());
        let configuration = places.write(&template)?;
        let mut command = peer::bound_to_this(program);
        match self {
            Self::Ringbolt => command.args(["run", "--log-level", "warn", "-c"]).arg(configuration),
            Self::Nginx => command.arg("-p").arg(places.folder).arg("-c").arg(configuration),
            Self::Haproxy => command.arg("-db").arg("-f").arg(configuration),
            Self::Hitch => command.arg(format!("--config={}", configuration.display())),
        };
        // It refuses to be root.
        if self == Self::Hitch && rustix::process::geteuid().is_root() {
            command.arg("--user=nobody");
        }
        Ok(command)
    }
}

/// What a run needs of the machine: the programs, and a certificate in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct Kit {
    programs: [PathBuf; Terminator::ALL.len()],
    folder: TempDir,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Kit {
    /// Finds the programs and makes an ECDSA P-256 certificate. The error names Debian packages that are missing.
    pub(crate) fn prepare(ringbolt: Option<PathBuf>) -> Result<Self, String> {
        let ringbolt = ringbolt.map_or_else(|| machine::beside_this_program("ringbolt"), Ok)?;
        let found = Terminator::ALL.map(|terminator| match terminator {
            Terminator::Ringbolt => Some(ringbolt.clone()),
            other => peer::find_program(other.program()),
        });
        let missing: Vec<&str> = Terminator::ALL
            .iter()
            .zip(&found)
            .filter(|(_, path)| path.is_none())
            .map(|(terminator, _)| terminator.program())
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(" ");
            return Err(format!(
                "not installed: {missing}\n  on Debian: apt-get install --no-install-recommends {missing}"
            ));
        }
        let folder = TempDir::with_prefix("ringbolt-bench-")
            .map_err(|error| format!("no temporary folder: {error}"))?;
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([SERVER_NAME.to_owned()])
            .map_err(|error| format!("no certificate: {error}"))?;
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        // HAProxy and hitch want both in one file.
        for (name, text) in [
            ("certificate.pem", &certificate),
            ("key.pem", &key),
            ("both.pem", &format!("{key}{certificate}")),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        let programs = found.map(Option::unwrap_or_default);
        Ok(Self { programs, folder, certificate: cert.der().clone() })
    }

    /// Starts a contestant in front of `origin`.
    pub(crate) fn start(
        &self,
        terminator: Terminator,
        origin: SocketAddr,
        cores: Cores,
    ) -> Result<Peer, String> {
        let program = self.program(terminator);
        Peer::launch(terminator.started(), origin, cores, |places| {
            terminator.command(program, places, self.folder.path())
        })
    }

    fn program(&self, terminator: Terminator) -> &Path {
        &self.programs[terminator as usize]
    }

    pub(crate) fn contestant(&self, terminator: Terminator, threads: Vec<String>) -> Contestant {
        let word = match terminator {
            Terminator::Ringbolt | Terminator::Hitch => "--version",
            Terminator::Nginx | Terminator::Haproxy => "-v",
        };
        let version = peer::first_line(self.program(terminator), word);
        Contestant { name: terminator.name(), version, threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_configurations_is_known() {
        let known = [
            "@LISTEN@",
            "@LISTEN_BULK@",
            "@LISTEN_PORT@",
            "@ORIGIN@",
            "@ORIGIN_PORT@",
            "@FOLDER@",
            "@CERTIFICATES@",
        ];
        for terminator in Terminator::ALL {
            let (_, mut text) = terminator.template().split_once("by ringbolt-bench.").unwrap();
            assert!(text.contains("@CERTIFICATES@") && text.contains("@LISTEN"), "{terminator:?}");
            while let Some(start) = text.find('@') {
                let end = start + 2 + text[start + 1..].find('@').unwrap();
                assert!(known.contains(&&text[start..end]), "{}", &text[start..end]);
                text = &text[end..];
            }
        }
    }
}
