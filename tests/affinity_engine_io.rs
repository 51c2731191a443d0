//! A session stays with the backend that issued its sid, from the first byte of its handshake answer on.
//!
//! Fails with HTTP 400 `Session ID unknown` from another backend if one framing of the handshake is not
//! read, if the sid is stored after the answer has left, or if another worker does not know it.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::thread;

use ringbolt_harness::raw::{Backend, Ending, Request, Wire};
use ringbolt_harness::{Options, Ringbolt};

/// What a backend sends for a new session with this sid.
type Answer = dyn Fn(&Request, &str, &mut Wire) + Send + Sync;

/// Backends that issue sids, and answer every request with a sid with their own name.
fn fleet(count: usize, answer: impl Fn(&Request, &str, &mut Wire) + Send + Sync + 'static) -> Vec<Backend> {
    let answer: Arc<Answer> = Arc::new(answer);
    (0..count)
        .map(|number| {
            let answer = Arc::clone(&answer);
            let issued = AtomicUsize::new(0);
            Backend::start(move |request, wire| {
                if request.head().target().contains("sid=") {
                    let name = format!("backend{number}");
                    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
                } else {
                    answer(request, &format!("backend{number}-{:010}", issued.fetch_add(1, Relaxed)), wire);
                }
            })
        })
        .collect()
}

fn proxy(backends: &[Backend], workers: usize) -> Ringbolt {
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    Ringbolt::start(&Options { workers, ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &addresses) })
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

/// A connection from yet another client address: a sid that nobody knows goes by the address, so only
/// the table can send all of these to one backend.
fn from_elsewhere(ringbolt: &Ringbolt) -> Wire {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    Wire::connect_from(Ipv4Addr::new(127, 0, 2, NEXT.fetch_add(1, Relaxed).max(1)), ringbolt.address())
}

/// The backend's name in a sid of [`fleet`].
fn issuer(sid: &str) -> &str {
    sid.split('-').next().expect("a first part")
}

/// The sid in a handshake answer, wherever it stands.
fn sid_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).replace('\\', "");
    text.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid").to_owned()
}

fn open_packet(sid: &str) -> String {
    format!(r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}"#)
}

fn eio4(sid: &str) -> Vec<u8> {
    open_packet(sid).into_bytes()
}

fn eio3(sid: &str) -> Vec<u8> {
    let packet = open_packet(sid);
    format!("{}:{packet}2:40", packet.len()).into_bytes()
}

fn eio3_binary(sid: &str) -> Vec<u8> {
    let packet = open_packet(sid);
    let digits = packet.len().to_string().bytes().map(|digit| digit - b'0').collect();
    [vec![0], digits, vec![0xff], packet.into_bytes(), b"\x00\x02\xff40".to_vec()].concat()
}

