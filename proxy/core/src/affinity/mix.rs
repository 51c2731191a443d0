//! Fixed hashing and a fixed logarithm: the same on every build, processor and host.
//!
//! Two proxies, or one before and after an upgrade, must place a key alike. So nothing here depends on
//! word size, byte order, floating point or a library's version; golden values pin it. It is not keyed:
//! who chooses the hashed bytes can choose the hash.

/// 2^64 divided by the golden ratio, odd: a step that visits every value.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Binary digits behind the point of [`negative_log2`].
const FRACTION_BITS: u32 = 48;

/// Intervals of the logarithm's table, a power of two.
const INTERVALS: usize = 256;

/// Scrambles 64 bits so that each bit of the result depends on each of `value`. One-to-one; 0 stays 0.
/// (Finaliser "variant 13" of D. Stafford, as in SplitMix64.)
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Hash of bytes. Different `domain`s give unrelated hashes of the same bytes.
pub(super) fn hash(domain: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(domain.wrapping_add(STEP));
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state.wrapping_add(STEP) ^ u64::from_le_bytes(word));
    }
    // The length tells zero bytes from padding.
    mix(state.wrapping_add(STEP) ^ bytes.len() as u64)
}

/// Minus the binary logarithm of `value` / 2^64, in 2^-48; 0 counts as 1. Between 1 and 64 * 2^48.
///
/// By linear interpolation in a table: at most 3e-6 too high, far below what a weight could show, and
/// never rising while `value` rises.
pub(super) const fn negative_log2(value: u64) -> u64 {
    let value = if value == 0 { 1 } else { value };
    let zeros = value.leading_zeros();
    // What follows the leading one, as a fraction of 2^64.
    let fraction = (value << zeros) << 1;
    let interval = (fraction >> 56) as usize;
    // The rest of it, as a fraction of 2^64 again.
    let within = fraction << 8;
    let (_, rise) = product(LOG2[interval + 1] - LOG2[interval], within);
    ((zeros as u64 + 1) << FRACTION_BITS) - (LOG2[interval] + rise)
}

/// log2(1 + i / 256) in 2^-48, for i from 0 to 256.
static LOG2: [u64; INTERVALS + 1] = {
    let mut table = [0; INTERVALS + 1];
    let mut index = 0;
    while index < INTERVALS {
        table[index] = log2_of(((INTERVALS + index) as u64) << 55);
        index += 1;
    }
    table[INTERVALS] = 1 << FRACTION_BITS;
    table
};

/// log2 of `mantissa` / 2^63, which is between 1 and 2, in 2^-48: squaring doubles a logarithm, so each
/// square shows one more binary digit.
const fn log2_of(mut mantissa: u64) -> u64 {
    let mut log2 = 0;
    let mut digit = FRACTION_BITS;
    while digit > 0 {
        digit -= 1;
        let (low, high) = product(mantissa, mantissa);
        if high >> 63 == 1 {
            log2 |= 1 << digit;
            mantissa = high;
        } else {
            mantissa = high << 1 | low >> 63;
        }
    }
    log2
}

/// Low and high half of a product.
#[expect(clippy::cast_possible_truncation, reason = "halves are what is asked for")]
const fn product(first: u64, second: u64) -> (u64, u64) {
    let product = first as u128 * second as u128;
    (product as u64, (product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mix_is_that_of_splitmix64() {
        // The published first outputs of SplitMix64 from state 0.
        assert_eq!(mix(STEP), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(STEP.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(mix(STEP.wrapping_mul(3)), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn zero_bytes_and_length_count() {
        let hashes = [hash(0, b""), hash(0, b"\0"), hash(0, &[0; 8]), hash(0, &[0; 9]), hash(1, b"")];
        for (index, first) in hashes.iter().enumerate() {
            assert!(hashes[index + 1..].iter().all(|second| second != first));
        }
    }

    #[test]
    fn the_ends_of_the_logarithm() {
        assert_eq!(negative_log2(0), 64 << FRACTION_BITS);
        assert_eq!(negative_log2(1), 64 << FRACTION_BITS);
        assert_eq!(negative_log2(1 << 63), 1 << FRACTION_BITS);
        assert_eq!(negative_log2(u64::MAX), 1);
    }

    proptest! {
        #[test]
        fn the_logarithm_is_close_and_never_rises(value in 1_u64.., step: u32) {
            let exact = 64.0 - (value as f64).log2();
            let ours = negative_log2(value) as f64 / (1_u64 << FRACTION_BITS) as f64;
            prop_assert!((ours - exact).abs() < 3e-6, "{ours} {exact}");
            prop_assert!(negative_log2(value.saturating_add(u64::from(step))) <= negative_log2(value));
        }
    }
}
