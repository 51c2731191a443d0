//! The id that one request carries through all logs (X-Request-ID, which no RFC defines).

use crate::limits::REQUEST_ID_BYTES_MAX;

use super::numbers::write_hex;

/// An id for a request that has none to be believed. Unique, but no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId(pub u128);

impl RequestId {
    /// Appends it as 32 hexadecimal digits.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut digits = [0; 32];
        write_hex(self.0, &mut digits);
        out.extend_from_slice(&digits);
    }
}

/// Whether `value` can be put into logs as it is.
pub(super) fn is_well_formed(value: &[u8]) -> bool {
    let is_id_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:@".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(is_id_byte)
}
