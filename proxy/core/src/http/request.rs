//! A request head: read strictly, understood once.
//!
//! The meaning of the head is settled in [`RequestHead::parse`]; what is asked of it later is only
//! looked up. How it is written on stands in `forward.rs`.

use super::Version;
use super::authority::Authority;
use super::fields::{FieldFault, Fields, Options, Span, list_elements, trim};
use super::framing::{Framing, declared};
use super::lines::{HeadLimits, LineFault, block_at, line_at};
use super::name::Name;
use super::refusal::Refusal;
use super::request_line::{Method, RequestLine, check_beginning};
use super::websocket::WebSocketKey;
use crate::downgrade::Downgrade;

/// What becomes of a request's Upgrade field.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Upgrade {
    /// There is none.
    #[default]
    None,
    /// A complete WebSocket handshake: forwarded, and a 101 may answer it.
    WebSocket,
    /// Anything else: the field is dropped and the request is an ordinary one.
    Ignored,
    /// A WebSocket handshake in HTTP/1.0. Some hop in front of us has downgraded it, so it cannot
    /// succeed, and a backend may hang on it. The caller answers [`super::Answer::UPGRADE_DOWNGRADED`]
    /// at once.
    RefusedHttp10,
}

/// A request head with its bytes. It is reused: every [`RequestHead::parse`] starts afresh in the same
/// memory.
#[derive(Default, Debug)]
pub struct RequestHead {
    pub(super) fields: Fields,
    method: Method,
    method_bytes: Span,
    target: Span,
    authority: Span,
    host: Span,
    version: Version,
    framing: Framing,
    options: Options,
    expects_continue: bool,
    upgrade: Upgrade,
}

impl RequestHead {
    /// Forgets the head and keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// Parses the head at the start of `input` and returns its length, or `None` if it is incomplete.
    ///
    /// Called again with more bytes it gives the same verdict as if they had come at once. An
    /// incomplete head costs one search for line ends. One empty line before the head is skipped and
    /// counted in the length, as RFC 9112 section 2.2 asks.
    ///
    /// # Errors
    /// The refusal to answer with; the head's content is then unspecified.
    pub fn parse(&mut self, input: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
        self.clear();
        let skipped = match input {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => 2,
            _ => 0,
        };
        let input = &input[skipped..];
        check_beginning(input, limits)?;
        let Some(length) = line_at(input, 0, limits)? else {
            return Ok(None);
        };
        let line = RequestLine::parse(&input[..length])?;
        let Some(block) = block_at(input, length + 2, limits)? else {
            return Ok(None);
        };
        let head = &input[..block.end];
        self.options = self.fields.fill(head, length + 2, block.count)?;
        self.understand(head, &line)?;
        Ok(Some(skipped + block.end))
    }

    fn understand(&mut self, head: &[u8], line: &RequestLine<'_>) -> Result<(), Refusal> {
        self.method = line.method;
        self.method_bytes = Span::of(line.method_bytes, head);
        self.version = line.version;
        self.target = Span::of(line.target.rest, head);
        if !line.target.prefix.is_empty() {
            self.target = self.fields.append(line.target.prefix, self.target);
        }
        self.find_authority(head, line)?;
        self.framing = declared(&self.fields, self.version)?;
        self.expects_continue = self.judge_expectation()?;
        self.upgrade = self.judge_upgrade();
        Ok(())
    }

    /// The Host field must be there, once and well-formed, even where the target overrides it.
    fn find_authority(&mut self, head: &[u8], line: &RequestLine<'_>) -> Result<(), Refusal> {
        let mut hosts = self.fields.values(Name::Host);
        let sent = hosts.next().ok_or(Refusal::HOST_MISSING)?;
        if hosts.next().is_some() {
            return Err(Refusal::HOST_REPEATED);
        }
        let sent = Authority::parse(sent).ok_or(Refusal::HOST)?;
        let (authority, whole) = match line.target.authority {
            Some(authority) => (authority, head),
            None => (sent, self.fields.bytes()),
        };
        self.authority = Span::of(authority.whole, whole);
        self.host = Span::of(authority.host, whole);
        Ok(())
    }

