//! What we forward is the same messages to h11, and what h11 refuses we do not forward.
//!
//! hyper, the second parser of the fuzz targets, shares its tokeniser with us; h11 is written in Python and shares
//! nothing. Fails with a request that a backend reads as another one, or as two, and with a response that is
//! complete to a client though it was not. Inputs are the corpus and changes to it, the same in every run.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use ringbolt_fuzz::forwarding::{Message, Reply, forward, pass_on};
use ringbolt_harness::python;
use serde_json::{Value, json};

/// Changed inputs for each of the corpus.
const CHANGES: u64 = 40;

/// What parsers disagree about.
const PIECES: [&[u8]; 24] = [
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content-length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Host: b\r\n",
    b" folded\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"5;ext=\"a\"\r\nhello\r\n",
    b"5\nhello\n",
    b"\r",
    b"\n",
    b"\0",
    b"\t",
    b" ",
    b",",
    b"+5",
    b"0x5",
    b"05",
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// A reproducible stream of numbers: xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).expect("32 bits") % limit.max(1)
    }
}

fn changed(input: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + 1 + dice.below(8)).min(bytes.len());
        match dice.below(4) {
            0 => drop(bytes.drain(at..end)),
            1 if at < bytes.len() => bytes[at] = PIECES[dice.below(PIECES.len())][0],
            // Before a line, where a field would stand.
            2 => {
                let line =
                    bytes[at..].windows(2).position(|pair| pair == b"\r\n").map_or(at, |line| at + line + 2);
                bytes.splice(line..line, PIECES[dice.below(PIECES.len())].iter().copied());
            }
            _ => drop(bytes.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied())),
        }
    }
    bytes
}

/// The corpus of these targets, and changes to it.
fn inputs(targets: &[&str]) -> Vec<Vec<u8>> {
    let mut dice = Dice(0x00c0_ffee);
    let mut inputs = Vec::new();
    for target in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files: Vec<_> =
            fs::read_dir(folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
        files.sort();
        for file in files {
            let input = fs::read(file).expect("an input");
            inputs.extend((0..CHANGES).map(|_| changed(&input, &mut dice)));
            inputs.push(input);
        }
    }
    inputs
}

