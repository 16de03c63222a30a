//! Interleaving kernels for AVX2: the same steps as the portable kernels, on vectors of 32 bytes.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store};

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

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn split16_steps(words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let words = words.as_chunks::<32>().0.as_chunks::<4>().0.iter();
    let low = low.as_chunks_mut::<32>().0.as_chunks_mut::<2>().0;
    let high = high.as_chunks_mut::<32>().0.as_chunks_mut::<2>().0;
    for ((words, low), high) in words.zip(low).zip(high) {
        for half in 0..2 {
            let (low_bytes, high_bytes) = split_half(load(&words[half]), load(&words[2 + half]));
            store(&mut low[half], low_bytes);
            store(&mut high[half], high_bytes);
        }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn merge16_steps(low: &[u8], high: &[u8], words: &mut [u8]) {
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

/// As in [the portable kernels](crate::kernels::portable::interleave), but on vectors.
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

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn split32_steps(words: &[u8], bytes: [&mut [u8]; 4]) {
    let words = words.as_chunks::<32>().0.as_chunks::<8>().0.iter();
    let [b0, b1, b2, b3] = bytes;
    let (b0, b1) = (b0.as_chunks_mut::<32>().0, b1.as_chunks_mut::<32>().0);
    let (b2, b3) = (b2.as_chunks_mut::<32>().0, b3.as_chunks_mut::<32>().0);
    let (b0, b1) = (b0.as_chunks_mut::<2>().0, b1.as_chunks_mut::<2>().0);
    let (b2, b3) = (b2.as_chunks_mut::<2>().0, b3.as_chunks_mut::<2>().0);
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

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn merge32_steps(bytes: [&[u8]; 4], words: &mut [u8]) {
    let words = words.as_chunks_mut::<32>().0.as_chunks_mut::<8>().0.iter_mut();
    let [b0, b1, b2, b3] = bytes;
    let (b0, b1) = (b0.as_chunks::<32>().0, b1.as_chunks::<32>().0);
    let (b2, b3) = (b2.as_chunks::<32>().0, b3.as_chunks::<32>().0);
    let (b0, b1) = (b0.as_chunks::<2>().0, b1.as_chunks::<2>().0);
    let (b2, b3) = (b2.as_chunks::<2>().0, b3.as_chunks::<2>().0);
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
