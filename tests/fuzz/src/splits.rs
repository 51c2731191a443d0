//! Where an input is cut to see that it does not matter where.

/// Inputs up to this length are cut everywhere, longer ones at about as many places.
const CUTS: usize = 300;

/// Lengths of prefixes to try, in rising order, with 0 and `length` itself.
pub(crate) fn ends(length: usize) -> impl Iterator<Item = usize> {
    let step = length.div_ceil(CUTS).max(1);
    (0..length).step_by(step).chain([length])
}