/// What h11 makes of each.
fn read_by_h11(cases: Vec<(&'static str, Vec<u8>)>) -> Vec<(Vec<Value>, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("h11_reader.py");
    let mut reader =
        python().arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python with h11");
    let count = cases.len();
    let mut input = reader.stdin.take().expect("a pipe");
    let writing = thread::spawn(move || {
        for (kind, bytes) in cases {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(input, "{}", json!({ "kind": kind, "bytes": hex })).expect("it reads");
        }
    });
    let lines = BufReader::new(reader.stdout.take().expect("a pipe")).lines();
    let results: Vec<_> = lines
        .map(|line| {
            let mut line: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            let end = line["end"].as_str().expect("an end").to_owned();
            let Value::Array(read) = line["read"].take() else { panic!("no list: {line}") };
            (read, end)
        })
        .collect();
    writing.join().expect("all is written");
    assert!(reader.wait().expect("an end").success(), "h11_reader.py failed");
    assert_eq!(results.len(), count);
    results
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let hex = value.as_str().expect("text");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn message_of(read: &Value) -> Message {
    let [method, target, body] = ["method", "target", "body"].map(|key| bytes_of(&read[key]));
    Message { method, target, body }
}

/// A framing field in a trailer, which h11 judges as in a head; we drop it (RFC 9110 section 6.5.1).
fn has_framing_behind_its_head(input: &[u8]) -> bool {
    let text = input.to_ascii_lowercase();
    let head = text.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(text.len());
    let found = |name: &[u8]| text[head..].windows(name.len()).any(|window| window == name);
    found(b"content-length") || found(b"transfer-encoding")
}

#[test]
fn requests_are_the_same_to_h11() {
    let inputs = inputs(&["differential_request", "request_head", "body"]);
    let forwarded: Vec<_> = inputs.iter().map(|input| forward(input)).collect();
    let sent = forwarded.iter().map(|forwarded| ("requests", forwarded.bytes.clone()));
    let raw = inputs.iter().map(|input| ("requests", input.clone()));
    let theirs = read_by_h11(sent.chain(raw).collect());
    let (of_sent, of_raw) = theirs.split_at(inputs.len());
    let mut messages = 0;
    for (number, ours) in forwarded.iter().enumerate() {
        let shown = inputs[number].escape_ascii();
        let read: Vec<Message> = of_sent[number].0.iter().map(message_of).collect();
        assert_eq!(read, ours.messages, "a backend reads other requests: {shown}");
        messages += read.len();
        // The client's own bytes: h11 may refuse what we take, but not take it for something else.
        for (ours, theirs) in ours.messages.iter().zip(&of_raw[number].0) {
            let theirs = message_of(theirs);
            assert_eq!(
                (&ours.method, &ours.body),
                (&theirs.method, &theirs.body),
                "another meaning: {shown}"
            );
        }
        // Before a request it refuses the empty lines that RFC 9112 section 2.2 wants ignored.
        let (taken, end) = (of_raw[number].0.len(), of_raw[number].1.as_str());
        let refused = end == "refused" && taken == 0 && !inputs[number].starts_with(b"\r\n");
        let stricter = taken < ours.messages.len() && (refused || end == "broken");
        assert!(
            !stricter || has_framing_behind_its_head(&inputs[number]),
            "h11 refuses what we forward ({end}): {shown}"
        );
    }
    assert!(messages > inputs.len() / 20, "{messages} messages in {} inputs are no test", inputs.len());
}

#[test]
fn responses_are_the_same_to_h11() {
    let inputs = inputs(&["differential_response", "response_head"]);
    let methods = ["GET", "HEAD"];
    let cases: Vec<_> = inputs.iter().flat_map(|input| methods.map(|method| (method, input))).collect();
    let passed: Vec<_> = cases
        .iter()
        .map(|(method, input)| {
            let mut bytes = Vec::new();
            (pass_on(input, method, &mut bytes), bytes)
        })
        .collect();
    let sent = cases.iter().zip(&passed).map(|((method, _), (_, bytes))| (*method, bytes.clone()));
    let raw = cases.iter().map(|(method, input)| (*method, (*input).clone()));
    let theirs = read_by_h11(sent.chain(raw).collect());
    let (of_sent, of_raw) = theirs.split_at(cases.len());
    let mut complete = 0;
    for (number, (ours, _)) in passed.iter().enumerate() {
        let shown = format!("{} {}", cases[number].0, cases[number].1.escape_ascii());
        let reply = |(read, end): &(Vec<Value>, String)| match (end.as_str(), read.first()) {
            ("complete", Some(read)) => Reply::Complete {
                status: read["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status"),
                body: bytes_of(&read["body"]),
            },
            ("broken", _) => Reply::BrokenBody,
            _ => Reply::NoHead,
        };
        let (sent, raw) = (reply(&of_sent[number]), reply(&of_raw[number]));
        match ours {
            Reply::Complete { .. } => {
                complete += 1;
                assert_eq!(&sent, ours, "a client reads another response: {shown}");
                let refused = raw == Reply::NoHead
                    || raw == Reply::BrokenBody && has_framing_behind_its_head(cases[number].1);
                assert!(raw == *ours || refused, "the backend meant {raw:?}, not {ours:?}: {shown}");
            }
            Reply::NoHead => assert_eq!(sent, Reply::NoHead, "{shown}"),
            Reply::BrokenBody => {
                assert!(!matches!(sent, Reply::Complete { .. }), "a broken response looks complete: {shown}");
            }
        }
    }
    assert!(complete > cases.len() / 20, "{complete} complete of {} are no test", cases.len());
}
