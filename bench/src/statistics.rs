//! Medians, percentiles and ratios. Pure: no clock, no files.

use std::fmt::Display;

use serde::Serialize;

/// What several rounds of one measurement gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// Median and extremes; `None` of nothing.
pub(crate) fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    };
    Some(Spread { median, least, most })
}

/// The median over the rounds of what one contestant cost as a part of what another did in the same round: what slows
/// the machine down for some rounds does so to both. `None` where a round has nothing to divide by.
pub(crate) fn ratio(own: &[f64], other: &[f64]) -> Option<f64> {
    if own.len() != other.len() || other.iter().any(|&figure| figure <= 0.0) {
        return None;
    }
    let ratios: Vec<f64> = own.iter().zip(other).map(|(own, other)| own / other).collect();
    spread(&ratios).map(|ratios| ratios.median)
}

/// The value that so many thousandths of the sorted values do not exceed (nearest rank); `None` of nothing.
pub(crate) fn percentile(sorted: &[u32], per_mille: usize) -> Option<u32> {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied()
}

/// A number with three figures that mean something, for people.
pub(crate) fn three_figures(value: f64) -> String {
    match value.abs() {
        // Thousands separated, because bytes and microseconds stand in one table.
        size if size >= 1000.0 => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", grouped(format_args!("{size:.0}")))
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// A whole number that is not negative, its thousands set apart.
pub(crate) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_median_ignores_one_outlier() {
        let of = |values: &[f64]| spread(values).unwrap().median;
        assert_eq!(of(&[9.0, 1.0, 1000.0]), 9.0);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(of(&[7.0]), 7.0);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn the_spread_names_the_extremes() {
        assert_eq!(spread(&[2.0, 3.0, 1.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&values, 500), Some(100));
        assert_eq!(percentile(&values, 990), Some(198));
        assert_eq!(percentile(&values, 999), Some(200));
        assert_eq!(percentile(&[5], 500), Some(5));
        assert_eq!(percentile(&[5, 6], 1), Some(5));
        assert_eq!(percentile(&[], 500), None);
    }

    #[test]
    fn numbers_keep_three_figures() {
        for (value, text) in [
            (22_345.6, "22,346"),
            (1_211_671.0, "1,211,671"),
            (1_000.0, "1,000"),
            (212.4, "212"),
            (17.345, "17.3"),
            (8.125, "8.12"),
            (0.4567, "0.46"),
            (0.0123, "0.012"),
            (0.0, "0"),
            (-1_500.0, "-1,500"),
        ] {
            assert_eq!(three_figures(value), text);
        }
    }
}
