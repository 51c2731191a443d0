//! One HTTP message as it came: its bytes, and what they mean to someone who believes them.

use std::ops::Range;

use super::shown;

/// How a message body ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// There is none by the rules of its status or method.
    Bodiless,
    /// As many bytes as `Content-Length` says.
    Length,
    /// The last chunk.
    Chunked,
    /// The end of the connection.
    Close,
}

/// The first line and the fields, to the empty line and with it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Head(pub Vec<u8>);

/// A complete message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub head: Head,
    /// The body as it came, chunk framing and trailers included.
    pub raw_body: Vec<u8>,
    /// The payload.
    pub body: Vec<u8>,
    /// The trailer section without its empty line.
    pub trailers: Vec<u8>,
    pub ending: Ending,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl Head {
    fn lines(&self) -> impl Iterator<Item = &str> {
        let text =
            std::str::from_utf8(&self.0).unwrap_or_else(|_| panic!("a head that is no text: {self:?}"));
        text.split("\r\n").take_while(|line| !line.is_empty())
    }

    /// The request line or status line.
    #[must_use]
    pub fn first_line(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    /// Name and value of every field, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines().skip(1).map(move |line| {
            let (name, value) =
                line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?} of {self:?}"));
            (name, value.trim_matches([' ', '\t']))
        })
    }

    /// The values of every field called `name`, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value of the only field called `name`.
    ///
    /// # Panics
    /// If there are two.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() <= 1, "{name} is repeated in {self:?}");
        values.first().copied()
    }

    /// The status code.
    ///
    /// # Panics
    /// If the first line is no status line.
    #[must_use]
    pub fn status(&self) -> u16 {
        let line = self.first_line();
        let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = code.and_then(|code| code.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {self:?}"))
    }

    /// The request target.
    ///
    /// # Panics
    /// If the first line is no request line.
    #[must_use]
    pub fn target(&self) -> &str {
        self.first_line().split(' ').nth(1).unwrap_or_else(|| panic!("no request line: {self:?}"))
    }

    /// How a body behind this head ends, by the two framing fields alone; `None`: they are absent.
    pub(super) fn declared(&self) -> Option<(Ending, usize)> {
        if let Some(coding) = self.value("Transfer-Encoding") {
            assert_eq!(coding.to_ascii_lowercase(), "chunked", "in {self:?}");
            assert_eq!(self.values("Content-Length"), [""; 0], "two framings in {self:?}");
            return Some((Ending::Chunked, 0));
        }
        let length = self.value("Content-Length")?;
        let length = length.parse().unwrap_or_else(|_| panic!("no length: {length:?} in {self:?}"));
        Some((Ending::Length, length))
    }
}

impl Message {
    /// A message that is its head.
    pub(super) fn bodiless(head: Head) -> Self {
        Self { head, raw_body: Vec::new(), body: Vec::new(), trailers: Vec::new(), ending: Ending::Bodiless }
    }

    /// The status code of a response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The payload as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What is known of a chunked body that may still be incomplete.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) length: usize,
    pub(super) payload: Vec<u8>,
    pub(super) trailers: Range<usize>,
}

/// Decodes the chunked body at the start of `bytes`; `None` if its end is not there yet.
pub(super) fn chunks(bytes: &[u8]) -> Option<Chunks> {
    let mut payload = Vec::new();
    let mut at = 0;
    loop {
        let line_end = at + find(&bytes[at..], b"\r\n")?;
        let line = &bytes[at..line_end];
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let size =
            std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let size = size.unwrap_or_else(|| panic!("no chunk size: {} in {}", shown(line), shown(bytes)));
        at = line_end + 2;
        if size == 0 {
            let start = at;
            // An empty trailer section is the empty line alone.
            let end =
                if bytes[at..].starts_with(b"\r\n") { at } else { at + find(&bytes[at..], b"\r\n\r\n")? + 2 };
            return (bytes.len() >= end + 2).then_some(Chunks {
                length: end + 2,
                payload,
                trailers: start..end,
            });
        }
        payload.extend_from_slice(bytes.get(at..at + size)?);
        let after = bytes.get(at + size..at + size + 2)?;
        assert_eq!(after, b"\r\n", "a chunk of {} does not end where its size says", shown(bytes));
        at += size + 2;
    }
}

/// Where `needle` first begins in `bytes`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
