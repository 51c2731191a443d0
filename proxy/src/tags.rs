//! Sid tags of one upstream: which keys there are, and how sids fare with them.
//!
//! What a tag says and covers is decided in `ringbolt_core::affinity`, `tag.rs`; here is the MAC (HMAC-SHA-256, cut
//! to 80 bits: a forger has to be told by us whether a guess was right, and each costs him a request).

use std::time::{SystemTime, UNIX_EPOCH};

use ringbolt_core::affinity::{Mac as _, Opened, Sid, TAG_BYTES, Tag, TaggedBackend, Tagging};

use crate::config::SidTags;
use crate::mac::Key;
use crate::metrics::label;

/// The keys of an upstream, ready for use.
#[derive(Debug)]
pub(crate) struct Tags {
    /// The first one tags.
    keys: Vec<Tagging<Key>>,
    max_age_seconds: u64,
}

/// What the tag of a request's sid is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// It has none.
    None,
    /// It is ours, and this backend's.
    Valid(TaggedBackend),
    /// It was ours.
    Expired,
    /// It was made by a key that is not in the file, or by nobody.
    Foreign,
    /// One of our keys has not made it.
    Forged,
}

impl Seen {
    /// The sid has a tag that we made: the backend knows it without.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Valid(_) | Self::Expired)
    }

    pub(crate) fn backend(self) -> Option<TaggedBackend> {
        match self {
            Self::Valid(backend) => Some(backend),
            Self::None | Self::Expired | Self::Foreign | Self::Forged => None,
        }
    }

    pub(crate) fn label(self) -> label::SidTag {
        match self {
            Self::None => label::SidTag::None,
            Self::Valid(_) => label::SidTag::Valid,
            Self::Expired => label::SidTag::Expired,
            Self::Foreign => label::SidTag::Foreign,
            Self::Forged => label::SidTag::Forged,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u32 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX)
}

impl Tags {
    /// `upstream`: the seed of its name.
    pub(crate) fn new(settings: &SidTags, upstream: u64) -> Self {
        let key = |secret: &[u8]| {
            let mac = Key::new(secret);
            let [key_id, ..] = mac.sign(&[b"key id"]);
            Tagging { upstream, key_id, mac }
        };
        let keys = settings.keys.iter().map(|secret| key(&secret.0)).collect();
        Self { keys, max_age_seconds: settings.max_age.as_secs() }
    }

    /// The tag of a sid that the backend of this seed has issued.
    pub(crate) fn seal(&self, sid: &Sid, backend: u64, now: u32) -> Option<[u8; TAG_BYTES]> {
        let key = self.keys.first()?;
        Some(key.seal(sid.as_bytes(), TaggedBackend::of_seed(backend), now))
    }

    pub(crate) fn open(&self, sid: &Sid, now: u32) -> Seen {
        let Some((own, tag)) = Tag::split(sid) else { return Seen::None };
        // Two keys of one id are possible, if rare.
        let mut may_be = self.keys.iter().filter(|key| key.key_id == tag.key_id()).peekable();
        if may_be.peek().is_none() {
            return Seen::Foreign;
        }
        match may_be.find_map(|key| key.open(own, &tag)) {
            None => Seen::Forged,
            Some(Opened { backend, issued }) => {
                // The clock of the machine that made it may be ahead.
                let age = u64::from(now.saturating_sub(issued));
                if age <= self.max_age_seconds { Seen::Valid(backend) } else { Seen::Expired }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringbolt_core::affinity::{seed_of_name, tagged};

    use super::*;
    use crate::config::Secret;

    fn tags(keys: &[u8]) -> Tags {
        let keys = keys.iter().map(|byte| Secret(vec![*byte; 32])).collect();
        let settings = SidTags { file: "x".into(), keys, max_age: Duration::from_secs(100), issue: true };
        Tags::new(&settings, seed_of_name("chat"))
    }

    fn sealed(tags: &Tags) -> Sid {
        let sid = Sid::new(b"Ek3yLmC0yr0OhBMbAAAA").unwrap();
        tagged(&sid, &tags.seal(&sid, seed_of_name("b"), 1_800_000_000).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_rotated_with_an_overlap_and_tags_grow_old() {
        let sid = sealed(&tags(&[1]));
        let valid = Seen::Valid(TaggedBackend::of_seed(seed_of_name("b")));
        let seen = |keys: &[u8], now| tags(keys).open(&sid, now);
        assert_eq!(seen(&[1], 1_800_000_000), valid);
        assert_eq!(seen(&[1, 2], 1_800_000_100), valid, "another is added");
        assert_eq!(seen(&[2, 1], 1_799_999_900), valid, "the other one tags; a clock is behind");
        assert_eq!(seen(&[2], 1_800_000_000), Seen::Foreign, "its own is gone");
        assert_eq!(seen(&[1], 1_800_000_101), Seen::Expired);
        assert!(Seen::Expired.is_ours() && !Seen::Foreign.is_ours());
        assert_ne!(sealed(&tags(&[2, 1])), sid);
    }

    #[test]
    fn whatever_is_changed_is_forged() {
        let tags = tags(&[1]);
        let sid = sealed(&tags);
        assert_eq!(tags.open(&Sid::new(b"Ek3yLmC0yr0OhBMbAAAA").unwrap(), 0), Seen::None);
        for position in 0..sid.as_bytes().len() {
            let mut bytes = sid.as_bytes().to_vec();
            bytes[position] ^= 1;
            let seen = tags.open(&Sid::new(&bytes).unwrap(), 1_800_000_000);
            assert!(matches!(seen, Seen::None | Seen::Foreign | Seen::Forged), "{position}: {seen:?}");
        }
        let cut = Sid::new(&sid.as_bytes()[..sid.as_bytes().len() - 1]).unwrap();
        assert_eq!(tags.open(&cut, 1_800_000_000), Seen::None);
    }

    #[test]
    fn a_tag_is_the_same_on_every_machine_with_the_key() {
        assert_eq!(str::from_utf8(sealed(&tags(&[1])).as_bytes()).unwrap(), GOLDEN);
    }

    const GOLDEN: &str = "Ek3yLmC0yr0OhBMbAAAA.yiPaQH-1oNA2t_NDU3yqC2pFMCuU";
}
