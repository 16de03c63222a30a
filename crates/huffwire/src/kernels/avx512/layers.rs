//! Kernels of layers for AVX-512 with VBMI2: one instruction compresses 64 bytes, one expands them.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{as_bytes, as_bytes_mut, load, load_some, store};
use crate::kernels::layers::{Items, ItemsMut};
use crate::kernels::portable;

/// Bytes that are looked at together for zeros: where most are, that is all that is done to them.
const GROUP: usize = 256;

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn compress(items: Items<'_>, masks: &mut [u8], values: &mut [u8]) -> usize {
    match items {
        Items::Bytes(items) => {
            let (vectors, last) = items.split_at(items.len() / 64 * 64);
            let kept = compress_steps::<false>(vectors, masks, values);
            let masks = &mut masks[vectors.len() / 8..];
            kept + portable::layers::compress_items(last, masks, &mut values[kept..])
        }
        Items::I8(items) => {
            let (vectors, last) = items.split_at(items.len() / 64 * 64);
            let kept = compress_steps::<true>(as_bytes(vectors), masks, values);
            let masks = &mut masks[vectors.len() / 8..];
            kept + portable::layers::compress_items(last, masks, &mut values[kept..])
        }
        Items::I32(items) => {
            let (vectors, last) = items.split_at(items.len() / 64 * 64);
            let kept = compress_wide_steps(vectors, masks, values);
            let masks = &mut masks[vectors.len() / 8..];
            kept + portable::layers::compress_items(last, masks, &mut values[kept..])
        }
    }
}

/// Compresses whole vectors, of bytes or, as bytes, of signed numbers.
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn compress_steps<const SIGNED: bool>(bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    let mut kept = 0;
    let put = |bytes: &[u8; 64], eight: &mut [u8; 8], kept: &mut usize, values: &mut [u8]| {
        let mut vector = load(bytes);
        let mask = _mm512_test_epi8_mask(vector, vector);
        if SIGNED {
            let negative = _mm512_movepi8_mask(vector);
            let twice = _mm512_add_epi8(vector, vector);
            vector = turned_over(twice, negative);
        }
        *eight = mask.to_le_bytes();
        keep(mask, vector, kept, values);
    };
    let (groups, rest) = bytes.as_chunks::<GROUP>();
    let (group_masks, rest_masks) = masks.split_at_mut(GROUP / 8 * groups.len());
    for (group, masks) in groups.iter().zip(group_masks.as_chunks_mut::<{ GROUP / 8 }>().0) {
        let vectors = group.as_chunks::<64>().0;
        let any = vectors
            .iter()
            .fold(_mm512_setzero_si512(), |any, vector| _mm512_or_si512(any, load(vector)));
        if _mm512_test_epi8_mask(any, any) == 0 {
            *masks = [0; GROUP / 8];
            continue;
        }
        for (vector, eight) in vectors.iter().zip(masks.as_chunks_mut::<8>().0) {
            put(vector, eight, &mut kept, values);
        }
    }
    for (vector, eight) in rest.as_chunks::<64>().0.iter().zip(rest_masks.as_chunks_mut::<8>().0) {
        put(vector, eight, &mut kept, values);
    }
    kept
}

/// Puts the chosen numbers less 1 behind what was kept before.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn keep(mask: u64, numbers: __m512i, kept: &mut usize, values: &mut [u8]) {
    // There is room for all, and then some.
    if let Some(to) = values.get_mut(*kept..).and_then(<[u8]>::first_chunk_mut) {
        let less = _mm512_sub_epi8(numbers, _mm512_set1_epi8(1));
        store(to, _mm512_maskz_compress_epi8(mask, less));
        *kept += mask.count_ones() as usize;
    }
}

/// The bits of chosen bytes turned over.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn turned_over(vector: __m512i, mask: u64) -> __m512i {
    // What is not x is -1 - x.
    _mm512_mask_sub_epi8(vector, mask, _mm512_set1_epi8(-1), vector)
}

