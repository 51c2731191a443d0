//! Properties that hold for every input, however it is split on its way.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Fragments out of which heads are put together that are right, nearly right or wrong.
const FRAGMENTS: [&str; 40] = [
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.1\r\n",
    "GET http://b/ HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.0 204\r\n",
    "Host: a\r\n",
    "Host: a:1\r\n",
    "host:b\r\n",
    "Content-Length: 5\r\n",
    "content-length: 0005\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: x\r\n",
    "Connection: Upgrade, X\r\n",
    "Connection: close\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    "X: 1\r\n",
    "X : 1\r\n",
    "X: 1\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ",",
    "a",
    "HTTP/1.1",
    "/",
    "Expect: 100-continue\r\n",
    "X-Forwarded-For: 1.1.1.1\r\n",
    "Via: x\r\n",
    "TE: trailers\r\n",
    "Cookie: a=b\r\n",
    "Forwarded: for=x\r\n",
    "é: ü\r\n",
];

fn head_bytes() -> impl Strategy<Value = Vec<u8>> {
    let start =
        prop::sample::select(vec!["GET / HTTP/1.1\r\nHost: a\r\n", "POST /a HTTP/1.0\r\nHost: a\r\n", ""]);
    let fragments = vec(prop::sample::select(FRAGMENTS.to_vec()), 0..12);
    (start, fragments, prop::bool::ANY).prop_map(|(start, fragments, ends)| {
        let end = if ends { "\r\n" } else { "" };
        format!("{start}{}{end}", fragments.concat()).into_bytes()
    })
}

fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let start =
        prop::sample::select(vec!["HTTP/1.1 200 OK\r\n", "HTTP/1.1 101 x\r\n", "HTTP/1.0 304\r\n", ""]);
    (start, vec(prop::sample::select(FRAGMENTS.to_vec()), 0..8), prop::bool::ANY).prop_map(
        |(start, fragments, ends)| {
            format!("{start}{}{}", fragments.concat(), if ends { "\r\n" } else { "" }).into_bytes()
        },
    )
}

const SMALL: HeadLimits = HeadLimits { head_bytes_max: 160, target_bytes_max: 12, fields_max: 6 };

/// The first verdict on growing prefixes of `input` that is not "incomplete".
fn first_verdict<E: PartialEq>(
    input: &[u8],
    mut judge: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
) -> Result<Option<usize>, E> {
    (0..=input.len()).map(|end| judge(&input[..end])).find(|verdict| *verdict != Ok(None)).unwrap_or(Ok(None))
}

fn asked() -> Asked {
    Asked { upgrade: WebSocketKey::parse(b"dGhlIHNhbXBsZSBub25jZQ=="), ..GET }
}

/// A body in chunks of these sizes, with extensions, leading zeros and trailers.
fn encode(payload: &[u8], sizes: &[usize], trailers: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut rest = payload;
    for (index, size) in sizes.iter().cycle().enumerate() {
        let (chunk, behind) = rest.split_at((*size).min(rest.len()));
        if chunk.is_empty() {
            break;
        }
        let extension = ["", ";a", " ; b=\"c d\""][index % 3];
        encoded.extend_from_slice(
            format!("{:0width$X}{extension}\r\n", chunk.len(), width = index % 5).as_bytes(),
        );
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
        rest = behind;
    }
    encoded.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    encoded
}

/// Feeds `bytes` in parts of these sizes to a reader, and returns the payload and what it left.
fn read_in_parts(
    reader: &mut BodyReader,
    bytes: &[u8],
    parts: &[usize],
) -> Result<(Vec<u8>, Vec<u8>), BadBody> {
    let mut payload = Vec::new();
    let mut rest = bytes;
    for part in parts.iter().cycle() {
        if rest.is_empty() || reader.is_done() {
            break;
        }
        let (now, later) = rest.split_at((*part).min(rest.len()));
        let mut input = now.to_vec();
        let decoded = reader.decode(&mut input)?;
        assert!(decoded.payload <= decoded.consumed && decoded.consumed <= input.len());
        assert!(decoded.done || decoded.consumed == input.len(), "an unfinished body takes everything");
        assert_eq!(input[decoded.consumed..], now[decoded.consumed..], "what follows is untouched");
        payload.extend_from_slice(&input[..decoded.payload]);
        rest = if decoded.done { &rest[decoded.consumed..] } else { later };
    }
    Ok((payload, rest.to_vec()))
}

