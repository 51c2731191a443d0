//! A DNS server on loopback that says what a test wants it to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

/// Longest message over UDP that is asked for here (RFC 6891 section 6.2.5).
const MESSAGE_BYTES_MAX: usize = 4096;

const A: u16 = 1;
const SRV: u16 = 33;

/// What becomes of questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// They are answered: with no records where there are none.
    Answers,
    /// They are not.
    Silent,
    /// They are answered with SERVFAIL.
    Fails,
    /// They are answered with NXDOMAIN.
    Denies,
}

#[derive(Debug)]
struct Zone {
    mood: Mood,
    ttl: u32,
    /// Data of the records of a name and type.
    records: BTreeMap<(String, u16), Vec<Vec<u8>>>,
    questions: usize,
    stopped: bool,
}

/// The server. It stops when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    serving: Option<JoinHandle<()>>,
}

impl Dns {
    /// Serves an empty zone whose answers hold for `ttl` seconds.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let records = BTreeMap::new();
        let zone = Zone { mood: Mood::Answers, ttl, records, questions: 0, stopped: false };
        let zone = Arc::new(Mutex::new(zone));
        let shared = Arc::clone(&zone);
        let serving = thread::spawn(move || serve(&socket, &shared));
        Self { address, zone, serving: Some(serving) }
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the addresses of a name.
    pub fn set_addresses(&self, name: &str, addresses: &[Ipv4Addr]) {
        let records = addresses.iter().map(|address| address.octets().to_vec()).collect();
        self.zone.lock().records.insert((name.to_owned(), A), records);
    }

    /// Replaces the services of a name: priority, weight, port and target of each.
    pub fn set_services(&self, name: &str, services: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
            [numbers.concat(), wire_name(target)].concat()
        };
        self.zone.lock().records.insert((name.to_owned(), SRV), services.iter().map(record).collect());
    }

    /// What becomes of questions from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.zone.lock().mood = mood;
    }

    /// Questions there have been.
    #[must_use]
    pub fn questions(&self) -> usize {
        self.zone.lock().questions
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.zone.lock().stopped = true;
        // Wakes the thread; one that has failed has ended.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut message = [0; MESSAGE_BYTES_MAX];
    while let Ok((length, client)) = socket.recv_from(&mut message) {
        let mut zone = zone.lock();
        if zone.stopped {
            return;
        }
        if let Some(answer) = zone.answer(&message[..length]) {
            // Whoever asked may have gone.
            let _ = socket.send_to(&answer, client);
        }
    }
}

impl Zone {
    /// The answer to a question (RFC 1035 section 4.1); `None`: there is none, or it is no question.
    fn answer(&mut self, question: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = question.split_at_checked(12)?;
        let (name, length) = text_name(rest)?;
        let kind = u16::from_be_bytes(rest.get(length..length + 2)?.try_into().ok()?);
        let asked = rest.get(..length + 4)?;
        self.questions += 1;
        let code = match self.mood {
            Mood::Silent => return None,
            Mood::Answers => 0,
            Mood::Fails => 2,
            Mood::Denies => 3,
        };
        let none = Vec::new();
        let records = self.records.get(&(name, kind)).filter(|_| code == 0).unwrap_or(&none);
        let count = u16::try_from(records.len()).ok()?;
        // A response, recursion desired and available; one question; no other sections than answers.
        let mut answer =
            [&head[..2], &[0x81, 0x80 | code], &[0, 1], &count.to_be_bytes(), &[0; 4], asked].concat();
        for data in records {
            let length = u16::try_from(data.len()).ok()?;
            // The name is that of the question, at byte 12.
            answer.extend([[0xc0, 12], kind.to_be_bytes(), [0, 1]].concat());
            answer.extend(self.ttl.to_be_bytes());
            answer.extend(length.to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

/// A name and the bytes it takes, without compression.
fn text_name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = bytes.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let label = |label: &str| {
        let length = u8::try_from(label.len()).expect("a short label");
        [&[length], label.as_bytes()].concat()
    };
    let mut wire: Vec<u8> = name.split('.').flat_map(label).collect();
    wire.push(0);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_wire() {
        let wire = wire_name("_chat._tcp.example");
        assert_eq!(text_name(&wire), Some(("_chat._tcp.example".to_owned(), wire.len())));
        assert_eq!(text_name(b"\x03ab"), None);
    }
}
