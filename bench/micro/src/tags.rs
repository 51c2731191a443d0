//! Sid tags: made for a handshake's answer, and read of each request of a session, with the MAC that the proxy uses.

use std::hint::black_box;

use ringbolt_core::affinity::{Sid, Tag, TaggedBackend, Tagging, seed_of_name, tagged, without_tag};

use crate::Work;
use crate::mac::Key;

/// As Engine.IO issues them.
const SID: &[u8] = b"Ek3yLmC0yr0OhBMbAAAA";
const NOW: u32 = 1_800_000_000;

fn tagging() -> Tagging<Key> {
    Tagging { upstream: seed_of_name("chat"), key_id: 1, mac: Key::new(&[7; 32]) }
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
