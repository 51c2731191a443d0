//! Heads and bodies as a browser and an Engine.IO server on Node send them.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use ringbolt_core::http::{
    Asked, BodyReader, BodyWriter, ChunkPrefix, ForwardContext, Framing, HeadLimits, ReplyContext,
    RequestHead, ResponseHead, Source, Version,
};

use crate::Work;

/// A poll of Chrome: 13 fields.
const REQUEST: &[u8] =
    b"GET /socket.io/?EIO=4&transport=polling&t=PQx3bLk&sid=Ek3yLmC0yr0OhBMbAAAA HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Accept: */*\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Referer: https://chat.example.com/rooms/harbour\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=9f86d081884c7d659a2feaa0c55ad015\r\n\r\n";

/// The server's answer to it.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/plain; charset=UTF-8\r\n\
    Content-Length: 67\r\n\
    cache-control: no-store\r\n\
    Date: Sat, 21 Nov 2026 14:03:07 GMT\r\n\
    Connection: keep-alive\r\n\
    Keep-Alive: timeout=5\r\n\r\n";

const CHUNK_BYTES: usize = 1024;

fn parsed_request() -> RequestHead {
    let mut head = RequestHead::default();
    let length = head.parse(REQUEST, &HeadLimits::default()).expect("a good head");
    assert_eq!(length, Some(REQUEST.len()));
    head
}

fn parsed_response(asked: &Asked) -> ResponseHead {
    let mut head = ResponseHead::default();
    let length = head.parse(RESPONSE, asked, &HeadLimits::default()).expect("a good head");
    assert_eq!(length, Some(RESPONSE.len()));
    head
}

pub(crate) fn parse_request(units: u64) -> Work {
    let mut head = parsed_request();
    let limits = HeadLimits::default();
    Box::new(move || {
        for _ in 0..units {
            let _ = black_box(head.parse(black_box(REQUEST), &limits));
        }
    })
}

pub(crate) fn write_request(units: u64) -> Work {
    let head = parsed_request();
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let context = ForwardContext {
        connection: client,
        source: Source { client, trusted: false },
        scheme: "http",
        client_certificate: None,
        request_id: None,
        trace: None,
        drop_accept_encoding: false,
        target: None,
        rules: None,
        rewrite: None,
    };
    let mut out = Vec::with_capacity(2 * REQUEST.len());
    Box::new(move || {
        for _ in 0..units {
            out.clear();
            ringbolt_core::http::write_request(black_box(&head), &context, &mut out);
            black_box(&out);
        }
    })
}

pub(crate) fn parse_response(units: u64) -> Work {
    let asked = Asked::by(&parsed_request(), true);
    let mut head = parsed_response(&asked);
    let limits = HeadLimits::default();
    Box::new(move || {
        for _ in 0..units {
            let _ = black_box(head.parse(black_box(RESPONSE), &asked, &limits));
        }
    })
}

pub(crate) fn write_response(units: u64) -> Work {
    let head = parsed_response(&Asked::by(&parsed_request(), true));
    let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
    let context = ReplyContext {
        client_version: Version::Http11,
        close: false,
        hsts: None,
        set_cookie: None,
        date,
        rules: None,
    };
    let mut out = Vec::with_capacity(2 * RESPONSE.len());
    Box::new(move || {
        for _ in 0..units {
            out.clear();
            black_box(ringbolt_core::http::write_response(black_box(&head), &context, &mut out));
            black_box(&out);
        }
    })
}

/// A chunk of a chunked body, taken out of its framing and framed anew.
pub(crate) fn move_chunk(units: u64) -> Work {
    let writer = BodyWriter::new(Framing::Chunked);
    let mut encoded = writer.prefix(CHUNK_BYTES, &mut ChunkPrefix::default()).to_vec();
    encoded.resize(encoded.len() + CHUNK_BYTES, b'x');
    encoded.extend_from_slice(writer.suffix());
    let mut reader = BodyReader::new(Framing::Chunked);
    let mut input = encoded.clone();
    Box::new(move || {
        for _ in 0..units {
            // Reading moves the payload to the front.
            input.copy_from_slice(&encoded);
            let decoded = reader.decode(black_box(&mut input)).expect("a good body");
            let mut prefix = ChunkPrefix::default();
            black_box(writer.prefix(decoded.payload, &mut prefix));
        }
    })
}
