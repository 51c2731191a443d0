//! Where a request stands in a trace: the field `traceparent` (W3C Trace Context, level 1).
//!
//! `00-TRACE-PARENT-FLAGS`, in lower-case hexadecimal digits. Later versions may have more behind that, which is not
//! looked at (section 3.2.4); ids of zeros alone are none.

use super::numbers::write_hex;

/// Bytes of a `traceparent` of version 00.
pub const TRACEPARENT_BYTES: usize = 55;

/// The flag by which a caller says that it records the trace.
const SAMPLED: u8 = 1;

/// What a `traceparent` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// Of the whole trace; not 0.
    pub trace: u128,
    /// Of the span that the request belongs to; not 0.
    pub parent: u64,
    /// Whether the caller records it.
    pub sampled: bool,
}

/// A field that says which span a request belongs to from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traceparent {
    /// Of `traceparent`.
    pub value: [u8; TRACEPARENT_BYTES],
    /// The trace begins with it: `tracestate` belongs to another one, or to none.
    pub begins: bool,
}

impl TraceContext {
    /// Reads the value of the field. `None`: it is malformed, and the request begins a trace (section 4.3).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, behind) = value.split_at_checked(TRACEPARENT_BYTES)?;
        let [v1, v2, b'-', rest @ ..] = head else { return None };
        let (trace, rest) = rest.split_at_checked(32)?;
        let (parent, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let version = hex(&[*v1, *v2])?;
        let flags = hex(rest.strip_prefix(b"-")?)?;
        let is_long = matches!(behind, [] | [b'-', ..]) && (behind.is_empty() || version != 0);
        let (trace, parent) = (hex(trace)?, u64::try_from(hex(parent)?).ok()?);
        let is_valid = is_long && version != 0xff && trace != 0 && parent != 0;
        is_valid.then(|| Self { trace, parent, sampled: flags & u128::from(SAMPLED) != 0 })
    }

    /// The value of the field.
    #[must_use]
    pub fn to_field(self) -> [u8; TRACEPARENT_BYTES] {
        let mut field = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace, &mut field[3..35]);
        write_hex(self.parent.into(), &mut field[36..52]);
        write_hex(u128::from(u8::from(self.sampled) * SAMPLED), &mut field[53..]);
        field
    }
}

/// Lower-case digits only (section 3.2.2).
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELD: &[u8; TRACEPARENT_BYTES] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_recommendation_is_read() {
        let context = TraceContext::parse(FIELD).unwrap();
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.parent, context.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(&context.to_field(), FIELD);
    }

    #[test]
    fn what_breaks_the_rules_is_none() {
        for field in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ] {
            assert_eq!(TraceContext::parse(field.as_bytes()), None, "{field}");
        }
        let later = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-more";
        assert_eq!(TraceContext::parse(later).map(|context| context.sampled), Some(false));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1_u128.., parent in 1_u64.., sampled: bool) {
            let context = TraceContext { trace, parent, sampled };
            prop_assert_eq!(TraceContext::parse(&context.to_field()), Some(context));
        }

        #[test]
        fn no_bytes_panic(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&value);
        }
    }
}
