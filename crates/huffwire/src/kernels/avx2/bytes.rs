//! Byte kernels for AVX2. Eight bytes at a time are moved together or apart by `vpshufb`, with a pattern for each
//! of the 256 ways to choose some of them.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store};
use crate::kernels::patterns::{APART, Patterns, TOGETHER};
use crate::kernels::portable;

/// Those of eight bytes that a mask chooses, moved together; 0 behind them.
#[cfg(feature = "gradient")]
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn together(mask: u32, bytes: &[u8; 8]) -> [u8; 8] {
    _mm_cvtsi128_si64(moved(&TOGETHER, mask, bytes)).to_le_bytes()
}

/// Eight bytes as the pattern for a mask has them.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn moved(patterns: &Patterns, mask: u32, bytes: &[u8; 8]) -> __m128i {
    let pattern = u64::from_le_bytes(patterns[(mask & 0xff) as usize]);
    let bytes = _mm_cvtsi64_si128(u64::from_le_bytes(*bytes).cast_signed());
    _mm_shuffle_epi8(bytes, _mm_cvtsi64_si128(pattern.cast_signed()))
}

/// The next of `values` at the places in `mask`, 0 elsewhere.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn apart(mask: u32, values: &[u8; 32]) -> __m256i {
    let mut at = 0;
    let mut eight = |mask: u32| {
        // Never `None`: `at` is at most 24.
        let bytes = values.get(at..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 8]);
        at += (mask & 0xff).count_ones() as usize;
        moved(&APART, mask, bytes)
    };
    let [a, b, c, d] = [mask, mask >> 8, mask >> 16, mask >> 24].map(&mut eight);
    _mm256_set_m128i(_mm_unpacklo_epi64(c, d), _mm_unpacklo_epi64(a, b))
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select(chosen: &[bool; 256], keys: &[u8], values: &[u8], out: &mut Vec<u8>) {
    // By lower half of a key: a bit for each upper half, eight of them in a table.
    let mut rows = [[0; 32]; 2];
    for (key, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen) {
        let bit = 1 << (key >> 4 & 7);
        rows[key >> 7][key & 15] |= bit;
        rows[key >> 7][16 + (key & 15)] |= bit;
    }
    let [lower_rows, upper_rows] = rows.each_ref().map(|rows| load(rows));
    let bits = load(&std::array::from_fn(|i| 1 << (i % 8)));
    let (half, top) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi8(0x80_u8 as i8));
    let (keys, last_keys) = keys.as_chunks::<32>();
    let (values, last_values) = values.as_chunks::<32>();
    for (keys, values) in keys.iter().zip(values) {
        let keys = load(keys);
        let row = _mm256_and_si256(keys, half);
        // Where the index has bit 7 set, the other table has the row.
        let lower =
            _mm256_shuffle_epi8(lower_rows, _mm256_or_si256(row, _mm256_and_si256(keys, top)));
        let upper = _mm256_andnot_si256(keys, top);
        let upper = _mm256_shuffle_epi8(upper_rows, _mm256_or_si256(row, upper));
        let row = _mm256_or_si256(lower, upper);
        let bit = _mm256_and_si256(_mm256_srli_epi16::<4>(keys), half);
        let without = _mm256_and_si256(row, _mm256_shuffle_epi8(bits, bit));
        let without = _mm256_cmpeq_epi8(without, _mm256_setzero_si256());
        let mut selected = !(_mm256_movemask_epi8(without) as u32);
        // Most vectors of a plane have nothing to select, and few have much.
        while selected != 0 {
            out.push(values[selected.trailing_zeros() as usize]);
            selected &= selected - 1;
        }
    }
    portable::bytes::select(chosen, last_keys, last_values, out);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn compact(keys: &[u8], values: &mut Vec<u8>) {
    let count = keys.len().min(values.len());
    let (keys, last_keys) = keys[..count].as_chunks::<32>();
    let mut kept = 0;
    for (index, keys) in keys.iter().enumerate() {
        let zero = _mm256_cmpeq_epi8(load(keys), _mm256_setzero_si256());
        let selected = !(_mm256_movemask_epi8(zero) as u32);
        for eight in 0..4 {
            let at = 32 * index + 8 * eight;
            let Some(from) = values.get(at..).and_then(<[u8]>::first_chunk) else { break };
            let selected = selected >> (8 * eight) & 0xff;
            let together = moved(&TOGETHER, selected, from);
            // Never beyond what was read: `kept <= at`.
            let Some(to) = values.get_mut(kept..).and_then(<[u8]>::first_chunk_mut) else { break };
            *to = _mm_cvtsi128_si64(together).to_le_bytes();
            kept += selected.count_ones() as usize;
        }
    }
    for (index, &key) in (count - last_keys.len()..).zip(last_keys) {
        values[kept] = values[index];
        kept += usize::from(key != 0);
    }
    values.truncate(kept);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn expand(key: u8, other: bool, keys: &[u8], values: &[u8], out: &mut [u8]) -> usize {
    let invert = _mm256_set1_epi8(if other { -1 } else { 0 });
    let wanted = _mm256_set1_epi8(key as i8);
    let (groups, _) = keys.as_chunks::<32>();
    let (places, _) = out.as_chunks_mut::<32>();
    // The shorter of the two decides.
    let done = 32 * groups.len().min(places.len());
    let mut due = 0;
    for (keys, place) in groups.iter().zip(places) {
        let here = _mm256_xor_si256(_mm256_cmpeq_epi8(load(keys), wanted), invert);
        let mask = _mm256_movemask_epi8(here) as u32;
        if mask == 0 {
            continue;
        }
        let left = values.get(due..).unwrap_or(&[]);
        if let Some(values) = left.first_chunk() {
            store(place, _mm256_blendv_epi8(load(place), apart(mask, values), here));
        } else {
            portable::bytes::expand(key, other, keys, left, place);
        }
        due += mask.count_ones() as usize;
    }
    let left = values.get(due..).unwrap_or(&[]);
    due + portable::bytes::expand(key, other, &keys[done..], left, &mut out[done..])
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn replace(key: u8, values: &[u8], bytes: &mut [u8]) -> usize {
    let wanted = _mm256_set1_epi8(key as i8);
    let (groups, last) = bytes.as_chunks_mut::<32>();
    let mut due = 0;
    for place in groups {
        let here = _mm256_cmpeq_epi8(load(place), wanted);
        let mut mask = _mm256_movemask_epi8(here) as u32;
        // Few bytes are replaced: one by one.
        while mask != 0 {
            if let Some(&value) = values.get(due) {
                place[mask.trailing_zeros() as usize] = value;
            }
            due += 1;
            mask &= mask - 1;
        }
    }
    due + portable::bytes::replace(key, values.get(due..).unwrap_or(&[]), last)
}
