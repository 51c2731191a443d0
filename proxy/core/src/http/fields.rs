//! The bytes of one head and the fields in them.
//!
//! httparse tells names from values; its verdict counts only after `lines.rs` has found that every
//! line ends with CRLF, because httparse takes a bare LF for a line end. What a field means is decided
//! by the callers.

use std::fmt::Arguments;
use std::io::Write as _;
use std::ops::Range;

use crate::limits::{CONNECTION_OPTIONS_MAX, FIELDS_MAX};

use super::name::Name;

/// A part of a head's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Where `part` lies in `whole`.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Self {
        // httparse and our own splitting hand out parts of `whole` only; of another slice nothing is read.
        let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr()).min(whole.len());
        Self { start, end: (start + part.len()).min(whole.len()) }
    }

    fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: Name,
    name_span: Span,
    value_span: Span,
    /// A Connection option names this field: it is for this hop only.
    pub(super) nominated: bool,
}

/// What the Connection fields ask for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// What is wrong with the fields of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FieldFault {
    Name,
    Value,
    TooManyOptions,
}

/// The bytes of one head and its fields.
#[derive(Default, Debug)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    list: Vec<Field>,
    /// The bits of all names in the list: most questions are about one that is not there.
    names: u32,
}

impl Fields {
    /// Forgets the head and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        self.names = 0;
    }

    /// Keeps a copy of `head` and of the places of its `count` fields, which start at `start`.
    ///
    /// Returns what the Connection fields ask for.
    pub(super) fn fill(&mut self, head: &[u8], start: usize, count: usize) -> Result<Options, FieldFault> {
        // A smaller array for the usual head: initialising it is a tenth of the parsing.
        const FIELDS_USUAL: usize = 32;
        self.bytes.extend_from_slice(head);
        if count <= FIELDS_USUAL {
            self.parse::<FIELDS_USUAL>(start)?
        } else {
            self.parse::<FIELDS_MAX>(start)?
        }
        self.read_connection()
    }

    fn parse<const SIZE: usize>(&mut self, start: usize) -> Result<(), FieldFault> {
        let block = &self.bytes[start..];
        let mut headers = [httparse::EMPTY_HEADER; SIZE];
        // Two parsers that disagree about the end of a head are what request smuggling is made of.
        let parsed = match httparse::parse_headers(block, &mut headers) {
            Ok(httparse::Status::Complete((length, parsed))) if length == block.len() => parsed,
            Ok(_) | Err(httparse::Error::HeaderName) => return Err(FieldFault::Name),
            Err(_) => return Err(FieldFault::Value),
        };
        self.list.extend(parsed.iter().map(|header| Field {
            name: Name::of(header.name.as_bytes()),
            name_span: Span::of(header.name.as_bytes(), &self.bytes),
            value_span: Span::of(header.value, &self.bytes),
            nominated: false,
        }));
        self.names = self.list.iter().fold(0, |names, field| names | field.name.bit());
        Ok(())
    }

    fn read_connection(&mut self) -> Result<Options, FieldFault> {
        let mut options = Options::default();
        let mut count = 0;
        if !self.has(Name::Connection) {
            return Ok(options);
        }
        for line in 0..self.list.len() {
            if self.list[line].name != Name::Connection {
                continue;
            }
            for option in list_elements(&self.bytes[self.list[line].value_span.range()]) {
                count += 1;
                if count > CONNECTION_OPTIONS_MAX {
                    return Err(FieldFault::TooManyOptions);
                }
                match option {
                    _ if option.eq_ignore_ascii_case(b"close") => options.close = true,
                    _ if option.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                    _ if option.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                    _ => nominate(&self.bytes, &mut self.list, option),
                }
            }
        }
        Ok(options)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes at `span`.
    pub(super) fn at(&self, span: Span) -> &[u8] {
        &self.bytes[span.range()]
    }

    /// Adds `part` of the head, with `prefix` before it, behind the head, where no field can be.
    pub(super) fn append(&mut self, prefix: &[u8], part: Span) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(prefix);
        self.bytes.extend_from_within(part.range());
        Span { start, end: self.bytes.len() }
    }

    /// The fields with their names and values as they came, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Field, &[u8], &[u8])> {
        self.list.iter().map(|field| (field, self.at(field.name_span), self.at(field.value_span)))
    }

    /// Whether there is a field of this name.
    pub(super) fn has(&self, name: Name) -> bool {
        self.names & name.bit() != 0
    }

    /// The values of all fields of this name, in their order.
    pub(super) fn values(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        let list: &[Field] = if self.has(name) { &self.list } else { &[] };
        list.iter().filter(move |field| field.name == name).map(|field| self.at(field.value_span))
    }

    /// The value of the first field called `name`, in any case.
    pub(super) fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(_, found, _)| found.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }

    /// The value of the only field of this name; `None` if there is none or more than one.
    pub(super) fn only(&self, name: Name) -> Option<&[u8]> {
        let mut values = self.values(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }
}

fn nominate(bytes: &[u8], list: &mut [Field], option: &[u8]) {
    for field in list {
        if !field.name.outlives_connection() && bytes[field.name_span.range()].eq_ignore_ascii_case(option) {
            field.nominated = true;
        }
    }
}

/// The elements of a comma-separated list, empty ones left out (RFC 9110 section 5.6.1.2).
pub(super) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// `value` without the spaces and tabs around it.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(|byte| !blank(byte)) else {
        return &[];
    };
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Writes one field line.
pub(super) fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes formatted text.
pub(super) fn write_text(text: Arguments<'_>, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}
