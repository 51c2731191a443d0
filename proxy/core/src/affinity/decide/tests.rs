//! A request goes where the best evidence says; each row of the module's table.

use proptest::prelude::*;

use super::*;
use crate::affinity::{Sid, cookie_value, seed_of_name};

/// The backend that a request goes to.
fn decide(affinity: &Affinity, seen: &Seen<'_>, candidates: &[Candidate]) -> Option<Choice> {
    super::decide(affinity, seen, candidates).backend()
}

fn candidates() -> Vec<Candidate> {
    (0..)
        .zip(["a", "b", "c", "d"])
        .map(|(id, name)| Candidate {
            id: BackendId(id + 10),
            seed: seed_of_name(name),
            weight: 1,
            accepts_new: true,
            serves: true,
            load: 0,
        })
        .collect()
}

fn seen(role: Option<&Role>) -> Seen<'_> {
    Seen {
        role,
        tag: None,
        table: None,
        listed: Listed::Never,
        told: Told::Never,
        value: None,
        client: "192.0.2.9".parse().unwrap(),
        balance: None,
        rotation: 0,
        random: 0,
    }
}

fn session() -> Role {
    Role::Session(Sid::new(b"abc").unwrap())
}

fn header() -> Affinity {
    Affinity::Header(b"x-user".as_slice().into())
}

fn cookie() -> Affinity {
    Affinity::Cookie(b"RINGBOLT".as_slice().into())
}

fn of_client(candidates: &[Candidate]) -> usize {
    choose(key_of_address("192.0.2.9".parse().unwrap()), candidates).unwrap()
}

#[test]
fn a_known_session_stays_even_on_a_draining_backend() {
    let mut backends = candidates();
    backends[2].accepts_new = false;
    let role = session();
    for table in 10..14_u32 {
        let request = Seen { table: Some(BackendId(table)), ..seen(Some(&role)) };
        let choice = decide(&Affinity::EngineIo, &request, &backends).unwrap();
        assert_eq!(choice, Choice { index: table as usize - 10, reason: Evidence::Table });
    }
}

#[test]
fn an_unknown_session_goes_by_address_and_never_nowhere() {
    let mut backends = candidates();
    let role = session();
    let expected = Choice { index: of_client(&backends), reason: Evidence::Rendezvous };
    // Not in the table; its backend is gone; no table can hold it.
    let gone = Seen { table: Some(BackendId(99)), ..seen(Some(&role)) };
    for request in [seen(Some(&role)), gone, seen(Some(&Role::SessionTooLong))] {
        assert_eq!(decide(&Affinity::EngineIo, &request, &backends), Some(expected));
    }
    backends.iter_mut().for_each(|backend| backend.accepts_new = false);
    assert_eq!(decide(&Affinity::EngineIo, &seen(Some(&role)), &backends), Some(expected));
    assert_eq!(decide(&Affinity::EngineIo, &seen(Some(&role)), &[]), None);
    assert_eq!(decide(&Affinity::EngineIo, &seen(Some(&Role::Handshake)), &backends), None);
}

