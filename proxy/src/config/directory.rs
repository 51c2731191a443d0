//! `[directory]`: the Redis or Valkey that says to all machines of a fleet whose session it is.

// tidy: allow cluster, what Redis calls servers that share the keys among them

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::IntoConnectionInfo as _;
use ringbolt_core::limits::RATE_MAX;

use super::admin::Secret;
use super::bounds::{
    DIRECTORY_PREFIX_BYTES_MAX, DIRECTORY_SECRET_BYTES_MIN, DIRECTORY_SERVERS_MAX, DIRECTORY_TIMEOUT_MAX,
    SECRET_BYTES_MAX,
};
use super::section::{Section, integer, or_off, text};
use super::{Config, tls, value};

/// `[directory]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) servers: Servers,
    pub(crate) username: Option<String>,
    /// In place of the URL's.
    pub(crate) password: Option<SecretFile>,
    /// Issuers of the servers' certificates; `None`: those that the system believes.
    pub(crate) ca: Option<PathBuf>,
    /// What every key begins with.
    pub(crate) prefix: String,
    /// What keys are made with, so that short sids cannot be guessed from them.
    pub(crate) secret: Option<SecretFile>,
    /// For one lookup, and for a new session's entry before its client hears of it.
    pub(crate) timeout: Duration,
    /// Lookups a second, over all workers; `None`: any number.
    pub(crate) rate: Option<u32>,
}

/// What `directory.url` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Servers {
    /// A URL for each; at least one, and one alone unless they are a cluster. They may hold a password.
    pub(crate) urls: Vec<Secret>,
    pub(crate) is_cluster: bool,
    pub(crate) has_tls: bool,
    has_password: bool,
}

/// A file with one line that nobody else is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretFile {
    pub(crate) file: PathBuf,
    /// Empty until the file was read, which [`Config::load`] does.
    pub(crate) content: Secret,
}

