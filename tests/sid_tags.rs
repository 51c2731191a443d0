//! A sid with a tag finds its backend through any proxy that has the key, and no backend ever sees the tag.
//!
//! Fails with another backend's answer for sids that two of them have issued, with a body longer than its head says, or
//! with a forged tag that leads to a backend of the forger's choice.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ringbolt_harness::raw::{Backend, Ending, Message, Request, Wire};
use ringbolt_harness::{Options, Ringbolt};
use tempfile::TempDir;

const TAG_BYTES: usize = 29;
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn open_packet(sid: &str) -> String {
    format!(r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}"#)
}

/// How an answer of 200 is framed.
fn framed(request: &Request, more: &str, body: &str) -> String {
    match request.head().target().contains("chunked") {
        false => format!("HTTP/1.1 200 OK\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len()),
        true => {
            let (first, rest) = body.split_at(body.len() / 3);
            let chunks: String =
                [first, rest, ""].map(|part| format!("{:x}\r\n{part}\r\n", part.len())).concat();
            format!("HTTP/1.1 200 OK\r\n{more}Transfer-Encoding: chunked\r\n\r\n{chunks}")
        }
    }
}

/// Backends of which each issues the sids 1, 2, 3, and answers any sid with its name.
fn counting<const COUNT: usize>() -> [Backend; COUNT] {
    std::array::from_fn(|number| {
        let issued = AtomicUsize::new(0);
        Backend::start(move |request, wire| {
            let target = request.head().target();
            if target.contains("sid=") {
                return wire.send(framed(request, "", &format!("backend{number}")));
            }
            let sid = (issued.fetch_add(1, Relaxed) + 1).to_string();
            let body = match (target.contains("EIO=3"), target.contains("j=0")) {
                (true, _) => format!("{}:{}2:40", open_packet(&sid).len(), open_packet(&sid)),
                (false, true) => format!(r#"___eio[0]("{}");"#, open_packet(&sid).replace('"', r#"\""#)),
                (false, false) => open_packet(&sid),
            };
            wire.send(framed(
                request,
                &format!("Set-Cookie: io={sid}\r\nX-Backend: backend{number}\r\n"),
                &body,
            ));
        })
    })
}

/// A folder with a file of keys.
struct Keys(TempDir);

impl Keys {
    fn new(keys: &[&str]) -> Self {
        let keys_file = Self(tempfile::tempdir().expect("a folder"));
        keys_file.set(keys);
        keys_file
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sid-tags.keys")
    }

    fn set(&self, keys: &[&str]) {
        fs::write(self.file(), keys.join("\n")).expect("the file is written");
    }

    /// A proxy that believes them and asks nobody.
    fn proxy(&self, backends: &[Backend], more: &str) -> Ringbolt {
        self.proxy_with_routes(backends, more, "")
    }

    fn proxy_with_routes(&self, backends: &[Backend], more: &str, routes: &str) -> Ringbolt {
        let entries: Vec<_> = (0..)
            .zip(backends)
            .map(|(number, backend)| {
                format!("{{ name = \"{number}\", address = \"{}\" }}", backend.address())
            })
            .collect();
        let config = format!(
            "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"main\"\n\
             [upstream.main]\nask_rate = \"off\"\nsid_tags = {{ keys = \"{}\"{more} }}\nbackends = [{}]\n{routes}",
            self.file().display(),
            entries.join(", ")
        );
        Ringbolt::start(&Options {
            config: Some(config),
            ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
        })
    }
}

fn get(ringbolt: &Ringbolt, target: &str) -> Message {
    Wire::connect(ringbolt.address()).exchange(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
}

/// The sid in a handshake answer, wherever it stands.
fn sid_of(answer: &Message) -> String {
    let text = answer.text().replace('\\', "");
    text.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid").to_owned()
}

/// Opens a session; its tagged sid and its backend.
fn open(ringbolt: &Ringbolt, query: &str) -> (String, String) {
    let answer = get(ringbolt, &format!("/?EIO=4&transport=polling{query}"));
    (sid_of(&answer), answer.head.value("X-Backend").expect("a backend").to_owned())
}

fn tags(ringbolt: &Ringbolt, result: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_sid_tags_total{{result=\"{result}\"}}")]
}

#[test]
fn any_proxy_with_the_key_finds_sessions_whose_sids_are_the_same_everywhere() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<4>();
    let [one, two] = [keys.proxy(&backends, ""), keys.proxy(&backends, "")];
    let sessions: Vec<_> = (0..40).map(|_| open(&one, "")).collect();
    for (sid, backend) in &sessions {
        assert_eq!(sid.len(), sid.split('.').next().expect("a part").len() + TAG_BYTES, "{sid}");
        for proxy in [&one, &two] {
            assert_eq!(get(proxy, &format!("/?EIO=4&transport=polling&sid={sid}&t=x")).text(), *backend);
        }
    }
    for backend in &backends {
        let with_sid = |request: &&Request| request.head().target().contains("sid=");
        let requests = backend.requests();
        assert!(
            requests.iter().filter(with_sid).all(|request| {
                let target = request.head().target();
                target.ends_with("&t=x") && !target.contains('.')
            }),
            "the tag alone is stripped: {requests:?}"
        );
    }
    assert_eq!([tags(&one, "issued"), tags(&two, "issued"), tags(&two, "valid")], [40.0, 0.0, 40.0]);
    assert_eq!(two.metrics()["ringbolt_affinity_decisions_total{evidence=\"tag\"}"], 40.0);
}

#[test]
fn every_form_of_the_handshake_is_as_long_as_it_says() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<1>();
    let proxy = keys.proxy(&backends, "");
    for (query, ending) in [
        ("", Ending::Length),
        ("&chunked", Ending::Chunked),
        ("&j=0", Ending::Length),
        ("&j=0&chunked", Ending::Chunked),
    ] {
        let mut wire = Wire::connect(proxy.address());
        let request = format!("GET /?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        for _ in 0..2 {
            let answer = wire.exchange(&request);
            assert_eq!(answer.ending, ending, "{query}");
            let sid = sid_of(&answer);
            let (own, tag) = sid.split_at(sid.len() - TAG_BYTES);
            let untagged = answer.text().replace(tag, "");
            let packet = open_packet(own);
            let expected = match query.contains("j=0") {
                true => format!(r#"___eio[0]("{}");"#, packet.replace('"', r#"\""#)),
                false => packet,
            };
            assert_eq!(untagged, expected, "{query}");
            assert_eq!(answer.head.value("Set-Cookie"), Some(&*format!("io={own}")), "the backend's own");
        }
    }
}

#[test]
fn sids_of_the_old_protocol_and_other_answers_are_left_alone() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<1>();
    let proxy = keys.proxy(&backends, "");
    let answer = get(&proxy, "/?EIO=3&transport=polling");
    assert_eq!(answer.text(), format!("{}:{}2:40", open_packet("1").len(), open_packet("1")));
    assert_eq!(get(&proxy, "/?EIO=3&transport=polling&sid=1").text(), "backend0");
    assert_eq!(tags(&proxy, "issued"), 0.0);
    assert_eq!(get(&proxy, "/plain?sid=a.AAAAAAAAAAAAAAAAAAAAAAAAAAAA").text(), "backend0");
    let last = backends[0].requests().pop().expect("a request");
    assert_eq!(last.head().target(), "/plain?sid=a.AAAAAAAAAAAAAAAAAAAAAAAAAAAA");
}

#[test]
fn a_route_says_whether_its_new_sids_are_tagged_and_tags_are_read_on_all() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<3>();
    let route = |issue| format!("[[route]]\npath = \"/{issue}\"\nupstream = \"main\"\nsid_tags = {issue}\n");
    for (issue, own, other) in [(true, "/", "/false/"), (false, "/true/", "/")] {
        let proxy = keys.proxy_with_routes(
            &backends,
            &format!(", issue = {issue}"),
            &[route(true), route(false)].concat(),
        );
        let open = |path: &str| get(&proxy, &format!("{path}?EIO=4&transport=polling"));
        assert!(!sid_of(&open(other)).contains('.'), "{issue}: as the route or the upstream says");
        let answer = open(own);
        let (sid, backend) = (sid_of(&answer), answer.head.value("X-Backend").expect("a backend").to_owned());
        for path in ["/", "/true/", "/false/"] {
            assert_eq!(get(&proxy, &format!("{path}?EIO=4&transport=polling&sid={sid}")).text(), backend);
        }
        assert_eq!([tags(&proxy, "issued"), tags(&proxy, "valid")], [1.0, 3.0]);
    }
}