fn script(payload: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(payload).expect("JSONP carries text");
    format!(r#"___eio[0]("{}");"#, text.replace('"', r#"\""#)).into_bytes()
}

fn jsonp3(sid: &str) -> Vec<u8> {
    script(eio3(sid))
}

fn jsonp4(sid: &str) -> Vec<u8> {
    script(eio4(sid))
}

/// Query of a handshake and the body it is answered with, for every framing of Engine.IO.
type Framing = (&'static str, fn(&str) -> Vec<u8>);
const FRAMINGS: [Framing; 7] = [
    ("EIO=4&transport=polling", eio4),
    ("EIO=4&transport=polling&t=abc&b64=1", eio4),
    ("EIO=3&transport=polling&t=abc", eio3),
    ("EIO=3&transport=polling&b64=1", eio3),
    ("EIO=3&transport=polling", eio3_binary),
    ("EIO=3&transport=polling&j=0", jsonp3),
    ("EIO=4&transport=polling&j=0", jsonp4),
];

fn with_length(body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// In chunks of 7, so that no part of the packet is whole in one.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(7) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend(chunk.iter().chain(b"\r\n"));
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

/// Opens `count` sessions; each answer must be `body` unchanged, each session must stay with its issuer.
fn assert_sessions_stay(ringbolt: &Ringbolt, count: usize, query: &str, body: fn(&str) -> Vec<u8>) {
    for _ in 0..count {
        let mut client = Wire::connect(ringbolt.address());
        let answer = client.exchange(get(&format!("/socket.io/?{query}")));
        let sid = sid_of(&answer.body);
        assert_eq!(answer.body, body(&sid), "{query}: the answer was changed");
        for _ in 0..2 {
            let served = from_elsewhere(ringbolt).exchange(get(&format!("/socket.io/?{query}&sid={sid}")));
            assert_eq!(served.text(), issuer(&sid), "{query}: the session left its backend");
        }
    }
}

#[test]
fn every_framing_of_the_handshake_binds_its_session() {
    for (query, body) in FRAMINGS {
        for framed in [with_length, chunked] {
            let backends = fleet(4, move |_, sid, wire| wire.send(framed(&body(sid))));
            assert_sessions_stay(&proxy(&backends, 2), 8, query, body);
        }
    }
}

#[test]
fn a_handshake_that_ends_with_its_connection_binds_its_session() {
    let backends = fleet(4, |_, sid, wire| {
        wire.send([b"HTTP/1.1 200 OK\r\n\r\n", &eio4(sid)[..]].concat());
        wire.close();
    });
    assert_sessions_stay(&proxy(&backends, 2), 8, "EIO=4&transport=polling", eio4);
}

#[test]
fn a_handshake_split_at_any_byte_binds_its_session() {
    let backends = fleet(2, |request, sid, wire| {
        let answer = chunked(&eio3(sid));
        let at = request.head().value("X-At").unwrap().parse().unwrap_or(0).min(answer.len());
        wire.send(&answer[..at]);
        wire.send(&answer[at..]);
    });
    let ringbolt = proxy(&backends, 2);
    for at in 0..chunked(&eio3("backend0-0000000000")).len() {
        let mut client = Wire::connect(ringbolt.address());
        let answer = client.exchange(format!(
            "GET /?EIO=3&transport=polling HTTP/1.1\r\nHost: a.example\r\nX-At: {at}\r\n\r\n"
        ));
        let sid = sid_of(&answer.body);
        assert_eq!((&answer.body, answer.ending), (&eio3(&sid), Ending::Chunked), "split at {at}");
        let served = from_elsewhere(&ringbolt).exchange(get(&format!("/?EIO=3&transport=polling&sid={sid}")));
        assert_eq!(served.text(), issuer(&sid), "split at {at}");
    }
}

#[test]
fn a_handshake_in_single_bytes_binds_its_session() {
    for (query, body) in FRAMINGS {
        let backends = fleet(2, move |_, sid, wire| wire.send_in_pieces(with_length(&body(sid)), 1));
        assert_sessions_stay(&proxy(&backends, 2), 4, query, body);
    }
}

#[test]
fn the_sid_is_known_to_every_worker_when_the_first_byte_of_its_answer_arrives() {
    const CLIENTS: usize = 10;
    let backends = fleet(4, |_, sid, wire| wire.send(with_length(&eio4(sid))));
    let ringbolt = proxy(&backends, 4);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..500 / CLIENTS {
                    let mut client = Wire::connect(ringbolt.address());
                    let mut other = from_elsewhere(&ringbolt);
                    client.send(get("/?EIO=4&transport=polling"));
                    let mut answer = client.read("the handshake").expect("an answer");
                    while !answer.ends_with(b"}") {
                        answer.extend(client.read("the rest of the handshake").expect("an answer"));
                    }
                    let sid = sid_of(&answer);
                    let served = other.exchange(get(&format!("/?EIO=4&transport=polling&sid={sid}")));
                    assert_eq!(served.text(), issuer(&sid));
                }
            });
        }
    });
}

#[test]
fn a_sid_is_found_in_any_position_and_encoding() {
    let backends = fleet(4, |_, sid, wire| {
        wire.send(with_length(&eio4(&sid.replace("backend", "+/=~backend"))));
    });
    let ringbolt = proxy(&backends, 2);
    for _ in 0..8 {
        let answer = Wire::connect(ringbolt.address()).exchange(get("/?EIO=4&transport=polling"));
        let sid = sid_of(&answer.body);
        let encoded = sid.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
        let all: String = sid.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for query in [
            format!("sid={encoded}&EIO=4&transport=polling"),
            format!("EIO=4&sid={encoded}&transport=polling"),
            format!("EIO=4&transport=polling&sid={all}"),
            format!("t=x&EIO=4&transport=polling&sid={encoded}&t=y"),
            format!("EIO=4&transport=websocket&sid={sid}"),
        ] {
            let served = from_elsewhere(&ringbolt).exchange(get(&format!("/?{query}")));
            assert_eq!(served.text(), issuer(&sid).trim_start_matches("+/=~"), "{query}");
        }
    }
}

