//! Boundaries are where RFC 6455 section 5.2 puts them, however the stream is cut, and never anywhere else.

use proptest::prelude::*;

use super::*;

/// One frame as RFC 6455 section 5.2 draws it.
#[derive(Clone, Debug)]
struct Frame {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
    /// Bytes of the length: 0, 2 or 8; the shortest that holds it, or longer, which receivers may refuse.
    length_bytes: usize,
}

impl Frame {
    fn encode(&self) -> Vec<u8> {
        let length = self.payload.len() as u64;
        let mask_bit = u8::from(self.mask.is_some()) << 7;
        let mut bytes = vec![u8::from(self.fin) << 7 | self.opcode];
        match self.length_bytes {
            0 if length < 126 => bytes.push(mask_bit | u8::try_from(length).unwrap()),
            0 | 2 if length < 1 << 16 => {
                bytes.push(mask_bit | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        bytes.extend(self.mask.iter().flatten());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Any frame of either direction but a close frame.
fn frame() -> impl Strategy<Value = Frame> {
    let opcode = prop_oneof![Just(0_u8), Just(1), Just(2), Just(9), Just(10), Just(3), Just(15)];
    let length = prop_oneof![4 => 0_usize..4, 4 => 120_usize..130, 1 => 65_530_usize..65_540];
    let payload = length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
    let length_bytes = prop_oneof![8 => Just(0_usize), 1 => Just(2), 1 => Just(8)];
    let mask = prop::option::weighted(0.3, any::<[u8; 4]>());
    (any::<bool>(), opcode, mask, payload, length_bytes).prop_map(
        |(fin, opcode, mask, payload, length_bytes)| Frame { fin, opcode, mask, payload, length_bytes },
    )
}

/// Cuts bytes into pieces of these lengths, over and over.
fn cut<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    lengths.iter().cycle().map_while(move |length| {
        let piece = rest.split_off(..rest.len().min(*length)).filter(|piece| !piece.is_empty())?;
        Some(piece)
    })
}

proptest! {
    #[test]
    fn boundaries_are_where_frames_begin_however_they_are_cut(
        frames in prop::collection::vec(frame(), 0..6),
        cuts in prop::collection::vec(1_usize..300, 1..8),
    ) {
        let (mut bytes, mut boundaries) = (Vec::new(), vec![0]);
        for frame in &frames {
            bytes.extend(frame.encode());
            boundaries.push(bytes.len());
        }
        let (mut at, mut state) = (0, Frames::BEGINNING);
        for piece in cut(&bytes, &cuts) {
            state.follow(piece);
            at += piece.len();
            prop_assert_eq!(state.at_boundary(), boundaries.contains(&at), "at {} of {:?}", at, boundaries);
            prop_assert!(!state.is_lost());
            prop_assert_eq!(Frames::from_word(state.to_word()), Some(state));
        }
        prop_assert!(state.at_boundary());
    }

    #[test]
    fn the_first_boundary_is_found_wherever_one_begins_to_look(
        frames in prop::collection::vec(frame(), 2..5),
        seen in 0_usize..400,
        cuts in prop::collection::vec(1_usize..300, 1..8),
    ) {
        let bytes = frames.iter().flat_map(Frame::encode).collect::<Vec<_>>();
        let (seen, rest) = bytes.split_at(seen.min(bytes.len() - 1));
        let mut state = Frames::BEGINNING;
        state.follow(seen);
        let mut passed = seen.to_vec();
        for piece in cut(rest, &cuts) {
            let length = state.follow_to_boundary(piece);
            passed.extend(&piece[..length]);
            if state.at_boundary() {
                break;
            }
            prop_assert_eq!(length, piece.len());
        }
        // A reader of what was passed on and the close frame behind it sees whole frames and then that.
        let mut expected = Vec::new();
        for frame in &frames {
            expected.extend(frame.encode());
            if expected.len() > seen.len() {
                break;
            }
        }
        prop_assert_eq!(passed, expected);
    }

    #[test]
    fn unseen_bytes_are_followed_inside_of_a_frame_and_no_further(
        length in 200_usize..70_000,
        seen in 10_usize..150,
        skipped in 0_usize..70_000,
    ) {
        let whole = Frame { fin: true, opcode: 2, mask: None, payload: vec![0; length], length_bytes: 0 };
        let bytes = whole.encode();
        let mut state = Frames::BEGINNING;
        state.follow(&bytes[..seen]);
        state.skip(skipped);
        let left = bytes.len() - seen;
        prop_assert_eq!(state.at_boundary(), skipped == left);
        prop_assert_eq!(state.is_lost(), skipped > left);
        state.skip(1);
        prop_assert_eq!(state.is_lost(), skipped >= left);
    }

    #[test]
    fn strangers_bytes_never_panic_and_states_survive_a_move(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        cuts in prop::collection::vec(1_usize..20, 1..8),
        word: u32,
    ) {
        let mut state = Frames::BEGINNING;
        for piece in cut(&bytes, &cuts) {
            state.follow(piece);
            prop_assert_eq!(Frames::from_word(state.to_word()), Some(state));
        }
        if let Some(mut state) = Frames::from_word(word) {
            bytes.iter().for_each(|byte| state.follow(&[*byte]));
        }
    }
}

#[test]
fn nothing_may_follow_a_close_frame() {
    for close in [&[0x88, 0][..], &[0x88, 2, 3, 0xe8], &[0x88, 0x82, 1, 2, 3, 4, 5, 6]] {
        let mut state = Frames::BEGINNING;
        state.follow(&[0x81, 1, b'x']);
        assert!(state.at_boundary());
        state.follow(close);
        assert!(state.is_lost(), "{close:?}");
        state.follow(&[0x81, 1, b'x']);
        assert!(state.is_lost());
    }
}

#[test]
fn a_frame_too_long_to_be_counted_is_lost() {
    let header = |length: u64| [&[0x82, 127][..], &length.to_be_bytes()].concat();
    for (length, lost) in
        [(1 << 20, false), (u64::from(FRAME_BYTES_MAX), false), (1 << 24, true), (u64::MAX, true)]
    {
        let mut state = Frames::BEGINNING;
        state.follow(&header(length));
        assert_eq!(state.is_lost(), lost, "{length}");
    }
}

#[test]
fn the_frame_that_is_put_in_says_service_restart() {
    assert_eq!(RESTART_FRAME, [0x88, 0x02, 0x03, 0xf4]);
}
