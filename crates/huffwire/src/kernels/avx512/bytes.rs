//! Byte kernels for AVX-512 with VBMI2.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, store};
use crate::kernels::portable;

/// `vpternlogd`: the exclusive or of three, and the majority: a full adder.
const SUM: i32 = 0x96;
const CARRY: i32 = 0xe8;

/// Vectors counted at a time: few enough to stay in the L1 cache.
const PIECE: usize = 64;
/// So many groups of eight values take about as long as counting one by one.
const FEW_GROUPS: u32 = 10;

/// Vectors whose flags are added up before they are counted; pieces are multiples.
const SIXTEEN: usize = 16;

/// Counts by *positional population counts*. A table lookup turns each byte into a flag for one of
/// eight values; full adders, bit by bit, add up the flags of 16 vectors in 15 steps; what comes out is
/// counted by counting bits. Only the groups of eight values that occur in a piece are looked at.
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn histogram(bytes: &[u8]) -> [u32; 256] {
    let mut counts = [0u32; 256];
    let (vectors, rest) = bytes.as_chunks::<64>();
    let (pieces, few) = vectors.as_chunks::<PIECE>();
    for piece in pieces {
        count_piece(piece, &mut counts);
    }
    let (small_pieces, few) = few.as_chunks::<SIXTEEN>();
    for piece in small_pieces {
        count_piece(piece, &mut counts);
    }
    // What is left is filled up with something that is in it anyway, and that is taken off again.
    let left = 64 * few.len() + rest.len();
    if let Some(&filler) = bytes.last()
        && left > 0
    {
        let mut piece = [[filler; 64]; SIXTEEN];
        piece.as_flattened_mut()[..left].copy_from_slice(&bytes[bytes.len() - left..]);
        count_piece(&piece, &mut counts);
        counts[usize::from(filler)] -= (64 * SIXTEEN - left) as u32;
    }
    counts
}

/// Counts the groups that occur in a piece.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn count_piece(piece: &[[u8; 64]], counts: &mut [u32; 256]) {
    let mut groups = groups_in(piece);
    if groups.count_ones() > FEW_GROUPS {
        // Many values: no two neighbours are likely to wait for the same counter.
        for (total, count) in
            counts.iter_mut().zip(portable::bytes::histogram(piece.as_flattened()))
        {
            *total += count;
        }
        return;
    }
    while groups != 0 {
        let group = groups.trailing_zeros() as usize;
        groups &= groups - 1;
        let counts = &mut counts[8 * group..];
        if let Some(counts) = counts.first_chunk_mut() {
            count_group(piece, 8 * group as u8, counts);
        }
    }
}

/// Which groups of eight values occur, by bits.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn groups_in(piece: &[[u8; 64]]) -> u32 {
    // Bits of a byte beyond the group number are garbage, of which an index takes one: so the tables
    // hold everything twice.
    let flag = |quarter: usize| {
        load(&std::array::from_fn(|i| if i % 32 / 8 == quarter { 1 << (i % 8) } else { 0 }))
    };
    let tables = [flag(0), flag(1), flag(2), flag(3)];
    let mut found = [_mm512_setzero_si512(); 4];
    for bytes in piece {
        let group = _mm512_srli_epi16::<3>(load(bytes));
        for (found, table) in found.iter_mut().zip(tables) {
            *found = _mm512_or_si512(*found, _mm512_permutexvar_epi8(group, table));
        }
    }
    let mut groups = 0;
    for (quarter, found) in found.into_iter().enumerate() {
        let all = _mm512_reduce_or_epi64(found) as u64;
        let all = all | all >> 32;
        let all = all | all >> 16;
        groups |= u32::from((all | all >> 8) as u8) << (8 * quarter);
    }
    groups
}

/// Adds two flags or digits to a digit; returns what is carried to the next.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn add(digit: &mut __m512i, a: __m512i, b: __m512i) -> __m512i {
    let carry = _mm512_ternarylogic_epi32::<CARRY>(*digit, a, b);
    *digit = _mm512_ternarylogic_epi32::<SUM>(*digit, a, b);
    carry
}

/// Adds the set bits at each of the eight places of a byte, `weight` times.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn count_bits(flags: __m512i, weight: u32, counts: &mut [u32; 8]) {
    for (place, count) in counts.iter_mut().enumerate() {
        let set = _mm512_test_epi8_mask(flags, _mm512_set1_epi8((1 << place) as u8 as i8));
        *count += weight * set.count_ones();
    }
}

