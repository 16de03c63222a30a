//! Weighted sums for AVX-512.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_madd_epi16, _mm512_set1_epi32, _mm512_setzero_si512,
};

use super::isa::{load_row, store_sums};
use crate::kernels::sums::{AT_ONCE, Row};

/// A lane of 32 bits for each table: one instruction multiplies both entries of a row and adds the products.
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn weighted(weights: &[i16], rows: &[Row], sums: &mut [i32; AT_ONCE]) {
    // Two sums, so that no addition waits for the one before.
    let mut even = _mm512_setzero_si512();
    let mut odd = _mm512_setzero_si512();
    let mut pairs = weights.as_chunks::<2>().0.iter().zip(rows);
    while let Some((&weights, row)) = pairs.next() {
        even = _mm512_add_epi32(even, _mm512_madd_epi16(both(weights), load_row(row)));
        if let Some((&weights, row)) = pairs.next() {
            odd = _mm512_add_epi32(odd, _mm512_madd_epi16(both(weights), load_row(row)));
        }
    }
    store_sums(sums, _mm512_add_epi32(even, odd));
}

/// Both weights in every lane.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn both([first, second]: [i16; 2]) -> __m512i {
    _mm512_set1_epi32(i32::from(second) << 16 | i32::from(first as u16))
}
