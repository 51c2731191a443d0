//! Addresses and names of servers in the source, and the addresses that Ringbolt wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use super::draft::{Backend, Draft, Keys};
use super::report::Origin;
use crate::limits::IMPORT_NAMES_MAX;

/// Looks names up: first among those that were given, then through the system's resolver.
#[derive(Debug)]
pub(crate) struct Resolver {
    given: BTreeMap<String, IpAddr>,
    known: BTreeMap<String, Vec<IpAddr>>,
    /// Whether the system may be asked. Tests ask nobody.
    asks: bool,
}

impl Resolver {
    pub(crate) fn new(given: impl IntoIterator<Item = (String, IpAddr)>) -> Self {
        Self { given: given.into_iter().collect(), known: BTreeMap::new(), asks: true }
    }

    #[cfg(test)]
    pub(crate) fn silent(given: impl IntoIterator<Item = (String, IpAddr)>) -> Self {
        Self { asks: false, ..Self::new(given) }
    }

    fn look_up(&mut self, name: &str) -> Vec<IpAddr> {
        if let Some(address) = self.given.get(name) {
            return vec![*address];
        }
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        if !self.asks || self.known.len() >= IMPORT_NAMES_MAX {
            return Vec::new();
        }
        let found = (name, 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect());
        let mut found: Vec<IpAddr> = found.unwrap_or_default();
        found.sort_unstable();
        found.dedup();
        self.known.insert(name.to_owned(), found.clone());
        found
    }

    /// The backends that `text` (`10.0.0.1:3000`, `[::1]:3000`, `app01:3000`, `app01`) stands for, named `name` or
    /// after it. Says in the draft what became of a name.
    pub(super) fn backends(
        &mut self,
        draft: &mut Draft,
        (text, default_port): (&str, u16),
        name: Option<&str>,
        keys: &Keys,
        origin: &Origin,
    ) -> Vec<Backend> {
        let Some((host, port)) = host_and_port(text, default_port) else {
            draft.not_translated(origin, "is no address with a port that Ringbolt could connect to");
            return Vec::new();
        };
        let backend = |name: String, address| Backend {
            name: clean(&name),
            address,
            keys: keys.clone(),
            origin: origin.clone(),
        };
        if let Some(ip) = literal(host) {
            let address = SocketAddr::new(ip, port);
            return vec![backend(name.map_or_else(|| address.to_string(), str::to_owned), address)];
        }
        let found = self.look_up(host);
        let name = name.map_or_else(|| format!("{host}:{port}"), str::to_owned);
        match &found[..] {
            [] => draft
                .not_translated(origin, "the name has no address here; say it with `--resolve NAME=ADDRESS`"),
            [one] => draft.changed(origin, format!("the name was looked up now: {host} is {one}")),
            many => draft.changed(
                origin,
                format!("the name was looked up now: {host} is {} addresses, each a backend", many.len()),
            ),
        }
        let numbered = |index: usize| if index == 0 { name.clone() } else { format!("{name}-{}", index + 1) };
        let address = |ip: &IpAddr| SocketAddr::new(*ip, port);
        found.iter().enumerate().map(|(index, ip)| backend(numbered(index), address(ip))).collect()
    }
}

/// A backend's name, of the characters it may have.
fn clean(name: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.:[]".contains(char);
    let clean: String = name.chars().take(100).map(|char| if allowed(char) { char } else { '-' }).collect();
    if clean.is_empty() { "backend".to_owned() } else { clean }
}

fn literal(host: &str) -> Option<IpAddr> {
    if host == "localhost" {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Splits `host:port`. A bare IPv6 address, as HAProxy has it, ends in its port.
pub(super) fn host_and_port(text: &str, default_port: u16) -> Option<(&str, u16)> {
    if text.starts_with("unix:") || text.contains('/') {
        return None;
    }
    let is_bracketed = text.ends_with(']');
    let (host, port) = match text.rsplit_once(':').filter(|_| !is_bracketed) {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, default_port),
    };
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.:[]".contains(char);
    (!host.is_empty() && host.chars().all(allowed) && port > 0).then_some((host, port))
}

/// Where to listen: `80`, `*:80`, `127.0.0.1:80`, `[::]:80`, `127.0.0.1`.
pub(super) fn listen_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, default_port),
    };
    let ip: IpAddr = match host {
        "" | "*" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        "::" => Ipv6Addr::UNSPECIFIED.into(),
        host => host.trim_start_matches('[').trim_end_matches(']').parse().ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        for (text, expected) in [
            ("10.0.0.1:3000", Some(("10.0.0.1", 3000))),
            ("app", Some(("app", 80))),
            ("[::1]:3000", Some(("[::1]", 3000))),
            ("[::1]", Some(("[::1]", 80))),
            ("::1:3000", Some(("::1", 3000))),
            ("unix:/run/app.sock", None),
            ("app:http", None),
            ("app:0", None),
            ("a b:1", None),
        ] {
            assert_eq!(host_and_port(text, 80), expected, "{text}");
        }
        for (text, expected) in [
            ("80", Some("0.0.0.0:80")),
            ("*:80", Some("0.0.0.0:80")),
            (":80", Some("0.0.0.0:80")),
            ("[::]:80", Some("[::]:80")),
            (":::80", Some("[::]:80")),
            ("127.0.0.1", Some("127.0.0.1:443")),
            ("localhost:1", Some("127.0.0.1:1")),
            ("unix:/run/a", None),
            ("a.example:80", None),
            ("80-90", None),
        ] {
            assert_eq!(listen_address(text, 443), expected.map(|text| text.parse().unwrap()), "{text}");
        }
        assert_eq!(literal("::1"), "::1".parse().ok());
        assert_eq!(literal("app"), None);
    }
}