/// Counts the values `first` to `first + 7`.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn count_group(piece: &[[u8; 64]], first: u8, counts: &mut [u32; 8]) {
    let table = load(&std::array::from_fn(|i| if i < 8 { 1 << i } else { 0 }));
    let first = _mm512_set1_epi8(first as i8);
    let flags = |bytes: &[u8; 64]| {
        let index = _mm512_sub_epi8(load(bytes), first);
        _mm512_permutexvar_epi8(_mm512_min_epu8(index, _mm512_set1_epi8(63)), table)
    };
    let zero = _mm512_setzero_si512();
    let (mut ones, mut twos, mut fours, mut eights) = (zero, zero, zero, zero);
    for sixteen in piece.as_chunks::<SIXTEEN>().0 {
        let [a, b] = [0, 8].map(|at| {
            let [a, b] = [at, at + 4].map(|at| {
                let a = add(&mut ones, flags(&sixteen[at]), flags(&sixteen[at + 1]));
                let b = add(&mut ones, flags(&sixteen[at + 2]), flags(&sixteen[at + 3]));
                add(&mut twos, a, b)
            });
            add(&mut fours, a, b)
        });
        count_bits(add(&mut eights, a, b), 16, counts);
    }
    count_bits(eights, 8, counts);
    count_bits(fours, 4, counts);
    count_bits(twos, 2, counts);
    count_bits(ones, 1, counts);
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn select(chosen: &[bool; 256], keys: &[u8], values: &[u8], out: &mut Vec<u8>) {
    // 0xff where chosen: its top bit makes a mask.
    let table = chosen.map(|chosen| 0u8.wrapping_sub(u8::from(chosen)));
    let (quarters, _) = table.as_chunks::<64>();
    let quarters = [0, 1, 2, 3].map(|quarter| load(&quarters[quarter]));
    let (keys, last_keys) = keys.as_chunks::<64>();
    let (values, last_values) = values.as_chunks::<64>();
    for (keys, values) in keys.iter().zip(values) {
        let keys = load(keys);
        let lower = _mm512_permutex2var_epi8(quarters[0], keys, quarters[1]);
        let upper = _mm512_permutex2var_epi8(quarters[2], keys, quarters[3]);
        let flags = _mm512_mask_blend_epi8(_mm512_movepi8_mask(keys), lower, upper);
        let selected = _mm512_movepi8_mask(flags);
        // Most vectors of a plane have nothing to select, and few have much.
        if selected != 0 {
            let mut bytes = [0; 64];
            store(&mut bytes, _mm512_maskz_compress_epi8(selected, load(values)));
            out.extend_from_slice(&bytes[..selected.count_ones() as usize]);
        }
    }
    portable::bytes::select(chosen, last_keys, last_values, out);
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn compact(keys: &[u8], values: &mut Vec<u8>) {
    let (keys, last_keys) = keys.as_chunks::<64>();
    let mut kept = 0;
    let mut at = 0;
    for keys in keys {
        let Some(from) = values.get(at..).and_then(<[u8]>::first_chunk) else { break };
        let keys = load(keys);
        let selected = _mm512_test_epi8_mask(keys, keys);
        let bytes = _mm512_maskz_compress_epi8(selected, load(from));
        // Never beyond what was read: `kept <= at`.
        let Some(to) = values.get_mut(kept..).and_then(<[u8]>::first_chunk_mut) else { break };
        store(to, bytes);
        kept += selected.count_ones() as usize;
        at += 64;
    }
    for &key in last_keys {
        if at >= values.len() {
            break;
        }
        values[kept] = values[at];
        kept += usize::from(key != 0);
        at += 1;
    }
    values.truncate(kept);
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn expand(key: u8, other: bool, keys: &[u8], values: &[u8], out: &mut [u8]) -> usize {
    let invert = if other { !0 } else { 0 };
    let wanted = _mm512_set1_epi8(key as i8);
    let (groups, last_keys) = keys.as_chunks::<64>();
    let (places, last) = out.as_chunks_mut::<64>();
    let mut due = 0;
    for (keys, place) in groups.iter().zip(places.iter_mut()) {
        let here = _mm512_cmpeq_epi8_mask(load(keys), wanted) ^ invert;
        if here == 0 {
            continue;
        }
        let left = values.get(due..).unwrap_or(&[]);
        if let Some(values) = left.first_chunk() {
            store(place, _mm512_mask_expand_epi8(load(place), here, load(values)));
        } else {
            portable::bytes::expand(key, other, keys, left, place);
        }
        due += here.count_ones() as usize;
    }
    let left = values.get(due..).unwrap_or(&[]);
    due + portable::bytes::expand(key, other, last_keys, left, last)
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn replace(key: u8, values: &[u8], bytes: &mut [u8]) -> usize {
    let wanted = _mm512_set1_epi8(key as i8);
    let (groups, last) = bytes.as_chunks_mut::<64>();
    let mut due = 0;
    for place in groups {
        let group = load(place);
        let here = _mm512_cmpeq_epi8_mask(group, wanted);
        if here == 0 {
            continue;
        }
        let left = values.get(due..).unwrap_or(&[]);
        if let Some(values) = left.first_chunk() {
            store(place, _mm512_mask_expand_epi8(group, here, load(values)));
        } else {
            portable::bytes::replace(key, left, place);
        }
        due += here.count_ones() as usize;
    }
    due + portable::bytes::replace(key, values.get(due..).unwrap_or(&[]), last)
}