#[test]
fn a_tag_that_is_not_ours_is_no_evidence_and_is_counted() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<3>();
    let proxy = keys.proxy(&backends, ", max_age = \"1s\"");
    let (sid, _) = open(&proxy, "");
    let (cut, last) = sid.split_at(sid.len() - 1);
    let forged = format!("{cut}{}", if last == "A" { "B" } else { "A" });
    let foreign = {
        let other = Keys::new(&[OTHER_KEY]).proxy(&backends, "");
        open(&other, "").0
    };
    for sid in [&*forged, cut, &*foreign] {
        let target = format!("/?EIO=4&transport=polling&sid={sid}");
        get(&proxy, &target);
        let seen =
            |backend: &Backend| backend.requests().iter().any(|request| request.head().target() == target);
        assert!(backends.iter().any(seen), "it goes on as it came: {sid}");
    }
    assert_eq!(["forged", "none", "foreign"].map(|result| tags(&proxy, result)), [1.0; 3]);
    // A second machine, whose table does not know it either.
    let second = keys.proxy(&backends, ", max_age = \"1s\"");
    let is_expired = || {
        get(&second, &format!("/?EIO=4&transport=polling&sid={sid}"));
        tags(&second, "expired") > 0.0
    };
    while !is_expired() {
        std::thread::yield_now();
    }
    assert_eq!(
        get(&proxy, &format!("/?EIO=4&transport=polling&sid={sid}")).status(),
        200,
        "the table knows it"
    );
}

