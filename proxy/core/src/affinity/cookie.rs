//! The value of the cookie the proxy inserts for `cookie:NAME`: names a backend without showing its name.
//!
//! It follows from the name alone, so that every worker, every instance and the next version reads it.
//! It hides a name only from who cannot guess it: it is no secret, and a client may change it to reach
//! another backend of the same upstream.

use super::Candidate;
use super::mix::mix;

/// Characters of a cookie value.
pub const COOKIE_VALUE_BYTES: usize = 16;

/// Keeps cookie values apart from what rendezvous hashing computes from a seed.
const DOMAIN: u64 = 0x636f_6f6b_6965_0001;

/// The value that names the backend of this seed ([`super::seed_of_name`]): lower-case hexadecimal.
#[must_use]
pub fn cookie_value(seed: u64) -> [u8; COOKIE_VALUE_BYTES] {
    let mut rest = mix(seed ^ DOMAIN);
    [(); COOKIE_VALUE_BYTES].map(|()| {
        rest = rest.rotate_left(4);
        b"0123456789abcdef"[(rest & 0xf) as usize]
    })
}

/// Index of the candidate that `value` names, if it serves, whether it accepts anything new or not.
pub(super) fn named(value: &[u8], candidates: &[Candidate]) -> Option<usize> {
    let value: &[u8; COOKIE_VALUE_BYTES] = value.try_into().ok()?;
    candidates.iter().position(|candidate| candidate.serves && cookie_value(candidate.seed) == *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinity::seed_of_name;

    #[test]
    fn values_are_pinned() {
        // A browser keeps them over an upgrade of the proxy.
        assert_eq!(cookie_value(0).as_slice(), format!("{:016x}", mix(DOMAIN)).as_bytes());
        assert_eq!(cookie_value(seed_of_name("b")).as_slice(), b"7c572b27a443cb90");
    }
}