#[test]
fn posts_preflights_and_upgrades_follow_their_session() {
    let backends = fleet(4, |_, sid, wire| wire.send(with_length(&eio4(sid))));
    let ringbolt = proxy(&backends, 2);
    for _ in 0..8 {
        let answer = Wire::connect(ringbolt.address()).exchange(get("/?EIO=4&transport=polling"));
        let sid = sid_of(&answer.body);
        for (method, lines) in [
            ("POST", "Content-Length: 2\r\n\r\n42"),
            ("OPTIONS", "Access-Control-Request-Method: POST\r\n\r\n"),
            (
                "GET",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
        ] {
            let request = format!(
                "{method} /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n{lines}"
            );
            assert_eq!(from_elsewhere(&ringbolt).exchange(request).text(), issuer(&sid), "{method}");
        }
    }
}

#[test]
fn handshakes_ask_for_no_encoding_and_other_requests_may() {
    let backends = fleet(1, |_, sid, wire| wire.send(with_length(&eio4(sid))));
    let ringbolt = proxy(&backends, 1);
    for target in ["/?EIO=4&transport=polling", "/?EIO=4&transport=polling&sid=x", "/plain"] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip, br\r\n\r\n");
        Wire::connect(ringbolt.address()).exchange(request);
    }
    let kept: Vec<_> = backends[0]
        .requests()
        .iter()
        .map(|request| request.head().value("Accept-Encoding").map(str::to_owned))
        .collect();
    assert_eq!(kept, [None, Some("gzip, br".into()), Some("gzip, br".into())]);
}

#[test]
fn what_is_no_handshake_answer_passes_unchanged() {
    let bodies: [&[u8]; 7] =
        [b"", b"0", b"hello", b"0{\"sid\":", b"\x1f\x8b\x08gzip", b"97:0{}", &[b'0'; 100_000]];
    for body in bodies {
        for framed in [with_length, chunked] {
            let backends = fleet(1, move |_, _, wire| wire.send(framed(body)));
            let ringbolt = proxy(&backends, 1);
            let answer = Wire::connect(ringbolt.address()).exchange(get("/?EIO=4&transport=polling"));
            assert!(answer.body == body, "{} became {}", body.escape_ascii(), answer.body.escape_ascii());
        }
    }
    let backends =
        fleet(1, |_, _, wire| wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"));
    let ringbolt = proxy(&backends, 1);
    let answer = Wire::connect(ringbolt.address()).exchange(get("/?EIO=4&transport=polling"));
    assert_eq!((answer.status(), &*answer.text()), (400, "no"));
}

#[test]
fn unknown_sids_of_one_client_go_to_one_backend() {
    let backends = fleet(4, |_, sid, wire| wire.send(with_length(&eio4(sid))));
    let ringbolt = proxy(&backends, 2);
    let served: Vec<_> = (0..20)
        .map(|number| {
            let target = format!("/?EIO=4&transport=polling&sid=unknown{number}");
            Wire::connect(ringbolt.address()).exchange(get(&target)).text()
        })
        .collect();
    assert!(served.iter().all(|name| *name == served[0]), "{served:?}");
}

/// Entries of the sid table once a session was opened and `end` was sent, where `SID` stands for its sid.
fn entries_after(handshake: &str, body: fn(&str) -> Vec<u8>, end: &str) -> (f64, f64) {
    let backends = fleet(1, move |_, sid, wire| wire.send(with_length(&body(sid))));
    let ringbolt = proxy(&backends, 2);
    let answer = Wire::connect(ringbolt.address()).exchange(get(handshake));
    let entries = || ringbolt.metrics()["ringbolt_sid_table_entries"];
    let before = entries();
    Wire::connect(ringbolt.address()).exchange(end.replace("SID", &sid_of(&answer.body)));
    (before, entries())
}

#[test]
fn a_close_packet_forgets_the_sid() {
    let post = |query: &str, body: &str| {
        format!(
            "POST /?{query}&sid=SID HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let (four, three) = ("EIO=4&transport=polling", "EIO=3&transport=polling");
    assert_eq!(entries_after(&format!("/?{four}"), eio4, &post(four, "1")), (1.0, 0.0));
    assert_eq!(entries_after(&format!("/?{three}"), eio3, &post(three, "1:1")), (1.0, 0.0));
    let (jsonp_four, jsonp_three) = (format!("{four}&j=0"), format!("{three}&j=0"));
    assert_eq!(entries_after(&format!("/?{four}"), eio4, &post(&jsonp_four, "d=1")), (1.0, 0.0));
    assert_eq!(entries_after(&format!("/?{three}"), eio3, &post(&jsonp_three, "d=1%3A1")), (1.0, 0.0));
    assert_eq!(entries_after(&format!("/?{four}"), eio4, &post(four, "42[\"1\"]")), (1.0, 1.0));
}
