//! Addresses and names of servers in the source, as Ringbolt's file has them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::draft::{Backend, Draft, Keys};
use super::report::Origin;
use crate::config;

/// Addresses that were said for names. All other names stay names, which are looked up while Ringbolt serves.
#[derive(Debug, Default)]
pub(crate) struct Resolver(BTreeMap<String, IpAddr>);

impl Resolver {
    pub(crate) fn new(given: impl IntoIterator<Item = (String, IpAddr)>) -> Self {
        Self(given.into_iter().collect())
    }

    /// The backend that `text` (`10.0.0.1:3000`, `[::1]:3000`, `app01:3000`, `app01`) stands for, named `name` or
    /// after it. Says in the draft what becomes of a name.
    pub(super) fn backend(
        &self,
        draft: &mut Draft,
        (text, default_port): (&str, u16),
        name: Option<&str>,
        keys: &Keys,
        origin: &Origin,
    ) -> Option<Backend> {
        let Some((host, port)) = host_and_port(text, default_port) else {
            draft.not_translated(origin, "is no address with a port that Ringbolt could connect to");
            return None;
        };
        let backend = |name: String, address: String| Backend {
            name: clean(&name),
            address,
            keys: keys.clone(),
            origin: origin.clone(),
        };
        if let Some(ip) = literal(host).or_else(|| self.0.get(host).copied()) {
            let address = SocketAddr::new(ip, port).to_string();
            let own = if literal(host).is_some() { address.clone() } else { format!("{host}:{port}") };
            return Some(backend(name.map_or(own, str::to_owned), address));
        }
        let address = format!("{host}:{port}");
        if config::backend_url(&address).is_err() {
            draft.not_translated(origin, "is neither an IP address nor a name to look up");
            return None;
        }
        // Without a name of its own each address is a backend, as it is a server where the source has none either.
        let (name, what) = match name {
            Some(name) => (name, "one backend at"),
            None => (address.as_str(), "a backend at each of"),
        };
        let why = format!(
            "{what} the addresses of {host}, which is looked up while it serves; `--resolve` says one"
        );
        draft.changed(origin, why);
        Some(backend(name.to_owned(), address))
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
