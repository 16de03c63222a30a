//! The kernels for AVX2: the portable ones, on vectors of 32 bytes.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::{GROUP, portable};
use crate::platform::Avx2;
use crate::platform::avx2::{load, store};

/// Whole groups that all of the slices have.
fn groups(word_bytes: usize, words: &[u8], planes: &[&[u8]]) -> usize {
    let planes = planes.iter().map(|plane| plane.len() / GROUP);
    planes.fold(words.len() / (GROUP * word_bytes), usize::min)
}

/// The lower bytes of 16-bit words from `a`, the upper ones from `b`.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn bytes_of(a: __m256i, b: __m256i) -> __m256i {
    let lower = _mm256_set1_epi16(0x00ff);
    _mm256_or_si256(_mm256_and_si256(a, lower), _mm256_andnot_si256(lower, b))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn left16(words: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_add_epi16(words, words), _mm256_srli_epi16::<15>(words))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn right16(words: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_srli_epi16::<1>(words), _mm256_slli_epi16::<15>(words))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn left32(words: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_add_epi32(words, words), _mm256_srli_epi32::<31>(words))
}

/// Low and high bytes of a part of a group: 16 words of its first half, and those 32 words later. (The lane coder splits
/// and merges on its way.)
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn split_half(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    let (a, b) = (left16(a), left16(b));
    (bytes_of(a, _mm256_slli_epi16::<8>(b)), bytes_of(_mm256_srli_epi16::<8>(a), b))
}

/// The inverse of [`split_half`].
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn merge_half(low: __m256i, high: __m256i) -> (__m256i, __m256i) {
    let a = bytes_of(low, _mm256_slli_epi16::<8>(high));
    let b = bytes_of(_mm256_srli_epi16::<8>(low), high);
    (right16(a), right16(b))
}

pub(super) fn split16(_proof: Avx2, words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let dealt = groups(2, words, &[low, high]) * GROUP;
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { split16_groups(words, low, high) };
    portable::split16(&words[2 * dealt..], &mut low[dealt..], &mut high[dealt..]);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn split16_groups(words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let words = words.as_chunks::<32>().0.as_chunks::<4>().0.iter();
    let low = low.as_chunks_mut::<32>().0.as_chunks_mut::<2>().0;
    let high = high.as_chunks_mut::<32>().0.as_chunks_mut::<2>().0;
    for ((words, low), high) in words.zip(low).zip(high) {
        for half in 0..2 {
            let (dealt_low, dealt_high) = split_half(load(&words[half]), load(&words[2 + half]));
            store(&mut low[half], dealt_low);
            store(&mut high[half], dealt_high);
        }
    }
}

pub(super) fn merge16(_proof: Avx2, low: &[u8], high: &[u8], words: &mut [u8]) {
    let dealt = groups(2, words, &[low, high]) * GROUP;
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { merge16_groups(low, high, words) };
    portable::merge16(&low[dealt..], &high[dealt..], &mut words[2 * dealt..]);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn merge16_groups(low: &[u8], high: &[u8], words: &mut [u8]) {
    let words = words.as_chunks_mut::<32>().0.as_chunks_mut::<4>().0.iter_mut();
    let low = low.as_chunks::<32>().0.as_chunks::<2>().0;
    let high = high.as_chunks::<32>().0.as_chunks::<2>().0;
    for ((words, low), high) in words.zip(low).zip(high) {
        for half in 0..2 {
            let (first, second) = merge_half(load(&low[half]), load(&high[half]));
            store(&mut words[half], first);
            store(&mut words[2 + half], second);
        }
    }
}

/// As in [`portable`], but on vectors.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn transposed([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let pairs = |a: __m256i, c: __m256i| {
        (
            _mm256_blend_epi16::<0xaa>(a, _mm256_slli_epi32::<16>(c)),
            _mm256_blend_epi16::<0xaa>(_mm256_srli_epi32::<16>(a), c),
        )
    };
    let singles = |ac: __m256i, bd: __m256i| {
        (bytes_of(ac, _mm256_slli_epi16::<8>(bd)), bytes_of(_mm256_srli_epi16::<8>(ac), bd))
    };
    let ((ac, ac_high), (bd, bd_high)) = (pairs(a, c), pairs(b, d));
    let ((b0, b1), (b2, b3)) = (singles(ac, bd), singles(ac_high, bd_high));
    [b0, b1, b2, b3]
}

pub(super) fn split32(_proof: Avx2, words: &[u8], [b0, b1, b2, b3]: [&mut [u8]; 4]) {
    let dealt = groups(4, words, &[b0, b1, b2, b3]) * GROUP;
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { split32_groups(words, [b0, b1, b2, b3]) };
    let rest = [&mut b0[dealt..], &mut b1[dealt..], &mut b2[dealt..], &mut b3[dealt..]];
    portable::split32(&words[4 * dealt..], rest);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn split32_groups(words: &[u8], bytes: [&mut [u8]; 4]) {
    let words = words.as_chunks::<32>().0.as_chunks::<8>().0.iter();
    let bytes = bytes.map(|bytes| bytes.as_chunks_mut::<32>().0.as_chunks_mut::<2>().0);
    let [b0, b1, b2, b3] = bytes;
    let places = b0.iter_mut().zip(b1).zip(b2).zip(b3);
    for (words, (((b0, b1), b2), b3)) in words.zip(places) {
        for half in 0..2 {
            let [a, b, c, d] = [&words[half], &words[2 + half], &words[4 + half], &words[6 + half]];
            let stacks = [left32(load(a)), left32(load(b)), left32(load(c)), left32(load(d))];
            let [bytes0, bytes1, bytes2, bytes3] = transposed(stacks);
            store(&mut b0[half], bytes0);
            store(&mut b1[half], bytes1);
            store(&mut b2[half], bytes2);
            store(&mut b3[half], bytes3);
        }
    }
}

pub(super) fn merge32(_proof: Avx2, bytes: [&[u8]; 4], words: &mut [u8]) {
    let dealt = groups(4, words, &bytes) * GROUP;
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { merge32_groups(bytes, words) };
    portable::merge32(bytes.map(|bytes| &bytes[dealt..]), &mut words[4 * dealt..]);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn merge32_groups(bytes: [&[u8]; 4], words: &mut [u8]) {
    let words = words.as_chunks_mut::<32>().0.as_chunks_mut::<8>().0.iter_mut();
    let [b0, b1, b2, b3] = bytes.map(|bytes| bytes.as_chunks::<32>().0.as_chunks::<2>().0);
    let places = b0.iter().zip(b1).zip(b2).zip(b3);
    for (words, (((b0, b1), b2), b3)) in words.zip(places) {
        for half in 0..2 {
            let bytes = [load(&b0[half]), load(&b1[half]), load(&b2[half]), load(&b3[half])];
            for (stack, merged) in transposed(bytes).into_iter().enumerate() {
                let down = _mm256_srli_epi32::<1>(merged);
                let merged = _mm256_or_si256(down, _mm256_slli_epi32::<31>(merged));
                store(&mut words[2 * stack + half], merged);
            }
        }
    }
}
