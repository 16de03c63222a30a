//! Kernels of deltas for AVX2.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store};
use crate::kernels::deltas::{GROUP, Ticks, TicksOf};
use crate::kernels::portable;

/// Compares 64 bytes at a time. Where they differ, a mask has a bit for each byte; those of a word are joined in the
/// lowest one.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn differing(log2: u32, base: &[u8], new: &[u8], out: &mut Vec<u32>) {
    let lowest: u64 = match log2 {
        0 => !0,
        1 => 0x5555_5555_5555_5555,
        2 => 0x1111_1111_1111_1111,
        _ => 0x0101_0101_0101_0101,
    };
    let (steps, rest) = base.as_chunks::<64>();
    let (new_steps, new_rest) = new.as_chunks::<64>();
    let mut first = 0;
    for (a, b) in steps.iter().zip(new_steps) {
        let (a, b) = (a.as_chunks::<32>().0, b.as_chunks::<32>().0);
        let same = |half: usize| {
            let same = _mm256_cmpeq_epi8(load(&a[half]), load(&b[half]));
            u64::from(_mm256_movemask_epi8(same) as u32)
        };
        let mut mask = !(same(0) | same(1) << 32);
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

/// Classes whose ticks are in a window: 32 of them, of which the first and the last stand for those beyond. Class 0 has
/// ticks of its own. A step's ticks are of this form: they fall from the most to the least within 17 classes.
struct Window {
    start: u8,
}

/// Classes in a window.
const WINDOW: usize = 32;

impl Window {
    /// The window of some ticks, if they have one.
    fn of(ticks: &Ticks) -> Option<Self> {
        let all = &ticks.all;
        let same = all[1..].iter().take_while(|ticks| **ticks == all[1]).count();
        let start = same.min(all.len() - WINDOW);
        let beyond = &all[start + WINDOW - 1..];
        beyond.iter().all(|ticks| *ticks == beyond[0]).then_some(Self { start: start as u8 })
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
    fn new(bytes: &[u8; 256], window: &Window) -> Self {
        let start = usize::from(window.start);
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
    TicksOf { low, high }: TicksOf<'_>,
    sums: &mut [u32],
) {
    let Some(window) = Window::of(ticks) else {
        return portable::deltas::sum_ticks(classes, ticks, TicksOf { low, high }, sums);
    };
    let tables = [&ticks.low, &ticks.high].map(|bytes| Table::new(bytes, &window));
    let start = _mm256_set1_epi8(window.start as i8);
    let last = _mm256_set1_epi8(WINDOW as i8 - 1);
    let half = _mm256_set1_epi8(WINDOW as i8 / 2 - 1);
    let zero = _mm256_setzero_si256();
    let (vectors, rest) = classes.as_chunks::<32>();
    let (low, rest_of_low) = low.as_chunks_mut::<32>();
    let (high, rest_of_high) = high.as_chunks_mut::<32>();
    let (places, rest_of_places) = sums.split_at_mut(vectors.len() * (32 / GROUP));
    let mut before = 0;
    let all = vectors.iter().zip(low).zip(high).zip(places.as_chunks_mut::<4>().0);
    for (((class, low), high), place) in all {
        let class = load(class);
        let places = _mm256_min_epu8(_mm256_subs_epu8(class, start), last);
        let upper = _mm256_cmpgt_epi8(places, half);
        let zeros = _mm256_cmpeq_epi8(class, zero);
        let bytes = tables.map(|table| table.look_up(places, upper, zeros));
        store(low, bytes[0]);
        store(high, bytes[1]);
        let [low, high] = bytes.map(|bytes| _mm256_sad_epu8(bytes, zero));
        let groups = _mm256_add_epi64(low, _mm256_slli_epi64::<8>(high));
        let halves = [_mm256_castsi256_si128(groups), _mm256_extracti128_si256::<1>(groups)];
        let [first, second] = halves
            .map(|half| [_mm_cvtsi128_si64(half) as u32, _mm_extract_epi64::<1>(half) as u32]);
        for (place, group) in place.iter_mut().zip(first.into_iter().chain(second)) {
            before += group;
            *place = before;
        }
    }
    let rest_of_words = TicksOf { low: rest_of_low, high: rest_of_high };
    portable::deltas::add_ticks(before, rest, ticks, rest_of_words, rest_of_places);
}
