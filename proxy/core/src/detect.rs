//! What a connection speaks, seen from its first bytes.
//!
//! The first byte alone leaves at most one protocol to be confirmed: 0x16 begins a TLS handshake, `<` the request of
//! a Flash player, a capital letter a request line. Everything else, and whatever disappoints, is plain TCP. So
//! a client that speaks first is never waited for longer than its own first few bytes take, and the verdict does
//! not depend on how these are cut (property `a_verdict_stands_however_the_bytes_are_cut`). What becomes of a
//! client that says nothing is the caller's business, which has the clock.

use crate::limits::METHOD_BYTES_MAX;

#[cfg(test)]
mod tests;

/// What a connection may speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http,
    /// TLS, beginning with a ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
    Tls,
    /// The request a Flash player sends to a port before it opens a socket there.
    FlashPolicy,
    /// Anything else, or a client that waits for the server to speak first.
    Tcp,
}

/// The request of a Flash player. A NUL follows; the element is complete without it, so it is not waited for.
pub const FLASH_POLICY_REQUEST: &[u8] = b"<policy-file-request/>";

impl Protocol {
    pub const ALL: [Self; 4] = [Self::Http, Self::Tls, Self::FlashPolicy, Self::Tcp];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The protocols that are served in one place.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Protocols(u8);

/// What becomes of a connection, as far as its bytes have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// More bytes are needed.
    Undecided,
    /// It is served as this.
    Serve(Protocol),
    /// It speaks this, which is not served here. [`Protocol::Tcp`]: nothing that is known.
    Refuse(Protocol),
}

impl FromIterator<Protocol> for Protocols {
    fn from_iter<I: IntoIterator<Item = Protocol>>(protocols: I) -> Self {
        Self(protocols.into_iter().fold(0, |bits, protocol| bits | protocol.bit()))
    }
}

impl Protocols {
    #[must_use]
    pub const fn of(protocol: Protocol) -> Self {
        Self(protocol.bit())
    }

    #[must_use]
    pub const fn has(self, protocol: Protocol) -> bool {
        self.0 & protocol.bit() != 0
    }

    #[must_use]
    pub const fn without(self, protocol: Protocol) -> Self {
        Self(self.0 & !protocol.bit())
    }

    /// What is served at either of two places.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether exactly this protocol is served.
    #[must_use]
    pub const fn is_only(self, protocol: Protocol) -> bool {
        self.0 == protocol.bit()
    }

    /// The verdict on a connection that has begun with `input`.
    ///
    /// Where TCP is served it takes whatever the others do not. Where it is not but HTTP is, that takes
    /// what is none of the others, because it has an answer to everything.
    #[must_use]
    pub fn judge(self, input: &[u8]) -> Verdict {
        if self.is_only(Protocol::Tcp) {
            return Verdict::Serve(Protocol::Tcp);
        }
        if input.is_empty() {
            return Verdict::Undecided;
        }
        let (protocol, certain) = recognise(input);
        let fallback = [Protocol::Tcp, Protocol::Http].into_iter().find(|fallback| self.has(*fallback));
        // TLS gets an answer of its own where HTTP is all there is.
        let is_told_apart = self.has(protocol) || (protocol == Protocol::Tls && !self.has(Protocol::Tcp));
        match fallback {
            Some(fallback) if protocol == fallback || !is_told_apart => Verdict::Serve(fallback),
            _ if !certain => Verdict::Undecided,
            _ if self.has(protocol) => Verdict::Serve(protocol),
            _ => Verdict::Refuse(protocol),
        }
    }
}

/// Whether bytes that are no HTTP may begin a TLS connection.
#[must_use]
pub fn may_be_tls(input: &[u8]) -> bool {
    !input.is_empty() && recognise(input).0 == Protocol::Tls
}

/// The one protocol that `input`, of at least one byte, may be, and whether that is certain.
fn recognise(input: &[u8]) -> (Protocol, bool) {
    let (protocol, likeness) = match input {
        [0x16, ..] => (Protocol::Tls, client_hello(input)),
        [b'<', ..] => (Protocol::FlashPolicy, beginning(input, FLASH_POLICY_REQUEST)),
        [b'A'..=b'Z', ..] => (Protocol::Http, request_line(input)),
        _ => (Protocol::Tcp, Likeness::Is),
    };
    match likeness {
        Likeness::Is => (protocol, true),
        Likeness::MayBe => (protocol, false),
        Likeness::IsNot => (Protocol::Tcp, true),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Likeness {
    Is,
    /// As far as it has come.
    MayBe,
    IsNot,
}

/// Whether `input` begins with `whole`.
fn beginning(input: &[u8], whole: &[u8]) -> Likeness {
    let known = input.len().min(whole.len());
    match input[..known] == whole[..known] {
        true if known == whole.len() => Likeness::Is,
        true => Likeness::MayBe,
        false => Likeness::IsNot,
    }
}

/// Whether `input` is a handshake record (RFC 8446 section 5.1) that begins with a ClientHello.
///
/// No text begins like that, and hardly a binary protocol by chance.
fn client_hello(input: &[u8]) -> Likeness {
    const RECORD_BYTES_MAX: u16 = 1 << 14;
    let is_right = |(at, &byte): (usize, &u8)| match at {
        0 => byte == 0x16,
        1 => byte == 3,
        // The rest of the version is to be ignored.
        2 => true,
        3 => u16::from(byte) <= RECORD_BYTES_MAX >> 8,
        4 => (1..=RECORD_BYTES_MAX).contains(&u16::from_be_bytes([input[3], byte])),
        _ => byte == 1,
    };
    match input.iter().take(6).enumerate().all(is_right) {
        true if input.len() >= 6 => Likeness::Is,
        true => Likeness::MayBe,
        false => Likeness::IsNot,
    }
}

/// Whether `input` is a request line: a method in capital letters, a space, and what a target begins with.
///
/// Other protocols in lines of text begin with capital letters too (`EHLO name`, `NICK name`, `REGISTER sip:name`), but
/// hardly with a path behind the first word.
fn request_line(input: &[u8]) -> Likeness {
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    let method = input.iter().take(METHOD_BYTES_MAX + 1).take_while(|byte| is_method(byte)).count();
    let target = match input.get(method) {
        None if method <= METHOD_BYTES_MAX => return Likeness::MayBe,
        Some(b' ') => &input[method + 1..],
        _ => return Likeness::IsNot,
    };
    match target {
        [] => Likeness::MayBe,
        _ if input.starts_with(b"CONNECT ") => Likeness::Is,
        [b'/' | b'*', ..] => Likeness::Is,
        _ => match (beginning(target, b"http://"), beginning(target, b"https://")) {
            (Likeness::Is, _) | (_, Likeness::Is) => Likeness::Is,
            (Likeness::MayBe, _) | (_, Likeness::MayBe) => Likeness::MayBe,
            _ => Likeness::IsNot,
        },
    }
}