#[test]
fn a_session_that_no_table_has_is_asked_for_and_the_answer_decides() {
    let mut backends = candidates();
    let role = session();
    let asked = |told, backends: &[Candidate]| {
        super::decide(&Affinity::EngineIo, &Seen { told, ..seen(Some(&role)) }, backends)
    };
    assert_eq!(asked(Told::NotYet, &backends), Decision::Ask);
    assert_eq!(asked(Told::Nobody, &backends), Decision::UnknownSid);
    for (index, backend) in backends.iter().enumerate() {
        let owner = Decision::Backend(Choice { index, reason: Evidence::Ask });
        assert_eq!(asked(Told::Owner(backend.id), &backends), owner);
        let guess = Decision::Backend(Choice { index, reason: Evidence::Rendezvous });
        assert_eq!(asked(Told::Perhaps(backend.id), &backends), guess);
    }
    // Who said it has gone meanwhile.
    let by_address = Choice { index: of_client(&backends), reason: Evidence::Rendezvous };
    for gone in [Told::Owner(BackendId(99)), Told::Perhaps(BackendId(99))] {
        assert_eq!(asked(gone, &backends), Decision::Backend(by_address));
    }
    // Only one can have it; or the table knows that it is one that does not serve.
    let known = Seen { table: Some(BackendId(99)), told: Told::NotYet, ..seen(Some(&role)) };
    assert_eq!(decide(&Affinity::EngineIo, &known, &backends), Some(by_address));
    backends[1..].iter_mut().for_each(|backend| (backend.serves, backend.accepts_new) = (false, false));
    let only = Decision::Backend(Choice { index: 0, reason: Evidence::Rendezvous });
    assert_eq!(asked(Told::NotYet, &backends), only);
    assert_eq!(asked(Told::NotYet, &[]), Decision::NoBackend);
}

#[test]
fn the_directory_is_looked_into_before_backends_are_asked() {
    let mut backends = candidates();
    let role = session();
    let looked_up = |listed, told, backends: &[Candidate]| {
        super::decide(&Affinity::EngineIo, &Seen { listed, told, ..seen(Some(&role)) }, backends)
    };
    let by_address = Decision::Backend(Choice { index: of_client(&backends), reason: Evidence::Rendezvous });
    for told in [Told::Never, Told::NotYet] {
        assert_eq!(looked_up(Listed::NotYet, told, &backends), Decision::LookUp);
        for (index, backend) in backends.iter().enumerate() {
            let owner = Decision::Backend(Choice { index, reason: Evidence::Directory });
            assert_eq!(looked_up(Listed::Owner(backend.id), told, &backends), owner);
        }
        // Whoever had the session is gone: nobody else has it.
        for gone in [Listed::Owner(BackendId(99)), Listed::Stranger] {
            assert_eq!(looked_up(gone, told, &backends), by_address);
        }
    }
    assert_eq!(looked_up(Listed::Nothing, Told::NotYet, &backends), Decision::Ask);
    assert_eq!(looked_up(Listed::Nothing, Told::Nobody, &backends), Decision::UnknownSid);
    assert_eq!(looked_up(Listed::Nothing, Told::Never, &backends), by_address);
    // The table and a tag come first, whether what they name serves or not.
    for table in [10, 99] {
        let known = Seen { table: Some(BackendId(table)), listed: Listed::NotYet, ..seen(Some(&role)) };
        assert!(decide(&Affinity::EngineIo, &known, &backends).is_some());
    }
    let tag = Some(TaggedBackend::of_seed(seed_of_name("gone")));
    let tagged = Seen { tag, listed: Listed::NotYet, ..seen(Some(&role)) };
    assert!(decide(&Affinity::EngineIo, &tagged, &backends).is_some());
    for role in [Role::SessionTooLong, Role::Handshake, Role::Other] {
        let other = Seen { listed: Listed::NotYet, ..seen(Some(&role)) };
        assert!(decide(&Affinity::EngineIo, &other, &backends).is_some(), "{role:?}");
    }
    backends[1..].iter_mut().for_each(|backend| (backend.serves, backend.accepts_new) = (false, false));
    let only = Decision::Backend(Choice { index: 0, reason: Evidence::Rendezvous });
    assert_eq!(looked_up(Listed::NotYet, Told::NotYet, &backends), only, "only one can have it");
}

