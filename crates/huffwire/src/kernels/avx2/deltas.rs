//! Kernels of deltas for AVX2.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store};
use crate::kernels::deltas::{GROUP, LINE, Ticks, TicksOf, WINDOW};
use crate::kernels::portable;

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn differing<const B: usize>(base: &[u8; LINE], new: &[u8; LINE]) -> u64 {
    let (base, new) = (base.as_chunks().0, new.as_chunks().0);
    let [first, second] = [0, 1].map(|half| (load(&base[half]), load(&new[half])));
    // Each word that is the same becomes ones.
    let same = |(a, b)| match B {
        1 => _mm256_cmpeq_epi8(a, b),
        2 => _mm256_cmpeq_epi16(a, b),
        4 => _mm256_cmpeq_epi32(a, b),
        _ => _mm256_cmpeq_epi64(a, b),
    };
    let (first, second) = (same(first), same(second));
    let join = |low: i32, high: i32, bits: u32| {
        let same = u64::from(low as u32) | u64::from(high as u32) << bits;
        !same & u64::MAX >> (64 - 2 * bits)
    };
    match B {
        1 => join(_mm256_movemask_epi8(first), _mm256_movemask_epi8(second), 32),
        2 => {
            // Packing takes turns with the halves of vectors.
            let bytes =
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(first, second));
            !u64::from(_mm256_movemask_epi8(bytes) as u32) & u64::from(u32::MAX)
        }
        4 => {
            let [low, high] = [first, second].map(|all| _mm256_castsi256_ps(all));
            join(_mm256_movemask_ps(low), _mm256_movemask_ps(high), 8)
        }
        _ => {
            let [low, high] = [first, second].map(|all| _mm256_castsi256_pd(all));
            join(_mm256_movemask_pd(low), _mm256_movemask_pd(high), 4)
        }
    }
}

/// The bytes of the ticks in a window, and that of class 0.
#[derive(Clone, Copy)]
struct Table {
    halves: [__m256i; 2],
    zero: __m256i,
}

impl Table {
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn new(bytes: &[u8; 256], start: u8) -> Self {
        let start = usize::from(start);
        let twice = |start: usize| {
            let mut both = [0; 32];
            both[..16].copy_from_slice(&bytes[start..start + 16]);
            both[16..].copy_from_slice(&bytes[start..start + 16]);
            load(&both)
        };
        let zero = _mm256_set1_epi8(bytes[0] as i8);
        Self { halves: [twice(start), twice(start + 16)], zero }
    }

    /// The bytes of 32 classes, given their places in the window, which of these are in the upper half of it, and which
    /// classes are 0.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn look_up(&self, places: __m256i, upper: __m256i, zeros: __m256i) -> __m256i {
        let [first, second] = self.halves.map(|half| _mm256_shuffle_epi8(half, places));
        _mm256_blendv_epi8(_mm256_blendv_epi8(first, second, upper), self.zero, zeros)
    }
}

/// Looks up the ticks of 32 words at a time, adds them up within eights, and then over the vector.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn sum_ticks(
    classes: &[u8],
    ticks: &Ticks,
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    let Some(start) = ticks.window else {
        return portable::deltas::sum_ticks(classes, ticks, of_words, sums);
    };
    let tables = [&ticks.low, &ticks.high].map(|bytes| Table::new(bytes, start));
    let start = _mm256_set1_epi8(start as i8);
    let last = _mm256_set1_epi8(WINDOW as i8 - 1);
    let half = _mm256_set1_epi8(WINDOW as i8 / 2 - 1);
    let zero = _mm256_setzero_si256();
    let (vectors, rest) = classes.as_chunks::<32>();
    let (places, rest_of_places) = sums.split_at_mut(vectors.len() * (32 / GROUP));
    let all = vectors.iter().zip(places.as_chunks_mut::<4>().0);
    let look_up = |class| {
        let places = _mm256_min_epu8(_mm256_subs_epu8(class, start), last);
        let upper = _mm256_cmpgt_epi8(places, half);
        let zeros = _mm256_cmpeq_epi8(class, zero);
        tables.map(|table| table.look_up(places, upper, zeros))
    };
    let mut before = 0;
    let mut add = |bytes: [__m256i; 2], place: &mut [u32; 4]| {
        let [low, high] = bytes.map(|bytes| _mm256_sad_epu8(bytes, zero));
        let groups = _mm256_add_epi64(low, _mm256_slli_epi64::<8>(high));
        let halves = [_mm256_castsi256_si128(groups), _mm256_extracti128_si256::<1>(groups)];
        let [first, second] = halves
            .map(|half| [_mm_cvtsi128_si64(half) as u32, _mm_extract_epi64::<1>(half) as u32]);
        for (place, group) in place.iter_mut().zip(first.into_iter().chain(second)) {
            before += group;
            *place = before;
        }
    };
    let rest_of_words = match of_words {
        Some(TicksOf { low, high }) => {
            let (low, rest_of_low) = low.as_chunks_mut::<32>();
            let (high, rest_of_high) = high.as_chunks_mut::<32>();
            for (((class, place), low), high) in all.zip(low).zip(high) {
                let bytes = look_up(load(class));
                store(low, bytes[0]);
                store(high, bytes[1]);
                add(bytes, place);
            }
            Some(TicksOf { low: rest_of_low, high: rest_of_high })
        }
        None => {
            for (class, place) in all {
                add(look_up(load(class)), place);
            }
            None
        }
    };
    portable::deltas::add_ticks(before, rest, ticks, rest_of_words, rest_of_places);
}
