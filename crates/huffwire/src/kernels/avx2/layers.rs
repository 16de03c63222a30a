//! Kernels of layers for AVX2: eight bytes at a time are moved together or apart.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::bytes::{apart, together};
use super::isa::{as_bytes, as_bytes_mut, load, store};
use crate::kernels::layers::{Items, ItemsMut};
use crate::kernels::portable;

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn compress(items: Items<'_>, masks: &mut [u8], values: &mut [u8]) -> usize {
    match items {
        Items::Bytes(items) => {
            let (vectors, last) = items.split_at(items.len() / 32 * 32);
            let kept = compress_steps::<false>(vectors, masks, values);
            let masks = &mut masks[vectors.len() / 8..];
            kept + portable::layers::compress_items(last, masks, &mut values[kept..])
        }
        Items::I8(items) => {
            let (vectors, last) = items.split_at(items.len() / 32 * 32);
            let kept = compress_steps::<true>(as_bytes(vectors), masks, values);
            let masks = &mut masks[vectors.len() / 8..];
            kept + portable::layers::compress_items(last, masks, &mut values[kept..])
        }
        Items::I32(items) => portable::layers::compress_items(items, masks, values),
    }
}

/// Compresses whole vectors, of bytes or, as bytes, of signed numbers.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn compress_steps<const SIGNED: bool>(bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    let zero = _mm256_setzero_si256();
    let mut kept = 0;
    for (bytes, four) in bytes.as_chunks::<32>().0.iter().zip(masks.as_chunks_mut::<4>().0) {
        let mut vector = load(bytes);
        let mask = !(_mm256_movemask_epi8(_mm256_cmpeq_epi8(vector, zero)) as u32);
        *four = mask.to_le_bytes();
        if mask == 0 {
            continue;
        }
        if SIGNED {
            let negative = _mm256_cmpgt_epi8(zero, vector);
            vector = _mm256_xor_si256(_mm256_add_epi8(vector, vector), negative);
        }
        let mut less = [0; 32];
        store(&mut less, _mm256_sub_epi8(vector, _mm256_set1_epi8(1)));
        for (index, eight) in less.as_chunks::<8>().0.iter().enumerate() {
            let mask = mask >> (8 * index) & 0xff;
            // There is room for all, and then some.
            let Some(to) = values.get_mut(kept..).and_then(<[u8]>::first_chunk_mut) else { break };
            *to = together(mask, eight);
            kept += mask.count_ones() as usize;
        }
    }
    kept
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn expand(masks: &[u8], values: &[u8], items: ItemsMut<'_>) {
    match items {
        ItemsMut::Bytes(items) => {
            let (vectors, last) = items.split_at_mut(items.len() / 32 * 32);
            let rest = expand_steps::<false>(masks, values, vectors);
            let masks = masks.get(vectors.len() / 8..).unwrap_or(&[]);
            portable::layers::expand_items(masks, rest, last);
        }
        ItemsMut::I8(items) => {
            let (vectors, last) = items.split_at_mut(items.len() / 32 * 32);
            let rest = expand_steps::<true>(masks, values, as_bytes_mut(vectors));
            let masks = masks.get(vectors.len() / 8..).unwrap_or(&[]);
            portable::layers::expand_items(masks, rest, last);
        }
        ItemsMut::I32(items) => portable::layers::expand_items(masks, values, items),
    }
}

/// Expands to whole vectors of bytes or, as bytes, of signed numbers; returns the values that are left.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn expand_steps<'a, const SIGNED: bool>(
    masks: &[u8],
    mut values: &'a [u8],
    bytes: &mut [u8],
) -> &'a [u8] {
    let (zero, one) = (_mm256_setzero_si256(), _mm256_set1_epi8(1));
    for (bytes, four) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(masks.as_chunks::<4>().0) {
        let mask = u32::from_le_bytes(*four);
        if mask == 0 {
            *bytes = [0; 32];
            continue;
        }
        let mut next = match values.first_chunk() {
            Some(values) => *values,
            None => padded(values),
        };
        let more = _mm256_add_epi8(load(&next), one);
        store(&mut next, more);
        let mut vector = apart(mask, &next);
        if SIGNED {
            let half = _mm256_and_si256(_mm256_srli_epi16::<1>(vector), _mm256_set1_epi8(0x7f));
            let odd = _mm256_sub_epi8(zero, _mm256_and_si256(vector, one));
            vector = _mm256_xor_si256(half, odd);
        }
        store(bytes, vector);
        values = values.get(mask.count_ones() as usize..).unwrap_or(&[]);
    }
    values
}

/// The last values, zeros behind them.
#[cold]
#[inline(never)]
fn padded(values: &[u8]) -> [u8; 32] {
    let mut padded = [0; 32];
    padded[..values.len()].copy_from_slice(values);
    padded
}
