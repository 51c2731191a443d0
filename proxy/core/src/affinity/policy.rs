//! The configured rule of an upstream, in its text form.

use std::fmt;
use std::str::FromStr;

/// What binds a client's requests to one backend.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Affinity {
    /// The sid of Engine.IO, learned from the backend's answers. Right for every server whose sids are
    /// unique over its backends.
    #[default]
    EngineIo,
    /// The client's address. All clients behind one address share a backend.
    ClientIp,
    /// The value of a request header; the name in lower case.
    Header(Box<[u8]>),
    /// A cookie that the proxy inserts; its name, in which case matters.
    Cookie(Box<[u8]>),
    /// Nothing: every request goes where least is going on.
    None,
}

/// A text that is no affinity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AffinityError {
    /// It is none of the rules.
    Unknown(String),
    /// The name behind `header:` or `cookie:` (given here) is missing or cannot be one.
    BadName(&'static str, String),
}

impl FromStr for Affinity {
    type Err = AffinityError;

    fn from_str(text: &str) -> Result<Self, AffinityError> {
        match (text, text.split_once(':')) {
            ("engine-io", _) => Ok(Self::EngineIo),
            ("client-ip", _) => Ok(Self::ClientIp),
            ("none", _) => Ok(Self::None),
            (_, Some(("header", name))) => {
                Ok(Self::Header(token("header", name)?.to_ascii_lowercase().into_boxed_slice()))
            }
            (_, Some(("cookie", name))) => Ok(Self::Cookie(token("cookie", name)?.into())),
            _ => Err(AffinityError::Unknown(text.to_owned())),
        }
    }
}

/// The name as a token (RFC 9110 section 5.6.2), which header and cookie names (RFC 6265 section 4.1.1) are.
fn token<'a>(kind: &'static str, name: &'a str) -> Result<&'a [u8], AffinityError> {
    let is_token_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if !name.is_empty() && name.bytes().all(|byte| is_token_byte(&byte)) {
        Ok(name.as_bytes())
    } else {
        Err(AffinityError::BadName(kind, name.to_owned()))
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EngineIo => formatter.write_str("engine-io"),
            Self::ClientIp => formatter.write_str("client-ip"),
            Self::Header(name) => write!(formatter, "header:{}", name.escape_ascii()),
            Self::Cookie(name) => write!(formatter, "cookie:{}", name.escape_ascii()),
            Self::None => formatter.write_str("none"),
        }
    }
}

impl fmt::Display for AffinityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(
                formatter,
                "unknown affinity {text:?}: use \"engine-io\", \"client-ip\", \"header:NAME\", \
                 \"cookie:NAME\" or \"none\""
            ),
            Self::BadName(kind, name) if name.is_empty() => {
                write!(formatter, "affinity \"{kind}:\" lacks the name of a {kind}")
            }
            Self::BadName(kind, name) => write!(
                formatter,
                "affinity \"{kind}:...\": {name:?} is not a {kind} name, which consists of letters, digits \
                 and !#$%&'*+-.^_`|~"
            ),
        }
    }
}

impl std::error::Error for AffinityError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_reads_back_as_written() {
        for text in ["engine-io", "client-ip", "header:x-user", "cookie:RINGBOLT", "none"] {
            assert_eq!(text.parse::<Affinity>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-User".parse(), Ok(Affinity::Header(b"x-user".as_slice().into())));
        assert_eq!(Affinity::default(), Affinity::EngineIo);
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let error = |text: &str| text.parse::<Affinity>().unwrap_err().to_string();
        assert_eq!(
            error("ip_hash"),
            "unknown affinity \"ip_hash\": use \"engine-io\", \"client-ip\", \"header:NAME\", \
             \"cookie:NAME\" or \"none\""
        );
        assert_eq!(error("cookie:"), "affinity \"cookie:\" lacks the name of a cookie");
        assert_eq!(
            error("header:a b"),
            "affinity \"header:...\": \"a b\" is not a header name, which consists of letters, digits and \
             !#$%&'*+-.^_`|~"
        );
        assert!(matches!("".parse::<Affinity>(), Err(AffinityError::Unknown(_))));
        assert!(matches!("none:x".parse::<Affinity>(), Err(AffinityError::Unknown(_))));
    }
}
