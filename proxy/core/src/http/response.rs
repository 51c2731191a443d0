//! A response head: read as strictly as a request's, and held against what was asked.
//!
//! A backend is not trusted to frame its answers right: what is refused here would otherwise reach a
//! client as bytes that belong to nobody. How the head is written on stands in `reply.rs`.

use super::Version;
use super::fields::{FieldFault, Fields, Options, Span};
use super::framing::{Framing, declared};
use super::lines::{HeadLimits, LineFault, block_at, line_at};
use super::name::Name;
use super::refusal::BadResponse;
use super::request::RequestHead;
use super::request_line::{Method, parse_version};
use super::websocket::{WebSocketKey, websocket_accept};

/// What the answer to a request depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub method: Method,
    /// The key of a forwarded WebSocket handshake. Without one a 101 is refused.
    pub upgrade: Option<WebSocketKey>,
    /// Whether a 101 must prove that it read the key.
    pub verify_accept: bool,
}

impl Asked {
    /// What `head`, once forwarded, asks for.
    pub fn by(head: &RequestHead, verify_accept: bool) -> Self {
        Self { method: head.method(), upgrade: head.websocket_key(), verify_accept }
    }
}

/// What a response does to its exchange.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ResponseKind {
    /// 1xx other than 101: another head follows.
    Informational,
    /// An asked-for and proven 101: bytes behind the head are the tunnel's.
    Switching,
    /// The answer.
    #[default]
    Final,
}

/// A response head with its bytes. It is reused like [`RequestHead`].
#[derive(Default, Debug)]
pub struct ResponseHead {
    pub(super) fields: Fields,
    status: u16,
    status_text: Span,
    version: Version,
    kind: ResponseKind,
    declared: Framing,
    framing: Framing,
    keep_alive: bool,
}

impl ResponseHead {
    /// Forgets the head and keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// Parses the head at the start of `input` and returns its length, or `None` if it is incomplete.
    ///
    /// Called again with more bytes it gives the same verdict as if they had come at once.
    ///
    /// # Errors
    /// What makes the response unfit to be passed on; the head's content is then unspecified.
    pub fn parse(
        &mut self,
        input: &[u8],
        asked: &Asked,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, BadResponse> {
        const BEGINNING: &[u8] = b"HTTP/1.";
        self.clear();
        let compared = input.len().min(BEGINNING.len());
        if input[..compared] != BEGINNING[..compared] {
            return Err(BadResponse::STATUS_LINE);
        }
        let Some(length) = line_at(input, 0, limits)? else {
            return Ok(None);
        };
        let line = StatusLine::parse(&input[..length]).ok_or(BadResponse::STATUS_LINE)?;
        let Some(block) = block_at(input, length + 2, limits)? else {
            return Ok(None);
        };
        let head = &input[..block.end];
        let options = self.fields.fill(head, length + 2, block.count)?;
        self.status = line.status;
        self.status_text = Span::of(line.text, head);
        self.version = line.version;
        self.declared = declared(&self.fields, self.version)?;
        self.kind = self.judge_kind(asked, options)?;
        self.framing = self.judge_framing(asked.method);
        self.keep_alive = self.judge_keep_alive(options);
        Ok(Some(block.end))
    }

    fn judge_kind(&self, asked: &Asked, options: Options) -> Result<ResponseKind, BadResponse> {
        if self.status >= 200 {
            return Ok(ResponseKind::Final);
        }
        if !matches!(self.declared, Framing::None | Framing::Length(0)) {
            return Err(BadResponse::INFORMATIONAL_BODY);
        }
        if self.status != 101 {
            return Ok(ResponseKind::Informational);
        }
        let key = asked.upgrade.ok_or(BadResponse::UNASKED_SWITCH)?;
        let protocol = self.fields.only(Name::Upgrade).unwrap_or_default();
        if self.version != Version::Http11 || !options.upgrade || !protocol.eq_ignore_ascii_case(b"websocket")
        {
            return Err(BadResponse::SWITCH);
        }
        let proof = self.fields.only(Name::WebSocketAccept).unwrap_or_default();
        if asked.verify_accept && proof != websocket_accept(key.as_bytes()) {
            return Err(BadResponse::ACCEPT);
        }
        Ok(ResponseKind::Switching)
    }

    /// RFC 9112 section 6.3.
    fn judge_framing(&self, method: Method) -> Framing {
        if method == Method::Head || self.status < 200 || matches!(self.status, 204 | 304) {
            return Framing::None;
        }
        match self.declared {
            Framing::None => Framing::UntilClose,
            found => found,
        }
    }

    /// A 204 that declares a body may be followed by one, so its connection is not used again.
    fn judge_keep_alive(&self, options: Options) -> bool {
        let wanted = !options.close && (self.version == Version::Http11 || options.keep_alive);
        let bodiless_204 = self.status != 204 || matches!(self.declared, Framing::None | Framing::Length(0));
        wanted && bodiless_204 && self.framing != Framing::UntilClose && self.kind != ResponseKind::Switching
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn kind(&self) -> ResponseKind {
        self.kind
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// How the body ends. [`Framing::None`] for an answer to HEAD and for 1xx, 204 and 304, whatever
    /// they declare.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The Content-Length, also of an answer whose body is not sent.
    pub fn declared_length(&self) -> Option<u64> {
        match self.declared {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }

    /// Whether the backend's connection may carry another request after this response.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// All fields as they were sent: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(_, name, value)| (name, value))
    }

    /// The value of the first field called `name`, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.first(name)
    }

    /// Length of the head as it was read.
    pub fn bytes_len(&self) -> usize {
        self.fields.bytes().len()
    }

    /// The status line behind the version: status and reason phrase.
    pub(super) fn status_text(&self) -> &[u8] {
        self.fields.at(self.status_text)
    }
}

/// A status line, taken apart.
struct StatusLine<'a> {
    version: Version,
    status: u16,
    text: &'a [u8],
}

impl<'a> StatusLine<'a> {
    /// Takes a line without its CRLF apart. The space before an empty reason phrase may be missing.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (version, rest) = line.split_at_checked(8)?;
        let version = parse_version(version)??;
        let text = rest.strip_prefix(b" ")?;
        let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', reason @ ..] = text else {
            return None;
        };
        let digit = |byte: &u8| u16::from(byte - b'0');
        let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
        let printable = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        let well_formed = reason.is_empty() || reason[0] == b' ' && reason.iter().all(printable);
        well_formed.then_some(Self { version, status, text })
    }
}

impl From<LineFault> for BadResponse {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::BareLf => Self::BARE_LF,
            LineFault::TooLong => Self::HEAD_TOO_LONG,
            LineFault::TooManyFields => Self::TOO_MANY_FIELDS,
        }
    }
}

impl From<FieldFault> for BadResponse {
    fn from(fault: FieldFault) -> Self {
        match fault {
            FieldFault::Name => Self::FIELD_NAME,
            FieldFault::Value => Self::FIELD_VALUE,
            FieldFault::TooManyOptions => Self::TOO_MANY_OPTIONS,
        }
    }
}