/// Compresses whole vectors of wide numbers.
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn compress_wide_steps(items: &[i32], masks: &mut [u8], values: &mut [u8]) -> usize {
    let mut kept = 0;
    for (items, eight) in items.as_chunks::<64>().0.iter().zip(masks.as_chunks_mut::<8>().0) {
        let [a, b, c, d] = [0, 16, 32, 48].map(|at| {
            // SAFETY: 16 items of the 64 that the reference covers.
            let items = unsafe { _mm512_loadu_si512(items.as_ptr().add(at).cast()) };
            let twice = _mm512_slli_epi32::<1>(items);
            _mm512_cvtusepi32_epi8(_mm512_xor_si512(twice, _mm512_srai_epi32::<31>(items)))
        });
        let low = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
        let numbers = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(low, c), d);
        let mask = _mm512_test_epi8_mask(numbers, numbers);
        *eight = mask.to_le_bytes();
        keep(mask, numbers, &mut kept, values);
    }
    kept
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn expand(masks: &[u8], values: &[u8], items: ItemsMut<'_>) {
    match items {
        ItemsMut::Bytes(items) => {
            let (vectors, last) = items.split_at_mut(items.len() / 64 * 64);
            let rest = expand_steps::<false>(masks, values, vectors);
            let masks = masks.get(vectors.len() / 8..).unwrap_or(&[]);
            portable::layers::expand_items(masks, rest, last);
        }
        ItemsMut::I8(items) => {
            let (vectors, last) = items.split_at_mut(items.len() / 64 * 64);
            let rest = expand_steps::<true>(masks, values, as_bytes_mut(vectors));
            let masks = masks.get(vectors.len() / 8..).unwrap_or(&[]);
            portable::layers::expand_items(masks, rest, last);
        }
        ItemsMut::I32(items) => {
            let (vectors, last) = items.split_at_mut(items.len() / 64 * 64);
            let rest = expand_wide_steps(masks, values, vectors);
            let masks = masks.get(vectors.len() / 8..).unwrap_or(&[]);
            portable::layers::expand_items(masks, rest, last);
        }
    }
}

/// The next values and 1 at the places that a mask chooses, 0 elsewhere.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn numbers(mask: u64, values: &mut &[u8]) -> __m512i {
    let next = match values.first_chunk() {
        Some(next) => load(next),
        None => load_some(values),
    };
    *values = values.get(mask.count_ones() as usize..).unwrap_or(&[]);
    _mm512_maskz_expand_epi8(mask, _mm512_add_epi8(next, _mm512_set1_epi8(1)))
}

/// Expands to whole vectors of bytes or, as bytes, of signed numbers; returns the values that are left.
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn expand_steps<'a, const SIGNED: bool>(
    masks: &[u8],
    mut values: &'a [u8],
    bytes: &mut [u8],
) -> &'a [u8] {
    let put = |bytes: &mut [u8; 64], eight: &[u8; 8], values: &mut &'a [u8]| {
        let mut vector = numbers(u64::from_le_bytes(*eight), values);
        if SIGNED {
            let odd = _mm512_test_epi8_mask(vector, _mm512_set1_epi8(1));
            let half = _mm512_and_si512(_mm512_srli_epi16::<1>(vector), _mm512_set1_epi8(0x7f));
            vector = turned_over(half, odd);
        }
        store(bytes, vector);
    };
    let (groups, rest) = bytes.as_chunks_mut::<GROUP>();
    let cut = masks.len().min(GROUP / 8 * groups.len());
    let (group_masks, rest_masks) = masks.split_at(cut);
    for (group, masks) in groups.iter_mut().zip(group_masks.as_chunks::<{ GROUP / 8 }>().0) {
        if *masks == [0; GROUP / 8] {
            *group = [0; GROUP];
            continue;
        }
        for (vector, eight) in group.as_chunks_mut::<64>().0.iter_mut().zip(masks.as_chunks().0) {
            put(vector, eight, &mut values);
        }
    }
    for (vector, eight) in rest.as_chunks_mut::<64>().0.iter_mut().zip(rest_masks.as_chunks().0) {
        put(vector, eight, &mut values);
    }
    values
}

/// Expands to whole vectors of wide numbers; returns the values that are left.
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn expand_wide_steps<'a>(masks: &[u8], mut values: &'a [u8], items: &mut [i32]) -> &'a [u8] {
    let one = _mm512_set1_epi32(1);
    for (items, eight) in items.as_chunks_mut::<64>().0.iter_mut().zip(masks.as_chunks().0) {
        let numbers = numbers(u64::from_le_bytes(*eight), &mut values);
        let quarters = [
            _mm512_castsi512_si128(numbers),
            _mm512_extracti32x4_epi32::<1>(numbers),
            _mm512_extracti32x4_epi32::<2>(numbers),
            _mm512_extracti32x4_epi32::<3>(numbers),
        ];
        for (items, quarter) in items.as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
            let numbers = _mm512_cvtepu8_epi32(quarter);
            let odd = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_and_si512(numbers, one));
            let vector = _mm512_xor_si512(_mm512_srli_epi32::<1>(numbers), odd);
            // SAFETY: the exclusive reference covers the 16 items, and the instruction needs no
            // alignment.
            unsafe { _mm512_storeu_si512(items.as_mut_ptr().cast(), vector) }
        }
    }
    values
}
