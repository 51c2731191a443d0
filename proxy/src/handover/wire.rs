//! The messages between a process and its successor, as bytes.
//!
//! A message is one datagram: kind, version and length of what follows, then its fields, integers little-endian,
//! texts with their length before them. Descriptors travel beside it (SCM_RIGHTS). It comes from a program that the
//! operator has started, of another version perhaps, so it is read as strictly as anything of a stranger: whatever
//! is not exactly as said here is refused, and the old process serves on.
//!
//! [`Hello`](Message::Hello) keeps its form for ever: it says which versions the successor speaks, and the old
//! process chooses the highest that both know. Every other message carries the version in which it got the form it has,
//! so that what has not changed is understood by both, and what the successor does not know is not said to it.
//!
//! | kind | from | what |
//! | --- | --- | --- |
//! | 1 `Hello` | new | versions it speaks |
//! | 2 `Begin` | old | secret of the sid table's keys |
//! | 3 `Backend` | old | a number, for the messages that follow, the names it stands for, what checks say of it |
//! | 4 `Listener` | old | configured address; its sockets |
//! | 5 `Admin` | old | configured admin address; its socket |
//! | 6 `AdminSocket` | old | path of the admin socket; its socket |
//! | 7 `Inherited` | old | that was all the new process needs to start |
//! | 8 `Started` | new | it could serve from now on |
//! | 9 `Sids` | old | entries of the sid table |
//! | 10 `Tunnels` | old | tunnels; the two sockets of each |
//! | 11 `Held` | old | bytes that one end of a tunnel has sent and the other not taken |
//! | 12 `Taken` | new | the last `Sids` or `Tunnels`, with its `Held`, is in its place |
//! | 13 `Prepare` | old | that was all for now, how many tunnels, and how many only it can serve |
//! | 14 `Prepared` | new | it has them and has touched none |
//! | 15 `Commit` | old | they are the new process' as soon as it says so |
//! | 16 `Committed` | new | they are its own |
//! | 17 `Connections` | old | connections between two requests; the socket of each |
//! | 18 `Kept` | old | what was ordered of the backend before, and how it has been doing (version 3) |
//! | 19 `Added` | old | a backend that was added while it ran (version 3) |
//! | 20 `Removed` | old | a backend of the file that was removed (version 3) |

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ringbolt_core::affinity::{BackendId, SidRecord, State};
use ringbolt_core::frames::Frames;

use self::fields::{Fields, Writer};
use crate::config::Backend;
use crate::limits::{
    HANDOVER_DESCRIPTORS_MAX, HANDOVER_MESSAGE_BYTES_MAX, HANDOVER_SIDS_MAX, HANDOVER_TUNNELS_MAX,
};
use crate::tls::KernelSessionState;

mod fields;
#[cfg(test)]
mod tests;

/// The versions this program speaks, first and last.
pub(super) const LOWEST: u16 = 2;
pub(super) const VERSION: u16 = 3;

/// Bytes before the fields of a message.
const HEADER_BYTES: usize = 8;

/// What is said. See the file's head.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Message {
    Hello {
        lowest: u16,
        highest: u16,
    },
    Begin {
        hash_key: [u8; 16],
    },
    /// `checked`: it is up, or down; `None`: no check has said anything.
    Backend {
        number: BackendId,
        upstream: String,
        name: String,
        checked: Option<bool>,
    },
    Listener {
        configured: SocketAddr,
    },
    Admin {
        configured: SocketAddr,
    },
    AdminSocket {
        path: String,
    },
    Inherited,
    Started,
    Sids(Vec<SidRecord>),
    Tunnels(Vec<TunnelState>),
    Held {
        tunnel: u16,
        by_upstream: bool,
        bytes: Vec<u8>,
    },
    Taken,
    /// `staying`: tunnels that only the old process can serve.
    Prepare {
        tunnels: u64,
        staying: u64,
    },
    Prepared,
    Commit,
    Committed,
    /// Places of their listeners among the `Listener` messages.
    Connections(Vec<u16>),
    Kept {
        number: BackendId,
        kept: Kept,
    },
    Added {
        upstream: String,
        backend: Backend,
    },
    Removed {
        upstream: String,
        name: String,
    },
}

