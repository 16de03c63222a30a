//! Weighted sums of many tables at a time.

use super::Kernels;
use super::platform::{Platform, on};

/// Tables that are summed at a time.
pub(crate) const AT_ONCE: usize = 16;

/// Two entries of each table.
pub(crate) type Row = [[i16; 2]; AT_ONCE];

/// The sum of the entries of each table, every entry multiplied by its weight. Two weights belong to a row; what has no
/// partner is left out. The sums must be below 2³¹.
pub(crate) fn weighted(
    platform: Platform,
    weights: &[i16],
    rows: &[Row],
    sums: &mut [i32; AT_ONCE],
) {
    on!(platform, kernels => kernels.weighted_sums(weights, rows, sums));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_platforms_sum_alike(
            weights in prop::collection::vec(0i16..2000, 0..160),
            rows in prop::collection::vec(any::<[[i8; 2]; AT_ONCE]>(), 0..80),
        ) {
            let rows: Vec<Row> = rows.iter().map(|row| row.map(|two| two.map(i16::from))).collect();
            let expected: [i32; AT_ONCE] = std::array::from_fn(|table| {
                let entries = rows.iter().flat_map(|row| row[table]);
                let whole = &weights[..weights.len() / 2 * 2];
                whole.iter().zip(entries).map(|(&weight, entry)| i32::from(weight) * i32::from(entry)).sum()
            });
            for platform in Platform::available() {
                let mut sums = [7; AT_ONCE];
                weighted(platform, &weights, &rows, &mut sums);
                prop_assert_eq!(sums, expected);
            }
        }
    }
}
