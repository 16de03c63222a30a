//! Weighted sums in portable safe Rust.

use crate::kernels::sums::{AT_ONCE, Row};

#[inline(always)]
pub(crate) fn weighted(weights: &[i16], rows: &[Row], sums: &mut [i32; AT_ONCE]) {
    *sums = [0; AT_ONCE];
    for (&[first, second], row) in weights.as_chunks().0.iter().zip(rows) {
        for (sum, &[of_first, of_second]) in sums.iter_mut().zip(row) {
            *sum +=
                i32::from(first) * i32::from(of_first) + i32::from(second) * i32::from(of_second);
        }
    }
}
