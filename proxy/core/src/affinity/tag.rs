//! A sid that says by itself which backend issued it: a tag behind it that only who has the key can make.
//!
//! ```text
//! Ek3yLmC0yr0OhBMbAAAA.AbCdEfGhIjKlMnOpQrStUvWxYz01
//! the backend's sid   | |key id|backend and time, masked|MAC| in base64url: 1, 10 and 10 bytes
//! ```
//!
//! The backend is six bytes of what rendezvous hashing knows it by, so of its name. The MAC covers key id, upstream, sid,
//! backend and time; the mask is made with the MAC, so that nobody outside can tell backends from each other. It is
//! only for `EIO=4`: in `EIO=3` the sid is the application's socket id. What is signed is decided here, the
//! MAC itself is the caller's ([`Mac`]), and so is the clock.

use super::Sid;
use super::engine_io::{sid_value, units};

#[cfg(test)]
mod tests;

/// Bytes that a tag adds to a sid.
pub const TAG_BYTES: usize = 29;

/// Between sid and tag. No known server has it in its sids, and no client encodes it.
const SEPARATOR: u8 = b'.';

const CONTENT_BYTES: usize = 10;
const MAC_BYTES: usize = 10;
const RAW_BYTES: usize = 1 + CONTENT_BYTES + MAC_BYTES;

const _: () = assert!(1 + RAW_BYTES / 3 * 4 == TAG_BYTES && RAW_BYTES.is_multiple_of(3));

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A keyed MAC of one key.
pub trait Mac {
    /// The MAC of these parts, one behind the other.
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32];

    /// Whether two MACs are the same, in a time that does not tell where they differ.
    fn is_same(&self, first: &[u8], second: &[u8]) -> bool;
}

/// What a tag says of a backend: a part of [`super::seed_of_name`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaggedBackend([u8; 6]);

impl TaggedBackend {
    /// The backend of this seed.
    #[must_use]
    pub const fn of_seed(seed: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = seed.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

/// The tag of a sid, not yet believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    key_id: u8,
    masked: [u8; CONTENT_BYTES],
    mac: [u8; MAC_BYTES],
}

/// What a genuine tag says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Who issued the sid.
    pub backend: TaggedBackend,
    /// When, in seconds since 1970.
    pub issued: u32,
}

/// Whose sids are tagged, and by which key.
#[derive(Clone, Copy, Debug)]
pub struct Tagging<M> {
    /// The upstream's, as in [`super::SidHasher::key`].
    pub upstream: u64,
    /// Tells the key from other ones.
    pub key_id: u8,
    pub mac: M,
}

impl<M: Mac> Tagging<M> {
    /// The tag of a sid that this backend issued `now`, in seconds since 1970.
    #[must_use]
    pub fn seal(&self, sid: &[u8], backend: TaggedBackend, now: u32) -> [u8; TAG_BYTES] {
        let mut content = [0; CONTENT_BYTES];
        content[..6].copy_from_slice(&backend.0);
        content[6..].copy_from_slice(&now.to_be_bytes());
        let mac = self.mac_of(sid, &content);
        let masked = self.masked(&mac, content);
        encode(&Tag { key_id: self.key_id, masked, mac })
    }

    /// What the tag of `sid` says; `None`: it was made by nobody who has the key.
    #[must_use]
    pub fn open(&self, sid: &[u8], tag: &Tag) -> Option<Opened> {
        let content = self.masked(&tag.mac, tag.masked);
        if tag.key_id != self.key_id || !self.mac.is_same(&self.mac_of(sid, &content), &tag.mac) {
            return None;
        }
        let [a, b, c, d, e, f, time @ ..] = content;
        Some(Opened { backend: TaggedBackend([a, b, c, d, e, f]), issued: u32::from_be_bytes(time) })
    }

    fn mac_of(&self, sid: &[u8], content: &[u8; CONTENT_BYTES]) -> [u8; MAC_BYTES] {
        let upstream = self.upstream.to_be_bytes();
        first(&self.mac.sign(&[b"sid tag", &[self.key_id], &upstream, content, sid]))
    }

    /// `content` with the mask over it, or without if it had it.
    fn masked(&self, mac: &[u8; MAC_BYTES], mut content: [u8; CONTENT_BYTES]) -> [u8; CONTENT_BYTES] {
        let mask: [u8; CONTENT_BYTES] = first(&self.mac.sign(&[b"sid mask", mac]));
        content.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        content
    }
}

/// The first bytes of a MAC.
fn first<const COUNT: usize>(mac: &[u8; 32]) -> [u8; COUNT] {
    std::array::from_fn(|index| mac[index])
}

impl Tag {
    /// Which key may have made it.
    #[must_use]
    pub const fn key_id(&self) -> u8 {
        self.key_id
    }

    /// The sid without its tag, and the tag; `None`: it has not the form of a tagged one.
    #[must_use]
    pub fn split(sid: &Sid) -> Option<(&[u8], Self)> {
        let (own, tag) = sid.as_bytes().split_last_chunk::<TAG_BYTES>()?;
        (!own.is_empty()).then_some((own, decode(tag)?))
    }
}

/// The sid with its tag; `None`: it would be too long.
#[must_use]
pub fn tagged(sid: &Sid, tag: &[u8; TAG_BYTES]) -> Option<Sid> {
    Sid::collect(sid.as_bytes().iter().chain(tag).copied()).ok()
}

/// A request target whose sid has a tag, without the tag, whatever of it is percent-encoded.
#[must_use]
pub fn without_tag(target: &[u8]) -> Vec<u8> {
    let mut stripped = target.to_vec();
    if let Some(query) = memchr::memchr(b'?', target).map(|mark| mark + 1)
        && let Some(value) = sid_value(&target[query..])
    {
        let value = query + value.start..query + value.end;
        let kept = units(&target[value.clone()]).count().saturating_sub(TAG_BYTES);
        let kept: usize = units(&target[value.clone()]).take(kept).map(|(_, length)| length).sum();
        stripped.drain(value.start + kept..value.end);
    }
    stripped
}

fn encode(tag: &Tag) -> [u8; TAG_BYTES] {
    let mut raw = [0; RAW_BYTES];
    raw[0] = tag.key_id;
    raw[1..=CONTENT_BYTES].copy_from_slice(&tag.masked);
    raw[1 + CONTENT_BYTES..].copy_from_slice(&tag.mac);
    let mut text = [SEPARATOR; TAG_BYTES];
    for (three, four) in raw.chunks_exact(3).zip(text[1..].chunks_exact_mut(4)) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (position, character) in four.iter_mut().enumerate() {
            *character = ALPHABET[(bits >> (18 - 6 * position)) as usize & 63];
        }
    }
    text
}

/// One text for each tag and one tag for each text: nothing else of the same meaning is taken.
fn decode(text: &[u8; TAG_BYTES]) -> Option<Tag> {
    let (&separator, text) = text.split_first()?;
    if separator != SEPARATOR {
        return None;
    }
    let mut raw = [0; RAW_BYTES];
    for (four, three) in text.chunks_exact(4).zip(raw.chunks_exact_mut(3)) {
        let mut bits = 0;
        for character in four {
            bits = bits << 6 | value(*character)?;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    let (&[key_id], rest) = raw.split_first_chunk()?;
    let (masked, mac) = rest.split_first_chunk()?;
    Some(Tag { key_id, masked: *masked, mac: mac.try_into().ok()? })
}

const fn value(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value as u32)
}
