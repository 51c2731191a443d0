//! A tag says what was sealed, to who has the key and for its own sid only; what is stripped is the tag and nothing else.

use proptest::prelude::*;

use super::*;
use crate::affinity::mix::hash;
use crate::affinity::{query, seed_of_name, write_encoded};

/// Not a MAC to rely on: what is signed is looked at here.
#[derive(Clone, Copy)]
struct Toy(u64);

impl Mac for Toy {
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let whole = parts.concat();
        let mut mac = [0; 32];
        for (number, word) in (0..).zip(mac.chunks_exact_mut(8)) {
            word.copy_from_slice(&hash(self.0 + number, &whole).to_le_bytes());
        }
        mac
    }

    fn is_same(&self, first: &[u8], second: &[u8]) -> bool {
        first == second
    }
}

const TAGGING: Tagging<Toy> = Tagging { upstream: 7, key_id: 3, mac: Toy(1000) };

fn backend() -> TaggedBackend {
    TaggedBackend::of_seed(seed_of_name("b"))
}

fn sealed(own: &[u8]) -> Sid {
    let sid = Sid::new(own).unwrap();
    tagged(&sid, &TAGGING.seal(own, backend(), 1_800_000_000)).unwrap()
}

#[test]
fn the_form_is_the_same_everywhere() {
    // A changed golden value means that machines of two versions do not know each other's sids.
    let sid = sealed(b"Ek3yLmC0yr0OhBMbAAAA");
    assert_eq!(str::from_utf8(sid.as_bytes()).unwrap(), GOLDEN);
}

const GOLDEN: &str = "Ek3yLmC0yr0OhBMbAAAA.A6VI0b7VFBaAN0Oyp3vPK97Zeezh";

#[test]
fn a_tag_is_for_its_sid_upstream_and_key_alone() {
    let sid = sealed(b"abc");
    let (own, tag) = Tag::split(&sid).unwrap();
    assert_eq!(own, b"abc");
    let opened = Opened { backend: backend(), issued: 1_800_000_000 };
    assert_eq!(TAGGING.open(own, &tag), Some(opened));
    assert_eq!(TAGGING.open(b"abd", &tag), None);
    assert_eq!(Tagging { upstream: 8, ..TAGGING }.open(own, &tag), None);
    assert_eq!(Tagging { key_id: 4, ..TAGGING }.open(own, &tag), None);
    assert_eq!(Tagging { mac: Toy(2000), ..TAGGING }.open(own, &tag), None);
}

#[test]
fn tags_of_one_backend_do_not_look_alike() {
    let shown = |own: &[u8]| Tag::split(&sealed(own)).unwrap().1.masked;
    assert_ne!(shown(b"1"), shown(b"2"));
}

#[test]
fn a_sid_too_long_for_a_tag_has_none() {
    let sid = Sid::new(&[b'x'; crate::limits::SID_BYTES_MAX - TAG_BYTES + 1]).unwrap();
    assert_eq!(tagged(&sid, &TAGGING.seal(sid.as_bytes(), backend(), 0)), None);
    assert_eq!(Tag::split(&Sid::new(b".AAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap()), None, "a tag of nothing");
}

/// A way to write a sid into a query.
fn written(sid: &[u8], escaped: &[bool]) -> Vec<u8> {
    let mut text = Vec::new();
    for (byte, escape) in sid.iter().zip(escaped.iter().cycle()) {
        match escape {
            true => text.extend(format!("%{byte:02x}").bytes()),
            false => write_encoded(&[*byte], &mut text),
        }
    }
    text
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_and_any_other_bit_is_not(
        own in prop::collection::vec(any::<u8>(), 1..99), seed: u64, now: u32, position in 0_usize..TAG_BYTES, byte: u8,
    ) {
        let backend = TaggedBackend::of_seed(seed);
        let mut tag = TAGGING.seal(&own, backend, now);
        let sid = tagged(&Sid::new(&own).unwrap(), &tag).unwrap();
        let (found, parsed) = Tag::split(&sid).unwrap();
        prop_assert_eq!(found, &own[..]);
        prop_assert_eq!(TAGGING.open(found, &parsed), Some(Opened { backend, issued: now }));
        prop_assert_eq!(encode(&parsed), tag);
        if tag[position] != byte {
            tag[position] = byte;
            let other = tagged(&Sid::new(&own).unwrap(), &tag).unwrap();
            prop_assert!(Tag::split(&other).is_none_or(|(own, tag)| TAGGING.open(own, &tag).is_none()));
        }
    }

    #[test]
    fn the_tag_alone_is_stripped(
        own in prop::collection::vec(any::<u8>(), 1..99), escaped in prop::collection::vec(any::<bool>(), 1..9),
        before in "(EIO=4&)?(t=[a-z]*&)?(sid=&)?", after in "(&transport=polling)?(&t=%2[0-9a-f])?(&sid=x)?",
    ) {
        let target = |sid: &[u8]| {
            let value = written(sid, &escaped);
            [b"/socket.io/?EIO=4&", before.as_bytes(), b"sid=", &value, after.as_bytes()].concat()
        };
        let stripped = without_tag(&target(sealed(&own).as_bytes()));
        prop_assert_eq!(&stripped, &target(&own));
        let text = stripped.split(|byte| *byte == b'?').nth(1).unwrap();
        prop_assert_eq!(query(text).unwrap().sid, Some(Sid::new(&own)));
    }

    #[test]
    fn any_target_is_stripped_of_something_or_nothing(target in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(without_tag(&target).len() <= target.len());
    }
}
