//! The kernels for AVX-512 with VBMI2, whose funnel shifts rotate words in one instruction.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::{GROUP, portable};
use crate::platform::Avx512;
use crate::platform::avx512::{load, store};

/// `vpternlogd`: bits of `a` where `b` is set, of `c` elsewhere.
const A_IF_B_ELSE_C: i32 = 0xe2;

/// Whole groups that all of the slices have.
fn groups(word_bytes: usize, words: &[u8], planes: &[&[u8]]) -> usize {
    let planes = planes.iter().map(|plane| plane.len() / GROUP);
    planes.fold(words.len() / (GROUP * word_bytes), usize::min)
}

pub(super) fn split16(_proof: Avx512, words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let groups = groups(2, words, &[low, high]);
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { split16_groups(words, low, high) };
    let dealt = groups * GROUP;
    portable::split16(&words[2 * dealt..], &mut low[dealt..], &mut high[dealt..]);
}

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
fn split16_groups(words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let words = words.as_chunks::<64>().0.as_chunks::<2>().0.iter();
    let low = low.as_chunks_mut::<64>().0;
    let high = high.as_chunks_mut::<64>().0;
    for (([a, b], low), high) in words.zip(low).zip(high) {
        let (dealt_low, dealt_high) = split_group(load(a), load(b));
        store(low, dealt_low);
        store(high, dealt_high);
    }
}

pub(super) fn merge16(_proof: Avx512, low: &[u8], high: &[u8], words: &mut [u8]) {
    let groups = groups(2, words, &[low, high]);
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { merge16_groups(low, high, words) };
    let dealt = groups * GROUP;
    portable::merge16(&low[dealt..], &high[dealt..], &mut words[2 * dealt..]);
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn merge16_groups(low: &[u8], high: &[u8], words: &mut [u8]) {
    let words = words.as_chunks_mut::<64>().0.as_chunks_mut::<2>().0.iter_mut();
    let low = low.as_chunks::<64>().0;
    let high = high.as_chunks::<64>().0;
    for (([a, b], low), high) in words.zip(low).zip(high) {
        let (first, second) = merge_group(load(low), load(high));
        store(a, first);
        store(b, second);
    }
}

/// As in [`portable`], but on vectors.
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

pub(super) fn split32(_proof: Avx512, words: &[u8], [b0, b1, b2, b3]: [&mut [u8]; 4]) {
    let dealt = groups(4, words, &[b0, b1, b2, b3]) * GROUP;
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { split32_groups(words, [b0, b1, b2, b3]) };
    let rest = [&mut b0[dealt..], &mut b1[dealt..], &mut b2[dealt..], &mut b3[dealt..]];
    portable::split32(&words[4 * dealt..], rest);
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn split32_groups(words: &[u8], bytes: [&mut [u8]; 4]) {
    let words = words.as_chunks::<64>().0.as_chunks::<4>().0.iter();
    let [b0, b1, b2, b3] = bytes.map(|bytes| bytes.as_chunks_mut::<64>().0);
    let places = b0.iter_mut().zip(b1).zip(b2).zip(b3);
    for (stacks, (((b0, b1), b2), b3)) in words.zip(places) {
        let stacks = stacks.each_ref().map(|stack| _mm512_rol_epi32::<1>(load(stack)));
        for (place, bytes) in [b0, b1, b2, b3].into_iter().zip(transposed(stacks)) {
            store(place, bytes);
        }
    }
}

pub(super) fn merge32(_proof: Avx512, bytes: [&[u8]; 4], words: &mut [u8]) {
    let dealt = groups(4, words, &bytes) * GROUP;
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { merge32_groups(bytes, words) };
    portable::merge32(bytes.map(|bytes| &bytes[dealt..]), &mut words[4 * dealt..]);
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn merge32_groups(bytes: [&[u8]; 4], words: &mut [u8]) {
    let words = words.as_chunks_mut::<64>().0.as_chunks_mut::<4>().0.iter_mut();
    let [b0, b1, b2, b3] = bytes.map(|bytes| bytes.as_chunks::<64>().0);
    let places = b0.iter().zip(b1).zip(b2).zip(b3);
    for (stacks, (((b0, b1), b2), b3)) in words.zip(places) {
        let of_stacks = transposed([b0, b1, b2, b3].map(|bytes| load(bytes)));
        for (place, words) in stacks.iter_mut().zip(of_stacks) {
            store(place, _mm512_ror_epi32::<1>(words));
        }
    }
}