#[test]
fn keys_are_rotated_without_losing_a_session() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<3>();
    let [one, two] = [keys.proxy(&backends, ""), keys.proxy(&backends, "")];
    let reload = |keys_now: &[&str]| {
        keys.set(keys_now);
        for proxy in [&one, &two] {
            let (code, said) = proxy.order(&["reload"]);
            assert_eq!(code, Some(0), "{said}");
        }
    };
    let mut sessions = vec![open(&one, "")];
    for keys_now in [&[KEY, OTHER_KEY][..], &[OTHER_KEY, KEY]] {
        reload(keys_now);
        sessions.push(open(&one, ""));
        for (sid, backend) in &sessions {
            assert_eq!(get(&two, &format!("/?EIO=4&transport=polling&sid={sid}")).text(), *backend);
        }
    }
    reload(&[OTHER_KEY]);
    let (sid, backend) = sessions.pop().expect("a session");
    assert_eq!(get(&two, &format!("/?EIO=4&transport=polling&sid={sid}")).text(), backend);
    assert_eq!(tags(&two, "foreign"), 0.0);
    get(&two, &format!("/?EIO=4&transport=polling&sid={}", sessions[0].0));
    assert_eq!(tags(&two, "foreign"), 1.0, "its key is gone");
    fs::write(keys.file(), "no key").expect("the file is written");
    let (code, said) = two.order(&["reload"]);
    assert!(code != Some(0) && said.contains("sid_tags.keys") && said.contains("line 1"), "{said}");
    assert_eq!(
        get(&two, &format!("/?EIO=4&transport=polling&sid={sid}")).text(),
        backend,
        "the old ones stay"
    );
}

#[test]
fn an_upgrade_and_a_post_are_stripped_too() {
    let keys = Keys::new(&[KEY]);
    let backends = counting::<3>();
    let proxy = keys.proxy(&backends, "");
    let (sid, backend) = open(&proxy, "");
    let own = &sid[..sid.len() - TAG_BYTES];
    let encoded = sid.replace('.', "%2E");
    for head in [
        format!(
            "POST /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n42"
        ),
        format!(
            "GET /?sid={encoded}&EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
    ] {
        assert_eq!(Wire::connect(proxy.address()).exchange(&head).text(), backend);
    }
    let index: usize = backend.trim_start_matches("backend").parse().expect("a number");
    let targets: Vec<_> =
        backends[index].requests().iter().map(|request| request.head().target().to_owned()).collect();
    assert_eq!(
        targets[1..],
        [format!("/?EIO=4&transport=polling&sid={own}"), format!("/?sid={own}&EIO=4&transport=websocket")]
    );
}
