//! A server name is found however its ClientHello is cut, or the ClientHello is refused.
//!
//! Fails with a connection passed to another server than its client named, or with a hostile client that makes the
//! proxy wait, panic or work without end.

use proptest::prelude::*;

use super::*;

/// A ClientHello's message with these extensions; `None`: without the list of them.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    if let Some(extensions) = extensions {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend_from_slice(extensions);
    }
    handshake(1, &body)
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, data].concat()
}

fn list_of(entries: &[(u8, &[u8])]) -> Vec<u8> {
    let entry = |&(kind, name): &(u8, &[u8])| {
        [&[kind][..], &u16::try_from(name.len()).unwrap().to_be_bytes(), name].concat()
    };
    let list = entries.iter().flat_map(entry).collect::<Vec<u8>>();
    [&u16::try_from(list.len()).unwrap().to_be_bytes()[..], &list].concat()
}

/// The server_name extension with this name.
fn named(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &list_of(&[(HOST_NAME, name)]))
}

/// `message` in records with fragments of at most `piece` bytes.
fn records(message: &[u8], piece: usize) -> Vec<u8> {
    let record =
        |part: &[u8]| [&[22, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    message.chunks(piece).flat_map(record).collect()
}

fn read(input: &[u8]) -> Result<Option<ClientHello>, BadClientHello> {
    ClientHelloReader::default().read(input)
}

fn name_in(extensions: &[u8]) -> Result<Option<String>, BadClientHello> {
    let hello = read(&records(&message(Some(extensions)), FRAGMENT_BYTES_MAX))?;
    Ok(hello.expect("it is complete").server_name.map(String::from))
}

#[test]
fn the_name_is_found_among_what_else_there_is() {
    let grease = extension(0x0a0a, b"");
    let padding = extension(21, &[0; 300]);
    let hidden = extension(0xfe0d, b"the inner name is in here, encrypted");
    let all = [grease, padding, named(b"Public.Example.com."), hidden].concat();
    assert_eq!(name_in(&all), Ok(Some("public.example.com".to_owned())));
    assert_eq!(name_in(&named(b"a_b-c.example")), Ok(Some("a_b-c.example".to_owned())));
    assert_eq!(name_in(&named("a".repeat(HOST_BYTES_MAX).as_bytes())).map(|name| name.is_some()), Ok(true));
}

#[test]
fn there_may_be_no_name() {
    assert_eq!(name_in(&extension(16, b"\0\x03\x02h2")), Ok(None));
    assert_eq!(name_in(b""), Ok(None));
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(name_in(&named(address.as_bytes())), Ok(None), "{address}");
    }
    let without = records(&message(None), FRAGMENT_BYTES_MAX);
    assert_eq!(
        read(&without),
        Ok(Some(ClientHello { server_name: None })),
        "TLS 1.2 has no need of extensions"
    );
}

#[test]
fn a_name_that_could_be_read_in_two_ways_is_refused() {
    let too_long = "a".repeat(HOST_BYTES_MAX + 1);
    for name in
        [&b""[..], b".", b"a b", b"a\0b", b"caf\xc3\xa9", b"\xff", b"a/b", b"a:1", too_long.as_bytes()]
    {
        assert_eq!(name_in(&named(name)), Err(BadClientHello::NAME), "{}", name.escape_ascii());
    }
    for data in [
        list_of(&[]),
        list_of(&[(HOST_NAME, b"a"), (HOST_NAME, b"b")]),
        list_of(&[(1, b"a")]),
        [list_of(&[(HOST_NAME, b"a")]), vec![0]].concat(),
        vec![],
        vec![0, 9, 0, 0, 1, b'a'],
    ] {
        assert_eq!(name_in(&extension(SERVER_NAME, &data)), Err(BadClientHello::NAME), "{data:?}");
    }
    let twice = [named(b"a"), named(b"a")].concat();
    assert_eq!(name_in(&twice), Err(BadClientHello::MESSAGE));
}

#[test]
fn what_is_no_client_hello() {
    let hello = message(Some(&named(b"a.example")));
    let whole = records(&hello, FRAGMENT_BYTES_MAX);
    let altered = |at: usize, byte: u8| {
        let mut altered = whole.clone();
        altered[at] = byte;
        read(&altered)
    };
    assert_eq!(altered(0, 21), Err(BadClientHello::RECORD), "an alert");
    assert_eq!(altered(1, 2), Err(BadClientHello::RECORD), "another version");
    assert_eq!(altered(5, 2), Err(BadClientHello::MESSAGE), "a ServerHello");
    assert_eq!(altered(6, 1), Err(BadClientHello::TOO_LONG), "64 KiB long");
    assert_eq!(altered(7, 0x7f), Err(BadClientHello::TOO_LONG));
    assert_eq!(altered(9 + 34, 33), Err(BadClientHello::MESSAGE), "a session id that is too long");
    assert_eq!(altered(9 + 36, 3), Err(BadClientHello::MESSAGE), "half a cipher");
    assert_eq!(read(&[22, 3, 1, 0, 0]), Err(BadClientHello::RECORD), "an empty fragment");
    assert_eq!(read(&[22, 3, 1, 0x40, 1]), Err(BadClientHello::RECORD), "a fragment that is too long");
    let interrupted = [&records(&hello[..10], 10)[..], &[23, 3, 1, 0, 1, 0]].concat();
    assert_eq!(read(&interrupted), Err(BadClientHello::RECORD), "application data within");
    let shorter = handshake(1, &hello[4..hello.len() - 1]);
    assert_eq!(read(&records(&shorter, FRAGMENT_BYTES_MAX)), Err(BadClientHello::MESSAGE));
    let longer = handshake(1, &[&hello[4..], &[0]].concat());
    assert_eq!(read(&records(&longer, FRAGMENT_BYTES_MAX)), Err(BadClientHello::MESSAGE));
}

#[test]
fn nothing_longer_than_the_bound_is_waited_for() {
    let long = message(Some(&extension(21, &vec![0; CLIENT_HELLO_BYTES_MAX - 200])));
    assert!(matches!(read(&records(&long, FRAGMENT_BYTES_MAX)), Ok(Some(_))));
    assert_eq!(read(&records(&long, 10)), Err(BadClientHello::TOO_LONG), "its record headers count");
    let last = records(&[1], 1);
    let mut reader = ClientHelloReader::default();
    let mut input = records(&[1, 0, 0x3f, 0xff], 4);
    while let Ok(None) = reader.read(&input) {
        input.extend_from_slice(&last);
        assert!(input.len() <= CLIENT_HELLO_BYTES_MAX + last.len());
    }
    assert!(reader.message.len() < CLIENT_HELLO_BYTES_MAX);
}

proptest! {
    #[test]
    fn the_name_does_not_depend_on_records_and_segments(
        name in "[a-z0-9]{1,20}(\\.[a-z0-9-]{1,20}){0,3}x",
        others in prop::collection::vec((1_u16.., prop::collection::vec(any::<u8>(), 0..40)), 0..6),
        place: prop::sample::Index,
        piece in 1_usize..300,
        segment in 1_usize..300,
        behind: Vec<u8>,
    ) {
        let mut extensions: Vec<Vec<u8>> = others.iter().map(|(kind, data)| extension(*kind, data)).collect();
        extensions.insert(place.index(extensions.len() + 1), named(name.as_bytes()));
        let whole = records(&message(Some(&extensions.concat())), piece);
        let mut reader = ClientHelloReader::default();
        for end in (0..whole.len()).step_by(segment) {
            prop_assert_eq!(reader.read(&whole[..end]), Ok(None));
        }
        let found = reader.read(&[&whole[..], &behind].concat()).unwrap().unwrap();
        prop_assert_eq!(found.server_name.as_deref(), Some(name.as_str()));
    }

    #[test]
    fn any_bytes_have_one_verdict(head in 0_usize..12, tail in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
        let begun = records(&message(Some(&named(b"a.example"))), piece);
        let input = [&begun[..head * begun.len() / 12], &tail[..]].concat();
        let whole = read(&input);
        let mut reader = ClientHelloReader::default();
        let first = (0..=input.len()).map(|end| reader.read(&input[..end])).find(|read| *read != Ok(None));
        prop_assert_eq!(first.unwrap_or(Ok(None)), whole);
    }
}