/// Reads the section. `is_used`: an upstream has its sessions in it.
pub(super) fn directory(mut section: Section<'_>, is_used: bool, base: &Path) -> Option<Directory> {
    if !section.is_there() {
        if is_used {
            let example = "an upstream has its sessions in it; write `url = \"redis://10.0.0.1:6379\"`";
            section.problem("url", format!("is missing: {example}"));
        }
        return None;
    }
    let servers = section.require("url", r#""redis://10.0.0.1:6379""#, text("a URL", servers));
    let username = section.read("username", text("a name", |name| Ok(name.to_owned())));
    let secret_file = |section: &mut Section<'_>, name| {
        let file = section.read(name, tls::path(base))?;
        Some(SecretFile { file, content: Secret::default() })
    };
    let password = secret_file(&mut section, "password_file");
    if username.is_some() && password.is_none() {
        section.problem("username", "is used with `password_file` only; a name may stand in the URL too");
    }
    let ca = section.read("ca", tls::path(base));
    if ca.is_some() && servers.as_ref().is_some_and(|servers: &Servers| !servers.has_tls) {
        section.problem("ca", "is used with `rediss://` only");
    }
    let prefix = section.read("prefix", text("a string", prefix));
    let secret = secret_file(&mut section, "secret_file");
    let timeout = section.read("timeout", text(r#"a duration such as "100ms""#, timeout));
    let rate = section.read("rate", or_off(integer(1..=RATE_MAX)));
    section.finish();
    Some(Directory {
        servers: servers?,
        username,
        password,
        ca,
        prefix: prefix.unwrap_or_else(|| "ringbolt:".to_owned()),
        secret,
        timeout: timeout.unwrap_or(Duration::from_millis(100)),
        rate: rate.unwrap_or(Some(5000)),
    })
}

fn timeout(text: &str) -> Result<Duration, String> {
    value::duration(text).and_then(|timeout| match timeout <= DIRECTORY_TIMEOUT_MAX {
        true => Ok(timeout),
        false => Err(format!(r#""{text}" is too long for a client to wait; the longest is "5s""#)),
    })
}

fn prefix(text: &str) -> Result<String, String> {
    let is_fine =
        text.len() <= DIRECTORY_PREFIX_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_fine.then(|| text.to_owned()).ok_or_else(|| {
        format!("is no prefix: at most {DIRECTORY_PREFIX_BYTES_MAX} visible ASCII characters, no spaces")
    })
}

const SCHEMES: [(&str, &str, bool); 4] = [
    ("redis://", "redis", false),
    ("rediss://", "rediss", false),
    ("redis-cluster://", "redis", true),
    ("rediss-cluster://", "rediss", true),
];

/// `redis://[NAME:PASSWORD@]HOST[:PORT][/DATABASE]`, with `rediss` over TLS; `redis-cluster` takes several hosts.
fn servers(text: &str) -> Result<Servers, String> {
    let known = SCHEMES.iter().find_map(|(begin, scheme, is_cluster)| {
        text.strip_prefix(begin).map(|rest| (*scheme, *is_cluster, rest))
    });
    let Some((scheme, is_cluster, rest)) = known else {
        // What stands there may hold a password, and is not shown.
        return Err(r#"is no URL of a directory; write "redis://HOST:PORT", "rediss://" for TLS, "redis-cluster://HOST:PORT,HOST:PORT" or "rediss-cluster://""#.to_owned());
    };
    if rest.contains(['#', '?']) {
        return Err("is no URL of a directory: nothing is known of `?` and `#` here".to_owned());
    }
    let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
    let (hosts, database) = rest.split_once('/').map_or((rest, ""), |(hosts, database)| (hosts, database));
    let urls: Vec<String> = hosts
        .split(',')
        .map(|host| match login {
            "" => format!("{scheme}://{host}/{database}"),
            login => format!("{scheme}://{login}@{host}/{database}"),
        })
        .collect();
    if urls.len() > 1 && !is_cluster {
        return Err("names several servers: those of a cluster are behind `redis-cluster://`".to_owned());
    }
    if urls.len() > DIRECTORY_SERVERS_MAX {
        return Err(format!("names more than {DIRECTORY_SERVERS_MAX} servers: a few lead to all others"));
    }
    for url in &urls {
        url.as_str().into_connection_info().map_err(|error| format!("is no URL of a directory: {error}"))?;
    }
    Ok(Servers {
        urls: urls.into_iter().map(|url| Secret(url.into_bytes())).collect(),
        is_cluster,
        has_tls: scheme == "rediss",
        has_password: login.contains(':'),
    })
}

impl Config {
    /// Reads the secrets that are in files of their own.
    pub(super) fn read_directory(&mut self) -> Result<(), String> {
        let Some(directory) = &mut self.directory else { return Ok(()) };
        let files = [
            ("password_file", &mut directory.password, 1),
            ("secret_file", &mut directory.secret, DIRECTORY_SECRET_BYTES_MIN),
        ];
        for (key, secret, bytes_min) in files {
            let Some(secret) = secret else { continue };
            secret
                .read(bytes_min)
                .map_err(|problem| format!("directory.{key}: {} {problem}", secret.file.display()))?;
        }
        Ok(())
    }

    /// Files with secrets of the directory that everybody can read. `file`: the configuration's own.
    pub(crate) fn directory_warnings(&self, file: &Path) -> Vec<String> {
        let Some(directory) = &self.directory else { return Vec::new() };
        let own = directory.servers.has_password.then_some(file);
        let others = [&directory.password, &directory.secret].into_iter().flatten();
        let files = own.into_iter().chain(others.map(|secret| &*secret.file));
        let is_open = |file: &&Path| {
            fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
        };
        let warning = |file: &Path| {
            let file = file.display();
            format!("directory: {file} holds a secret and can be read by everybody; `chmod o= {file}`")
        };
        files.filter(is_open).map(warning).collect()
    }
}

impl SecretFile {
    fn read(&mut self, bytes_min: usize) -> Result<(), String> {
        let is_fine = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let line = Secret::line(&self.file, bytes_min..=SECRET_BYTES_MAX, is_fine)?;
        self.content = line
            .ok_or_else(|| format!("holds no line of {bytes_min} to {SECRET_BYTES_MAX} ASCII characters"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a configuration with this section.
    fn told(section: &str) -> String {
        let text = format!(
            "[[listener]]\naddress = \"0.0.0.0:80\"\n[upstream.chat]\ndirectory = true\n\
             backends = [\"10.0.0.1:3000\"]\n{section}"
        );
        Config::parse("ringbolt.toml", &text)
            .map_or_else(|refused| refused.to_string(), |_| "valid".to_owned())
    }

    #[test]
    fn every_key_of_the_directory_is_read() {
        let config = Config::parse("ringbolt.toml", include_str!("complete.toml")).unwrap();
        assert!(config.upstreams["chat"].directory && !config.upstreams["raw"].directory);
        let directory = config.directory.unwrap();
        let urls = directory.servers.urls.iter().map(|url| str::from_utf8(&url.0).unwrap());
        assert!(urls.eq(["rediss://10.0.0.6:6379/0", "rediss://[fd00::6]:6380/0"]));
        assert!(directory.servers.is_cluster && directory.servers.has_tls);
        assert_eq!((directory.username.as_deref(), &*directory.prefix), (Some("edge"), "chat:"));
        let files = [directory.password, directory.secret].map(|secret| secret.unwrap().file);
        assert_eq!(files, [Path::new("complete.token"); 2]);
        assert_eq!(directory.ca.as_deref(), Some(Path::new("redis-ca.pem")));
        assert_eq!((directory.timeout, directory.rate), (Duration::from_millis(150), Some(700)));
    }

    #[test]
    fn an_upstream_in_a_directory_needs_one() {
        let told = told("");
        assert!(told.contains("directory.url: is missing"), "{told}");
    }

    #[test]
    fn a_url_is_of_one_server_or_of_a_cluster() {
        for url in [
            "redis://10.0.0.1",
            "rediss://name:word@redis.example:7000/3",
            "redis-cluster://[fd00::1],10.0.0.1:7",
        ] {
            assert_eq!(told(&format!("[directory]\nurl = \"{url}\"\n")), "valid", "{url}");
        }
        for (url, words) in [
            ("10.0.0.1:6379", "is no URL of a directory"),
            ("unix:///run/redis.sock", "is no URL of a directory"),
            ("redis://", "is no URL of a directory"),
            ("redis://10.0.0.1:x", "is no URL of a directory"),
            ("rediss://10.0.0.1#insecure", "is no URL of a directory"),
            ("redis://10.0.0.1,10.0.0.2", "redis-cluster://"),
        ] {
            let told = told(&format!("[directory]\nurl = \"{url}\"\n"));
            assert!(told.contains("directory.url") && told.contains(words), "{url}: {told}");
        }
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for (more, words) in [
            ("username = \"a\"", "password_file"),
            ("ca = \"a.pem\"", "rediss://"),
            ("prefix = \"a b\"", "visible ASCII"),
            ("timeout = \"6s\"", "5s"),
            ("rate = 0", "out of range"),
        ] {
            let told = told(&format!("[directory]\nurl = \"redis://10.0.0.1\"\n{more}\n"));
            assert!(told.contains(words), "{more}: {told}");
        }
    }
}
