//! The text of an `affinity` key.

use std::fmt;
use std::str::FromStr;

use super::value::is_token;

/// The rule that binds a session to a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// By the Engine.IO session id, learned from the Engine.IO handshake.
    #[default]
    EngineIo,
    /// By the client's address.
    ClientIp,
    /// By the value of this request header field, in lower case.
    Header(String),
    /// By a cookie of this name, which the proxy inserts.
    Cookie(String),
    /// None: the backend with the least load.
    None,
}

/// The valid texts, for messages.
const FORMS: &str = r#""engine-io", "client-ip", "header:NAME", "cookie:NAME" or "none""#;

impl FromStr for Affinity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "engine-io" => return Ok(Self::EngineIo),
            "client-ip" => return Ok(Self::ClientIp),
            "none" => return Ok(Self::None),
            _ => {}
        }
        match text.split_once(':') {
            Some(("header", name)) if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            Some((kind @ ("header" | "cookie"), name)) => {
                Err(format!(r#""{name}" is no valid {kind} name; write for example "{kind}:session""#))
            }
            _ => Err(format!(r#""{text}" is no affinity; it is one of {FORMS}"#)),
        }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EngineIo => f.write_str("engine-io"),
            Self::ClientIp => f.write_str("client-ip"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::None => f.write_str("none"),
        }
    }
}