/// What was ordered of a backend, and how it has been doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Kept {
    /// In place of the file's state; `None`: nothing was ordered.
    pub(crate) state: Option<State>,
    /// As the state.
    pub(crate) weight: Option<u32>,
    /// Sessions and tunnels it was given since it came, for `slow_start`.
    pub(crate) given: u32,
    /// Requests that failed in a row.
    pub(crate) failures: u32,
    /// Milliseconds for which it is still suspect.
    pub(crate) suspect_ms: u32,
    /// Milliseconds for which its sessions have been ended, and over which they are to be; `None`: they are not.
    pub(crate) ending: Option<(u32, u32)>,
}

/// A tunnel between two processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TunnelState {
    pub(crate) backend: BackendId,
    /// Place of its listener among the `Listener` messages, where the connection counts towards its bound.
    pub(crate) listener: Option<u16>,
    /// Who it counts towards the bounds of.
    pub(crate) client: Option<IpAddr>,
    /// Nothing has moved for so long.
    pub(crate) silent_seconds: u32,
    pub(crate) of_client: EndState,
    pub(crate) of_upstream: EndState,
    /// The client was the first to finish; meaningless where neither has.
    pub(crate) client_first: bool,
    /// Where the stream of frames is that the client has been sent, what is held included.
    pub(crate) frames: Frames,
    /// TLS of the client, which the kernel has.
    pub(crate) tls: Option<KernelSessionState>,
}

/// One end of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct EndState {
    /// Its FIN has been found and passed on.
    pub(crate) finished: bool,
    /// Bytes of it that the other end has not taken, which `Held` messages bring.
    pub(crate) held: u32,
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Malformed {
    Version(u16),
    Kind(u16),
    /// Shorter or longer than its header or its fields say.
    Length,
    /// A field has a value it cannot have.
    Value,
}

impl Message {
    fn kind(&self) -> u16 {
        match self {
            Self::Hello { .. } => 1,
            Self::Begin { .. } => 2,
            Self::Backend { .. } => 3,
            Self::Listener { .. } => 4,
            Self::Admin { .. } => 5,
            Self::AdminSocket { .. } => 6,
            Self::Inherited => 7,
            Self::Started => 8,
            Self::Sids(_) => 9,
            Self::Tunnels(_) => 10,
            Self::Held { .. } => 11,
            Self::Taken => 12,
            Self::Prepare { .. } => 13,
            Self::Prepared => 14,
            Self::Commit => 15,
            Self::Committed => 16,
            Self::Connections(_) => 17,
            Self::Kept { .. } => 18,
            Self::Added { .. } => 19,
            Self::Removed { .. } => 20,
        }
    }

    /// The version in which it got its form.
    pub(super) fn version(&self) -> u16 {
        match self {
            Self::Kept { .. } | Self::Added { .. } | Self::Removed { .. } => 3,
            _ => LOWEST,
        }
    }

    /// Descriptors that go with it; `None`: at least one.
    pub(super) fn descriptors(&self) -> Option<usize> {
        match self {
            Self::Listener { .. } => None,
            Self::Admin { .. } | Self::AdminSocket { .. } => Some(1),
            Self::Tunnels(tunnels) => Some(2 * tunnels.len()),
            Self::Connections(listeners) => Some(listeners.len()),
            _ => Some(0),
        }
    }

