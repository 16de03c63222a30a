//! Kernels of deltas for AVX-512 with VBMI.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use zerocopy::IntoBytes;

use super::isa::{load, load_some, store, store_some, store_u32};
use crate::kernels::deltas::{
    AT_ONCE, Chances, Falling, GROUP, GroupTicks, InGroup, LINE, Spots, Ticks, TicksOf, WINDOW,
    Words,
};
use crate::kernels::portable;

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn differing<const B: usize>(base: &[u8; LINE], new: &[u8; LINE]) -> u64 {
    let (base, new) = (load(base), load(new));
    match B {
        1 => _mm512_cmpneq_epi8_mask(base, new),
        2 => _mm512_cmpneq_epi16_mask(base, new).into(),
        4 => _mm512_cmpneq_epi32_mask(base, new).into(),
        _ => _mm512_cmpneq_epi64_mask(base, new).into(),
    }
}

/// The tables of ticks: low bytes, and high ones.
#[derive(Clone, Copy)]
struct Tables {
    low: [__m512i; 4],
    high: [__m512i; 4],
}

impl Tables {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(ticks: &Ticks) -> Self {
        let table = |bytes: &[u8; 256]| -> [__m512i; 4] {
            let quarters = bytes.as_chunks::<64>().0;
            [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])]
        };
        Self { low: table(&ticks.low), high: table(&ticks.high) }
    }

    /// The low bytes of the ticks of 64 classes, and the high ones. Each is looked up in two tables of 128 entries.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up(&self, classes: __m512i) -> [__m512i; 2] {
        let upper = _mm512_movepi8_mask(classes);
        [self.low, self.high].map(|table| {
            let first = _mm512_permutex2var_epi8(table[0], classes, table[1]);
            let second = _mm512_permutex2var_epi8(table[2], classes, table[3]);
            _mm512_mask_blend_epi8(upper, first, second)
        })
    }
}

/// The sums of ticks over each eight, given by their low bytes and their high ones.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn sum_eights([low, high]: [__m512i; 2]) -> __m512i {
    let zero = _mm512_setzero_si512();
    let [low, high] = [_mm512_sad_epu8(low, zero), _mm512_sad_epu8(high, zero)];
    _mm512_add_epi64(low, _mm512_slli_epi64::<8>(high))
}

/// The bytes of the ticks in a window, and those of class 0.
#[derive(Clone, Copy)]
struct Window {
    start: __m512i,
    tables: [__m512i; 2],
    zeros: [__m512i; 2],
}

impl Window {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(ticks: &Ticks, start: u8) -> Self {
        let bytes = [&ticks.low, &ticks.high];
        let from = usize::from(start);
        Self {
            start: _mm512_set1_epi8(start as i8),
            tables: bytes.map(|bytes| load_some(&bytes[from..from + WINDOW])),
            zeros: bytes.map(|bytes| _mm512_set1_epi8(bytes[0] as i8)),
        }
    }

    /// The low bytes of the ticks of 64 classes, and the high ones.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up(&self, classes: __m512i) -> [__m512i; 2] {
        let last = _mm512_set1_epi8(WINDOW as i8 - 1);
        let places = _mm512_min_epu8(_mm512_subs_epu8(classes, self.start), last);
        let others = _mm512_test_epi8_mask(classes, classes);
        [0, 1].map(|byte| {
            _mm512_mask_permutexvar_epi8(self.zeros[byte], others, places, self.tables[byte])
        })
    }
}

/// The classes of 64 words of `B` bytes.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn classes_of<const B: usize>(lines: &[[u8; LINE]; B], words: Words<'_>) -> __m512i {
    let shift = _mm_cvtsi32_si128(words.shift as i32);
    let shifted = match lines.as_slice() {
        [all] => _mm512_srl_epi16(load(all), shift),
        [first, second] => {
            let [first, second] = [first, second].map(|line| _mm512_srl_epi16(load(line), shift));
            // Every other byte.
            let numbers = std::array::from_fn(|number| 2 * number as u8);
            _mm512_permutex2var_epi8(first, load(&numbers), second)
        }
        all => {
            let mut classes = [0; 64];
            portable::deltas::classify(Words { bytes: all.as_flattened(), ..words }, &mut classes);
            load(&classes)
        }
    };
    _mm512_and_si512(shifted, _mm512_set1_epi8(words.mask as i8))
}

