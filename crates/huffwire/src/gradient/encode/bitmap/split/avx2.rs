//! The kernels for AVX2: eight bytes at a time are moved together or apart.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use crate::bytes::avx2::{apart, together};
use crate::gradient::{Values, ValuesMut};
use crate::platform::Avx2;
use crate::platform::avx2::{load, store};

pub(super) fn split(_proof: Avx2, bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    let last = bytes.len() / 32 * 32;
    // SAFETY: the proof says that the processor has the instructions.
    let kept = unsafe { split_with::<false>(&bytes[..last], masks, values) };
    kept + super::portable::split(&bytes[last..], &mut masks[last / 8..], &mut values[kept..])
}

pub(super) fn split_states(
    proof: Avx2,
    states: Values<'_>,
    masks: &mut [u8],
    values: &mut [u8],
) -> usize {
    match states {
        Values::I32(states) => proof.run(|| super::portable::split_states(states, masks, values)),
        Values::I8(states) => {
            let (vectors, last) = states.split_at(states.len() / 32 * 32);
            // SAFETY: what is an i8 is a u8 too, of the same size; the proof says that the processor has
            // the instructions.
            let kept = unsafe {
                let bytes = core::slice::from_raw_parts(vectors.as_ptr().cast(), vectors.len());
                split_with::<true>(bytes, masks, values)
            };
            let masks = &mut masks[vectors.len() / 8..];
            kept + super::portable::split_states(last, masks, &mut values[kept..])
        }
    }
}

/// Splits whole vectors, of bytes or of the numbers of states.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn split_with<const STATES: bool>(bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    let zero = _mm256_setzero_si256();
    let mut kept = 0;
    for (bytes, four) in bytes.as_chunks::<32>().0.iter().zip(masks.as_chunks_mut::<4>().0) {
        let mut vector = load(bytes);
        let mask = !(_mm256_movemask_epi8(_mm256_cmpeq_epi8(vector, zero)) as u32);
        *four = mask.to_le_bytes();
        if mask == 0 {
            continue;
        }
        if STATES {
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

pub(super) fn join(_proof: Avx2, masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    let (vectors, last) = bytes.split_at_mut(bytes.len() / 32 * 32);
    // SAFETY: the proof says that the processor has the instructions.
    let rest = unsafe { join_with::<false>(masks, values, vectors) };
    super::portable::join(masks.get(vectors.len() / 8..).unwrap_or(&[]), rest, last);
}

pub(super) fn join_states(proof: Avx2, masks: &[u8], values: &[u8], states: ValuesMut<'_>) {
    match states {
        ValuesMut::I32(states) => proof.run(|| super::portable::join_states(masks, values, states)),
        ValuesMut::I8(states) => {
            let (vectors, last) = states.split_at_mut(states.len() / 32 * 32);
            // SAFETY: what is a u8 is an i8 too, of the same size; the proof says that the processor has
            // the instructions.
            let rest = unsafe {
                let bytes =
                    core::slice::from_raw_parts_mut(vectors.as_mut_ptr().cast(), vectors.len());
                join_with::<true>(masks, values, bytes)
            };
            let masks = masks.get(vectors.len() / 8..).unwrap_or(&[]);
            super::portable::join_states(masks, rest, last);
        }
    }
}

/// Joins whole vectors, of bytes or of states from their numbers; returns the values that are left.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn join_with<'a, const STATES: bool>(
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
        let mut next = [0; 32];
        match values.first_chunk() {
            Some(values) => next = *values,
            None => next[..values.len()].copy_from_slice(values),
        }
        let more = _mm256_add_epi8(load(&next), one);
        store(&mut next, more);
        let mut vector = apart(mask, &next);
        if STATES {
            let half = _mm256_and_si256(_mm256_srli_epi16::<1>(vector), _mm256_set1_epi8(0x7f));
            let odd = _mm256_sub_epi8(zero, _mm256_and_si256(vector, one));
            vector = _mm256_xor_si256(half, odd);
        }
        store(bytes, vector);
        values = values.get(mask.count_ones() as usize..).unwrap_or(&[]);
    }
    values
}