#[test]
fn a_tag_comes_before_all_other_evidence_if_its_backend_serves() {
    let mut backends = candidates();
    let role = session();
    let tag = |index: usize| Some(TaggedBackend::of_seed(backends[index].seed));
    let (second, gone) = (tag(1), Some(TaggedBackend::of_seed(seed_of_name("gone"))));
    let request = Seen { tag: second, table: Some(BackendId(10)), told: Told::NotYet, ..seen(Some(&role)) };
    let by_tag = Choice { index: 1, reason: Evidence::Tag };
    assert_eq!(decide(&Affinity::EngineIo, &request, &backends), Some(by_tag));
    backends[1].accepts_new = false;
    assert_eq!(decide(&Affinity::EngineIo, &request, &backends), Some(by_tag), "draining");
    let by_table = Choice { index: 0, reason: Evidence::Table };
    let other = Seen { tag: gone, ..request };
    assert_eq!(decide(&Affinity::EngineIo, &other, &backends), Some(by_table));
    backends[1].serves = false;
    assert_eq!(decide(&Affinity::EngineIo, &request, &backends), Some(by_table));
    // Nobody else has what a genuine tag says is that one's.
    let alone = Seen { table: None, ..request };
    let guess = decide(&Affinity::EngineIo, &alone, &backends).unwrap();
    assert_eq!(guess.reason, Evidence::Rendezvous);
}

#[test]
fn nothing_but_a_session_of_engine_io_is_asked_for() {
    let backends = candidates();
    for role in [Role::SessionTooLong, Role::Handshake, Role::WebSocketHandshake, Role::Other] {
        let seen = Seen { told: Told::NotYet, ..seen(Some(&role)) };
        assert!(
            matches!(super::decide(&Affinity::EngineIo, &seen, &backends), Decision::Backend(_)),
            "{role:?}"
        );
    }
    let role = session();
    let seen = Seen { told: Told::NotYet, value: Some(b"x"), ..seen(Some(&role)) };
    for affinity in [Affinity::ClientIp, header(), cookie(), Affinity::None] {
        assert!(matches!(super::decide(&affinity, &seen, &backends), Decision::Backend(_)));
    }
}

#[test]
fn new_sessions_are_placed_within_the_bound_and_plain_requests_where_least_is() {
    let mut backends = candidates();
    let first = of_client(&backends);
    backends[first].load = 3;
    for role in [Role::Handshake, Role::WebSocketHandshake] {
        let choice = decide(&Affinity::EngineIo, &seen(Some(&role)), &backends).unwrap();
        assert_eq!(choice.reason, Evidence::Placement);
        assert_ne!(choice.index, first);
    }
    backends.iter_mut().for_each(|backend| backend.load = 7);
    backends[1].load = 6;
    let least = Some(Choice { index: 1, reason: Evidence::Least });
    assert_eq!(decide(&Affinity::EngineIo, &seen(None), &backends), least);
    assert_eq!(decide(&Affinity::EngineIo, &seen(Some(&Role::Other)), &backends), least);
    assert_eq!(decide(&Affinity::None, &seen(Some(&session())), &backends), least);
}

#[test]
fn rules_by_value_hold_under_any_load_and_ignore_the_table() {
    let mut backends = candidates();
    let by_address = Choice { index: of_client(&backends), reason: Evidence::ClientIp };
    let by_value =
        Choice { index: choose(key_of_bytes(b"alice"), &backends).unwrap(), reason: Evidence::Header };
    backends[by_address.index].load = 1000;
    backends[by_value.index].load = 1000;
    let role = session();
    let request = Seen { table: Some(BackendId(10)), ..seen(Some(&role)) };
    assert_eq!(decide(&Affinity::ClientIp, &request, &backends), Some(by_address));
    assert_eq!(decide(&header(), &Seen { value: Some(b"alice"), ..request }, &backends), Some(by_value));
    assert_eq!(decide(&header(), &Seen { value: Some(b""), ..request }, &backends), Some(by_address));
    assert_eq!(decide(&header(), &request, &backends), Some(by_address));
}