/// Looks up the ticks of 64 words at a time, adds them up within eights, and then over the vector.
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn set_clock(
    words: Words<'_>,
    classes: &mut [u8],
    ticks: &Ticks,
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    match words.word_bytes {
        1 => set_clock_of::<1>(words, classes, ticks, of_words, sums),
        2 => set_clock_of::<2>(words, classes, ticks, of_words, sums),
        4 => set_clock_of::<4>(words, classes, ticks, of_words, sums),
        _ => set_clock_of::<8>(words, classes, ticks, of_words, sums),
    }
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn set_clock_of<const B: usize>(
    words: Words<'_>,
    classes: &mut [u8],
    ticks: &Ticks,
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    match ticks.window {
        Some(start) => {
            let window = Window::new(ticks, start);
            let look_up = |classes| window.look_up(classes);
            sum_looked_up::<B>(words, classes, (ticks, look_up), of_words, sums);
        }
        None => {
            let tables = Tables::new(ticks);
            let look_up = |classes| tables.look_up(classes);
            sum_looked_up::<B>(words, classes, (ticks, look_up), of_words, sums);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn sum_looked_up<const B: usize>(
    words: Words<'_>,
    classes: &mut [u8],
    (ticks, look_up): (&Ticks, impl Fn(__m512i) -> [__m512i; 2]),
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    let vectors = words.bytes.as_chunks().0.as_chunks::<B>().0;
    let rest = words.from(64 * vectors.len());
    let (places, rest_of_places) = sums.split_at_mut(vectors.len() * (64 / GROUP));
    let (classes, rest_of_classes) = classes.as_chunks_mut::<64>();
    let all = vectors.iter().zip(classes).zip(places.as_chunks_mut::<8>().0);
    let mut before = _mm512_setzero_si512();
    let rest_of_words = match of_words {
        Some(of_words) => {
            let [TicksOf { low, high }, rest_of_words] = of_words.split_at(64 * vectors.len());
            let (low, high) = (low.as_chunks_mut().0, high.as_chunks_mut().0);
            for ((((lines, classes), place), low), high) in all.zip(low).zip(high) {
                let found = classes_of(lines, words);
                store(classes, found);
                let bytes = look_up(found);
                store(low, bytes[0]);
                store(high, bytes[1]);
                before = add_vector(bytes, before, place);
            }
            Some(rest_of_words)
        }
        None => {
            for ((lines, classes), place) in all {
                let found = classes_of(lines, words);
                store(classes, found);
                before = add_vector(look_up(found), before, place);
            }
            None
        }
    };
    let sum = places.last().copied().unwrap_or(0);
    portable::deltas::classify(rest, rest_of_classes);
    portable::deltas::add_ticks(sum, rest_of_classes, ticks, rest_of_words, rest_of_places);
}

/// Adds the ticks of 64 words, given by their low bytes and their high ones, to those before them, which are in all lanes.
/// `place` gets the sums up to each eight; those up to the last one are returned.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn add_vector(bytes: [__m512i; 2], before: __m512i, place: &mut [u32; 8]) -> __m512i {
    let zero = _mm512_setzero_si512();
    let groups = sum_eights(bytes);
    let pairs = _mm512_add_epi64(groups, _mm512_alignr_epi64::<7>(groups, zero));
    let fours = _mm512_add_epi64(pairs, _mm512_alignr_epi64::<6>(pairs, zero));
    let eights = _mm512_add_epi64(fours, _mm512_alignr_epi64::<4>(fours, zero));
    store_u32(place, _mm512_cvtepi64_epi32(_mm512_add_epi64(eights, before)));
    _mm512_add_epi64(before, _mm512_permutexvar_epi64(_mm512_set1_epi64(7), eights))
}

/// Eight changes at a time.
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn time_changes(
    Spots { classes, before, places }: Spots<'_>,
    ticks: &Ticks,
    (falling, limit): (&Falling, u32),
    last: u32,
    out: &mut [Chances],
) -> bool {
    let tables = Tables::new(ticks);
    let (starts, drops) = (halves(&falling.starts), halves(&falling.drops));
    let limits = _mm512_set1_epi32(limit as i32);
    let mut last = _mm256_set1_epi32(last as i32);
    let mut below = true;
    let changes = classes.chunks(8).zip(before.chunks(8)).zip(places.chunks(8));
    // Where fewer than eight are left the rest of the vectors is zeros, and nobody looks at it.
    for (((classes, before), places), out) in changes.zip(out.chunks_mut(8)) {
        let present = ((1u32 << places.len()) - 1) as u16;
        let [low, high] = tables.look_up(load_some(classes.as_flattened()));
        let before = _mm512_castsi512_si256(load_some(before.as_bytes()));
        let places = _mm512_castsi512_si128(load_some(places.as_bytes()));
        // What lies before the place in its group, and what lies there.
        let place = _mm512_and_si512(_mm512_cvtepu16_epi64(places), _mm512_set1_epi64(7));
        let shift = _mm512_slli_epi64::<3>(place);
        let behind = _mm512_sllv_epi64(_mm512_set1_epi64(-1), shift);
        let earlier = [_mm512_andnot_si512(behind, low), _mm512_andnot_si512(behind, high)];
        let byte = _mm512_set1_epi64(0xff);
        let [low, high] =
            [low, high].map(|all| _mm512_and_si512(_mm512_srlv_epi64(all, shift), byte));
        let own = _mm512_or_si512(low, _mm512_slli_epi64::<8>(high));
        let start = _mm256_add_epi32(before, _mm512_cvtepi64_epi32(sum_eights(earlier)));
        let end = _mm256_add_epi32(start, _mm512_cvtepi64_epi32(own));

        let previous = _mm256_alignr_epi32::<7>(end, last);
        last = end;
        let times = _mm512_inserti64x4::<1>(
            _mm512_castsi256_si512(_mm256_sub_epi32(start, previous)),
            _mm256_sub_epi32(end, previous),
        );
        below &= _mm512_mask_cmpge_epu32_mask(present, times, limits) == 0;
        let times = _mm512_min_epu32(times, limits);
        let piece = _mm512_srli_epi32::<12>(times);
        let part = _mm512_and_si512(times, _mm512_set1_epi32(0xfff));
        let value = _mm512_permutex2var_epi32(starts[0], piece, starts[1]);
        let drop = _mm512_permutex2var_epi32(drops[0], piece, drops[1]);
        let upper = _mm512_mullo_epi32(_mm512_srli_epi32::<12>(drop), part);
        let lower = _mm512_mullo_epi32(_mm512_and_si512(drop, _mm512_set1_epi32(0xfff)), part);
        let fallen = _mm512_add_epi32(upper, _mm512_srli_epi32::<12>(lower));
        let values = _mm512_sub_epi32(value, fallen);
        // Start and end of each change side by side.
        let pairs = _mm512_permutexvar_epi32(
            _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15),
            values,
        );
        store_some(out.as_mut_bytes(), pairs);
    }
    below
}

/// 32 numbers.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn halves(all: &[u32; 32]) -> [__m512i; 2] {
    let (low, high) = all.split_at(16);
    [load_some(low.as_bytes()), load_some(high.as_bytes())]
}

/// Compares with 16 times at once.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn passed(ends: &[u32; AT_ONCE], time: u32) -> usize {
    let time = _mm512_set1_epi32(time as i32);
    let pieces = ends.as_chunks::<16>().0.iter();
    let passed =
        pieces.map(|ends| _mm512_cmple_epu32_mask(load_some(ends.as_bytes()), time).count_ones());
    passed.sum::<u32>() as usize
}

/// A lane for each word of the group has the ticks of all words up to it.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn find_in_group(GroupTicks { low, high }: GroupTicks, time: u32) -> InGroup {
    let up_to = _mm512_setr_epi64(
        0xff,
        0xffff,
        0xff_ffff,
        0xffff_ffff,
        0xff_ffff_ffff,
        0xffff_ffff_ffff,
        0xff_ffff_ffff_ffff,
        -1,
    );
    let bytes = [low, high]
        .map(|bytes| _mm512_and_si512(_mm512_set1_epi64(i64::from_le_bytes(bytes)), up_to));
    let ends = sum_eights(bytes);
    let starts = _mm512_alignr_epi64::<7>(ends, _mm512_setzero_si512());
    let after = _mm512_cmpgt_epu64_mask(ends, _mm512_set1_epi64(i64::from(time)));
    let first = |lanes: __m512i| {
        let lanes = _mm512_maskz_compress_epi64(after, lanes);
        _mm_cvtsi128_si32(_mm512_castsi512_si128(lanes)) as u32
    };
    InGroup {
        place: after.trailing_zeros() as usize % GROUP,
        start: first(starts),
        end: first(ends),
    }
}
