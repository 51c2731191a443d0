//! Sid tags: made for a handshake's answer, and read of each request of a session, with the MAC that the proxy uses.

use std::hint::black_box;

use aws_lc_rs::{constant_time, hmac};
use ringbolt_core::affinity::{Mac, Sid, Tag, TaggedBackend, Tagging, seed_of_name, tagged, without_tag};

use crate::Work;

/// As Engine.IO issues them.
const SID: &[u8] = b"Ek3yLmC0yr0OhBMbAAAA";
const NOW: u32 = 1_800_000_000;

/// As in `proxy/src/tags.rs`.
struct HmacSha256(hmac::Key);

impl Mac for HmacSha256 {
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

fn tagging() -> Tagging<HmacSha256> {
    let mac = HmacSha256(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
    Tagging { upstream: seed_of_name("chat"), key_id: 1, mac }
}

fn backend() -> TaggedBackend {
    TaggedBackend::of_seed(seed_of_name("10.0.0.1:3000"))
}

fn sealed() -> Sid {
    let sid = Sid::new(SID).expect("a short sid");
    tagged(&sid, &tagging().seal(SID, backend(), NOW)).expect("a short sid")
}

/// What a handshake's answer costs more.
pub(crate) fn seal(units: u64) -> Work {
    let tagging = tagging();
    Box::new(move || {
        for _ in 0..units {
            black_box(tagging.seal(black_box(SID), backend(), NOW));
        }
    })
}

/// What a request of a session costs more, but for the target that its backend sees.
pub(crate) fn open(units: u64) -> Work {
    let (tagging, sid) = (tagging(), sealed());
    Box::new(move || {
        for _ in 0..units {
            let (own, tag) = Tag::split(black_box(&sid)).expect("a tagged sid");
            assert!(black_box(tagging.open(own, &tag)).is_some());
        }
    })
}

/// That target.
pub(crate) fn strip(units: u64) -> Work {
    let target = [b"/socket.io/?EIO=4&transport=polling&t=PQx3bLk&sid=", sealed().as_bytes()].concat();
    Box::new(move || {
        for _ in 0..units {
            black_box(without_tag(black_box(&target)));
        }
    })
}