#[test]
fn a_cookie_names_its_backend_and_any_other_value_is_placed_anew() {
    let mut backends = candidates();
    backends[3].accepts_new = false;
    for index in 0..4 {
        let value = cookie_value(backends[index].seed);
        let request = Seen { value: Some(&value), ..seen(None) };
        assert_eq!(decide(&cookie(), &request, &backends), Some(Choice { index, reason: Evidence::Cookie }));
    }
    let gone = cookie_value(seed_of_name("gone"));
    for value in [None, Some(gone.as_slice()), Some(b"a"), Some(b"")] {
        let choice = decide(&cookie(), &Seen { value, ..seen(None) }, &backends).unwrap();
        assert_eq!(choice, Choice { index: of_client(&backends[..3]), reason: Evidence::Placement });
    }
}

#[test]
fn what_is_bound_to_a_backend_that_does_not_serve_goes_elsewhere() {
    let mut backends = candidates();
    let role = session();
    let index = of_client(&backends);
    backends[index] = Candidate { accepts_new: false, serves: false, ..backends[index] };
    let elsewhere = of_client(&backends);
    assert_ne!(elsewhere, index);
    let value = cookie_value(backends[index].seed);
    let request = Seen { table: Some(backends[index].id), value: Some(&value), ..seen(Some(&role)) };
    let guess = Choice { index: elsewhere, reason: Evidence::Rendezvous };
    assert_eq!(decide(&Affinity::EngineIo, &request, &backends), Some(guess));
    let anew = Choice { index: elsewhere, reason: Evidence::Placement };
    assert_eq!(decide(&cookie(), &request, &backends), Some(anew));
    backends.iter_mut().for_each(|backend| backend.accepts_new = false);
    backends.iter_mut().for_each(|backend| backend.serves = false);
    assert_eq!(decide(&Affinity::EngineIo, &request, &backends), None);
}

#[test]
fn a_configured_policy_places_sessions_and_plain_requests() {
    let mut backends = candidates();
    backends.iter_mut().for_each(|backend| backend.load = 7);
    backends[2].load = 6;
    let least = Seen { balance: Some(Balance::LeastTunnels), ..seen(Some(&Role::Handshake)) };
    assert_eq!(decide(&Affinity::EngineIo, &least, &backends).unwrap().index, 2);
    let hashed = Seen { balance: Some(Balance::Rendezvous), ..seen(None) };
    assert_eq!(decide(&Affinity::None, &hashed, &backends).unwrap().index, of_client(&backends));
}

proptest! {
    #[test]
    fn a_choice_is_always_a_candidate_that_may_have_it(
        affinity in prop::sample::select(vec![Affinity::EngineIo, Affinity::ClientIp, header(), cookie(), Affinity::None]),
        role in prop::sample::select(vec![
            None, Some(Role::Handshake), Some(Role::WebSocketHandshake), Some(Role::Other), Some(session()),
        ]),
        table in prop::option::of(8..16_u32),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        client: std::net::IpAddr,
        rotation: usize,
        balance in prop::option::of(prop::sample::select(vec![Balance::RandomTwo, Balance::Rendezvous])),
        states in prop::collection::vec((any::<bool>(), any::<bool>(), any::<u32>(), 0..3_u32), 4),
    ) {
        let mut backends = candidates();
        for (backend, (serves, accepts_new, load, weight)) in backends.iter_mut().zip(states) {
            *backend = Candidate { accepts_new: accepts_new && serves, serves, load, weight, ..*backend };
        }
        let seen = Seen {
            role: role.as_ref(), tag: None, table: table.map(BackendId), listed: Listed::Never, told: Told::Never, value: value.as_deref(), client, balance, rotation, random: 5,
        };
        match decide(&affinity, &seen, &backends) {
            Some(Choice { index, reason: Evidence::Table }) => {
                prop_assert_eq!(Some(backends[index].id), seen.table);
                prop_assert!(backends[index].serves);
            }
            Some(Choice { index, reason: Evidence::Cookie | Evidence::Rendezvous }) => prop_assert!(backends[index].serves),
            Some(choice) => prop_assert!(backends[choice.index].is_usable()),
            None => prop_assert!(!backends.iter().any(Candidate::is_usable)),
        }
    }
}