    /// The message as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![0; HEADER_BYTES]);
        match self {
            Self::Hello { lowest, highest } => out.u16(*lowest).u16(*highest),
            Self::Begin { hash_key } => out.bytes(hash_key),
            Self::Backend { number, upstream, name, checked } => {
                out.u32(number.0).text(upstream).text(name);
                out.flag(checked.is_some()).flag(checked.unwrap_or(false))
            }
            Self::Listener { configured } | Self::Admin { configured } => out.text(&configured.to_string()),
            Self::AdminSocket { path } => out.text(path),
            Self::Sids(records) => {
                out.count(records.len());
                records.iter().fold(&mut out, |out, record| out.sid(record))
            }
            Self::Tunnels(tunnels) => {
                out.count(tunnels.len());
                tunnels.iter().fold(&mut out, |out, tunnel| out.tunnel(tunnel))
            }
            Self::Connections(listeners) => {
                out.count(listeners.len());
                listeners.iter().fold(&mut out, |out, place| out.u16(*place))
            }
            Self::Held { tunnel, by_upstream, bytes } => out.u16(*tunnel).flag(*by_upstream).bytes(bytes),
            Self::Prepare { tunnels, staying } => out.u64(*tunnels).u64(*staying),
            Self::Kept { number, kept } => out.u32(number.0).kept(kept),
            Self::Added { upstream, backend } => out.text(upstream).backend(backend),
            Self::Removed { upstream, name } => out.text(upstream).text(name),
            Self::Inherited
            | Self::Started
            | Self::Taken
            | Self::Prepared
            | Self::Commit
            | Self::Committed => &mut out,
        };
        let mut bytes = out.0;
        let length = u32::try_from(bytes.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        bytes[..2].copy_from_slice(&self.kind().to_le_bytes());
        bytes[2..4].copy_from_slice(&self.version().to_le_bytes());
        bytes[4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    /// The message that `bytes` are.
    ///
    /// # Errors
    /// They are none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > HANDOVER_MESSAGE_BYTES_MAX {
            return Err(Malformed::Length);
        }
        let mut fields = Fields(bytes);
        let (kind, version, length) = (fields.u16()?, fields.u16()?, fields.u32()?);
        // What a successor of another version says first must be understood.
        if !(LOWEST..=VERSION).contains(&version) && kind != 1 {
            return Err(Malformed::Version(version));
        }
        if length as usize != fields.0.len() {
            return Err(Malformed::Length);
        }
        let message = Self::decode_fields(kind, &mut fields)?;
        if version != message.version() && kind != 1 {
            return Err(Malformed::Version(version));
        }
        if fields.0.is_empty() { Ok(message) } else { Err(Malformed::Length) }
    }

    fn decode_fields(kind: u16, fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => Self::Hello { lowest: fields.u16()?, highest: fields.u16()? },
            2 => Self::Begin { hash_key: fields.array()? },
            3 => Self::Backend {
                number: BackendId(fields.u32()?),
                upstream: fields.text()?,
                name: fields.text()?,
                checked: Fields::optional(fields.flag()?, fields.flag()?)?,
            },
            4 => Self::Listener { configured: fields.address()? },
            5 => Self::Admin { configured: fields.address()? },
            6 => Self::AdminSocket { path: fields.text()? },
            7 => Self::Inherited,
            8 => Self::Started,
            9 => Self::Sids(fields.list(HANDOVER_SIDS_MAX, Fields::sid)?),
            10 => Self::Tunnels(fields.list(HANDOVER_TUNNELS_MAX, Fields::tunnel)?),
            11 => Self::Held { tunnel: fields.u16()?, by_upstream: fields.flag()?, bytes: fields.rest() },
            12 => Self::Taken,
            13 => Self::Prepare { tunnels: fields.u64()?, staying: fields.u64()? },
            14 => Self::Prepared,
            15 => Self::Commit,
            16 => Self::Committed,
            17 => Self::Connections(fields.list(HANDOVER_DESCRIPTORS_MAX, Fields::u16)?),
            18 => Self::Kept { number: BackendId(fields.u32()?), kept: fields.kept()? },
            19 => Self::Added { upstream: fields.text()?, backend: fields.backend()? },
            20 => Self::Removed { upstream: fields.text()?, name: fields.text()? },
            unknown => return Err(Malformed::Kind(unknown)),
        })
    }
}

/// What a message is, and nothing of what it holds: there are secrets in it, and strangers' bytes.
impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "message of kind {}", self.kind())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(formatter, "version {version} of the hand-over is not known here")
            }
            Self::Kind(kind) => write!(formatter, "a message of the unknown kind {kind}"),
            Self::Length => formatter.write_str("a message of a wrong length"),
            Self::Value => formatter.write_str("a message with an impossible value"),
        }
    }
}
