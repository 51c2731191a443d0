//! What one process says the other understands, and nothing else is understood.
//!
//! Fails with a tunnel that goes to another backend, or with a panic of the process that is to serve on.

use proptest::prelude::*;

use ringbolt_core::affinity::SidKey;

use super::fields::{CIPHERS, VERSIONS};
use super::*;
use crate::config::Origin;
use crate::tls::KernelSessionState;

fn end() -> impl Strategy<Value = EndState> {
    any::<(bool, u32)>().prop_map(|(finished, held)| EndState { finished, held })
}

fn tunnel() -> impl Strategy<Value = TunnelState> {
    let numbers = any::<(u32, Option<u16>, Option<IpAddr>, u32, bool)>();
    let frames = (0_u32..1 << 24).prop_map(|word| Frames::from_word(word).unwrap());
    let session = (any::<[bool; 3]>(), prop::sample::select(&CIPHERS[..]));
    let tls = prop::option::of(session.prop_map(|([is_new, ended, said_goodbye], cipher)| {
        let version = VERSIONS[usize::from(is_new)];
        KernelSessionState { version, cipher, ended, said_goodbye }
    }));
    (numbers, end(), end(), frames, tls).prop_map(|(numbers, of_client, of_upstream, frames, tls)| {
        let (backend, listener, client, silent_seconds, client_first) = numbers;
        TunnelState {
            backend: BackendId(backend),
            listener,
            client,
            silent_seconds,
            of_client,
            of_upstream,
            client_first,
            frames,
            tls,
        }
    })
}

fn sid() -> impl Strategy<Value = SidRecord> {
    any::<([u64; 2], u32, u16, u16)>().prop_map(|(words, backend, time_to_live_ticks, left_ticks)| {
        SidRecord {
            key: SidKey::from_words(words),
            backend: BackendId(backend),
            time_to_live_ticks,
            left_ticks,
        }
    })
}

fn kept() -> impl Strategy<Value = Kept> {
    let states = vec![None, Some(State::Up), Some(State::Drain), Some(State::Maintenance)];
    let weight = prop::option::of(1_u32..=1000);
    (prop::sample::select(states), weight, any::<([u32; 3], Option<(u32, u32)>)>()).prop_map(
        |(state, weight, numbers)| {
            let ([given, failures, suspect_ms], ending) = numbers;
            Kept { state, weight, given, failures, suspect_ms, ending }
        },
    )
}

fn backend() -> impl Strategy<Value = Backend> {
    let flags = any::<(bool, bool, Option<u32>)>();
    ("[a-z0-9.:-]{1,64}", any::<(IpAddr, u16)>(), 1_u32..=1000, flags).prop_map(
        |(name, address, weight, (tls, backup, maxconn))| {
            let backend = Backend::new(name, address.into());
            Backend { tls, weight, backup, maxconn, origin: Origin::Order, ..backend }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let address = any::<(IpAddr, u16)>().prop_map(SocketAddr::from);
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(lowest, highest)| Message::Hello { lowest, highest }),
        any::<[u8; 16]>().prop_map(|hash_key| Message::Begin { hash_key }),
        (any::<(u32, Option<bool>)>(), ".{0,128}", ".{0,128}").prop_map(
            |((number, checked), upstream, name)| {
                Message::Backend { number: BackendId(number), upstream, name, checked }
            }
        ),
        address.clone().prop_map(|configured| Message::Listener { configured }),
        address.prop_map(|configured| Message::Admin { configured }),
        ".{0,107}".prop_map(|path| Message::AdminSocket { path }),
        prop::collection::vec(sid(), 0..HANDOVER_SIDS_MAX).prop_map(Message::Sids),
        prop::collection::vec(tunnel(), 0..HANDOVER_TUNNELS_MAX).prop_map(Message::Tunnels),
        (any::<u16>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..500))
            .prop_map(|(tunnel, by_upstream, bytes)| Message::Held { tunnel, by_upstream, bytes }),
        any::<(u64, u64)>().prop_map(|(tunnels, staying)| Message::Prepare { tunnels, staying }),
        prop::collection::vec(any::<u16>(), 0..HANDOVER_DESCRIPTORS_MAX).prop_map(Message::Connections),
        (any::<u32>(), kept()).prop_map(|(number, kept)| Message::Kept { number: BackendId(number), kept }),
        (".{0,128}", backend()).prop_map(|(upstream, backend)| Message::Added { upstream, backend }),
        (".{0,128}", ".{0,128}").prop_map(|(upstream, name)| Message::Removed { upstream, name }),
        prop::sample::select(vec![
            Message::Inherited,
            Message::Started,
            Message::Taken,
            Message::Prepared,
            Message::Commit,
            Message::Committed,
            Message::Serve,
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        let bytes = message.encode();
        prop_assert!(bytes.len() <= HANDOVER_MESSAGE_BYTES_MAX);
        prop_assert!(Message::decode(&bytes) == Ok(message));
    }

    #[test]
    fn what_is_cut_or_longer_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let mut bytes = message.encode();
        let cut = cut.index(bytes.len());
        prop_assert!(Message::decode(&bytes[..cut]).is_err());
        bytes.push(0);
        prop_assert!(Message::decode(&bytes) == Err(Malformed::Length));
    }

    #[test]
    fn what_is_understood_is_said_in_one_way_only(
        kind in 1_u16..23, version in LOWEST..=VERSION, fields in prop::collection::vec(0_u8..7, 0..80),
    ) {
        let length = u32::try_from(fields.len()).unwrap();
        let header = [&kind.to_le_bytes()[..], &version.to_le_bytes(), &length.to_le_bytes()].concat();
        let bytes = [header, fields].concat();
        if let Ok(message) = Message::decode(&bytes).and_then(|message| match message {
            // Of any version.
            Message::Hello { .. } if version != LOWEST => Err(Malformed::Version(version)),
            message => Ok(message),
        }) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
    }
}

#[test]
fn only_the_first_word_of_another_version_is_understood() {
    let mut hello = Message::Hello { lowest: 2, highest: 9 }.encode();
    hello[2] = 9;
    assert!(Message::decode(&hello) == Ok(Message::Hello { lowest: 2, highest: 9 }));
    let mut started = Message::Started.encode();
    started[2] = 9;
    assert!(Message::decode(&started) == Err(Malformed::Version(9)));
    assert!(
        Message::decode(&[22, 0, 2, 0, 0, 0, 0, 0]) == Err(Malformed::Kind(22)),
        "kept, and not used yet"
    );
}

/// What version 2 knows is said as it was said then, and what it does not know is recognised as newer.
#[test]
fn messages_keep_the_version_of_their_form() {
    let version = |message: &Message| u16::from_le_bytes(message.encode()[2..4].try_into().unwrap());
    assert_eq!(version(&Message::Committed), 2);
    let removed = Message::Removed { upstream: "a".to_owned(), name: "b".to_owned() };
    assert_eq!(version(&removed), 3);
    let mut bytes = removed.encode();
    bytes[2] = 2;
    assert!(Message::decode(&bytes) == Err(Malformed::Version(2)));
}

#[test]
fn no_secret_is_shown() {
    assert_eq!(format!("{:?}", Message::Begin { hash_key: [7; 16] }), "message of kind 2");
}