proptest! {
    #[test]
    fn a_request_is_judged_the_same_however_it_is_split(input in head_bytes(), small: bool) {
        let limits = if small { SMALL } else { HeadLimits::default() };
        let mut head = RequestHead::default();
        let at_once = head.parse(&input, &limits);
        prop_assert_eq!(first_verdict(&input, |prefix| head.parse(prefix, &limits)), at_once);
    }

    #[test]
    fn a_response_is_judged_the_same_however_it_is_split(input in response_bytes(), small: bool) {
        let limits = if small { SMALL } else { HeadLimits::default() };
        let mut head = ResponseHead::default();
        let at_once = head.parse(&input, &asked(), &limits);
        prop_assert_eq!(first_verdict(&input, |prefix| head.parse(prefix, &asked(), &limits)), at_once);
    }

    #[test]
    fn a_forwarded_request_means_the_same(input in head_bytes()) {
        let mut head = RequestHead::default();
        if let Ok(Some(_)) = head.parse(&input, &HeadLimits::default()) {
            let mut out = Vec::new();
            write_request(&head, &CONTEXT, &mut out);
            let again = parse_request(&out).unwrap();
            prop_assert_eq!(again.version(), Version::Http11);
            prop_assert_eq!(again.framing(), head.framing());
            prop_assert_eq!(again.method_bytes(), head.method_bytes());
            prop_assert_eq!(again.target(), head.target());
            prop_assert_eq!(again.authority(), head.authority());
            prop_assert_eq!(again.upgrade() == Upgrade::WebSocket, head.upgrade() == Upgrade::WebSocket);
            prop_assert!(again.upgrade() != Upgrade::Ignored && again.keep_alive());
            prop_assert_eq!(again.expects_continue(), head.expects_continue());
            prop_assert!(again.field(b"x-forwarded-for").unwrap().ends_with(b"192.0.2.7"));
        }
    }

    #[test]
    fn a_forwarded_response_means_the_same(input in response_bytes(), old: bool, close: bool) {
        let mut head = ResponseHead::default();
        if let Ok(Some(_)) = head.parse(&input, &asked(), &HeadLimits::default()) {
            let client_version = if old { Version::Http10 } else { Version::Http11 };
            let mut out = Vec::new();
            let framing = write_response(&head, &ReplyContext { client_version, close, ..REPLY }, &mut out);
            let again = parse_response(&asked(), &out).unwrap();
            prop_assert_eq!(again.framing(), framing);
            prop_assert_eq!((again.status(), again.kind()), (head.status(), head.kind()));
            let length_known = matches!(head.framing(), Framing::None | Framing::Length(_));
            if length_known && head.status() != 204 && head.status() >= 200 {
                prop_assert_eq!(framing, head.framing());
                prop_assert_eq!(again.declared_length(), head.declared_length());
            }
            if head.kind() == ResponseKind::Final && (close || framing == Framing::UntilClose) {
                prop_assert!(!again.keep_alive());
            }
        }
    }

    #[test]
    fn no_bytes_panic(input in vec(any::<u8>(), 0..300), sizes in vec(1usize..40, 1..5)) {
        let _ = RequestHead::default().parse(&input, &SMALL);
        let _ = ResponseHead::default().parse(&input, &asked(), &SMALL);
        let heads = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], b"HTTP/1.1 200 OK\r\n", b"0\r\n", b"1;"];
        for start in heads {
            let input = [start, &input, b"\r\n\r\n"].concat();
            let _ = RequestHead::default().parse(&input, &SMALL);
            let _ = ResponseHead::default().parse(&input, &asked(), &SMALL);
            let _ = read_in_parts(&mut BodyReader::new(Framing::Chunked), &input, &sizes);
        }
    }

    #[test]
    fn a_chunked_body_is_the_same_however_it_is_chunked_and_split(
        payload in vec(any::<u8>(), 0..400),
        sizes in vec(1usize..90, 1..8),
        parts in vec(1usize..60, 1..8),
        with_trailers: bool,
    ) {
        let trailers = if with_trailers { "X-Sum: 1\r\nX-Other: 2\r\n" } else { "" };
        let mut bytes = encode(&payload, &sizes, trailers);
        bytes.extend_from_slice(b"GET /next");
        let mut reader = BodyReader::new(Framing::Chunked);
        let (read, rest) = read_in_parts(&mut reader, &bytes, &parts).unwrap();
        prop_assert_eq!(read, payload);
        prop_assert!(reader.is_done());
        prop_assert_eq!(rest, b"GET /next");
        prop_assert_eq!(reader.trailers(), trailers.as_bytes());
    }

    #[test]
    fn a_broken_chunked_body_is_judged_the_same_however_it_is_split(
        payload in vec(any::<u8>(), 0..60),
        sizes in vec(1usize..20, 1..4),
        parts in vec(1usize..20, 1..6),
        place in any::<prop::sample::Index>(),
        wrong in prop::sample::select(b"\r\n0af;: \t\0x".to_vec()),
    ) {
        let mut bytes = encode(&payload, &sizes, "X: 1\r\n");
        let place = place.index(bytes.len());
        bytes[place] = wrong;
        let judge = |parts: &[usize]| {
            let mut reader = BodyReader::new(Framing::Chunked);
            read_in_parts(&mut reader, &bytes, parts).map(|read| (read, reader.is_done()))
        };
        prop_assert_eq!(judge(&parts), judge(&[bytes.len()]));
    }

    #[test]
    fn a_written_body_is_read_back(writes in vec(vec(any::<u8>(), 0..50), 0..10), parts in vec(1usize..30, 1..5)) {
        let writer = BodyWriter::new(Framing::Chunked);
        let mut bytes = Vec::new();
        for payload in writes.iter().filter(|payload| !payload.is_empty()) {
            bytes.extend_from_slice(writer.prefix(payload.len(), &mut ChunkPrefix::default()));
            bytes.extend_from_slice(payload);
            bytes.extend_from_slice(writer.suffix());
        }
        writer.end(b"X: 1\r\n", &mut bytes);
        let mut reader = BodyReader::new(Framing::Chunked);
        let (read, rest) = read_in_parts(&mut reader, &bytes, &parts).unwrap();
        prop_assert_eq!((read, rest), (writes.concat(), Vec::new()));
        prop_assert_eq!(reader.trailers(), b"X: 1\r\n");
    }

    #[test]
    fn chunks_we_accept_are_chunks_to_httparse(line in "[0-9a-fA-F]{1,17}[; \ta]{0,3}") {
        let input = format!("{line}\r\n");
        let mut reader = BodyReader::new(Framing::Chunked);
        if reader.decode(&mut input.clone().into_bytes()).is_ok() {
            prop_assert!(matches!(httparse::parse_chunk_size(input.as_bytes()), Ok(httparse::Status::Complete(_))));
        }
    }

    #[test]
    fn requests_we_accept_are_requests_to_httparse(input in head_bytes()) {
        let mut head = RequestHead::default();
        if let Ok(Some(length)) = head.parse(&input, &HeadLimits::default()) {
            let mut headers = [httparse::EMPTY_HEADER; 128];
            let mut other = httparse::Request::new(&mut headers);
            prop_assert_eq!(other.parse(&input), Ok(httparse::Status::Complete(length)));
            prop_assert_eq!(other.method.unwrap().as_bytes(), head.method_bytes());
            prop_assert_eq!(other.headers.len(), head.fields().count());
        }
    }
}
