//! Numbers and addresses as text, without the formatting machinery: three of them written by it took a
//! seventh of all the instructions a request costs.

use std::io::Write as _;
use std::net::IpAddr;

/// Digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// Appends `number` in decimal.
pub fn write_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes the last digits of a number, in hexadecimal.
pub fn write_hex(mut number: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Appends `address` as it is usually written.
pub fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            // Collected first: two of them in every request, and each append to `out` checks its room.
            let mut text = [0; "255.255.255.255".len()];
            let mut length = 0;
            for octet in address.octets() {
                for (digit, shown) in [
                    (b'.', length > 0),
                    (b'0' + octet / 100, octet >= 100),
                    (b'0' + octet / 10 % 10, octet >= 10),
                    (b'0' + octet % 10, true),
                ] {
                    if shown {
                        text[length] = digit;
                        length += 1;
                    }
                }
            }
            out.extend_from_slice(&text[..length]);
        }
        IpAddr::V6(address) => {
            // Writing to memory cannot fail.
            let _ = write!(out, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b">".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ends_of_the_range() {
        for number in [0, 9, 10, 99, 100, u64::MAX] {
            assert_eq!(written(|out| write_decimal(number, out)), format!(">{number}"));
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(number: u64, shift in 0..64) {
            let number = number >> shift;
            prop_assert_eq!(written(|out| write_decimal(number, out)), format!(">{number}"));
        }

        #[test]
        fn hexadecimal_numbers_are_as_the_formatting_machinery_writes_them(number: u128) {
            let mut digits = [0; 32];
            write_hex(number, &mut digits);
            prop_assert_eq!(String::from_utf8_lossy(&digits), format!("{number:032x}"));
        }

        #[test]
        fn so_are_addresses(address: IpAddr) {
            prop_assert_eq!(written(|out| write_address(address, out)), format!(">{address}"));
        }
    }
}
