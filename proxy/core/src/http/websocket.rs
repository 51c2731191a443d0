//! The two values by which both ends of a WebSocket know that the other meant it (RFC 6455 section 4).

use sha1_smol::Sha1;

/// A Sec-WebSocket-Key: 16 random bytes in base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WebSocketKey([u8; WebSocketKey::BYTES]);

impl WebSocketKey {
    const BYTES: usize = 24;

    /// The key in `value`, if it has the form of one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let key: [u8; Self::BYTES] = value.try_into().ok()?;
        let (digits, padding) = key.split_at(Self::BYTES - 2);
        (padding == b"==" && digits.iter().all(|byte| BASE64.contains(byte))).then_some(Self(key))
    }

    /// The key as it was sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Fixed by RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The Sec-WebSocket-Accept that answers `key` (RFC 6455 section 4.2.2).
pub fn websocket_accept(key: &[u8]) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    let digest = hash.digest().bytes();
    let mut accept = [b'='; 28];
    for (group, encoded) in digest.chunks(3).zip(accept.chunks_mut(4)) {
        let at = |index: usize| usize::from(group.get(index).copied().unwrap_or(0));
        let sextets = [at(0) >> 2, at(0) << 4 | at(1) >> 4, at(1) << 2 | at(2) >> 6, at(2)];
        // A group of n bytes makes n + 1 characters; the rest is padding.
        for (character, sextet) in encoded.iter_mut().zip(sextets).take(group.len() + 1) {
            *character = BASE64[sextet & 63];
        }
    }
    accept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_that_of_the_specification() {
        assert_eq!(&websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&websocket_accept(b"x3JJHMbDL1EzLkh9GBhXDw=="), b"HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    }

    #[test]
    fn keys_are_24_characters_of_base64() {
        assert!(WebSocketKey::parse(b"dGhlIHNhbXBsZSBub25jZQ==").is_some());
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=a", "dGhlIHNhbXBsZSBub25j Q=="] {
            assert!(WebSocketKey::parse(key.as_bytes()).is_none(), "{key}");
        }
    }
}
