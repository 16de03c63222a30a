//! Kernels of deltas for AVX-512 with VBMI.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store_u32};
use crate::kernels::deltas::{GROUP, Ticks};
use crate::kernels::portable;

/// Compares 64 bytes at a time. Where they differ, a mask has a bit for each byte; those of a word are joined in the
/// lowest one.
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn differing(log2: u32, base: &[u8], new: &[u8], out: &mut Vec<u32>) {
    let lowest: u64 = match log2 {
        0 => !0,
        1 => 0x5555_5555_5555_5555,
        2 => 0x1111_1111_1111_1111,
        _ => 0x0101_0101_0101_0101,
    };
    let (vectors, rest) = base.as_chunks::<64>();
    let (new_vectors, new_rest) = new.as_chunks::<64>();
    let mut first = 0;
    for (a, b) in vectors.iter().zip(new_vectors) {
        let mut mask = _mm512_cmpneq_epu8_mask(load(a), load(b));
        if mask != 0 {
            for shift in 0..log2 {
                mask |= mask >> (1 << shift);
            }
            mask &= lowest;
            while mask != 0 {
                out.push(first + (mask.trailing_zeros() >> log2));
                mask &= mask - 1;
            }
        }
        first += 64 >> log2;
    }
    match log2 {
        0 => portable::deltas::differing_words::<1>(rest, new_rest, first, out),
        1 => portable::deltas::differing_words::<2>(rest, new_rest, first, out),
        2 => portable::deltas::differing_words::<4>(rest, new_rest, first, out),
        _ => portable::deltas::differing_words::<8>(rest, new_rest, first, out),
    }
}

/// Looks up the ticks of 64 words, low and high bytes apart, each in two tables of 128 entries; adds them up within
/// eights, and then over the vector.
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn sum_ticks(classes: &[u8], ticks: &Ticks, sums: &mut [u32]) {
    let table = |bytes: &[u8; 256]| -> [__m512i; 4] {
        let quarters = bytes.as_chunks::<64>().0;
        [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])]
    };
    let (low, high) = (table(&ticks.low), table(&ticks.high));
    let zero = _mm512_setzero_si512();
    let last = _mm512_set1_epi64(7);
    let (vectors, rest) = classes.as_chunks::<64>();
    let (places, rest_of_places) = sums.split_at_mut(vectors.len() * (64 / GROUP));
    let mut before = zero;
    for (class, place) in vectors.iter().zip(places.as_chunks_mut::<8>().0) {
        let class = load(class);
        let upper = _mm512_movepi8_mask(class);
        let look_up = |table: &[__m512i; 4]| {
            let first = _mm512_permutex2var_epi8(table[0], class, table[1]);
            let second = _mm512_permutex2var_epi8(table[2], class, table[3]);
            _mm512_sad_epu8(_mm512_mask_blend_epi8(upper, first, second), zero)
        };
        let groups = _mm512_add_epi64(look_up(&low), _mm512_slli_epi64::<8>(look_up(&high)));
        let pairs = _mm512_add_epi64(groups, _mm512_alignr_epi64::<7>(groups, zero));
        let fours = _mm512_add_epi64(pairs, _mm512_alignr_epi64::<6>(pairs, zero));
        let eights = _mm512_add_epi64(fours, _mm512_alignr_epi64::<4>(fours, zero));
        let all = _mm512_add_epi64(eights, before);
        before = _mm512_permutexvar_epi64(last, all);
        store_u32(place, _mm512_cvtepi64_epi32(all));
    }
    let sum = places.last().copied().unwrap_or(0);
    portable::deltas::add_ticks(sum, rest, ticks, rest_of_places);
}
