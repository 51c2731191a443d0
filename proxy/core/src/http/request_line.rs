//! The first line of a request: method, target, version.
//!
//! Ours and not httparse's, because the line is judged before the head is complete, absolute targets are
//! reduced to the origin form, and every kind of wrong line has its own status.

use memchr::{memchr, memchr3};

use crate::limits::METHOD_BYTES_MAX;

use super::Version;
use super::authority::Authority;
use super::fields::is_token;
use super::lines::HeadLimits;
use super::refusal::Refusal;

/// What a request asks for. CONNECT and TRACE are refused and never appear here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    /// Any other, forwarded as it came.
    #[default]
    Other,
}

impl Method {
    fn of(name: &[u8]) -> Result<Self, Refusal> {
        // RFC 9110 section 9.1 makes methods case-sensitive; a backend may not know.
        if name.eq_ignore_ascii_case(b"CONNECT") || name.eq_ignore_ascii_case(b"TRACE") {
            return Err(Refusal::METHOD_NOT_ALLOWED);
        }
        Ok(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        })
    }
}

/// A request target, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target<'a> {
    /// Of an absolute target; it overrides the Host field (RFC 9112 section 3.2.2).
    pub(super) authority: Option<Authority<'a>>,
    /// What an absolute target without a path lacks of the origin form: `/`, `*`, else nothing.
    pub(super) prefix: &'static [u8],
    /// The rest of the origin form, as it was sent.
    pub(super) rest: &'a [u8],
}

/// A request line, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    pub(super) method_bytes: &'a [u8],
    pub(super) target: Target<'a>,
    pub(super) version: Version,
}

/// Judges as much of a request line as has come, so that what can never become one is refused at once:
/// a TLS client on a plain port must not wait for a timeout.
pub(super) fn check_beginning(input: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    let Some(space) = input.iter().take(METHOD_BYTES_MAX + 1).position(|&byte| !is_token(byte)) else {
        return if input.len() > METHOD_BYTES_MAX { Err(Refusal::METHOD_TOO_LONG) } else { Ok(()) };
    };
    if space == 0 || input[space] != b' ' {
        return Err(Refusal::REQUEST_LINE);
    }
    let target = &input[space + 1..];
    let target_bytes = memchr3(b' ', b'\r', b'\n', target).unwrap_or(target.len());
    if target_bytes > limits.target_bytes_max { Err(Refusal::TARGET_TOO_LONG) } else { Ok(()) }
}

impl<'a> RequestLine<'a> {
    /// Takes a complete line apart, its CRLF already removed.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        let (method_bytes, rest) = split_at_space(line).ok_or(Refusal::REQUEST_LINE)?;
        // A third space is then found in the version, where none may be.
        let (target, version) = split_at_space(rest).ok_or(Refusal::REQUEST_LINE)?;
        if method_bytes == b"PRI" {
            return Err(Refusal::PREFACE);
        }
        let version = parse_version(version).ok_or(Refusal::REQUEST_LINE)?.ok_or(Refusal::VERSION)?;
        let method = Method::of(method_bytes)?;
        let target = Target::parse(target, method).ok_or(Refusal::TARGET)?;
        Ok(Self { method, method_bytes, target, version })
    }
}

/// The parts before and behind the first space.
fn split_at_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr(b' ', text)?;
    Some((&text[..space], &text[space + 1..]))
}

/// The version that `name` stands for; `Some(None)` for one that is not spoken, `None` for no version.
pub(super) fn parse_version(name: &[u8]) -> Option<Option<Version>> {
    match name.strip_prefix(b"HTTP/")? {
        b"1.0" => Some(Some(Version::Http10)),
        [b'1', b'.', minor] if minor.is_ascii_digit() => Some(Some(Version::Http11)),
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => Some(None),
        _ => None,
    }
}

impl<'a> Target<'a> {
    /// Accepts the origin form, `*` for OPTIONS, and the absolute form of `http` and `https`.
    ///
    /// Visible ASCII only, and no fragment: RFC 3986 allows neither in a target, and servers disagree
    /// about where a path with them ends.
    fn parse(target: &'a [u8], method: Method) -> Option<Self> {
        // Not `all`, which looks at one byte after the other.
        let is_legal = |byte: &u8| byte.is_ascii_graphic() & (*byte != b'#');
        if !target.iter().fold(true, |legal, byte| legal & is_legal(byte)) {
            return None;
        }
        match target {
            [b'/', ..] => Some(Self { authority: None, prefix: b"", rest: target }),
            b"*" if method == Method::Options => Some(Self { authority: None, prefix: b"", rest: target }),
            _ => Self::parse_absolute(target, method),
        }
    }

    fn parse_absolute(target: &'a [u8], method: Method) -> Option<Self> {
        let after_scheme = strip_prefix_ignoring_case(target, b"http://")
            .or_else(|| strip_prefix_ignoring_case(target, b"https://"))?;
        let end =
            after_scheme.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after_scheme.len());
        let (authority, rest) = after_scheme.split_at(end);
        let authority = Authority::parse(authority)?;
        let prefix: &[u8] = match rest.first() {
            Some(b'/') => b"",
            // RFC 9112 section 3.2.4.
            None if method == Method::Options => b"*",
            _ => b"/",
        };
        Some(Self { authority: Some(authority), prefix, rest })
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
