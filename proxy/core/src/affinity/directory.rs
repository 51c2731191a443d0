//! What a shared directory holds of a session: under which key, what, and for how long.
//!
//! Every machine of a fleet must come to the same key, and who reads the directory must not come to a sid: the key is
//! half of an HMAC-SHA-256, of which a sid of a hundred random bits cannot be guessed. Sids with less in them are kept
//! from guessers by a secret of the fleet. The MAC itself is the caller's ([`Mac`]).

use std::time::Duration;

use super::{Mac, Sid};

/// Bytes of a key, behind the prefix.
pub const DIRECTORY_KEY_BYTES: usize = 32;

/// Bytes of an entry at most: a name of a backend is shorter. A longer one is none of ours.
pub const ENTRY_BYTES_MAX: usize = 256;

/// The key of a session, in hexadecimal digits. `upstream`: the seed of its name.
#[must_use]
pub fn directory_key(mac: &impl Mac, upstream: u64, sid: &Sid) -> [u8; DIRECTORY_KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mac = mac.sign(&[b"session directory", &upstream.to_be_bytes(), sid.as_bytes()]);
    std::array::from_fn(|place| {
        let byte = mac[place / 2];
        DIGITS[usize::from(if place % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

/// Whose session it is: `45 name`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// How long it lives without a request; whole seconds, at least one.
    pub time_to_live: Duration,
    /// The backend's name.
    pub backend: Box<str>,
}

impl Entry {
    /// As it stands in the directory.
    #[must_use]
    pub fn text(&self) -> String {
        let whole = self.time_to_live + Duration::from_millis(999);
        format!("{} {}", whole.as_secs().max(1), self.backend)
    }

    /// Reads what stands there; `None`: nobody of us has written it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text =
            text.get(..text.len().min(ENTRY_BYTES_MAX + 1)).filter(|text| text.len() <= ENTRY_BYTES_MAX)?;
        let (seconds, backend) = str::from_utf8(text).ok()?.split_once(' ')?;
        let seconds: u16 = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
        Some(Self { time_to_live: Duration::from_secs(seconds.into()), backend: backend.into() })
    }
}

/// How long the directory keeps the entry of such a session. It is renewed with the first request of each half of its
/// time to live ([`super::Known::is_due`]), and no two requests of a living session are further apart than all of it.
#[must_use]
pub fn lifetime(time_to_live: Duration) -> Duration {
    time_to_live + time_to_live / 2 + Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shows what is signed.
    struct Sum;

    impl Mac for Sum {
        fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
            let mut mac = [0; 32];
            parts.concat().iter().zip(0_usize..).for_each(|(byte, place)| mac[place % 16] ^= byte);
            mac
        }

        fn is_same(&self, first: &[u8], second: &[u8]) -> bool {
            first == second
        }
    }

    #[test]
    fn a_key_is_of_the_upstream_and_the_whole_sid() {
        let key = |upstream, sid: &[u8]| directory_key(&Sum, upstream, &Sid::new(sid).unwrap());
        assert!(key(1, b"abc").iter().all(u8::is_ascii_hexdigit));
        assert_eq!(key(1, b"abc"), key(1, b"abc"));
        assert_ne!(key(1, b"abc"), key(2, b"abc"));
        assert_ne!(key(1, b"abc"), key(1, b"abd"));
    }

    #[test]
    fn what_nobody_of_us_has_written_is_no_entry() {
        for text in ["", "45", "45b", "0 b", "x b", "-1 b", "99999 b", " b"] {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Entry::parse(&[b'1'; 1000]), None);
        assert_eq!(Entry::parse(b"45 \xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 1..7200_u64, millis in 0..1000_u64, backend in "[ -~]{1,128}") {
            let time_to_live = Duration::from_millis(seconds * 1000 + millis);
            let read = Entry::parse(Entry { time_to_live, backend: (*backend).into() }.text().as_bytes()).unwrap();
            prop_assert_eq!(&*read.backend, &*backend);
            prop_assert!(read.time_to_live >= time_to_live, "never shorter");
            prop_assert!(read.time_to_live < time_to_live + Duration::from_secs(1));
        }

        #[test]
        fn whatever_stands_there_can_be_read(text in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(entry) = Entry::parse(&text) {
                prop_assert!(entry.backend.len() < ENTRY_BYTES_MAX);
            }
        }
    }
}