    /// Whether the client waits for a 100. HTTP/1.0 has none, so there the field means nothing; nor
    /// does it without a body (RFC 9110 section 10.1.1).
    fn judge_expectation(&self) -> Result<bool, Refusal> {
        let mut expects = false;
        for value in self.fields.values(Name::Expect) {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::EXPECTATION);
            }
            expects = true;
        }
        Ok(expects && self.version == Version::Http11 && !self.is_bodiless())
    }

    fn judge_upgrade(&self) -> Upgrade {
        let mut tokens = self.fields.values(Name::Upgrade).flat_map(list_elements);
        let Some(first) = tokens.next() else {
            // A hop that speaks HTTP/1.0 often drops Upgrade and leaves the key, which has no other use.
            let downgraded = self.version == Version::Http10 && self.fields.has(Name::WebSocketKey);
            return if downgraded { Upgrade::RefusedHttp10 } else { Upgrade::None };
        };
        let only = tokens.next().is_none();
        let is_websocket = |token: &[u8]| token.eq_ignore_ascii_case(b"websocket");
        if self.version == Version::Http10 {
            let mut all = self.fields.values(Name::Upgrade).flat_map(list_elements);
            let asked = all.any(is_websocket) || self.fields.has(Name::WebSocketKey);
            return if asked { Upgrade::RefusedHttp10 } else { Upgrade::Ignored };
        }
        let complete = only
            && is_websocket(first)
            && self.options.upgrade
            && self.method == Method::Get
            && self.is_bodiless()
            && self.fields.only(Name::WebSocketKey).and_then(WebSocketKey::parse).is_some();
        if complete { Upgrade::WebSocket } else { Upgrade::Ignored }
    }

    /// What a hop has done to the WebSocket handshake this was, or `None`: it was none, or is whole.
    #[inline]
    #[must_use]
    pub fn downgrade(&self) -> Option<Downgrade> {
        match self.upgrade {
            Upgrade::RefusedHttp10 => Some(Downgrade::Http10),
            // Without a version no server takes it (RFC 6455 section 4.2.1).
            Upgrade::WebSocket => {
                self.field(b"sec-websocket-version").is_none().then_some(Downgrade::FieldsMissing)
            }
            Upgrade::None => self.fields.has(Name::WebSocketKey).then_some(Downgrade::UpgradeMissing),
            Upgrade::Ignored => self.what_ignores(),
        }
    }

    fn what_ignores(&self) -> Option<Downgrade> {
        let mut tokens = self.fields.values(Name::Upgrade).flat_map(list_elements);
        if self.version == Version::Http10 || !tokens.any(|token| token.eq_ignore_ascii_case(b"websocket")) {
            return None;
        }
        let has_key = || self.fields.only(Name::WebSocketKey).and_then(WebSocketKey::parse).is_some();
        match self.options.upgrade {
            false => Some(Downgrade::ConnectionMissing),
            true => (!has_key()).then_some(Downgrade::FieldsMissing),
        }
    }

    /// The value of the last Via field, the one of the hop that is next to us.
    pub(crate) fn last_via(&self) -> Option<&[u8]> {
        self.fields.values(Name::Via).next_back()
    }

    fn is_bodiless(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
    }

    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was sent.
    pub fn method_bytes(&self) -> &[u8] {
        self.fields.at(self.method_bytes)
    }

    /// The target in origin form, or `*`: what is forwarded.
    pub fn target(&self) -> &[u8] {
        self.fields.at(self.target)
    }

    /// The target up to its query.
    pub fn path(&self) -> &[u8] {
        split_query(self.target()).0
    }

    /// The target behind its first question mark.
    pub fn query(&self) -> Option<&[u8]> {
        split_query(self.target()).1
    }

    /// Host and port as the client sent them, in the Host field or in an absolute target.
    pub fn authority(&self) -> &[u8] {
        self.fields.at(self.authority)
    }

    /// The host alone, in the case it was sent in; an IPv6 address with its brackets.
    pub fn host(&self) -> &[u8] {
        self.fields.at(self.host)
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// How the request's body ends; never [`Framing::UntilClose`].
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client would send another request on this connection.
    pub fn keep_alive(&self) -> bool {
        !self.options.close && (self.version == Version::Http11 || self.options.keep_alive)
    }

    /// Whether the client waits for a 100 before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    pub fn upgrade(&self) -> Upgrade {
        self.upgrade
    }

    /// The key of a [`Upgrade::WebSocket`] request.
    pub fn websocket_key(&self) -> Option<WebSocketKey> {
        let key = self.fields.only(Name::WebSocketKey).filter(|_| self.upgrade == Upgrade::WebSocket)?;
        WebSocketKey::parse(key)
    }

    /// All fields as they were sent: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(_, name, value)| (name, value))
    }

    /// The value of the first field called `name`, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.first(name)
    }

    /// The value of the first cookie called exactly `name`, quotes included if it has any.
    pub fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.values(Name::Cookie).flat_map(|line| line.split(|&byte| byte == b';')).find_map(|pair| {
            let pair = trim(pair);
            let equals = pair.iter().position(|&byte| byte == b'=')?;
            (&pair[..equals] == name).then(|| &pair[equals + 1..])
        })
    }

    /// Length of the head as it was read: what the forwarded one takes is this and the fields we add.
    pub fn bytes_len(&self) -> usize {
        self.fields.bytes().len()
    }
}

/// A target's parts before and behind the first question mark.
fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    }
}

impl From<LineFault> for Refusal {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::BareLf => Self::BARE_LF,
            LineFault::TooLong => Self::HEAD_TOO_LONG,
            LineFault::TooManyFields => Self::TOO_MANY_FIELDS,
        }
    }
}

impl From<FieldFault> for Refusal {
    fn from(fault: FieldFault) -> Self {
        match fault {
            FieldFault::Name => Self::FIELD_NAME,
            FieldFault::Value => Self::FIELD_VALUE,
            FieldFault::TooManyOptions => Self::TOO_MANY_OPTIONS,
        }
    }
}
