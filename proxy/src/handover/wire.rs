//! The messages between a process and its successor, as bytes.
//!
//! A message is one datagram: kind, version and length of what follows, then its fields, integers little-endian,
//! texts with their length before them. Descriptors travel beside it (SCM_RIGHTS). It comes from a program that the
//! operator has started, of another version perhaps, so it is read as strictly as anything of a stranger: whatever
//! is not exactly as said here is refused, and the old process serves on.
//!
//! [`Hello`](Message::Hello) keeps its form for ever: it says which versions the successor speaks, and the old
//! process chooses. Every other message may change with the version.
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
//! | 18 `Serving` | new | it accepts connections, the old process need not any more |

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ringbolt_core::affinity::{BackendId, SidKey, SidRecord};
use ringbolt_core::frames::Frames;
use ringbolt_reactor::{TlsCipher, TlsVersion};

use crate::limits::{
    HANDOVER_DESCRIPTORS_MAX, HANDOVER_MESSAGE_BYTES_MAX, HANDOVER_SIDS_MAX, HANDOVER_TUNNELS_MAX,
};
use crate::tls::KernelSessionState;

#[cfg(test)]
mod tests;

/// The version this program speaks.
pub(super) const VERSION: u16 = 3;

/// Versions and ciphers of the kernel's TLS. A version's number is its own.
const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
const CIPHERS: [TlsCipher; 3] = [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::Chacha20Poly1305];

fn cipher_number(cipher: TlsCipher) -> u16 {
    match cipher {
        TlsCipher::Aes128Gcm => 1,
        TlsCipher::Aes256Gcm => 2,
        TlsCipher::Chacha20Poly1305 => 3,
    }
}

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
    Serving,
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
            Self::Serving => 18,
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
            Self::Inherited
            | Self::Started
            | Self::Taken
            | Self::Prepared
            | Self::Commit
            | Self::Committed
            | Self::Serving => &mut out,
        };
        let mut bytes = out.0;
        let length = u32::try_from(bytes.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        bytes[..2].copy_from_slice(&self.kind().to_le_bytes());
        bytes[2..4].copy_from_slice(&VERSION.to_le_bytes());
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
        if version != VERSION && kind != 1 {
            return Err(Malformed::Version(version));
        }
        if length as usize != fields.0.len() {
            return Err(Malformed::Length);
        }
        let message = Self::decode_fields(kind, &mut fields)?;
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
            18 => Self::Serving,
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

/// Writes fields.
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn flag(&mut self, value: bool) -> &mut Self {
        self.bytes(&[value.into()])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Lists and texts are bounded far below 2^16 before they come here.
    fn count(&mut self, count: usize) -> &mut Self {
        self.u16(u16::try_from(count).unwrap_or(u16::MAX))
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len()).bytes(text.as_bytes())
    }

    fn sid(&mut self, record: &SidRecord) -> &mut Self {
        let [high, low] = record.key.to_words();
        self.u64(high).u64(low).u32(record.backend.0).u16(record.time_to_live_ticks).u16(record.left_ticks)
    }

    fn tunnel(&mut self, tunnel: &TunnelState) -> &mut Self {
        self.u32(tunnel.backend.0).u32(tunnel.silent_seconds).flag(tunnel.client_first);
        self.u32(tunnel.frames.to_word()).flag(tunnel.listener.is_some()).u16(tunnel.listener.unwrap_or(0));
        match tunnel.client {
            None => self.bytes(&[0]),
            Some(IpAddr::V4(address)) => self.bytes(&[4]).bytes(&address.octets()),
            Some(IpAddr::V6(address)) => self.bytes(&[6]).bytes(&address.octets()),
        };
        match &tunnel.tls {
            None => self.u16(0),
            Some(KernelSessionState { version, cipher, ended, said_goodbye }) => {
                self.u16(*version as u16).u16(cipher_number(*cipher)).flag(*ended).flag(*said_goodbye)
            }
        };
        [tunnel.of_client, tunnel.of_upstream]
            .iter()
            .fold(self, |out, end| out.flag(end.finished).u32(end.held))
    }
}

/// Reads fields; what has not been read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(*array)
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A value that is there, or must be 0.
    fn optional<T: Default + PartialEq>(present: bool, value: T) -> Result<Option<T>, Malformed> {
        match present {
            true => Ok(Some(value)),
            false if value == T::default() => Ok(None),
            false => Err(Malformed::Value),
        }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed::Length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Malformed::Value)
    }

    fn address(&mut self) -> Result<SocketAddr, Malformed> {
        let text = self.text()?;
        // Only in the one form that is written.
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.to_string() == text);
        address.ok_or(Malformed::Value)
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn list<T>(
        &mut self,
        most: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.u16()?);
        if count > most {
            return Err(Malformed::Value);
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn sid(&mut self) -> Result<SidRecord, Malformed> {
        Ok(SidRecord {
            key: SidKey::from_words([self.u64()?, self.u64()?]),
            backend: BackendId(self.u32()?),
            time_to_live_ticks: self.u16()?,
            left_ticks: self.u16()?,
        })
    }

    fn kernel_session(&mut self) -> Result<Option<KernelSessionState>, Malformed> {
        let number = self.u16()?;
        if number == 0 {
            return Ok(None);
        }
        let version = VERSIONS.into_iter().find(|version| *version as u16 == number);
        let number = self.u16()?;
        let cipher = CIPHERS.into_iter().find(|cipher| cipher_number(*cipher) == number);
        let (version, cipher) = version.zip(cipher).ok_or(Malformed::Value)?;
        Ok(Some(KernelSessionState { version, cipher, ended: self.flag()?, said_goodbye: self.flag()? }))
    }

    fn tunnel(&mut self) -> Result<TunnelState, Malformed> {
        let (backend, silent_seconds, client_first) = (BackendId(self.u32()?), self.u32()?, self.flag()?);
        let frames = Frames::from_word(self.u32()?).ok_or(Malformed::Value)?;
        let listener = Self::optional(self.flag()?, self.u16()?)?;
        let client = match self.array()? {
            [0] => None,
            [4] => Some(IpAddr::from(self.array::<4>()?)),
            [6] => Some(IpAddr::from(self.array::<16>()?)),
            _ => return Err(Malformed::Value),
        };
        let tls = self.kernel_session()?;
        let mut end = || Ok(EndState { finished: self.flag()?, held: self.u32()? });
        let (of_client, of_upstream) = (end()?, end()?);
        Ok(TunnelState {
            backend,
            listener,
            client,
            silent_seconds,
            of_client,
            of_upstream,
            client_first,
            frames,
            tls,
        })
    }
}
