//! Interleaving kernels for AVX-512 with VBMI2, whose funnel shifts rotate words in one instruction.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store};

/// `vpternlogd`: bits of `a` where `b` is set, of `c` elsewhere.
const A_IF_B_ELSE_C: i32 = 0xe2;

/// Low and high bytes of a group of 16-bit words. (The lane coder splits and merges on its way.)
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn split_group(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    let lower = _mm512_set1_epi16(0x00ff);
    let (a, b) = (_mm512_shldi_epi16::<1>(a, a), _mm512_shldi_epi16::<1>(b, b));
    let (a_high, b_low) = (_mm512_srli_epi16::<8>(a), _mm512_slli_epi16::<8>(b));
    (
        _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(a, lower, b_low),
        _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(a_high, lower, b),
    )
}

/// The inverse of [`split_group`].
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn merge_group(low: __m512i, high: __m512i) -> (__m512i, __m512i) {
    let lower = _mm512_set1_epi16(0x00ff);
    let (a_high, b_low) = (_mm512_slli_epi16::<8>(high), _mm512_srli_epi16::<8>(low));
    let a = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(low, lower, a_high);
    let b = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(b_low, lower, high);
    (_mm512_shldi_epi16::<15>(a, a), _mm512_shldi_epi16::<15>(b, b))
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn split16_steps(words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let words = words.as_chunks::<64>().0.as_chunks::<2>().0.iter();
    let low = low.as_chunks_mut::<64>().0;
    let high = high.as_chunks_mut::<64>().0;
    for (([a, b], low), high) in words.zip(low).zip(high) {
        let (low_bytes, high_bytes) = split_group(load(a), load(b));
        store(low, low_bytes);
        store(high, high_bytes);
    }
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn merge16_steps(low: &[u8], high: &[u8], words: &mut [u8]) {
    let words = words.as_chunks_mut::<64>().0.as_chunks_mut::<2>().0.iter_mut();
    let low = low.as_chunks::<64>().0;
    let high = high.as_chunks::<64>().0;
    for (([a, b], low), high) in words.zip(low).zip(high) {
        let (first, second) = merge_group(load(low), load(high));
        store(a, first);
        store(b, second);
    }
}

/// As in [the portable kernels](crate::kernels::portable::interleave), but on vectors.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn transposed([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (half, byte) = (_mm512_set1_epi32(0xffff), _mm512_set1_epi16(0x00ff));
    let pairs = |a: __m512i, c: __m512i| {
        let c_up = _mm512_slli_epi32::<16>(c);
        let a_down = _mm512_srli_epi32::<16>(a);
        (
            _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(a, half, c_up),
            _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(a_down, half, c),
        )
    };
    let singles = |ac: __m512i, bd: __m512i| {
        let bd_up = _mm512_slli_epi16::<8>(bd);
        let ac_down = _mm512_srli_epi16::<8>(ac);
        (
            _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(ac, byte, bd_up),
            _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(ac_down, byte, bd),
        )
    };
    let ((ac, ac_high), (bd, bd_high)) = (pairs(a, c), pairs(b, d));
    let ((b0, b1), (b2, b3)) = (singles(ac, bd), singles(ac_high, bd_high));
    [b0, b1, b2, b3]
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn split32_steps(words: &[u8], bytes: [&mut [u8]; 4]) {
    let words = words.as_chunks::<64>().0.as_chunks::<4>().0.iter();
    let [b0, b1, b2, b3] = bytes;
    let (b0, b1) = (b0.as_chunks_mut::<64>().0, b1.as_chunks_mut::<64>().0);
    let (b2, b3) = (b2.as_chunks_mut::<64>().0, b3.as_chunks_mut::<64>().0);
    let places = b0.iter_mut().zip(b1).zip(b2).zip(b3);
    for (stacks, (((b0, b1), b2), b3)) in words.zip(places) {
        let stacks = stacks.each_ref().map(|stack| _mm512_rol_epi32::<1>(load(stack)));
        for (place, bytes) in [b0, b1, b2, b3].into_iter().zip(transposed(stacks)) {
            store(place, bytes);
        }
    }
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn merge32_steps(bytes: [&[u8]; 4], words: &mut [u8]) {
    let words = words.as_chunks_mut::<64>().0.as_chunks_mut::<4>().0.iter_mut();
    let [b0, b1, b2, b3] = bytes;
    let (b0, b1) = (b0.as_chunks::<64>().0, b1.as_chunks::<64>().0);
    let (b2, b3) = (b2.as_chunks::<64>().0, b3.as_chunks::<64>().0);
    let places = b0.iter().zip(b1).zip(b2).zip(b3);
    for (stacks, (((b0, b1), b2), b3)) in words.zip(places) {
        let of_stacks = transposed([b0, b1, b2, b3].map(|bytes| load(bytes)));
        for (place, words) in stacks.iter_mut().zip(of_stacks) {
            store(place, _mm512_ror_epi32::<1>(words));
        }
    }
}
