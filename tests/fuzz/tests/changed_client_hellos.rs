//! ClientHellos of real clients and changes to them keep the promises of their target, above all that a server reads the
//! same name in them.
//!
//! Fails with a connection that is passed to another server than its client asked for. Inputs are the same in every run
//! but for what is random in a ClientHello.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use ringbolt_fuzz::TARGETS;
use ringbolt_harness::tls::Authority;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

/// Changed inputs for each unchanged one.
const CHANGES: u64 = 1_000;

/// What rustls' clients say, to names and to an address, by either version, in one record and in many.
fn real() -> Vec<Vec<u8>> {
    let authority = Authority::new();
    let mut hellos = Vec::new();
    for (name, fragment) in [("a.example", None), ("chat.example.com", Some(64)), ("127.0.0.1", None)] {
        for versions in [&[&TLS12][..], &[&TLS13], &[&TLS13, &TLS12]] {
            let mut config = authority.client_with(versions, None).as_ref().clone();
            config.max_fragment_size = fragment;
            let name = ServerName::try_from(name).expect("a name");
            let mut client = ClientConnection::new(config.into(), name).expect("a client");
            let mut hello = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut hello).expect("written to memory");
            }
            hellos.push(hello);
        }
    }
    hellos
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/client_hello");
    let entries = fs::read_dir(&folder).expect("the corpus");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a file")).collect()
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below a usize")
    }
}

/// One to three small changes.
fn changed(original: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        let end = (at + 1 + dice.below(8)).min(bytes.len());
        match dice.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                drop(bytes.splice(at..at, original[at.min(original.len())..end.min(original.len())].to_vec()))
            }
            3 => bytes[at] = [0, 1, 22, 0xff, b'.', b'_', 0x80][dice.below(7)],
            // A length by one, where that is what stands here.
            4 => bytes[at] = bytes[at].wrapping_add(1),
            _ => bytes[at] ^= 1 << dice.below(8),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn a_server_reads_the_name_that_we_read() {
    let target = TARGETS.iter().find(|target| target.name == "client_hello").expect("the target");
    let mut dice = Dice(0x5eed);
    for hello in real().into_iter().chain(corpus()) {
        (target.run)(&hello);
        for _ in 0..CHANGES {
            (target.run)(&changed(&hello, &mut dice));
        }
    }
}
