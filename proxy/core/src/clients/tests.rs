//! Bounds hold for each client alone, and a full table locks nobody out.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn place(address: &str) -> Place {
    ClientHasher::new([7; 16]).place(address.parse::<IpAddr>().unwrap().into())
}

#[test]
fn an_ipv6_client_is_its_64_bits_and_an_ipv4_client_its_address() {
    let key = |address: &str| ClientKey::from(address.parse::<IpAddr>().unwrap());
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:1"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("0.0.0.1"), key("::1"), "the same bits in two families");
    for address in ["192.0.2.1", "2001:db8:0:1::5", "::1"] {
        assert_eq!(
            ClientKey::from(IpAddr::from(key(address))),
            key(address),
            "the same from an address of it"
        );
    }
}

#[test]
fn connections_are_bounded_until_one_ends() {
    let mut table = ClientTable::new(64);
    let bounds = ClientBounds { connections: Some(2), ..ClientBounds::default() };
    let (a, b) = (place("192.0.2.1"), place("192.0.2.2"));
    for expected in [Verdict::Within, Verdict::Within, Verdict::Beyond(Exceeded::Connections)] {
        assert_eq!(table.enter(a, &bounds, 0), expected);
    }
    assert_eq!(table.enter(b, &bounds, 0), Verdict::Within, "another client is not concerned");
    table.leave(a, 0);
    assert_eq!(table.enter(a, &bounds, 0), Verdict::Within);
    assert_eq!(
        table.enter(a, &bounds, 0),
        Verdict::Beyond(Exceeded::Connections),
        "refused ones do not count"
    );
}

#[test]
fn a_dry_run_counts_what_it_lets_through() {
    let mut table = ClientTable::new(64);
    let bounds = ClientBounds { connections: Some(1), dry_run: true, ..ClientBounds::default() };
    let a = place("192.0.2.1");
    let verdicts = [0; 3].map(|now| table.enter(a, &bounds, now));
    let beyond = Verdict::Beyond(Exceeded::Connections);
    assert_eq!(verdicts, [Verdict::Within, beyond, beyond]);
    table.leave(a, 0);
    table.leave(a, 0);
    assert_eq!(table.enter(a, &bounds, 0), beyond, "one is left");
    table.leave(a, 0);
    table.leave(a, 0);
    assert_eq!(table.enter(a, &bounds, 0), Verdict::Within);
}

#[test]
fn rates_of_connections_and_sessions_are_apart() {
    let mut table = ClientTable::new(64);
    let rate = Some(Rate::per_second(2));
    let bounds = ClientBounds { connection_rate: rate, session_rate: rate, ..ClientBounds::default() };
    let a = place("2001:db8::1");
    let enter = |table: &mut ClientTable, now| {
        let verdict = table.enter(a, &bounds, now);
        if verdict == Verdict::Within {
            table.leave(a, now);
        }
        verdict
    };
    assert_eq!([0; 2].map(|now| enter(&mut table, now)), [Verdict::Within; 2]);
    assert_eq!(enter(&mut table, 0), Verdict::Beyond(Exceeded::ConnectionRate));
    assert_eq!([0; 2].map(|now| table.open_session(a, &bounds, now)), [Verdict::Within; 2]);
    assert_eq!(table.open_session(a, &bounds, 0), Verdict::Beyond(Exceeded::SessionRate));
    assert_eq!(enter(&mut table, SECOND / 2), Verdict::Within);
    assert_eq!(table.open_session(a, &bounds, SECOND), Verdict::Within);
}

#[test]
fn a_full_table_lets_new_clients_through_and_keeps_the_old_ones() {
    let mut table = ClientTable::new(CLIENT_SLOTS_PER_GROUP);
    let bounds = ClientBounds { connections: Some(1), ..ClientBounds::default() };
    let places: Vec<Place> = (1..=9).map(|last| place(&format!("192.0.2.{last}"))).collect();
    for known in &places[..8] {
        assert_eq!(table.enter(*known, &bounds, 0), Verdict::Within);
    }
    assert_eq!(table.enter(places[8], &bounds, 0), Verdict::Unseen);
    assert_eq!(table.enter(places[0], &bounds, 0), Verdict::Beyond(Exceeded::Connections));
    table.leave(places[3], 0);
    assert_eq!(table.enter(places[8], &bounds, 0), Verdict::Within, "a slot out of use is taken");
}

proptest! {
    /// Against a list of what is open: no bound is passed and nothing is forgotten or counted twice.
    #[test]
    fn the_table_agrees_with_a_plain_list(
        events in prop::collection::vec((0_u8..6, any::<bool>()), 0..200), most in 1_u32..4,
    ) {
        let mut table = ClientTable::new(64);
        let bounds = ClientBounds { connections: Some(most), ..ClientBounds::default() };
        let mut open: Vec<u8> = Vec::new();
        for (client, enters) in events {
            let at = place(&format!("192.0.2.{client}"));
            let count = open.iter().filter(|other| **other == client).count();
            if enters {
                let within = table.enter(at, &bounds, 0) == Verdict::Within;
                prop_assert_eq!(within, count < most as usize);
                if within {
                    open.push(client);
                }
            } else if let Some(first) = open.iter().position(|other| *other == client) {
                open.swap_remove(first);
                table.leave(at, 0);
            }
        }
    }
}
