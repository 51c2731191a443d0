//! Keys of session tickets that several machines share, so that a session begun at one resumes at another.
//!
//! Each line of the file is one key, 96 hexadecimal digits (`openssl rand -hex 48`): 16 bytes of name, 32 of
//! key. The first seals, all open: a new key is added last everywhere, then moved to the front everywhere.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use super::certificate::read;
use crate::limits::TLS_TICKET_KEYS_MAX;

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// How long a ticket may be used. Keys are to be replaced as often.
const LIFETIME_SECONDS: u32 = 12 * 3600;

/// See the file's head.
#[derive(Debug)]
pub(super) struct SharedTickets {
    keys: Vec<Key>,
    /// What a ticket is good for. A session that was begun where no client certificate is asked for must
    /// not resume where one is (RFC 8446 section 4.6.1 leaves that to us).
    context: Vec<u8>,
}

#[derive(Debug)]
struct Key {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl SharedTickets {
    /// Reads the keys.
    ///
    /// # Errors
    /// The file cannot be read or a line of it is no key.
    pub(super) fn load(file: &Path, context: Vec<u8>) -> Result<Self, String> {
        let shown = file.display();
        let text = String::from_utf8(read(file)?).map_err(|_| format!("{shown}: is not text"))?;
        let mut keys = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty()) {
            keys.push(Key::parse(line).ok_or_else(|| {
                format!("{shown}: line {number} is no key of 96 hexadecimal digits (openssl rand -hex 48)")
            })?);
        }
        if keys.is_empty() || keys.len() > TLS_TICKET_KEYS_MAX {
            return Err(format!("{shown}: has {} keys, expected 1 to {TLS_TICKET_KEYS_MAX}", keys.len()));
        }
        Ok(Self { keys, context })
    }

    fn aad(&self, key: &Key) -> Aad<Vec<u8>> {
        Aad::from([&key.name[..], &self.context].concat())
    }
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let digits = line.as_bytes();
        if digits.len() != 2 * (NAME_BYTES + KEY_BYTES) || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
        let (name, key) = bytes.split_at(NAME_BYTES);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
        Some(Self { name: name.try_into().ok()?, key })
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    /// A ticket is the key's name, a random nonce, the sealed session and its tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.key.seal_in_place_append_tag(nonce_used, self.aad(key), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.key.open_in_place(nonce, self.aad(key), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(lines: &[&str], context: &[u8]) -> Result<SharedTickets, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, lines.join("\n")).unwrap();
        SharedTickets::load(&file, context.to_vec())
    }

    #[test]
    fn a_ticket_opens_wherever_its_key_is_known_and_nowhere_else() {
        let (old, new) = ("0a".repeat(48), "0b".repeat(48));
        let ticket = keys(&[&old], b"a").unwrap().encrypt(b"session").unwrap();
        let rotated = keys(&[&new, &old], b"a").unwrap();
        assert_eq!(rotated.decrypt(&ticket).as_deref(), Some(b"session".as_slice()));
        assert_eq!(keys(&[&new], b"a").unwrap().decrypt(&ticket), None);
        assert_eq!(keys(&[&old], b"other certificates are asked for").unwrap().decrypt(&ticket), None);
        for cut in 0..ticket.len() {
            assert_eq!(rotated.decrypt(&ticket[..cut]), None, "{cut} bytes");
        }
        let mut bent = ticket.clone();
        bent[40] ^= 1;
        assert_eq!(rotated.decrypt(&bent), None);
    }

    #[test]
    fn a_file_without_keys_is_refused_with_its_line() {
        assert!(keys(&[""], b"").unwrap_err().contains("has 0 keys"));
        let (good, short) = ("0a".repeat(48), "0a".repeat(47));
        assert!(keys(&[&good, "", &short], b"").unwrap_err().contains("line 3 is no key"));
        assert!(keys(&[&"xy".repeat(48)], b"").is_err());
    }
}
