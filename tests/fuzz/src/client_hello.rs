//! A ClientHello has one verdict however it is cut, is bounded, and gives a name that can be looked up or none.

use ringbolt_core::client_hello::{BadClientHello, ClientHello, ClientHelloReader};
use ringbolt_core::detect::{Protocol, Protocols, Verdict};

use crate::splits;

/// The longest ClientHello that is read, record headers included.
const HELLO_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn run(input: &[u8]) {
    let verdict = ClientHelloReader::default().read(input);
    in_pieces(input, &verdict);
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
