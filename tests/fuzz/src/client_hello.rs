//! A ClientHello has one verdict however it is cut, is bounded, and gives a name that can be looked up or none; and the
//! server behind reads no other name in it, as rustls shows.

use ringbolt_core::client_hello::{BadClientHello, ClientHello, ClientHelloReader};
use ringbolt_core::detect::{Protocol, Protocols, Verdict};

use rustls::server::Acceptor;

use crate::splits;

/// What we refuse and rustls does not, at this step: longer than we read, records that are empty or of a version that
/// never was, more than one name in the list, or one that is none.
const STRICTER: [&str; 3] =
    ["ClientHello is too long", "malformed TLS record", "malformed server name in a ClientHello"];

/// The longest ClientHello that is read, record headers included.
const HELLO_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn run(input: &[u8]) {
    let verdict = ClientHelloReader::default().read(input);
    in_pieces(input, &verdict);
    as_rustls_reads_it(input, &verdict);
    match &verdict {
        Ok(Some(hello)) => accepted(hello, input),
        Ok(None) => assert!(input.len() < HELLO_BYTES_MAX, "waits for more than a ClientHello can have"),
        Err(_) => {}
    }
}

/// One reader that is shown more and more comes to the verdict on the whole, and to no other before.
fn in_pieces(input: &[u8], verdict: &Result<Option<ClientHello>, BadClientHello>) {
    let mut reader = ClientHelloReader::default();
    for end in splits::ends(input.len()) {
        let early = reader.read(&input[..end]);
        if early != Ok(None) {
            assert_eq!(early, *verdict, "the first {end} bytes have another verdict than all of them");
            return;
        }
    }
    assert_eq!(*verdict, Ok(None));
}

/// What a server makes of it.
#[derive(PartialEq, Eq, Debug)]
enum Theirs {
    Waits,
    Refuses,
    /// It serves this name, or a client that asks for none.
    Serves(Option<String>),
}

fn rustls_reading(mut input: &[u8]) -> Theirs {
    let mut acceptor = Acceptor::default();
    loop {
        match acceptor.read_tls(&mut input) {
            Ok(0) => return Theirs::Waits,
            Ok(_) => {}
            Err(_) => return Theirs::Refuses,
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Theirs::Serves(accepted.client_hello().server_name().map(str::to_owned));
            }
            Err(_) => return Theirs::Refuses,
        }
    }
}

/// A server refuses more, for it reads more. But it never reads another name, nor one where we find none or wait.
fn as_rustls_reads_it(input: &[u8], ours: &Result<Option<ClientHello>, BadClientHello>) {
    match (ours, rustls_reading(input)) {
        (_, Theirs::Refuses) | (Ok(None) | Err(_), Theirs::Waits) => {}
        (Ok(Some(hello)), Theirs::Serves(name)) => {
            let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
            assert_eq!(hello.server_name.as_deref(), name.as_deref(), "a server reads another name");
        }
        (Err(bad), Theirs::Serves(name)) => {
            assert!(STRICTER.contains(&bad.reason), "a server serves {name:?}, which is refused: {bad:?}");
        }
        (ours, theirs) => panic!("{ours:?}, where a server {theirs:?}"),
    }
}

fn accepted(hello: &ClientHello, input: &[u8]) {
    let seen = Protocols::of(Protocol::Tls).judge(input);
    assert_eq!(seen, Verdict::Serve(Protocol::Tls), "a ClientHello is not told from other protocols");
    if let Some(name) = &hello.server_name {
        assert!((1..=253).contains(&name.len()));
        let is_lower =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(name.bytes().all(is_lower), "{name:?}");
        let whole = input.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
        // Record headers may stand within it.
        assert!(whole || input[5..].windows(2).any(|pair| pair == [22, 3]), "{name:?} is not in the input");
    }
}
