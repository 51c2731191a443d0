//! The fields of messages: integers little-endian, texts and lists with their length before them.

use std::net::{IpAddr, SocketAddr};

use ringbolt_core::affinity::{BackendId, SidKey, SidRecord, State};
use ringbolt_core::frames::Frames;
use ringbolt_reactor::{TlsCipher, TlsVersion};

use super::{EndState, Kept, Malformed, TunnelState};
use crate::config::{self, Backend, Origin, bounds};
use crate::tls::KernelSessionState;

/// Versions and ciphers of the kernel's TLS. A version's number is its own.
pub(super) const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
pub(super) const CIPHERS: [TlsCipher; 3] =
    [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::Chacha20Poly1305];

fn cipher_number(cipher: TlsCipher) -> u16 {
    match cipher {
        TlsCipher::Aes128Gcm => 1,
        TlsCipher::Aes256Gcm => 2,
        TlsCipher::Chacha20Poly1305 => 3,
    }
}

/// States that can be ordered, by their numbers from 1.
const STATES: [State; 3] = [State::Up, State::Drain, State::Maintenance];

fn checked_weight(weight: u32) -> Result<u32, Malformed> {
    Some(weight).filter(|weight| bounds::WEIGHT.contains(weight)).ok_or(Malformed::Value)
}

/// Writes fields.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn flag(&mut self, value: bool) -> &mut Self {
        self.bytes(&[value.into()])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Lists and texts are bounded far below 2^16 before they come here.
    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.u16(u16::try_from(count).unwrap_or(u16::MAX))
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len()).bytes(text.as_bytes())
    }

    pub(super) fn sid(&mut self, record: &SidRecord) -> &mut Self {
        let [high, low] = record.key.to_words();
        self.u64(high).u64(low).u32(record.backend.0).u16(record.time_to_live_ticks).u16(record.left_ticks)
    }

    pub(super) fn kept(&mut self, kept: &Kept) -> &mut Self {
        let state = kept.state.and_then(|state| STATES.iter().position(|known| *known == state));
        self.u16(state.map_or(0, |place| u16::try_from(place + 1).unwrap_or(0)));
        self.u32(kept.weight.unwrap_or(0)).u32(kept.given);
        let (since_ms, over_ms) = kept.ending.unwrap_or_default();
        self.u32(kept.failures).u32(kept.suspect_ms);
        self.flag(kept.ending.is_some()).u32(since_ms).u32(over_ms)
    }

    /// A backend that was added. Its state is up: another one is an order of its own.
    pub(super) fn backend(&mut self, backend: &Backend) -> &mut Self {
        self.text(&backend.name).text(&backend.address.to_string()).flag(backend.tls).u32(backend.weight);
        self.flag(backend.backup).flag(backend.maxconn.is_some()).u32(backend.maxconn.unwrap_or(0))
    }

    pub(super) fn tunnel(&mut self, tunnel: &TunnelState) -> &mut Self {
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
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A value that is there, or must be 0.
    pub(super) fn optional<T: Default + PartialEq>(present: bool, value: T) -> Result<Option<T>, Malformed> {
        match present {
            true => Ok(Some(value)),
            false if value == T::default() => Ok(None),
            false => Err(Malformed::Value),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed::Length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Malformed::Value)
    }

    pub(super) fn address(&mut self) -> Result<SocketAddr, Malformed> {
        let text = self.text()?;
        // Only in the one form that is written.
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.to_string() == text);
        address.ok_or(Malformed::Value)
    }

    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    pub(super) fn list<T>(
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

    pub(super) fn sid(&mut self) -> Result<SidRecord, Malformed> {
        Ok(SidRecord {
            key: SidKey::from_words([self.u64()?, self.u64()?]),
            backend: BackendId(self.u32()?),
            time_to_live_ticks: self.u16()?,
            left_ticks: self.u16()?,
        })
    }

    pub(super) fn kept(&mut self) -> Result<Kept, Malformed> {
        let state = match self.u16()? {
            0 => None,
            number => Some(*STATES.get(usize::from(number) - 1).ok_or(Malformed::Value)?),
        };
        Ok(Kept {
            state,
            weight: Some(self.u32()?).filter(|weight| *weight != 0).map(checked_weight).transpose()?,
            given: self.u32()?,
            failures: self.u32()?,
            suspect_ms: self.u32()?,
            ending: Self::optional(self.flag()?, (self.u32()?, self.u32()?))?,
        })
    }

    pub(super) fn backend(&mut self) -> Result<Backend, Malformed> {
        let name = config::backend_name(&self.text()?).map_err(|_| Malformed::Value)?;
        let backend = Backend::new(name, self.address()?);
        let (tls, weight, backup) = (self.flag()?, checked_weight(self.u32()?)?, self.flag()?);
        let maxconn = Self::optional(self.flag()?, self.u32()?)?;
        Ok(Backend { tls, weight, backup, maxconn, origin: Origin::Order, ..backend })
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

    pub(super) fn tunnel(&mut self) -> Result<TunnelState, Malformed> {
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
