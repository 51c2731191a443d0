//! The MAC of sid tags and of the shared directory's keys. The micro-benchmarks compile it in, and so it refers to nothing
//! else here.

use aws_lc_rs::{constant_time, hmac};
use ringbolt_core::affinity::Mac;

/// HMAC-SHA-256 with one key.
#[derive(Debug)]
pub(crate) struct Key(hmac::Key);

impl Key {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl Mac for Key {
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    fn is_same(&self, first: &[u8], second: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(first, second).is_ok()
    }
}
