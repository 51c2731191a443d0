//! The service that is looked at: where it is and how its requests begin.

use std::fmt;

/// An Engine.IO service as its clients reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// With slashes at both ends, as Socket.IO's clients write it.
    pub(super) path: String,
    /// Generation of Engine.IO: 3 or 4.
    pub(super) protocol: u8,
}

/// Where Socket.IO is unless its users move it.
const PATH: &str = "/socket.io/";

impl Target {
    /// Reads `http://HOST[:PORT][/PATH]`. Without a path it is Socket.IO's own.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub(super) fn parse(url: &str, protocol: u8) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("http" | "ws", rest)) => rest,
            Some((scheme, _)) => return Err(format!("{url:?}: {scheme}:// is not understood, http:// is")),
            None => return Err(format!("{url:?}: a URL begins with http://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) =
            split_port(authority).ok_or(format!("{url:?}: {authority:?} is no HOST[:PORT]"))?;
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
            return Err(format!("{url:?}: a path has no blanks, no query and no fragment"));
        }
        let path = match path {
            "" | "/" => PATH.to_owned(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        };
        Ok(Self { host, port, path, protocol })
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
        match self.port {
            80 => format!("{open}{}{close}", self.host),
            port => format!("{open}{}{close}:{port}", self.host),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority(), self.path)
    }
}

/// Host without brackets, and port.
fn split_port(authority: &str) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("80"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "80")),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && host.bytes().all(is_host)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> String {
        match Target::parse(url, 4) {
            Ok(target) => format!("{} {} {}", target.host, target.port, target.path),
            Err(error) => error,
        }
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
        let target = Target::parse("http://edge", 3).unwrap();
        let said = target.request_target("polling", Some("a+/=-_"));
        assert_eq!(said, "/socket.io/?EIO=3&transport=polling&sid=a%2B%2F%3D-_");
    }
}
