//! The service that is looked at: where it is and how its requests begin.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// An Engine.IO service as its clients reach it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// With slashes at both ends, as Socket.IO's clients write it.
    pub(super) path: String,
    /// Generation of Engine.IO: 3 or 4.
    pub(super) protocol: u8,
    /// Of an `https` URL.
    pub(super) tls: Option<Tls>,
}

/// What connections begin TLS with.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// What the certificate must be for.
    pub(super) name: ServerName<'static>,
}

/// Where Socket.IO is unless its users move it.
const PATH: &str = "/socket.io/";

impl Target {
    /// Reads `http[s]://HOST[:PORT][/PATH]`. Without a path it is Socket.IO's own. `tls` is asked for where the URL
    /// wants it.
    ///
    /// # Errors
    /// What is wrong with the URL, or with TLS.
    pub(super) fn parse(
        url: &str,
        protocol: u8,
        tls: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Self, String> {
        let (rest, has_tls) = match url.split_once("://") {
            Some(("http" | "ws", rest)) => (rest, false),
            Some(("https" | "wss", rest)) => (rest, true),
            Some((scheme, _)) => {
                return Err(format!("{url:?}: {scheme}:// is not understood, http:// and https:// are"));
            }
            None => return Err(format!("{url:?}: a URL begins with http:// or https://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority, if has_tls { "443" } else { "80" })
            .ok_or(format!("{url:?}: {authority:?} is no HOST[:PORT]"))?;
        let name = |host: &str| {
            ServerName::try_from(host.to_owned()).map_err(|_| format!("{url:?}: {host:?} is no host name"))
        };
        let tls = if has_tls { Some(Tls { name: name(&host)?, config: tls()? }) } else { None };
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
            return Err(format!("{url:?}: a path has no blanks, no query and no fragment"));
        }
        let path = match path {
            "" | "/" => PATH.to_owned(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        };
        Ok(Self { host, port, path, protocol, tls })
    }

    /// The target of a request: path and query, with what every request of the service says.
    pub(super) fn request_target(&self, transport: &str, sid: Option<&str>) -> String {
        let mut target = format!("{}?EIO={}&transport={transport}", self.path, self.protocol);
        if let Some(sid) = sid {
            target.push_str("&sid=");
            for byte in sid.bytes() {
                match byte {
                    b'-' | b'.' | b'_' | b'~' => target.push(byte.into()),
                    _ if byte.is_ascii_alphanumeric() => target.push(byte.into()),
                    _ => target.push_str(&format!("%{byte:02X}")),
                }
            }
        }
        target
    }

    /// The Host field.
    pub(super) fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        match (self.port, &self.tls) {
            (80, None) | (443, Some(_)) => format!("{open}{}{close}", self.host),
            (port, _) => format!("{open}{}{close}:{port}", self.host),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Host without brackets, and port.
fn split_port(authority: &str, default: &'static str) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some(default))?)
        }
        None => authority.split_once(':').unwrap_or((authority, default)),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && host.bytes().all(is_host)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::http_client;

    fn no_tls() -> Result<Arc<ClientConfig>, String> {
        Err("TLS is not asked for".to_owned())
    }

    fn parsed(url: &str) -> String {
        match Target::parse(url, 4, no_tls) {
            Ok(target) => format!("{} {} {}", target.host, target.port, target.path),
            Err(error) => error,
        }
    }

    #[test]
    fn https_has_a_port_and_a_name_of_its_own() {
        let config = || http_client(None, false);
        for (url, authority) in [
            ("https://edge", "edge"),
            ("wss://edge:443/", "edge"),
            ("https://edge:80", "edge:80"),
            ("https://[::1]", "[::1]"),
        ] {
            let target = Target::parse(url, 4, config).unwrap();
            assert_eq!(target.authority(), authority);
            assert_eq!(target.to_string(), format!("https://{authority}/socket.io/"));
        }
        assert_eq!(Target::parse("http://edge:443", 4, no_tls).unwrap().authority(), "edge:443");
        assert_eq!(parsed("https://edge"), "TLS is not asked for");
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(parsed("http://edge"), "edge 80 /socket.io/");
        assert_eq!(parsed("http://10.0.0.1:8080/"), "10.0.0.1 8080 /socket.io/");
        assert_eq!(parsed("ws://chat.example.com/app/chat.io"), "chat.example.com 80 /app/chat.io/");
        assert_eq!(parsed("http://[::1]:81/x/"), "::1 81 /x/");
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        for (url, reason) in [
            ("edge:8080", "begins with http://"),
            ("ftp://edge", "ftp:// is not understood"),
            ("http://", "no HOST[:PORT]"),
            ("http://edge:0", "no HOST[:PORT]"),
            ("http://edge:70000", "no HOST[:PORT]"),
            ("http://[::1", "no HOST[:PORT]"),
            ("http://user@edge", "no HOST[:PORT]"),
            ("http://edge/?EIO=4", "no query"),
            ("http://edge/a\r\nb", "no blanks"),
        ] {
            let said = parsed(url);
            assert!(said.contains(reason), "{url:?}: {said}");
        }
    }

    #[test]
    fn a_sid_is_encoded() {
        let target = Target::parse("http://edge", 3, no_tls).unwrap();
        let said = target.request_target("polling", Some("a+/=-_"));
        assert_eq!(said, "/socket.io/?EIO=3&transport=polling&sid=a%2B%2F%3D-_");
    }
}
