//! What a route does to the fields of its messages, on top of what every message undergoes.
//!
//! Framing, hop-by-hop fields and what the proxy says about the client are out of reach: a rule that could
//! touch them could undo every decision about them.

use std::fmt;

use super::fields::{is_token, write_field};
use super::name::Name;

/// The rules of one route for one direction.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FieldRules {
    /// Names of fields that do not go on as they came, in lower case.
    dropped: Vec<Box<[u8]>>,
    /// The lines to add.
    lines: Vec<u8>,
}

/// A rule that cannot be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldRuleError {
    /// It is no field name (RFC 9110 section 5.1).
    BadName(String),
    /// A value with control characters, or with blanks around it.
    BadValue(String),
    /// The proxy decides about this field itself.
    Reserved(String),
}

impl FieldRules {
    /// The message has exactly one field `name`, with this value.
    ///
    /// # Errors
    /// [`FieldRuleError`]
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), FieldRuleError> {
        self.add(name, value)?;
        self.drop_field(name);
        Ok(())
    }

    /// The message has one more field `name`, with this value.
    ///
    /// # Errors
    /// [`FieldRuleError`]
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FieldRuleError> {
        // Encodings the proxy cannot read would hide the sids of Engine.IO handshakes.
        if check_name(name)? == Name::AcceptEncoding {
            return Err(FieldRuleError::Reserved(name.to_owned()));
        }
        let is_value_byte = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
        if !value.bytes().all(is_value_byte) || value.trim_matches([' ', '\t']) != value {
            return Err(FieldRuleError::BadValue(value.to_owned()));
        }
        write_field(name.as_bytes(), value.as_bytes(), &mut self.lines);
        Ok(())
    }

    /// The message has no field `name`, unless another rule adds one.
    ///
    /// # Errors
    /// [`FieldRuleError`]
    pub fn remove(&mut self, name: &str) -> Result<(), FieldRuleError> {
        check_name(name)?;
        self.drop_field(name);
        Ok(())
    }

    fn drop_field(&mut self, name: &str) {
        self.dropped.push(name.to_ascii_lowercase().into_bytes().into());
    }

    /// There is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.lines.is_empty()
    }

    /// Whether a field of this name does not go on as it came.
    pub(super) fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
    }

    /// The lines to add to the message.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// What the field is to us, if rules may touch it.
fn check_name(name: &str) -> Result<Name, FieldRuleError> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(FieldRuleError::BadName(name.to_owned()));
    }
    match Name::of(name.as_bytes()) {
        // Part of a message's framing to whoever reads trailers.
        Name::Other if name.eq_ignore_ascii_case("Trailer") => Err(FieldRuleError::Reserved(name.to_owned())),
        free @ (Name::AcceptEncoding | Name::Cookie | Name::Other) => Ok(free),
        _ => Err(FieldRuleError::Reserved(name.to_owned())),
    }
}

impl fmt::Display for FieldRuleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(formatter, "{name:?} is no header name"),
            Self::BadValue(value) => {
                write!(formatter, "{value:?} is no header value: no control characters, no blanks around it")
            }
            Self::Reserved(name) => write!(
                formatter,
                "{name:?} is decided by the proxy itself: framing, hop-by-hop fields, Host, Via and what a \
                 backend learns about the client are out of reach of rules"
            ),
        }
    }
}

impl std::error::Error for FieldRuleError {}
