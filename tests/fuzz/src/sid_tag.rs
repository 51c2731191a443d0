//! Of a query whose sid has a tag nothing but the tag is stripped, and no sid but a sealed one is believed.

use ringbolt_core::affinity::{
    Mac, Query, Sid, TAG_BYTES, Tag, TaggedBackend, Tagging, query, tagged, without_tag,
};

/// A MAC that anybody can make, and nobody by chance: only what was sealed here is to be opened.
struct Sum;

impl Mac for Sum {
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        let mut mac = [0; 32];
        for byte in parts.concat() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        for word in mac.chunks_exact_mut(8) {
            state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            word.copy_from_slice(&state.to_le_bytes());
        }
        mac
    }

    fn is_same(&self, first: &[u8], second: &[u8]) -> bool {
        first == second
    }
}

const TAGGING: Tagging<Sum> = Tagging { upstream: 1, key_id: 2, mac: Sum };

pub(crate) fn run(input: &[u8]) {
    let target = [b"/?", input].concat();
    assert!(without_tag(&target).len() <= target.len());
    let Some(found) = query(input) else { return };
    let Some(Ok(sid)) = found.sid else { return };
    if let Some((own, _)) = sid.as_bytes().split_last_chunk::<TAG_BYTES>()
        && !own.is_empty()
    {
        strips_to(&target, own, &found);
    }
    if let Some((own, tag)) = Tag::split(&sid) {
        let sealed =
            |opened: ringbolt_core::affinity::Opened| TAGGING.seal(own, opened.backend, opened.issued);
        let is_genuine =
            TAGGING.open(own, &tag).is_none_or(|opened| sid.as_bytes().ends_with(&sealed(opened)));
        assert!(is_genuine, "only what sealing gives is opened");
    }
    let tag = TAGGING.seal(sid.as_bytes(), TaggedBackend::of_seed(7 << 16), 9);
    let Some(with_tag) = tagged(&sid, &tag) else { return };
    let (own, parsed) = Tag::split(&with_tag).expect("the form of a tag");
    assert_eq!(own, sid.as_bytes());
    let opened = TAGGING.open(own, &parsed).expect("it was sealed here");
    assert_eq!((opened.backend, opened.issued), (TaggedBackend::of_seed(7 << 16), 9));
}

/// The target without its sid's tag names this sid, and is else what it was.
fn strips_to(target: &[u8], own: &[u8], before: &Query) {
    let stripped = without_tag(target);
    let found = query(&stripped[2..]).expect("still Engine.IO's");
    assert_eq!(found, Query { sid: Some(Sid::new(own)), ..*before });
    let removed = target.len() - stripped.len();
    assert!((TAG_BYTES..=3 * TAG_BYTES).contains(&removed), "{removed} bytes for a tag");
    let same = target.iter().zip(&stripped).take_while(|(before, after)| before == after).count();
    assert!(target.ends_with(&stripped[same.min(stripped.len())..]), "one piece was taken out");
}
